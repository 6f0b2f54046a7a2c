"""A replay shows what the live session had shown at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from gemtop.cli.replay import opened
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.events import RunFinished
from gemtop.domain.records import DeviceRow, RoofRow, SessionEnd
from gemtop.domain.settings import ContextSettings, EngineSettings
from gemtop.engine.protocol import BenchRequest
from gemtop.history.replaying import RecordedRun, RunTokens, SampleStretch
from gemtop.replay import Replay
from gemtop.replay.player import STRETCH_NS
from gemtop.run import RunView
from gemtop.tui import present
from gemtop.tui.run_list import run_lines
from gemtop.view import RunRecorded, SessionView
from tests.history.rows import (
    SESSION,
    STARTED_NS,
    S,
    dead_spool,
    ledger_row,
    put_in,
    run,
    run_end,
    samples,
    session,
    tokens,
    whole_session,
)
from tests.replay.sittings import RecordedSitting


def same_run(replayed: RunView | None, live: RunView | None) -> None:
    """Equal but for what the history does not keep: reasons, and bytes that are no whole number."""
    assert (replayed is None) == (live is None)
    if replayed is None or live is None:
        return
    for name in (f.name for f in fields(RunView)):
        ours, theirs = getattr(replayed, name), getattr(live, name)
        if name == "resources" and theirs is not None:
            assert ours.columns() == theirs.columns()
        elif name == "roofs":
            assert [(r.device, r.tokens_per_s is None, r.bandwidth) for r in ours] == [
                (r.device, r.tokens_per_s is None, r.bandwidth) for r in theirs
            ]
        elif name == "verdict" and theirs is not None:
            assert (ours.valid, ours.invalid_reason) == (theirs.valid, theirs.invalid_reason)
        else:
            assert ours == theirs, name


def same_view(replay: Replay, live: SessionView) -> SessionView:
    """What the replay shows at the moment of a live view is what that one showed."""
    replay.move(live.t_ns - replay.started_ns)
    shown = replay.view()
    same_run(shown.run, live.run)
    assert len(shown.runs) == len(live.runs)
    for ours, theirs in zip(shown.runs, live.runs, strict=True):
        same_run(ours, theirs)
    for name in (
        "t_ns", "session_id", "loading", "load_error", "crashed", "prefill_rate", "decode_rate", "devices",
        "used_devices", "device_samples", "host_samples", "cost", "problem", "applying",
    ):  # fmt: skip
        assert getattr(shown, name) == getattr(live, name), name
    assert [(m.label, m.change_s) for m in shown.marks] == [(m.label, m.change_s) for m in live.marks]
    assert shown.telemetry == live.telemetry
    assert shown.memory == live.memory
    assert shown.model is not None and live.model is not None
    for name in ("n_ctx", "n_gpu_layers", "n_threads", "n_batch", "n_ubatch", "type_k", "type_v", "flash_attn"):
        assert getattr(shown.model, name) == getattr(live.model, name), name
    assert shown.model.header.name == live.model.header.name
    assert shown.model.classification.variant == live.model.classification.variant
    assert run_lines(shown) == run_lines(live)
    assert present.figure_rows(shown, 120) == present.figure_rows(live, 120)
    return shown


def test_at_every_moment_it_is_what_the_live_session_was(paths: Paths) -> None:
    gate = threading.Semaphore(0)
    sitting = RecordedSitting(paths, gate)
    views = [sitting.session.view()]
    sitting.generate("one two three four", 30)
    for count in (1, 1, 5, 12):
        views.append(sitting.let_through(gate, count))
        sitting.sample()
        time.sleep(0.15)
    for _ in range(11):
        gate.release()
    sitting.wait_for(RunRecorded)
    views.append(sitting.session.view())
    sitting.session.apply(EngineSettings(context=ContextSettings(n_ctx=8192)))
    sitting.wait_for(RunRecorded)
    sitting.sample()
    views.append(sitting.session.view())
    sitting.generate("and once more", 50)
    views.append(sitting.let_through(gate, 9))
    sitting.session.stop()
    sitting.wait_for(RunRecorded)
    sitting.session.bench(BenchRequest(n_prompt=0, n_gen=8, n_depth=0, repetitions=2))
    for _ in range(2):
        sitting.wait_for(RunRecorded)
    time.sleep(0.01)
    views.append(sitting.session.view())
    sitting.session.close()

    replay = sitting.replay()
    for view in (*views, *reversed(views), views[3]):  # on, back, and in between
        same_view(replay, view)
    last = replay.recording.last_ns
    replay.move(last - replay.started_ns)
    assert len(replay.view().runs) == len(views[-1].runs) == 5
    assert replay.notes == ()


def test_text_comes_with_its_tokens(paths: Paths) -> None:
    sitting = RecordedSitting(paths)
    output = sitting.run("one two three", 50).output
    sitting.run("four", 5)
    sitting.session.close()
    replay = sitting.replay()
    first = replay.recording.runs[0]
    stamps = replay._source.tokens([first])[first.begin.run_id].generated_ns
    number, count, whole = 1, 0, ""
    for moment in (first.begin.start_ns, stamps[0], stamps[24], stamps[-1], first.end.end_ns if first.end else 0):
        replay.move(moment - replay.started_ns)
        replay.view()
        number, count, piece = replay.text_since(1, count)
        whole += piece
        assert output.startswith(whole)
        if moment == stamps[24]:
            assert len(whole) == round(len(output) / 2)
    assert (number, whole) == (1, output)
    replay.move(replay.duration_ns)
    assert replay.text_since(1, 3) == (2, 3, ""), "another run goes on"
    assert replay.log_since(0) == (0, [])


def test_without_text_it_says_so(paths: Paths) -> None:
    sitting = RecordedSitting(paths, record_text=False)
    sitting.run("one two three", 5)
    sitting.session.close()
    replay = sitting.replay()
    assert replay.notes == ("prompts and outputs were not kept",)
    replay.move(replay.duration_ns)
    assert replay.text_since(1, 0) == (1, 0, "")


# What ended otherwise, or has not ended


def test_a_crashed_session(paths: Paths) -> None:
    rows = [session(), run(), *tokens(run().run_id), *samples()]
    put_in(paths, rows)
    replay = opened(paths, "last")
    assert replay.notes == (
        "this session crashed: the process died",
        "the text of a run that did not come to its end is not in the history",
    )
    replay.move(2 * S)
    shown = replay.view()
    assert shown.run is not None and shown.run.status is None and shown.crashed is None
    assert shown.run.timing.generated_tokens == 6
    replay.move(replay.duration_ns)
    shown = replay.view()
    assert shown.run is not None
    assert (shown.run.status, shown.run.timing.generated_tokens, shown.crashed) == ("crashed", 11, "the process died")
    assert present.header_text(shown).right[-2:] == (("crashed", "bad"), ("not valid", "warn"))


def test_an_engine_that_gave_up(paths: Paths) -> None:
    sitting = RecordedSitting(paths)
    sitting.generate("crash")
    sitting.wait_for(RunRecorded)
    live = sitting.session.view()
    sitting.session.close()
    replay = sitting.replay()
    replay.move(replay.duration_ns)
    shown = replay.view()
    same_run(shown.run, replace(live.run, context_used=shown.run.context_used) if live.run and shown.run else None)
    assert shown.crashed == "ggml.c:1: GGML_ASSERT(false) failed"


def test_a_session_that_still_goes_on(paths: Paths) -> None:
    gate = threading.Semaphore(0)
    sitting = RecordedSitting(paths, gate)
    sitting.generate("one two three four", 30)
    live = sitting.let_through(gate, 9)
    moved = time.monotonic() + 20
    while True:
        assert time.monotonic() < moved, "the rows do not come into the history"
        try:
            replay = sitting.replay()
        except (BadInputError, HistoryError):
            continue
        replay.move(live.t_ns - replay.started_ns)
        shown = replay.view()
        if shown.run is not None and shown.run.timing.generated_tokens == 9:
            break
        time.sleep(0.05)
    same_run(shown.run, replace(live.run, roofs=()) if live.run else None)  # roofs are put down when a run ends
    assert replay.notes[0].startswith("this session is still going on")
    sitting.session.stop()
    sitting.session.close()


def test_a_monitor_has_samples_alone(paths: Paths) -> None:
    put_in(paths, [session(command="top"), *samples(), SessionEnd(STARTED_NS + 5 * S, None)])
    replay = opened(paths, "last")
    assert replay.notes == ("nothing was run in this session",)
    replay.move(3 * S)
    shown = replay.view()
    assert (shown.run, shown.runs, shown.model, replay.run_number) == (None, (), None, 0)
    assert [s.t_ns for s in shown.host_samples] == [STARTED_NS + n * S // 2 for n in range(7)]
    assert [d.index for d in shown.devices] == ["0"], "from the samples, where the cards were not put down"


def test_runs_without_tokens_or_moments(paths: Paths) -> None:
    """As an import of llama-bench's results has them."""
    begin = run(kind="tg", prompt=None, start_ns=STARTED_NS)
    rows = [session(), begin, run_end(begin.run_id, end_ns=STARTED_NS), SessionEnd(STARTED_NS, None)]
    put_in(paths, rows)
    replay = opened(paths, "last")
    assert replay.duration_ns == 0
    assert replay.notes == (
        "this session has no tokens: figures of its runs, but no curve of speed",
        "this session has no readings of machine or cards",
    )
    shown = replay.view()
    assert [view.timing.decode_tokens_per_s for view in shown.runs] == [10.0]
    assert shown.decode_rate == ()


