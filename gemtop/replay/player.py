"""A recorded session, shown as the live one would have shown itself at one moment of it.

No engine, no sensors, and nothing is recorded. Figures of runs that had ended are those that were put down; those of
the run that was going on follow from its tokens up to the moment. What the history does not keep is approximated or
left out; docs/replay.md lists it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Protocol

from gemtop.domain.figures import Latency, Timing
from gemtop.domain.log_line import LogLine
from gemtop.domain.rates import RatePoint
from gemtop.domain.records import RoofRow, RunEnd
from gemtop.domain.resources import COLUMNS, Resources
from gemtop.domain.roofline import Bandwidth, Roof
from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample
from gemtop.domain.validity import Verdict
from gemtop.history.replaying import RecordedRun, Recording, RunTokens, SampleStretch
from gemtop.replay.curves import RunCurves
from gemtop.replay.loads import Load, loads_of, marks_of
from gemtop.run import RunView
from gemtop.view import SessionView

STRETCH_NS = 300_000_000_000
"""Samples are read in stretches of five minutes: 9,000 rows at ten readings a second of two cards and the machine."""
_SPAN_S = 60.0
_RATES_NS = 600_000_000_000
_RATE_POINTS = 2400
"""What the live session keeps of its speed: ten minutes, in quarters of a second."""
_KEEP_NS = 1_200_000_000_000
"""What is further away from the moment that is shown is let go of."""
TEXTS = 20
"""So many runs' texts can be had at a moment."""
_BENCH = ("pp", "tg")
"""Runs that are told after the fact."""


class Source(Protocol):
    """Where samples and tokens come from, a part at a time. May be slow, and may raise HistoryError."""

    def samples(self, start_ns: int, end_ns: int) -> SampleStretch: ...

    def tokens(self, runs: Sequence[RecordedRun]) -> dict[str, RunTokens]: ...

    def outputs(self, runs: Sequence[RecordedRun]) -> dict[str, str]: ...


