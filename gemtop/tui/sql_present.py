"""What the SQL screen says and chooses, without the screen."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gemtop.charts.xy import AxisKind
from gemtop.tui.widgets.header import HeaderText

if TYPE_CHECKING:
    from gemtop.history.lake import Address
    from gemtop.history.reader import Column
    from gemtop.history.workbench import SessionLine
    from gemtop.view import SessionView

_SESSION_SQL = """SELECT run_id, kind, variant, n_ctx, status, prompt_tokens, generated_tokens,
    ttft_s, prefill_tokens_per_s, decode_tokens_per_s, vram_peak_bytes, energy_j, valid
FROM runs
WHERE session_id = {session}
ORDER BY len(run_id), run_id"""


def session_sql(session_id: str) -> str:
    """The runs of a session."""
    return _SESSION_SQL.format(session="'" + session_id.replace("'", "''") + "'")


def session_words(session: SessionLine) -> str:
    """How many runs, and of which models."""
    runs = f"{session.runs} {'run' if session.runs == 1 else 'runs'}"
    return f"{runs}, {session.models}" if session.models else runs


def sql_header(view: SessionView | None, writing: bool, fleet: Address | None = None) -> HeaderText:
    """What is asked and how it is open on the left, the live session on the right."""
    left: tuple[tuple[str, str], ...] = (("gemtop", "title"),)
    if writing:
        left += (("WRITING", "title"), ("what is run changes the history", "text"))
    elif fleet is not None:
        left += (("fleet", "text"), (fleet.shown, "text"), ("read-only", "muted"))
    else:
        left += (("history", "text"), ("read-only", "muted"))
    right: list[tuple[str, str]] = []
    if view is not None:
        from gemtop.tui import present

        right = [part for part in present.header_text(view).right if part[1] != "muted"]
        rates = [point.tokens_per_s for point in view.decode_rate[-1:] if point.tokens_per_s is not None]
        if view.run is not None and view.run.status is None and rates:
            right.append((f"{rates[0]:6.1f} tokens/s", "decode"))
    return HeaderText(left, tuple(right) or (("no run yet", "text"),))


def error_lines(message: str, width: int, most: int = 8) -> list[str]:
    """DuckDB's message in lines of this width, the marked place always among them."""
    lines = message.strip("\n").split("\n")
    marked = next((i for i, line in enumerate(lines) if re.match(r"LINE \d+:", line)), len(lines))
    words = [part for line in lines[:marked] if line.strip() for part in textwrap.wrap(line, max(width, 10))]
    place = _around(lines[marked : marked + 2], width)
    room = most - len(place)
    return (words if len(words) <= room else [*words[: room - 1], "..."]) + place


def _around(place: list[str], width: int) -> list[str]:
    """The line and the mark below it, cut to what is around the mark."""
    if len(place) < 2 or len(place[0]) <= width:
        return place
    head = place[0].index(":") + 2
    at, room = place[1].find("^"), max(10, width - head)
    first = max(head, min(at - room // 2, len(place[0]) - room))
    return [place[0][:head] + place[0][first : first + room], " " * head + place[1][first : first + room]]


def columns_of_plot(columns: Sequence[Column], marks: Sequence[int], at: int) -> tuple[int, int] | None:
    """x and y: those marked, else what can be had with the column of the cursor."""
    if len(marks) == 2:
        return marks[0], marks[1]
    if at >= len(columns) or at in marks or not columns[at].numeric:
        return None
    if marks:
        return marks[0], at
    others = [i for i in range(len(columns)) if i != at]
    x = next((i for i in others if columns[i].is_time), next((i for i in others if columns[i].numeric), None))
    return None if x is None else (x, at)


def axis_kind(column: Column) -> AxisKind:
    """How the values of a column lie on the x axis."""
    return "time" if column.is_time else "number" if column.numeric else "names"
