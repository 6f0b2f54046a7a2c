"""Whatever was recorded, a replay gives back the same rows, and the figures that follow from them.

From the history it was recorded in, and from another that it was exported to and imported by.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemtop.config import Paths
from gemtop.domain.figures import timing
from gemtop.domain.rates import RateSeries
from gemtop.domain.records import Record, RunEnd, SessionEnd, TokenRow
from gemtop.domain.resources import COLUMNS
from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample
from gemtop.history.exporting import FORMATS, export
from gemtop.history.importing import open_folder, take_all
from gemtop.history.reader import Reader
from gemtop.history.replaying import RecordedRun, RunTokens, SessionReader
from gemtop.replay.curves import RunCurves
from tests.history.rows import STARTED_NS, S, ledger_row, put_in, run, run_end, session

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
NUMBERS = st.floats(-1e12, 1e12) | st.integers(-(2**40), 2**40).map(float)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": NUMBERS,
    "int": st.integers(0, 2**50),
    "str": TEXT,
    "bool": st.booleans(),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "tuple[float, ...]": st.lists(NUMBERS, max_size=3).map(tuple),
}
SMALL = {"pstate", "pcie_gen", "pcie_width", "other_processes"}
GAPS = st.lists(st.integers(1, 400_000_000), max_size=60)


def sample_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """A reading of which anything may be missing."""
    fixed = {"t_ns": st.integers(STARTED_NS, STARTED_NS + 60 * S)}
    if kind is DeviceSample:
        fixed["device"] = st.sampled_from(["0", "1", "10"])  # type: ignore[assignment]
    known = {}
    for of in fields(kind):
        if of.name in ("reasons", "processes", *fixed):
            continue
        one = st.integers(0, 100) if of.name in SMALL else VALUES[str(of.type).removesuffix(" | None")]
        known[of.name] = st.none() | one
    return st.builds(kind, reasons=st.dictionaries(st.sampled_from(["power_w", "fan_pct"]), TEXT), **fixed, **known)


def in_order(samples: list[Any]) -> list[Any]:
    """As a sampler gives them: one source never reads twice at a moment, and time goes on."""
    found: dict[tuple[str, int], Any] = {}
    for sample in samples:
        found.setdefault((getattr(sample, "device", type(sample).__name__), sample.t_ns), sample)
    return sorted(found.values(), key=lambda sample: sample.t_ns)


SAMPLES = st.tuples(
    st.lists(sample_of(DeviceSample), max_size=12).map(in_order),
    st.lists(sample_of(HostSample), max_size=8).map(in_order),
    st.lists(sample_of(CostSample), max_size=4).map(in_order),
)


def stamps(start_ns: int, gaps: Sequence[int]) -> list[int]:
    return list(itertools.accumulate(gaps, initial=start_ns))[1:]


class OneHistory:
    """A history for all examples of a test, each with a session of its own: a new one takes a second to make."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._paths = Paths(self._folder / "history.duckdb", self._folder, self._folder)
        self._other = replace(self._paths, history=self._folder / "other.duckdb")
        self._count = 0

    def next_id(self) -> str:
        self._count += 1
        return f"20261123-100000-{self._count:08x}"

    def put(self, session_id: str, rows: list[Record], form: str) -> tuple[SessionReader, SessionReader]:
        """The session as it was recorded, and as it comes out of an export and an import in that form."""
        assert put_in(self._paths, rows, session_id).notes == ()
        with Reader.open(self._paths) as reader:
            exported = export(reader, [session_id], self._folder / f"out-{session_id}", form)
        (brought,) = take_all(self._other, [open_folder(exported.folder)])
        assert brought.new == (session_id,)
        shutil.rmtree(exported.folder)
        return SessionReader(self._paths, session_id), SessionReader(self._other, session_id)


@pytest.fixture(scope="module")
def history() -> Iterator[OneHistory]:
    with tempfile.TemporaryDirectory() as folder:
        yield OneHistory(folder)


FORMS = st.sampled_from(FORMATS)


@settings(max_examples=20, deadline=None)
@given(SAMPLES, GAPS, GAPS, st.integers(1, 59), FORMS)
def test_samples_and_tokens(
    history: OneHistory,
    given_samples: tuple[list[DeviceSample], list[HostSample], list[CostSample]],
    prompt_gaps: list[int],
    gaps: list[int],
    split_s: int,
    form: str,
) -> None:
    devices, hosts, costs = given_samples
    session_id = history.next_id()
    begin = run(session_id)
    prompt = stamps(begin.start_ns, prompt_gaps)
    generated = stamps(prompt[-1] if prompt else begin.start_ns, gaps)
    rows = [TokenRow(begin.run_id, n, t_ns, n * 7, "prefill") for n, t_ns in enumerate(prompt)]
    rows += [TokenRow(begin.run_id, len(prompt) + n, t_ns, n * 9, "decode") for n, t_ns in enumerate(generated)]
    end = run_end(begin.run_id, end_ns=STARTED_NS + 90 * S)
    records: list[Record] = [session(session_id), begin, *rows, *devices, *hosts, *costs, end]
    middle = STARTED_NS + split_s * S
    for reader in history.put(session_id, [*records, SessionEnd(STARTED_NS + 99 * S, None)], form):
        runs = reader.recording().runs
        parts = [reader.samples(STARTED_NS, middle), reader.samples(middle, STARTED_NS + 99 * S)]
        tokens = reader.tokens(runs)[begin.run_id]
        assert in_order([s for part in parts for s in part.devices]) == [s for part in parts for s in part.devices]
        for index in {sample.device for sample in devices}:
            theirs = [s for s in devices if s.device == index]
            assert [s for part in parts for s in part.devices if s.device == index] == theirs
        assert [s for part in parts for s in part.hosts] == hosts
        assert [s for part in parts for s in part.costs] == costs
        assert (list(tokens.prompt_ns), list(tokens.generated_ns)) == (prompt, generated)
        assert list(tokens.prompt_ids) == [n * 7 for n in range(len(prompt))]
        assert list(tokens.generated_ids) == [n * 9 for n in range(len(generated))]


