"""Puts a session together from its real parts; the only place that knows them all."""

from __future__ import annotations

from gemtop.config import Paths
from gemtop.engine.worker import LlamaEngine
from gemtop.session import Listener, Session


def make_session(command: str, paths: Paths, listener: Listener, session_id: str | None = None) -> Session:
    """A session with llama.cpp, NVML, psutil and the history. Raises HistoryError where it cannot record."""
    from gemtop.config import new_session_id
    from gemtop.history.recorder import Recorder
    from gemtop.telemetry.host import PsutilProbe
    from gemtop.telemetry.nvml import NvmlProbe
    from gemtop.telemetry.sampler import Sampler

    chosen = session_id or new_session_id()
    recorder = Recorder(paths, chosen)
    recorder.open()
    return Session(
        command,
        lambda emit: LlamaEngine(emit, paths),
        lambda emit, on_status: Sampler(NvmlProbe(), PsutilProbe(), emit, on_status),
        recorder,
        listener,
        session_id=chosen,
    )