def test_an_unknown_session_is_one_line(paths: Paths) -> None:
    with pytest.raises(BadInputError, match="no history yet"):
        opened(paths, "last")
    put_in(paths, whole_session())
    with pytest.raises(BadInputError, match=r"no session 'nonsense'; gemtop sessions lists them"):
        opened(paths, "nonsense")


# Models


def test_loading_is_shown_while_it_went_on(paths: Paths) -> None:
    rows = [session(), ledger_row(t_ns=STARTED_NS + 2 * S, load_s=1.0), SessionEnd(STARTED_NS + 5 * S, None)]
    put_in(paths, rows)
    replay = opened(paths, "last")
    for position_s, loading, has_model in ((0.5, None, False), (1.25, 0.25, False), (2.0, None, True)):
        replay.move(round(position_s * S))
        shown = replay.view()
        assert (shown.loading, shown.model is not None) == (loading, has_model)
    header = present.header_text(shown).left
    assert ("QAT Q4_0", "qat") in header and ("ngl 19", "text") in header
    assert not any(text.startswith("t ") for text, _ in header), "threads are not known before a run"


def test_another_model_has_no_mark_and_a_change_has_one(paths: Paths) -> None:
    moment = STARTED_NS + S
    first = run(start_ns=moment)
    other = run(number=2, start_ns=moment + S, model_name="Other", model_fingerprint="xyz")
    change = run(number=3, start_ns=moment + 2 * S, model_name="Other", model_fingerprint="xyz", n_ctx=1024,
                 lora="tales=1", kind="apply", prompt=None, load_s=0.25)  # fmt: skip
    rows = [
        session(),
        *(row for begin in (first, other, change) for row in (begin, run_end(begin.run_id, end_ns=begin.start_ns + 1))),
        SessionEnd(moment + 4 * S, None),
    ]
    put_in(paths, rows)
    replay = opened(paths, "last")
    replay.move(replay.duration_ns)
    shown = replay.view()
    assert [(mark.label, mark.change_s) for mark in shown.marks] == [("ctx 8192→1024, lora", 0.25)]
    assert shown.model is not None and shown.model.header.name == "Other"


