"""Puts a session together from its real parts; the only place that knows them all."""

from __future__ import annotations

from collections.abc import Callable

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import Record, SessionEnd
from gemtop.engine.planner import Planner
from gemtop.engine.worker import LlamaEngine
from gemtop.session import Session, begin_session
from gemtop.view import Listener


class Unrecorded:
    """In place of the history where it cannot be written: the session goes on, and says so."""

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    def put(self, record: Record) -> None: ...

    def close(self, end: SessionEnd) -> None: ...


def make_planner(paths: Paths) -> Planner:
    """What answers whether settings would fit. Close it: it keeps a child process."""
    return Planner(paths)


def make_session(
    command: str,
    paths: Paths,
    listener: Listener,
    session_id: str | None = None,
    *,
    unrecorded_ok: bool = False,
    terminal_bytes: Callable[[], int] | None = None,
) -> Session:
    """A session with llama.cpp, NVML, psutil and the history.

    `terminal_bytes` is how many bytes were sent to the terminal so far, where one is drawn on. Where the history
    cannot be written it raises HistoryError, or with `unrecorded_ok` goes on without.
    """
    from gemtop.history.recorder import AT_THE_END, Recorder, check_history
    from gemtop.telemetry.host import PsutilProbe
    from gemtop.telemetry.nvml import NvmlProbe
    from gemtop.telemetry.sampler import Sampler

    begin = begin_session(command, session_id)
    recorder: Recorder | Unrecorded
    try:
        if not unrecorded_ok:
            check_history(paths)
        # A benchmark may have every core: nothing of ours is to run beside it that can wait.
        recorder = Recorder(paths, AT_THE_END if command == "bench" else None)
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
    )
