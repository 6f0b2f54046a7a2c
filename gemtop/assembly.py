"""Puts a session together from its real parts; the only place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError

if TYPE_CHECKING:  # each part is imported where it is made: a monitor needs no engine
    from collections.abc import Callable

    from gemtop.domain.records import Record, SessionEnd
    from gemtop.engine.planner import Planner
    from gemtop.monitor import Monitor, Snapshot
    from gemtop.session import Session
    from gemtop.view import Listener


class Unrecorded:
    """In place of the history where it cannot be written: the session goes on, and says so."""

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem
        self.notes: tuple[str, ...] = ()

    def put(self, record: Record) -> None: ...

    def close(self, end: SessionEnd) -> None: ...


def make_planner(paths: Paths) -> Planner:
    """What answers whether settings would fit. Close it: it keeps a child process."""
    from gemtop.engine.planner import Planner

    return Planner(paths)


def make_session(
    command: str,
    paths: Paths,
    listener: Listener,
    session_id: str | None = None,
    *,
    unrecorded_ok: bool = False,
    record_text: bool = True,
    terminal_bytes: Callable[[], int] | None = None,
) -> Session:
    """A session with llama.cpp, NVML, psutil and the history.

    `terminal_bytes` is how many bytes were sent to the terminal so far, where one is drawn on. Where the history
    cannot be written it raises HistoryError, or with `unrecorded_ok` goes on without. Without `record_text` neither
    prompts nor outputs come into it.
    """
    from gemtop.engine.worker import LlamaEngine
    from gemtop.history.recorder import AT_THE_END, Recorder
    from gemtop.session import Session, begin_session
    from gemtop.telemetry.host import PsutilProbe
    from gemtop.telemetry.nvml import NvmlProbe
    from gemtop.telemetry.sampler import Sampler

    begin = begin_session(command, session_id)
    recorder: Recorder | Unrecorded
    try:
        # A benchmark may have every core: nothing of ours is to run beside it that can wait.
        recorder = Recorder(paths, AT_THE_END if command == "bench" else None)
        if not unrecorded_ok:
            recorder.check()
        recorder.open(begin)
    except HistoryError as error:
        if not unrecorded_ok:
            raise
        recorder = Unrecorded(str(error))
    return Session(
        begin,
        lambda emit: LlamaEngine(emit, paths),
        lambda emit, on_status: Sampler(NvmlProbe(), PsutilProbe(), emit, on_status, terminal_bytes=terminal_bytes),
        recorder,
        listener,
        record_text=record_text,
    )


def make_monitor(
    paths: Paths | None,
    period_s: float,
    on_round: Callable[[], None],
    *,
    all_gpus: bool = False,
    terminal_bytes: Callable[[], int] | None = None,
) -> Monitor:
    """A monitor with NVML and psutil; with paths it goes into the history.

    Raises HistoryError where the history cannot be written: somebody asked for it.
    """
    from gemtop.monitor import Monitor
    from gemtop.session import begin_session
    from gemtop.telemetry.host import PsutilProbe
    from gemtop.telemetry.nvml import NvmlProbe
    from gemtop.telemetry.sampler import DEFAULT_SLOW_PERIOD_S, Sampler

    begin = begin_session("top")
    recorder = None
    if paths is not None:
        from gemtop.history.recorder import Recorder

        recorder = Recorder(paths)
        recorder.check()
        recorder.open(begin)
    return Monitor(
        begin,
        lambda emit, on_status: Sampler(
            NvmlProbe(visible_only=not all_gpus),
            PsutilProbe(),
            emit,
            on_status,
            period_s=period_s,
            slow_period_s=max(DEFAULT_SLOW_PERIOD_S, period_s),
            terminal_bytes=terminal_bytes,
        ),
        recorder,
        period_s,
        on_round,
    )


def read_once(*, all_gpus: bool = False) -> Snapshot:
    """One reading of everything, without a thread, history or engine."""
    from gemtop.monitor import read_once
    from gemtop.telemetry.host import SHORT_WINDOW_NS, PsutilProbe
    from gemtop.telemetry.nvml import NvmlProbe

    gpu = NvmlProbe(visible_only=not all_gpus, side_by_side=True)
    return read_once(gpu, PsutilProbe(first_window_ns=SHORT_WINDOW_NS))