# Reading


class Counting:
    """Counts what a replay asks for."""

    def __init__(self, replay: Replay) -> None:
        self._source = replay._source
        self.stretches: list[tuple[int, int]] = []
        self.runs: list[int] = []

    def samples(self, start_ns: int, end_ns: int) -> SampleStretch:
        self.stretches.append((start_ns, end_ns))
        return self._source.samples(start_ns, end_ns)

    def tokens(self, runs: Sequence[RecordedRun]) -> dict[str, RunTokens]:
        self.runs += [found.number for found in runs]
        return self._source.tokens(runs)

    def outputs(self, runs: Sequence[RecordedRun]) -> dict[str, str]:
        return self._source.outputs(runs)


def test_only_what_is_near_is_read_and_kept(paths: Paths) -> None:
    hour = 3600 * S
    runs = []
    for number in range(1, 61):
        begin = run(number=number, start_ns=STARTED_NS + number * 60 * S)
        first_s = number * 60 + 1.5
        runs += [begin, *tokens(begin.run_id, first_s=first_s), run_end(begin.run_id, end_ns=begin.start_ns + 10 * S)]
    put_in(paths, [session(), *runs, *samples(3600, 5.0), SessionEnd(STARTED_NS + hour, None)])
    replay = opened(paths, "last")
    counting = Counting(replay)
    replay._source = counting
    assert replay.is_prepared(0) is False
    replay.view()
    assert counting.stretches == [(STARTED_NS, STARTED_NS + STRETCH_NS)] and counting.runs == []
    replay.view()
    assert len(counting.stretches) == 1
    replay.move(hour // 2)
    shown = replay.view()
    assert len(counting.stretches) == 3, "the minute before the moment lies in another stretch"
    assert counting.runs == list(range(20, 31)), "runs of the last ten minutes"
    assert [s.t_ns for s in shown.host_samples] == [STARTED_NS + hour // 2 - n * 5 * S for n in range(12, -1, -1)]
    replay.move(hour - S)
    replay.view()
    assert len(replay._stretches) <= 5 and all(int(run_id.rsplit(".", 1)[1]) >= 39 for run_id in replay._curves)


def test_cards_and_roofs_come_back(paths: Paths) -> None:
    card = DeviceRow(
        "0", "Stub", "uuid", "0000:65:00.0", "570.1", "12.8", "Ampere", "8.6", "average", 24 * 2**30, 450.0, 1900.0,
        10000.0, 83.0, 95.0, 98.0, 384, 4, 16, None, False, "ecc_enabled: the card has none",
    )  # fmt: skip
    begin, *rest = whole_session()
    rows = [begin, card, *rest[:-1], RoofRow(run().run_id, "CUDA0", 1000, 1e9, "nvml", 100.0), rest[-1]]
    put_in(paths, rows)
    replay = opened(paths, "last")
    replay.move(replay.duration_ns)
    shown = replay.view()
    assert shown.telemetry is not None and shown.run is not None
    (info,) = shown.devices
    assert (info.name, info.power_reading, info.memory_bus_bits, info.pcie_width_max) == ("Stub", "average", 384, 16)
    assert info.reasons == {"ecc_enabled": "the card has none"}
    assert (shown.telemetry.driver_version, shown.telemetry.cuda_version) == ("570.1", "12.8")
    (roof,) = shown.run.roofs
    assert (roof.device, roof.tokens_per_s, roof.bandwidth and roof.bandwidth.source) == ("CUDA0", 100.0, "nvml")


def test_a_session_in_its_spool_is_taken_in_first(paths: Paths, tmp_path: Path) -> None:
    dead_spool(paths, whole_session(), SESSION)
    assert opened(paths, "aaaa0001").session_id == SESSION


def test_a_run_that_was_going_on_is_not_refused(paths: Paths) -> None:
    sitting = RecordedSitting(paths)
    sitting.generate("one two three", 3)
    sitting.wait_for(RunFinished)
    sitting.session.close()
    assert sitting.replay().run_spans[0][0] > 0