class Replay:
    """One recorded session. `move` to a moment, then ask for `view` and text as of a live session.

    `prepare` reads what a moment needs, on any thread; where that was not done before, `view` does it.
    """

    def __init__(self, recording: Recording, source: Source) -> None:
        self.recording = recording
        self._source = source
        self._loads = loads_of(recording)
        self._marks = marks_of(self._loads)
        ended = sorted((run for run in recording.runs if run.end), key=_end_ns)
        self._ended = [_ended_view(run, run.end) for run in ended if run.end]
        self._end_stamps = [_end_ns(run) for run in ended]
        self._begun = sorted(recording.runs, key=_shown_from)
        self._begin_stamps = [_shown_from(run) for run in self._begun]
        self._views = {view.run_id: view for view in self._ended}
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._stretches: dict[int, SampleStretch] = {}
        self._curves: dict[str, RunCurves] = {}
        self._outputs: dict[str, str] = {}
        self._t_ns = self.started_ns

    # What there is

    @property
    def session_id(self) -> str:
        return self.recording.session.session_id

    @property
    def started_ns(self) -> int:
        """When the session began: the zero of its charts."""
        return self.recording.session.started_ns

    @property
    def duration_ns(self) -> int:
        return self.recording.last_ns - self.started_ns

    @property
    def run_moments(self) -> tuple[int, ...]:
        """When each run is first to be seen, in nanoseconds since the session began."""
        return tuple(stamp - self.started_ns for stamp in self._begin_stamps)

    def moment_of_run(self, number: int) -> int | None:
        """When the run of this number is first to be seen; None where there is none."""
        pairs = zip(self._begun, self.run_moments, strict=True)
        return next((moment for run, moment in pairs if run.number == number), None)

    @property
    def run_spans(self) -> tuple[tuple[int, int], ...]:
        """From when to when each run went on, in nanoseconds since the session began."""
        last, zero = self.recording.last_ns, self.started_ns
        ends = (run.end.end_ns if run.end else last for run in self.recording.runs)
        return tuple(
            (run.begin.start_ns - zero, end - zero) for run, end in zip(self.recording.runs, ends, strict=True)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this recording, a line each."""
        found, session, runs = self.recording, self.recording.session, self.recording.runs
        notes = []
        if session.status is None:
            notes.append("this session is still going on: this is what is in the history of it so far")
        if session.status == "crashed":
            notes.append(f"this session crashed: {session.end_reason or 'no reason is known'}")
        if not runs:
            notes.append("nothing was run in this session")
        elif not found.has_tokens:
            notes.append("this session has no tokens: figures of its runs, but no curve of speed")
        if not found.has_samples:
            notes.append("this session has no readings of machine or cards")
        generated = [run for run in runs if run.begin.kind == "generate"]
        if generated and not any(run.begin.prompt or run.has_output for run in generated):
            notes.append("prompts and outputs were not kept")
        elif any(run.end is None or (run.end.status == "crashed" and not run.has_output) for run in generated):
            notes.append("the text of a run that did not come to its end is not in the history")
        return tuple(notes)

    # The moment

    def move(self, position_ns: int) -> None:
        """Show this moment, in nanoseconds since the session began."""
        self._t_ns = self.started_ns + position_ns

    @property
    def run_number(self) -> int:
        """The run that goes on at this moment, or the last one before it; 0 before the first."""
        run = self._run()
        return run.number if run else 0

    def _run(self) -> RecordedRun | None:
        count = bisect_right(self._begin_stamps, self._t_ns)
        return self._begun[count - 1] if count else None

    def view(self, span_s: float = _SPAN_S) -> SessionView:
        """Everything there is to show at this moment, with the samples of the `span_s` seconds before it."""
        t_ns = self._t_ns
        self.prepare(t_ns - self.started_ns)
        first_ns, session = t_ns - round(span_s * 1e9), self.recording.session
        load, coming = self._load_at(t_ns)
        run = self._run()
        over = session.status == "crashed" and t_ns >= self.recording.last_ns
        with self._lock:
            devices, hosts, cost = self._samples(first_ns, t_ns)
            prefill, decode = self._rates(t_ns)
            return SessionView(
                t_ns=t_ns,
                session_id=self.session_id,
                model=load.model if load else None,
                loading=_fraction(coming, t_ns) if coming and not coming.applied else None,
                load_error=None,
                crashed=session.end_reason if over else None,
                run=self._run_view(run, t_ns) if run else None,
                runs=tuple(self._ended[: bisect_right(self._end_stamps, t_ns)]),
                prefill_rate=prefill,
                decode_rate=decode,
                devices=self.recording.status.devices,
                used_devices=load.used_devices if load else (),
                device_samples=devices,
                host_samples=hosts,
                cost=cost,
                telemetry=self.recording.status,
                problem=None,
                notes=(),
                settings=None,
                memory=load.memory if load else (),
                marks=tuple(mark for mark in self._marks if mark.t_ns <= t_ns),
                applying=self._applying(coming, run, t_ns),
            )

    def _load_at(self, t_ns: int) -> tuple[Load | None, Load | None]:
        """The load in force at a moment, and the one that was being made then."""
        done = [load for load in self._loads if load.t_ns <= t_ns]
        coming = next((load for load in self._loads if load.began_ns <= t_ns < load.t_ns), None)
        return (None if coming and not coming.applied else done[-1] if done else None), coming

    @staticmethod
    def _applying(coming: Load | None, run: RecordedRun | None, t_ns: int) -> bool:
        if coming is not None and coming.applied:
            return True
        return run is not None and run.begin.kind == "apply" and (run.end is None or t_ns < run.end.end_ns)

    def _run_view(self, run: RecordedRun, t_ns: int) -> RunView:
        if run.end is not None and t_ns >= run.end.end_ns:
            return self._views[run.begin.run_id]
        curves = self._curves.get(run.begin.run_id)
        if curves is None:
            timing = Timing(0, 0, None, None, None, Latency())
            return _view(run, timing, 0, None)
        timing = curves.timing(t_ns)
        return _view(run, timing, len(curves.tokens.prompt_ns), None)

    def _samples(
        self, first_ns: int, t_ns: int
    ) -> tuple[tuple[DeviceSample, ...], tuple[HostSample, ...], CostSample | None]:
        devices: list[DeviceSample] = []
        hosts: list[HostSample] = []
        cost: CostSample | None = None
        for number in self._stretch_numbers(first_ns, t_ns):
            stretch = self._stretches.get(number, SampleStretch())
            devices += [s for s in stretch.devices if first_ns <= s.t_ns <= t_ns]
            hosts += [s for s in stretch.hosts if first_ns <= s.t_ns <= t_ns]
            cost = next((s for s in reversed(stretch.costs) if s.t_ns <= t_ns), cost)
        return tuple(devices), tuple(hosts), cost

    def _rates(self, t_ns: int) -> tuple[tuple[RatePoint, ...], tuple[RatePoint, ...]]:
        """Prefill and decode speed of the runs of the last ten minutes, as one curve each with gaps between runs."""
        prefill: list[RatePoint] = []
        decode: list[RatePoint] = []
        for run in self._runs_between(t_ns - _RATES_NS, t_ns):
            curves = self._curves.get(run.begin.run_id)
            if curves is None:
                continue
            for points, curve, begin_ns in (
                (prefill, curves.prefill, run.begin.start_ns if curves.tokens.prompt_ns else None),
                (decode, curves.decode, next(iter(curves.tokens.generated_ns), None)),
            ):
                if points and begin_ns is not None and begin_ns <= t_ns:
                    points.append(RatePoint(begin_ns, None))
                points += curve.until(t_ns)
        return tuple(prefill[-_RATE_POINTS:]), tuple(decode[-_RATE_POINTS:])

    def _runs_between(self, first_ns: int, last_ns: int) -> list[RecordedRun]:
        """Runs of which some part lies in a stretch of time, as they follow each other."""
        start = bisect_left(self._end_stamps, first_ns)  # runs do not overlap
        count = bisect_right(self._begin_stamps, last_ns)
        return self._begun[min(start, count) : count]

    # Text

    def text_of(self, run: RecordedRun) -> str:
        """What a run had generated at this moment: of its text the share that its tokens were of all of them."""
        with self._lock:
            output = self._outputs.get(run.begin.run_id, "")
        if run.end is None or self._t_ns >= run.end.end_ns:
            return output
        with self._lock:
            curves = self._curves.get(run.begin.run_id)
        if curves is None or not curves.tokens.generated_ns:
            return ""
        stamps = curves.tokens.generated_ns
        return output[: round(len(output) * bisect_right(stamps, self._t_ns) / len(stamps))]

    def text_since(self, number: int, count: int) -> tuple[int, int, str]:
        """What run `number` had generated after its first `count` characters; nothing where another one goes on."""
        run = self._run()
        if run is None or run.number != number:
            return self.run_number, count, ""
        text = self.text_of(run)
        return number, max(count, len(text)), text[count:]

    def begun(self) -> list[RecordedRun]:
        """The last runs that have begun at this moment, oldest first: those whose text there is."""
        return self._begun_at(self._t_ns)

    def _begun_at(self, t_ns: int) -> list[RecordedRun]:
        count = bisect_right(self._begin_stamps, t_ns)
        return self._begun[max(0, count - TEXTS) : count]

    def goes_on(self, run: RecordedRun) -> bool:
        """Whether a run goes on with what a change of settings had interrupted."""
        place = self._begun.index(run)
        if place < 2 or run.begin.kind != "generate" or self._begun[place - 1].begin.kind != "apply":
            return False
        before = self._begun[place - 2]
        stopped = before.end is not None and before.end.status == "cancelled"
        return stopped and before.begin.prompt == run.begin.prompt

    def log_since(self, count: int) -> tuple[int, list[LogLine]]:
        """Nothing: llama.cpp's messages are not in the history."""
        return count, []

    # Reading

    def _stretch_numbers(self, first_ns: int, last_ns: int) -> range:
        zero, end = self.started_ns, self.recording.last_ns
        first, last = max(first_ns, zero), min(last_ns, end)
        return range((first - zero) // STRETCH_NS, (last - zero) // STRETCH_NS + 1) if first <= last else range(0)

    def _missing(self, t_ns: int) -> tuple[list[int], list[RecordedRun], list[RecordedRun]]:
        """Stretches of samples, runs whose tokens, and runs whose outputs a moment needs and that are not there."""
        numbers = self._stretch_numbers(t_ns - round(_SPAN_S * 1e9), t_ns) if self.recording.has_samples else ()
        runs = self._runs_between(t_ns - _RATES_NS, t_ns) if self.recording.has_tokens else []
        with self._lock:
            return (
                [number for number in numbers if number not in self._stretches],
                [run for run in runs if run.begin.run_id not in self._curves and run.begin.kind not in _BENCH],
                [run for run in self._begun_at(t_ns) if run.has_output and run.begin.run_id not in self._outputs],
            )

    def is_prepared(self, position_ns: int) -> bool:
        """Whether this moment can be shown without reading."""
        return not any(self._missing(self.started_ns + position_ns))

    def prepare(self, position_ns: int) -> None:
        """Read what is needed to show this moment, and let go of what is far from it. Raises HistoryError."""
        t_ns = self.started_ns + position_ns
        with self._reading:
            numbers, runs, silent = self._missing(t_ns)
            stretches = {number: self._read_stretch(number) for number in numbers}
            tokens = self._source.tokens(runs) if runs else {}
            curves = {run.begin.run_id: RunCurves(run, tokens[run.begin.run_id]) for run in runs}
            outputs = self._source.outputs(silent) if silent else {}
            if stretches or curves or silent:
                with self._lock:
                    self._forget_far(t_ns)
                    self._stretches |= stretches
                    self._curves |= curves
                    self._outputs |= {run.begin.run_id: "" for run in silent} | outputs  # a session may be deleted

    def _read_stretch(self, number: int) -> SampleStretch:
        first = self.started_ns + number * STRETCH_NS
        return self._source.samples(first, first + STRETCH_NS)

    def _forget_far(self, t_ns: int) -> None:
        near = set(self._stretch_numbers(t_ns - _KEEP_NS, t_ns + _KEEP_NS))
        self._stretches = {number: held for number, held in self._stretches.items() if number in near}
        self._curves = {
            run_id: held
            for run_id, held in self._curves.items()
            if _end_ns(held.run) >= t_ns - _KEEP_NS and held.run.begin.start_ns <= t_ns + _KEEP_NS
        }
        texts = {run.begin.run_id for moment in (t_ns, self._t_ns) for run in self._begun_at(moment)}
        self._outputs = {run_id: held for run_id, held in self._outputs.items() if run_id in texts}


def _end_ns(run: RecordedRun) -> int:
    return run.end.end_ns if run.end else 2**62


def _shown_from(run: RecordedRun) -> int:
    """A benchmark's repetition is told when it is over: nothing but the engine runs beside it."""
    return run.end.end_ns if run.end and run.begin.kind in _BENCH else run.begin.start_ns


def _fraction(coming: Load, t_ns: int) -> float:
    return (t_ns - coming.began_ns) / (coming.t_ns - coming.began_ns)


def _ended_view(run: RecordedRun, end: RunEnd) -> RunView:
    latency = Latency(end.itl_p50_ms, end.itl_p95_ms, end.itl_p99_ms)
    timing = Timing(
        prompt_tokens=end.prompt_tokens,
        generated_tokens=end.generated_tokens,
        ttft_s=end.ttft_s,
        prefill_tokens_per_s=end.prefill_tokens_per_s,
        decode_tokens_per_s=end.decode_tokens_per_s,
        latency=latency,
    )
    return _view(run, timing, end.prompt_tokens if run.begin.kind not in _BENCH else 0, end)


def _view(run: RecordedRun, timing: Timing, prompt_total: int, end: RunEnd | None) -> RunView:
    """A run with these figures; with its end where it has come to that."""
    begin = run.begin
    reasons = tuple(end.invalid_reason.split("; ")) if end and end.invalid_reason else ()
    return RunView(
        run_id=begin.run_id,
        number=run.number,
        kind=begin.kind,
        prompt=begin.prompt or "",
        status=end.status if end else None,
        stop_reason=end.stop_reason if end else None,
        message=end.message if end else None,
        timing=timing,
        prompt_total=prompt_total,
        context_used=begin.cached_tokens + timing.prompt_tokens + timing.generated_tokens,
        variant=begin.variant,
        resources=Resources(**{name: getattr(end, name) for name in COLUMNS}) if end else None,
        verdict=Verdict(end.valid, reasons) if end else None,
        roofs=_roofs(run.roofs) if timing.decode_tokens_per_s is not None else (),
    )


def _roofs(rows: Iterable[RoofRow]) -> tuple[Roof, ...]:
    return tuple(
        Roof(
            row.device,
            row.bytes_per_token or 0,
            None
            if row.bandwidth_bytes_per_s is None
            else Bandwidth(row.bandwidth_bytes_per_s, "measured" if row.bandwidth_source == "measured" else "nvml"),
            row.roof_tokens_per_s,
            row.reason,
        )
        for row in rows
    )
