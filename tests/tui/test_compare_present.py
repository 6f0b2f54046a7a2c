"""What the screens of a comparison show, without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gemtop.charts.grid import CellRow
from gemtop.comparison.job import Journal, Progress
from gemtop.comparison.outcome import outcome
from gemtop.comparison.pairs import RECORDED, Pair, Side
from gemtop.comparison.runner import Doing, Tick
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.events import ScoreProgress
from gemtop.domain.settings import EngineSettings
from gemtop.tui.compare_present import compare_header, doing_spans, output_rows, table_rows
from gemtop.tui.comparing import Chosen, Pace, State, duration, wish
from gemtop.tui.recorded import recorded_pair
from gemtop.tui.widgets.styled import columns, styled_rows
from tests.comparison.test_job import job, seen, variant


def text(rows: Sequence[CellRow]) -> str:
    return "\n".join(row.text.rstrip() for row in rows)


def roles(rows: Sequence[CellRow], glyph: str) -> set[str]:
    return {role for row in rows for char, role in zip(row.glyphs, row.roles, strict=True) if char == glyph}


# Text in several colours


def test_spans_are_wrapped_with_their_colours() -> None:
    rows = styled_rows([("one two ", "text"), ("three", "added@added"), ("\nend", "muted")], 8)
    assert text(rows) == "one two\nthree\nend"
    assert roles(rows, "h") == {"added@added"} and roles(rows, "d") == {"muted"}
    assert all(len(row.glyphs) == len(row.roles) == 8 for row in rows)


def test_a_blank_that_differs_keeps_its_ground() -> None:
    (row,) = styled_rows([("a b", "removed@removed"), (" c", "text")], 8)
    assert row.roles[:5] == ("removed@removed",) * 3 + ("", "text")


def test_hostile_text_is_shown_and_keeps_to_its_column() -> None:
    hostile = "\x1b[2J\u202e" + "\u0301" * 50 + "字" * 9 + "\t\x9b"
    rows = columns(styled_rows([(hostile, "text")], 10), styled_rows([("b", "text")], 10), 23)
    assert all(len(row.glyphs) == 23 for row in rows)
    assert all(row.glyphs[11] == "│" for row in rows)
    assert not any(ord(char) < 0x20 or char in "\u202e\x9b" for char in text(rows).replace("\n", ""))
    assert max(len(glyph) for row in rows for glyph in row.glyphs) < 8, "few combining marks on a character"


# The table


def state(phase: str = "running", **changes: object) -> State:
    return State(phase, "QAT: fox", Doing("QAT: fox", 3, 14), "about 12 s left", **changes)  # type: ignore[arg-type]


def test_progress_says_what_how_far_and_how_long() -> None:
    assert "".join(words for words, _ in doing_spans(state())) == " 3/14  QAT: fox   about 12 s left"
    assert compare_header(state()).right == (("3 of 14", "text"), ("running", "good"))
    assert compare_header(None).right == ()


def test_the_table_stands_beside_or_below_each_other() -> None:
    found = outcome(job(variant("first one"), variant("second one")), Progress(seen=[seen(0, 5), seen(1, 5)]))
    wide = text(table_rows(state(outcome=found), 100))
    (head,) = [line for line in wide.splitlines() if "first one" in line]
    assert "second one" in head
    assert "tasks right" in wide and "Speeds: mean over 1 prompts" in wide
    narrow = text(table_rows(state(outcome=found), 40)).splitlines()
    assert [line.strip() for line in narrow if "one" in line][:2] == ["first one (baseline)", "second one"]


def test_the_verdict_comes_with_the_end() -> None:
    found = outcome(job(), Progress(seen=[seen(0, 5), seen(1, 5)]))
    assert "Against a" not in text(table_rows(state(outcome=found), 80))
    assert text(table_rows(state("done", outcome=found), 80)).startswith("Against a, b")


def test_what_failed_and_was_left_out_is_said() -> None:
    found = outcome(job(), Progress(failures={1: "2 GiB too little"}))
    rows = text(table_rows(state(outcome=found, said=("3 of 60 prompts are left out",)), 80))
    assert "b: 2 GiB too little" in rows and "3 of 60 prompts are left out" in rows


# Outputs


def side(label: str, output: str, *tokens: int) -> Side:
    return Side(label, "qat", "Q4_0", output, tokens)


def test_outputs_that_part_with_the_most_likely_tokens() -> None:
    top = ((5, " x\n", 0.75), (6, "\x1b", 0.25))
    pair = Pair("p", "say x", side("a", "say x", 1, 5), side("b", "say y", 1, 6), 1, top, top)
    rows, diff = output_rows(pair, 60)
    shown = text(rows)
    assert "they part at token 2: token id 5 | token id 6" in shown
    assert ">  75.00%  ' x↵'" in shown and "25.00%  '␛'" in shown
    assert text(rows[diff:]).startswith("── word diff") and "say [-x-]{+y+}" in shown
    assert roles(rows[: diff - 1], "y") >= {"added@added"}


def test_of_recorded_runs_the_probabilities_are_not_known() -> None:
    pair = Pair("p", "say", side("a", "x", 1), side("b", "y", 2), 0, reason=RECORDED)
    assert "the history keeps no probabilities" in text(output_rows(pair, 130)[0])


def test_line_ends_that_differ_are_seen() -> None:
    pair = Pair("p", "say", side("a", "x\n\ny"), side("b", "x\ny"), None)
    assert "x↵" in text(output_rows(pair, 60)[0])


def row(run_id: str, **changes: object) -> dict[str, object]:
    found = {"run_id": run_id, "variant": "QAT Q4_0", "training": "qat", "quantization": "Q4_0", "status": "finished"}
    return found | {"prompt": "say", "output": "one two", "tokens": [1, 2]} | changes


def test_recorded_runs_of_one_variant_are_told_apart() -> None:
    pair = recorded_pair(row("a.1"), row("b.1", output="one three", tokens=[1, 3]))
    assert (pair.left.label, pair.right.label, pair.at) == ("QAT Q4_0 (a.1)", "QAT Q4_0 (b.1)", 1)
    assert recorded_pair(row("a.1"), row("b.1", variant="FP16", tokens=[None, None])).at is None


@pytest.mark.parametrize(
    ("other", "words"),
    [(None, "not in the history"), (row("b", prompt="else"), "different prompts"), (row("b", output=None), "no text")],
)
def test_recorded_runs_that_cannot_be_held_side_by_side(other: dict[str, object] | None, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        recorded_pair(row("a"), other)


# How long it takes, and what is asked for


def test_what_is_left_is_told_by_what_was_measured(folders: Paths) -> None:
    now = [0.0]
    journal = Journal(folders, "pace")
    pace = Pace(job(repeat=2), journal, lambda: now[0])
    assert pace.left() == ""
    now[0] = 30.0
    journal.progress.seen.append(seen(0, 5))
    pace.hear(Tick())
    assert pace.left() == "about 90 s left"
    journal.progress.failures[1] = "why"
    assert pace.left() == "about 30 s left"


def test_a_text_is_not_guessed_at_before_its_first_chunks(folders: Paths) -> None:
    from gemtop.comparison.prepare import default_text

    now, journal = [0.0], Journal(folders, "pace")
    pace = Pace(job(text=default_text(512, 4)), journal, lambda: now[0])
    journal.progress.seen += [seen(0, 5), seen(1, 5)]
    now[0] = 8.0
    pace.hear(Tick())
    assert pace.left() == "2 texts left"
    for chunk in (1, 2):
        now[0] += 10
        pace.hear(ScoreProgress(chunk, 4, 9.0))
    assert pace.left() == "about 60 s left"


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (99, "99 s"), (400, "7 min"), (7300, "2 h 2 min")])
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def fields(**changes: str) -> dict[str, str]:
    return {"prompts": "few", "answer": "64", "chunks": "8", "repeats": "1"} | changes


def test_the_defaults_are_small() -> None:
    asked = wish(("a", "b"), Chosen(("a", "b"), None, EngineSettings(), fields()))
    kinds = [prompt.kind for prompt in asked.prompts.prompts]
    assert kinds == ["summarise", "extract", "code", "reasoning", "translate"]
    assert (asked.max_tokens, asked.repeat, asked.settings.context.n_ctx) == (64, 1, None)
    assert asked.text is not None and asked.text.n_chunks == 8


def test_a_file_of_prompts_and_no_text(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[[prompt]]\nprompt = "x"\n')
    asked = wish(("a", "b"), Chosen(("a", "b"), 1, EngineSettings(), fields(prompts=f" {file}", chunks="0", answer="")))
    assert (len(asked.prompts.prompts), asked.text, asked.max_tokens, asked.baseline) == (1, None, None, 1)


def test_a_prompt_of_ones_own() -> None:
    asked = wish(("a", "b"), Chosen(("a", "b"), None, EngineSettings(), {"answer": "99"}, "Tell me"))
    (prompt,) = asked.prompts.prompts
    assert (prompt.prompt, prompt.max_tokens, asked.text, asked.repeat) == ("Tell me", 99, None, 1)
