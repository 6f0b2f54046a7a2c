"""The SQL screen over a real history, driven by keys, while a session of fakes goes on."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import duckdb
import pytest
from textual.widgets import Input

from gemtop.config import Paths, config_file
from gemtop.history.database import Database
from gemtop.tui.screens.history import HistoryScreen
from gemtop.tui.screens.history_dialogs import NoteScreen, SaveQueryScreen, SaveScreen, ValueScreen, WriteScreen
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.widgets.chart import Chart
from gemtop.tui.widgets.completion_list import CompletionList
from gemtop.tui.widgets.side_list import SideList
from tests.history.rows import STARTED_AT_MS, STARTED_NS, S, SessionEnd, put_in, run, run_end, samples, session, tokens
from tests.tui.sitting import Options, Screen, gemtop

LONG = "SELECT count(*) FROM range(10000000000) AS a(i), range(1000) AS b(j) WHERE hash(i) = hash(j) + 1"
VARIANTS = ("QAT Q4_0", "FP16", "PTQ Q4_K_M")


def seed(paths: Paths, count: int = 3) -> list[str]:
    """Sessions a day apart, each of one run of another variant."""
    names = []
    for i in range(count):
        name, at = f"202611{i + 1:02}-100000-aaaa{i:04}", STARTED_AT_MS + i * 86_400_000
        begin = run(name, started_at_ms=at, variant=VARIANTS[i % 3])
        end = run_end(begin.run_id, decode_tokens_per_s=10.0 + i)
        rows = [session(name, started_at_ms=at), begin, *tokens(begin.run_id), *samples(), end]
        put_in(paths, [*rows, SessionEnd(STARTED_NS + 5 * S, None)], name)
        names.append(name)
    return names


class Sql:
    """The screen, and what it says."""

    def __init__(self, screen: Screen) -> None:
        self.screen, self.pilot = screen, screen.pilot

    @property
    def it(self) -> HistoryScreen:
        history = self.screen.app._history
        assert history is not None
        return history

    @property
    def said(self) -> str:
        return str(self.it.query_one("#said").render())

    async def idle(self) -> None:
        await self.screen.until(lambda: not self.it.busy, "nothing goes on")
        await self.pilot.pause()

    async def run(self, sql: str) -> None:
        """SQL into the editor, run, and wait for its end."""
        await self.idle()
        self.it.editor.show_sql(sql)
        await self.pilot.pause()
        await self.pilot.press("f5")
        await self.idle()

    @property
    def rows(self) -> list[tuple[object, ...]]:
        result = self.it.table.result
        assert result is not None, self.said
        return result.rows(0, 100)


@asynccontextmanager
async def opened(folders: Paths, options: Options | None = None) -> AsyncIterator[Sql]:
    async with gemtop(folders, options) as screen:
        await screen.type("h")
        await screen.until(lambda: isinstance(screen.app.screen, HistoryScreen), "the SQL screen")
        sql = Sql(screen)
        await sql.idle()
        yield sql


# Lists


async def test_a_shipped_query_is_run_from_the_list(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.pilot.press("down")
        assert "Variants side by side" in sql.said
        await sql.pilot.press("enter")
        await sql.idle()
        await sql.screen.until_shown("3 rows in", "QAT Q4_0", "PTQ Q4_K_M", "Variants side by side")
        assert "FROM runs" in sql.it.editor.text and not sql.it.editor.text.startswith("--")


async def test_parameters_are_a_form(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.pilot.press("enter")
        await sql.screen.until(lambda: sql.it.table.result is not None, "sessions")
        await sql.idle()
        field = sql.it.query_one("#form Input", Input)
        assert (field.name, field.value, len(sql.rows)) == ("n", "20", 3)
        await sql.screen.until_shown("integer: how many sessions")
        field.value = "2"
        field.focus()
        await sql.pilot.press("enter")
        await sql.idle()
        assert len(sql.rows) == 2
        field.value = "two"
        await sql.pilot.press("f5")
        await sql.screen.until_shown("n is integer, not 'two'")
        assert field.has_class("-invalid") and len(sql.rows) == 2


async def test_a_parameter_of_ones_own_is_asked_for(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("SELECT variant FROM runs WHERE decode_tokens_per_s > $least")
        assert sql.rows == []
        sql.it.query_one("#form Input", Input).value = "10.5"
        await sql.pilot.press("f5")
        await sql.idle()
        assert sorted(sql.rows) == [("FP16",), ("PTQ Q4_K_M",)]


async def test_a_session_shows_its_runs(folders: Paths) -> None:
    names = seed(folders)
    async with opened(folders) as sql:
        sql.it.query_one("#sessions").focus()
        await sql.pilot.press("enter")
        await sql.idle()
        assert [row[0] for row in sql.rows] == [f"{names[-1]}.1"], "the newest is first"
        assert names[-1] in sql.it.editor.text


async def test_what_one_wrote_is_not_lost_to_a_query(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("SELECT 1 AS mine")
        sql.it.query_one("#queries").focus()
        await sql.pilot.press("down", "enter")
        await sql.idle()
        assert "mine" not in sql.it.editor.text
        await sql.pilot.press("home", "enter")
        assert sql.it.editor.text == "SELECT 1 AS mine"
        await sql.pilot.press("ctrl+u")
        assert "mine" not in sql.it.editor.text, "and undoing goes back as well"


# Editor


async def test_completion_of_views_columns_and_keywords(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        sql.it.editor.show_sql(" FROM runs")
        sql.it.editor.focus()
        await sql.screen.type("sel")
        words = sql.it.query_one(CompletionList)
        await sql.screen.until(lambda: words.is_open, "the list")
        await sql.pilot.press("tab")
        await sql.screen.type(" decode_tok")
        await sql.screen.until(lambda: words.is_open, "the list")
        await sql.screen.until_shown("Generated tokens after the first")
        await sql.pilot.press("tab")
        assert sql.it.editor.text == "SELECT decode_tokens_per_s FROM runs"
        assert sql.it.editor.has_focus
        await sql.screen.type(", va")
        await sql.screen.until(lambda: words.is_open, "the list")
        await sql.pilot.press("escape")
        await sql.screen.until(lambda: not words.is_open, "closed")
        assert sql.it.editor.text == "SELECT decode_tokens_per_s, va FROM runs"
        assert isinstance(sql.screen.app.screen, HistoryScreen), "Esc closed the list and no more"
        await sql.screen.type("r")
        await sql.screen.until(lambda: words.is_open, "the list")
        await sql.pilot.press("f5")
        assert not words.is_open, "to run it ends the typing"
        await sql.pilot.press("tab")
        assert not sql.it.editor.has_focus, "without a list Tab goes on"


async def test_colours_stand_on_the_words(folders: Paths) -> None:
    async with opened(folders) as sql:
        sql.it.editor.show_sql("SELECT 'ä', $n -- x\nFROM runs")
        found = {y: sorted(marks) for y, marks in sql.it.editor._highlights.items() if marks}
        assert found == {0: [(0, 6, "keyword"), (7, 11, "string"), (13, 15, "parameter"), (16, 20, "comment")],
                         1: [(0, 4, "keyword")]}  # fmt: skip


# Results


async def test_a_million_rows(folders: Paths) -> None:
    async with opened(folders) as sql:
        await sql.run("SELECT i, i * 2 AS twice FROM range(1000000) AS r(i)")
        await sql.screen.until_shown("1,000,000 rows in", "of 1,000,000")
        sql.it.table.focus()
        await sql.pilot.press("G")
        await sql.screen.until_shown("999999", "1999998", "row 1,000,000 of 1,000,000")
        await sql.pilot.press("right", "o")
        await sql.idle()
        await sql.pilot.press("o")
        await sql.idle()
        await sql.screen.until_shown("▼", "1999998")
        assert sql.it.table.result is not None and sql.it.table.result.rows(0, 1) == [(999999, 1999998)]
        await sql.pilot.press("o")
        await sql.idle()
        assert sql.it.table.result.rows(0, 1) == [(0, 0)]


async def test_the_file_is_free_while_a_result_is_looked_at(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("FROM samples")
        with Database(folders.history).open() as con:
            con.execute("DELETE FROM store.sessions WHERE false")
        assert sql.rows


async def test_values_are_harmless_and_can_be_seen_whole(folders: Paths) -> None:
    async with opened(folders) as sql:
        await sql.run("SELECT 'a' || chr(27) || '[2J' || chr(10) || repeat('long ', 40) AS \"na\nme\"")
        await sql.screen.until_shown("a␛[2J␊long")
        sql.it.table.focus()
        await sql.pilot.press("enter")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, ValueScreen), "the value")
        await sql.screen.until_shown("a␛[2J", "long long")
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in sql.screen.text.replace("\n", ""))


async def test_an_error_marks_the_place_and_loses_nothing(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("SELECT 42 AS kept")
        await sql.run("SELECT 1;\nSELECT varient\nFROM runs")
        assert 'Referenced column "varient" not found' in sql.said
        lines = sql.said.split("\n")
        marked = next(i for i, line in enumerate(lines) if line.startswith("LINE 2: SELECT varient"))
        assert lines[marked + 1].index("^") == lines[marked].index("varient")
        assert sql.it.editor.text == "SELECT 1;\nSELECT varient\nFROM runs"
        assert sql.rows == [(42,)]


async def test_a_plot_of_two_columns_and_back(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("SELECT started_at, variant, decode_tokens_per_s FROM runs ORDER BY started_at")
        sql.it.table.focus()
        await sql.pilot.press("p")
        await sql.screen.until_shown("Space marks two columns")
        await sql.pilot.press("right", "space", "right", "space")
        await sql.screen.until_shown("x is variant, y is decode_tokens_per_s", "variant x")
        await sql.pilot.press("p")
        await sql.idle()
        await sql.screen.until_shown("decode_tokens_per_s by variant", "QAT Q4_0", "PTQ Q4_K_M", "•")
        await sql.pilot.press("escape")
        await sql.screen.until_shown("row 1 of 3")
        sql.it.table.marks = [2, 1]
        await sql.pilot.press("p")
        await sql.screen.until_shown("the second column of a plot has to be a number")


# Stopping, waiting, and the live session


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
async def test_a_long_query_is_stopped_at_once(folders: Paths, key: str) -> None:
    async with opened(folders) as sql:
        sql.it.editor.show_sql(LONG)
        await sql.pilot.press("f5")
        await sql.screen.until_shown("running ...")
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await sql.pilot.press(key)
        await sql.screen.until(lambda: not sql.it.busy, "it has ended")
        assert time.monotonic() - began < 2.0  # 0.01 s on an idle machine
        await sql.screen.until_shown("stopped")
        assert isinstance(sql.screen.app.screen, HistoryScreen)


async def test_keys_and_charts_go_on_under_a_long_query(folders: Paths) -> None:
    gate = threading.Semaphore(0)
    async with gemtop(folders, Options(gate=gate, n_predict=-1)) as screen:
        await screen.type("Once upon\n")
        await screen.until_shown("running")
        await screen.type("h")
        sql = Sql(screen)
        await screen.until(lambda: isinstance(screen.app.screen, HistoryScreen), "the SQL screen")
        await screen.until_shown("run 1", "running")
        await sql.idle()
        sql.it.editor.show_sql(LONG)
        await sql.pilot.press("f5")
        speed = screen.app.live.query_one("#chart-0", Chart)
        before, output = speed.spec, screen.output
        for _ in range(20):
            gate.release()
            await asyncio.sleep(0.03)
        sql.it.editor.focus()
        await screen.type("x")
        assert sql.it.editor.text == "x" + LONG and sql.it.busy
        await screen.until(lambda: len(screen.output) > len(output), "the text goes on")
        await screen.until_shown("tokens/s")
        await sql.pilot.press("escape")
        await screen.until(lambda: not sql.it.busy, "stopped")
        await sql.pilot.press("escape")
        await screen.until(lambda: isinstance(screen.app.screen, LiveScreen), "back")
        await screen.until(lambda: speed.spec != before, "the charts are as far as the session")
        await screen.pilot.press("escape")


async def test_who_has_the_file_is_said_and_waited_for(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        program = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read(1)"
        import sys

        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(folders.history), stdin=-1, stdout=-1
        )
        assert other.stdin and other.stdout
        assert await other.stdout.readline() == b"open\n"
        sql.it.editor.show_sql("SELECT count(*) FROM runs")
        await sql.pilot.press("f5")
        await sql.screen.until_shown("waiting:", f"(PID {other.pid})")
        other.stdin.write(b"x")
        other.stdin.close()
        await sql.idle()
        assert sql.rows == [(3,)]
        await other.wait()


async def test_the_screen_is_as_it_was_left(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("SELECT 7 AS seven")
        sql.it.table.focus()
        await sql.pilot.press("q")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, LiveScreen), "the live screen")
        await sql.screen.type("h")
        await sql.screen.until_shown("seven", "SELECT 7 AS seven")
        assert sql.rows == [(7,)]


async def test_without_a_history(folders: Paths) -> None:
    async with opened(folders) as sql:
        await sql.screen.until_shown("no session yet")
        await sql.run("SELECT count(*) FROM runs")
        assert sql.rows == [(0,)]
        assert not folders.history.exists()


# Saving


async def save_as(sql: Sql, name: str) -> None:
    await sql.pilot.press("ctrl+s")
    await sql.screen.until(lambda: isinstance(sql.screen.app.screen, SaveScreen), "the dialog")
    sql.screen.app.screen.query_one("#file", Input).value = name
    await sql.pilot.press("enter")


async def test_the_result_is_saved_in_three_formats(folders: Paths, tmp_path: Path) -> None:
    async with opened(folders) as sql:
        await sql.run("SELECT * FROM (VALUES (1, 'a,b'), (2, NULL), (3, '')) AS t(n, words)")
        sql.it.table.focus()
        for _ in range(2):
            await sql.pilot.press("o")
            await sql.idle()
        for name in ("x.csv", "x.json", "x.parquet"):
            await save_as(sql, str(tmp_path / name))
            await sql.screen.until(lambda name=name: (tmp_path / name).exists(), name)
            await sql.idle()
    rows = duckdb.sql(f"FROM '{tmp_path}/x.parquet'").fetchall()
    assert [row[0] for row in rows] == [3, 2, 1], "in the order shown"
    assert [r["n"] for r in json.loads((tmp_path / "x.json").read_text())] == [row[0] for row in rows]
    with (tmp_path / "x.csv").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["n", *(str(row[0]) for row in rows)]
    assert not list(tmp_path.glob(".*.part"))


async def test_a_file_is_replaced_when_one_says_so(
    folders: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # short names, which no line is broken for
    there = tmp_path / "there.csv"
    there.write_text("mine")
    async with opened(folders) as sql:
        await sql.run("SELECT 1 AS n")
        await save_as(sql, "nowhere/x.csv")
        await sql.screen.until_shown("there is no folder")
        sql.screen.app.screen.query_one("#file", Input).value = "x.txt"
        await sql.pilot.press("enter")
        await sql.screen.until_shown("has to end in .csv, .parquet or .json")
        sql.screen.app.screen.query_one("#file", Input).value = "there.csv"
        await sql.pilot.press("enter")
        await sql.screen.until_shown("Enter again replaces it")
        assert there.read_text() == "mine"
        await sql.pilot.press("enter")
        await sql.screen.until(lambda: there.read_text() == "n\n1\n", "it is replaced")


async def test_a_query_of_ones_own(folders: Paths) -> None:
    seed(folders)
    async with opened(folders) as sql:
        await sql.run("SELECT variant FROM runs LIMIT $n::BIGINT")
        await sql.pilot.press("ctrl+s", "ctrl+s")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, SaveQueryScreen), "the dialog")
        form = sql.screen.app.screen
        for name, value in (("name", "sessions"), ("title", "Mine"), ("sentence", "What I look at.")):
            form.query_one(f"#{name}", Input).value = value
        await sql.pilot.press("enter")
        await sql.screen.until_shown("sessions is a query that ships with gemtop")
        form.query_one("#name", Input).value = "mine"
        await sql.pilot.press("enter")
        await sql.screen.until_shown("saved: gemtop query mine")
        file = config_file().parent / "queries" / "mine.sql"
        assert file.read_text() == (
            "-- Mine\n-- What I look at.\n-- param: n text = null\nSELECT variant FROM runs LIMIT $n::BIGINT\n"
        )
        assert "mine" in [item.key for item in sql.it.query_one("#queries", SideList)._items]


# Writing


async def test_writing_is_refused_until_it_is_asked_for(folders: Paths) -> None:
    seed(folders)
    change = "UPDATE store.sessions SET note = 'seen'"
    async with opened(folders) as sql:
        await sql.run(change)
        assert "UPDATE is not possible here: the history is open for reading" in sql.said
        await sql.pilot.press("ctrl+w")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, WriteScreen), "the warning")
        await sql.pilot.press("escape")
        assert not sql.it.writing
        await sql.pilot.press("ctrl+w")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, WriteScreen), "the warning")
        await sql.pilot.press("enter")
        await sql.screen.until_shown("WRITING")
        await sql.run(f"{change}; SELECT DISTINCT note FROM sessions")
        assert sql.rows == [("seen",)]
        await sql.run("UPDATE store.sessions SET note = 'no'; SELECT nothing")
        assert "nothing" in sql.said
        await sql.run("SELECT DISTINCT note FROM sessions")
        assert sql.rows == [("seen",)], "all of the statements or none"
        sql.it.table.focus()
        await sql.pilot.press("q")
        await sql.screen.type("h")
        await sql.screen.until_shown("read-only")
        assert not sql.it.writing


# Layout and keys


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (200, 60), (41, 11)])
async def test_every_size(folders: Paths, size: tuple[int, int]) -> None:
    seed(folders)
    async with opened(folders, Options(size=size)) as sql:
        await sql.pilot.press("enter")
        await sql.idle()
        await sql.pilot.press("f3", "space")
        assert sql.it.table.has_focus and sql.it.table.size.height >= 3
        await sql.pilot.press("f4")
        assert sql.it.editor.has_focus and sql.it.editor.size.height >= 1
        await sql.pilot.press("f2")
        assert isinstance(sql.screen.app.focused, SideList) and sql.screen.app.focused.size.width > 10


async def test_rows_are_copied_with_tabs(folders: Paths) -> None:
    async with opened(folders) as sql:
        await sql.run("SELECT 7 AS seven, 'a\tb' AS words, NULL AS nothing UNION ALL SELECT 8, 'c', NULL ORDER BY 1")
        await sql.pilot.press("f3", "y")
        assert sql.screen.app.clipboard == "seven\twords\tnothing\n7\ta b\t\n8\tc\t\n"


async def test_a_note_and_tags_of_a_session(folders: Paths) -> None:
    *_, newest = seed(folders)
    async with opened(folders) as sql:
        await sql.idle()
        await sql.pilot.press("e")
        assert "go to one in the list of sessions" in sql.said
        sql.it.query_one("#sessions", SideList).focus()
        await sql.screen.until(lambda: sql.it.query_one("#sessions", SideList).at is not None, "the list is there")
        while sql.it.query_one("#sessions", SideList).at != newest:
            await sql.pilot.press("down")
        await sql.pilot.press("e")
        await sql.screen.until(lambda: isinstance(sql.screen.app.screen, NoteScreen), "the dialog")
        dialog = sql.screen.app.screen
        dialog.query_one("#words", Input).value = "driver 580, new paste"
        dialog.query_one("#tags", Input).value = "cold a,b"
        await sql.pilot.press("enter")
        assert "no tag" in str(dialog.query_one("#note").render()), "told before it is left"
        dialog.query_one("#tags", Input).value = "nightly cold"
        await sql.pilot.press("enter")
        await sql.screen.until(lambda: sql.said == "note and tags are kept", "written")
        await sql.run(f"SELECT note, tags FROM sessions WHERE session_id = '{newest}'")
        assert sql.rows == [("driver 580, new paste", ["cold", "nightly"])]


async def test_the_fleet_is_asked_and_the_history_again(folders: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/fleet ask one that is there; here it cannot be reached, or DuckDB's extensions for it cannot be had."""
    seed(folders)
    monkeypatch.delenv("GEMTOP_FLEET", raising=False)
    async with opened(folders) as sql:
        await sql.pilot.press("f6")
        assert "no fleet is named: set GEMTOP_FLEET" in sql.said
        monkeypatch.setenv("GEMTOP_FLEET", "postgresql://me:hush@127.0.0.1:1/fleet")
        await sql.pilot.press("f6")
        await sql.idle()
        await sql.screen.until_shown("fleet  postgresql://me:***@127.0.0.1:1/fleet")
        await sql.run("SELECT count(*) FROM sessions")
        assert "extension" in sql.said or "cannot be reached" in sql.said
        assert "hush" not in sql.said
        await sql.pilot.press("ctrl+w")
        assert "read here, not written" in sql.said
        await sql.pilot.press("f6")
        await sql.run("SELECT count(*) FROM sessions")
        assert sql.rows == [(3,)]