FIGURES = st.fixed_dictionaries(
    {
        of.name: st.none() | VALUES[str(of.type).removesuffix(" | None")]
        for of in fields(RunEnd)
        if of.name in COLUMNS or of.name in ("output", "message", "itl_p50_ms", "valid", "invalid_reason")
    }
)
BEGINNINGS = st.fixed_dictionaries(
    {
        "prompt": st.none() | TEXT,
        "lora": st.none() | TEXT,
        "driver_version": st.none() | TEXT,
        "seed": st.none() | st.integers(0, 2**32 - 1),
        "temperature": st.none() | NUMBERS,
        "devices": st.lists(st.sampled_from("0123"), max_size=3).map(tuple),
        "kind": st.sampled_from(["generate", "pp", "tg", "apply"]),
        "n_ctx": st.integers(0, 2**30),
        "swa_full": st.booleans(),
    }
)
LOADS = st.fixed_dictionaries(
    {
        "file_cached_share": st.none() | NUMBERS,
        "reason": st.none() | TEXT,
        "predicted_kv_bytes": st.none() | VALUES["int"],
    }
)


@settings(max_examples=20, deadline=None)
@given(BEGINNINGS, FIGURES, LOADS, FORMS)
def test_runs_and_loads(
    history: OneHistory, beginning: dict[str, Any], figures: dict[str, Any], load: dict[str, Any], form: str
) -> None:
    session_id = history.next_id()
    begin = run(session_id, **beginning)
    end = run_end(begin.run_id, **figures)
    row = ledger_row(**load)
    other = run(session_id, number=2, start_ns=end.end_ns + 1)
    rows: list[Record] = [session(session_id), row, begin, end, other]
    rows += [run_end(other.run_id, end_ns=other.start_ns + 5), SessionEnd(STARTED_NS + 9 * S, None)]
    for reader in history.put(session_id, rows, form):
        recording = reader.recording()
        assert (recording.runs[0].begin, recording.runs[0].end) == (begin, replace(end, output=None))
        assert reader.outputs(recording.runs).get(begin.run_id) == end.output
        assert recording.runs[0].has_output == (end.output is not None)
        assert recording.runs[1].begin == other
        assert recording.ledger == (row,)
        assert [found.number for found in recording.runs] == [1, 2]
        assert recording.session.end_ns == recording.last_ns == STARTED_NS + 9 * S


MOMENTS = st.lists(st.integers(-S, 30 * S), min_size=1, max_size=8)


def curves_of(
    batches: list[tuple[int, int]], gaps: list[int]
) -> tuple[RunCurves, list[tuple[int, int]], list[int], int]:
    """A run whose prompt was decoded in batches of (gap, tokens): itself, (moment, tokens done), and its tokens."""
    start, done, progress, prompt = run().start_ns, 0, [], []
    t_ns = start
    for gap, count in batches:
        t_ns, done = t_ns + gap, done + count
        progress.append((t_ns, done))
        prompt += [t_ns] * count
    generated = stamps(t_ns, gaps)
    end_ns = (generated or [t_ns])[-1] + 5
    recorded = RecordedRun(1, run(), replace(run_end(run().run_id), end_ns=end_ns, status="finished"))
    return RunCurves(recorded, RunTokens(prompt, prompt, generated, generated)), progress, generated, end_ns


BATCHES = st.lists(st.tuples(st.integers(1, 400_000_000), st.integers(1, 512)), max_size=6)


@settings(max_examples=300, deadline=None)
@given(BATCHES, GAPS, MOMENTS)
def test_timing_at_any_moment_is_that_of_the_tokens_so_far(
    batches: list[tuple[int, int]], gaps: list[int], moments: list[int]
) -> None:
    curves, progress, generated, _ = curves_of(batches, gaps)
    start = run().start_ns
    for offset in moments:  # on and back
        t_ns = start + offset
        so_far = [step for step in progress if step[0] <= t_ns]
        assert curves.timing(t_ns) == timing(start, so_far, generated[: bisect_right(generated, t_ns)])


@settings(max_examples=300, deadline=None)
@given(BATCHES, GAPS, MOMENTS)
def test_speed_at_any_moment_is_what_a_live_session_had(
    batches: list[tuple[int, int]], gaps: list[int], moments: list[int]
) -> None:
    curves, progress, generated, end_ns = curves_of(batches, gaps)
    start = run().start_ns
    for offset in moments:
        t_ns = start + offset
        prefill, decode, before = RateSeries(), RateSeries(), 0
        if progress and start <= t_ns:
            prefill.begin(start)
        for stamp, done in progress:
            if stamp <= t_ns:
                prefill.add(stamp, done - before)
                before = done
        if progress and progress[-1][0] <= t_ns:
            prefill.end(progress[-1][0])
        for number, stamp in enumerate(stamp for stamp in generated if stamp <= t_ns):
            (decode.add if number else decode.begin)(stamp)
        if generated and end_ns <= t_ns:
            decode.end(end_ns)
        assert curves.prefill.until(t_ns) == prefill.points()
        assert curves.decode.until(t_ns) == decode.points()
