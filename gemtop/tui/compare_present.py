"""What the screens of a comparison show, as rows of cells; nothing here needs a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gemtop.charts.colours import variant_role
from gemtop.charts.grid import Canvas, CellRow, blank_row
from gemtop.comparison.job import Top
from gemtop.comparison.outcome import Outcome
from gemtop.comparison.pairs import Pair, Side
from gemtop.comparison.table import UNKNOWN, Row, failures, heads, layout, legend, quoted, rows
from gemtop.domain.text import one_line, shortened, text_width
from gemtop.domain.word_diff import Piece, word_diff
from gemtop.tui.comparing import State
from gemtop.tui.widgets.cells import clip, plain
from gemtop.tui.widgets.header import HeaderText, variant_badge
from gemtop.tui.widgets.styled import Span, column_widths, columns, rule, styled_rows

_PROMPT_CHARS = 300
_LEAST_TITLE = 16
_MARKS = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
_PHASES = {
    "preparing": ("preparing", "warn"),
    "running": ("running", "good"),
    "stopping": ("stopping", "warn"),
    "done": ("done", "text"),
    "stopped": ("stopped", "warn"),
    "failed": ("failed", "bad"),
}


def side_role(side: Side) -> str:
    return variant_role(side.training, side.quantization)


def _side_badge(side: Side) -> tuple[str, str]:
    return variant_badge(side.label, side.training, side.quantization)


def compare_header(state: State | None) -> HeaderText:
    """What the screen is on the left, how far the comparison is on the right."""
    left = (("gemtop", "title"), ("compare", "text"))
    if state is None:
        return HeaderText((*left, ("choose two models or more", "muted")))
    right: list[tuple[str, str]] = []
    if state.doing is not None:
        right.append((f"{state.doing.done} of {state.doing.total}", "text"))
    return HeaderText(left, (*right, _PHASES[state.phase]))


def doing_spans(state: State) -> list[Span]:
    """A line of progress, or how it ended; and what was said on the way."""
    role = {"failed": "bad", "stopped": "warn", "stopping": "warn"}.get(state.phase, "text")
    if state.phase == "running" and state.doing is not None:
        count = f"{state.doing.done:>{len(str(state.doing.total))}}/{state.doing.total}  "
        return [(count, "muted"), (state.words, "text"), (f"   {state.left}" if state.left else "", "muted")]
    return [("done; Enter shows the outputs side by side" if state.phase == "done" else state.words, role)]


def table_rows(state: State, width: int) -> list[CellRow]:
    """Verdict, once there is one; the figures; what they are of; what was left out."""
    found = state.outcome
    made: list[CellRow] = []
    if state.phase == "done" and found is not None:
        made += [*styled_rows([(found.verdict, "title")], width), blank_row(width)]
    if found is None:
        return [*made, *_paragraphs(state.said, "muted", width)]
    made += _figures(found, width)
    more = [*failures(found), *found.notes]
    made += [*_paragraphs(legend(found), "muted", width), *_paragraphs(more, "warn", width)]
    return [*made, *_paragraphs(state.said, "muted", width)]


def _paragraphs(lines: Sequence[str], role: str, width: int) -> list[CellRow]:
    return [row for line in lines for row in (*styled_rows([(line, role)], width), blank_row(width))]


def _figures(found: Outcome, width: int) -> list[CellRow]:
    """The table; of more variants than there is room for the others stand below."""
    badges = [
        variant_badge(plain(head), one.facts.training, one.facts.quantization)
        for head, one in zip(heads(found), found.variants, strict=True)
    ]
    titles = [words for words, _ in badges]
    said = [replace(row, title=plain(row.title), cells=tuple(map(plain, row.cells))) for row in rows(found)]
    lines = _short_titles(titles, said, width)
    made: list[CellRow] = []
    for first, widths, chosen in layout(titles, lines, width):
        canvas = Canvas(width, len(lines) + 2)
        x = first
        for number in chosen:
            x += 2 + widths[number]
            head = titles[number]
            canvas.put(x - text_width(head), 0, head, badges[number][1])
            for y, row in enumerate(lines, 1):
                cell = row.cells[number]
                role = "muted" if cell == UNKNOWN or cell.endswith(" =") else "text"
                canvas.put(x - text_width(cell), y, cell, role)
        for y, row in enumerate(lines, 1):
            canvas.put(0, y, clip(row.title, first), "muted")
        made += canvas.freeze().rows
    return made


def _short_titles(titles: Sequence[str], lines: Sequence[Row], width: int) -> list[Row]:
    """Names of figures are cut where all variants then stand beside each other."""
    cells = sum(
        2 + max(text_width(title), *(text_width(row.cells[i]) for row in lines)) for i, title in enumerate(titles)
    )
    room = width - cells
    return [replace(row, title=clip(row.title, room)) for row in lines] if room >= _LEAST_TITLE else list(lines)


# Two outputs side by side


def outputs_header(pair: Pair, place: str) -> HeaderText:
    """Which prompt on the left, whose outputs on the right."""
    right = (_side_badge(pair.left), ("|", "frame"), _side_badge(pair.right))
    return HeaderText(
        (("gemtop", "title"), ("outputs", "text"), (shortened(pair.title, 40), "text"), (place, "muted")), right
    )


def output_rows(pair: Pair, width: int) -> tuple[list[CellRow], int]:
    """The prompt, where the outputs part, both of them, and the difference by words; the row that one begins at."""
    made = styled_rows([("> " + shortened(pair.prompt, _PROMPT_CHARS), "prompt")], width)
    made += _apart(pair, width)
    each, other = column_widths(width)
    made += columns(_head(pair.left, each), _head(pair.right, other), width)
    left, right = pair.marks
    made += columns(styled_rows(_marked(left), each), styled_rows(_marked(right), other), width)
    begin = len(made) + 1
    made += [blank_row(width), rule("word diff", width), *_word_diff(pair, width)]
    return made, begin


def _head(side: Side, width: int) -> list[CellRow]:
    tokens = f"{len(side.tokens):,} tokens" if side.tokens else ""
    verdict = {True: "right", False: "wrong", None: ""}[side.passed]
    spans: list[Span] = [_side_badge(side)]
    spans += [(f"  {tokens}", "muted")] if tokens else []
    spans += [(f"  {verdict}", "good" if side.passed else "bad")] if verdict else []
    if side.passed is False and side.note:
        spans.append((f": {one_line(side.note)}", "muted"))
    return styled_rows(spans, width)


def _marked(pieces: Sequence[Piece]) -> list[Span]:
    """What one alone has on a ground of its own; there line ends are shown."""
    return [
        (piece.text, "text")
        if piece.kind == "same"
        else (piece.text.replace("\n", "↵\n"), f"{piece.kind}@{piece.kind}")
        for piece in pieces
    ]


def _word_diff(pair: Pair, width: int) -> list[CellRow]:
    if pair.left.output == pair.right.output:
        return styled_rows([("the outputs are the same", "muted")], width)
    pieces = word_diff(pair.left.output, pair.right.output)
    return styled_rows(
        [(_MARKS[piece.kind].format(piece.text), "text" if piece.kind == "same" else piece.kind) for piece in pieces],
        width,
    )


def _apart(pair: Pair, width: int) -> list[CellRow]:
    """Where they part, and what each held most likely there."""
    if pair.at is None:
        known = bool(pair.left.tokens and pair.right.tokens)
        words = "the same tokens" if known else "the tokens are not known" if not pair.same else "the same text"
        return [*styled_rows([(words, "muted")], width), blank_row(width)]
    words = f"they part at token {pair.at + 1}: {_first(pair, pair.left)} | {_first(pair, pair.right)}"
    made = styled_rows([(words, "title")], width)
    if pair.left_top or pair.right_top:
        each, other = column_widths(width)
        made += columns(
            _tops(pair, pair.left, pair.left_top, each), _tops(pair, pair.right, pair.right_top, other), width
        )
    elif pair.reason:
        made += styled_rows([(pair.reason, "muted")], width)
    return [*made, blank_row(width)]


def _first(pair: Pair, side: Side) -> str:
    found = pair.first(side)
    if found is None:
        return "(it has ended)"
    token_id, text = found
    return quoted(text) if text else f"token id {token_id}"


def _tops(pair: Pair, side: Side, top: Top, width: int) -> list[CellRow]:
    """Token and probability, a row each, the one that was taken marked."""
    if not top:
        return styled_rows([("not known", "muted")], width)
    taken = pair.first(side)
    canvas = Canvas(width, len(top))
    for y, (token_id, text, share) in enumerate(top):
        mine = taken is not None and token_id == taken[0]
        figure = f"{share:7.2%}"
        canvas.put(0, y, ">" if mine else " ", side_role(side))
        canvas.put(2, y, figure, "text" if mine else "muted")
        canvas.put(4 + len(figure), y, clip(quoted(text), width - 4 - len(figure)), side_role(side) if mine else "text")
    return list(canvas.freeze().rows)
