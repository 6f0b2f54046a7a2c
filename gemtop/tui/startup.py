"""What the command line asked the screen to do, and how it is handed to a program started anew."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.settings import EngineSettings, SamplingSettings, settings_from_dict, settings_to_dict
from gemtop.tui.first_paint import SPAN_S


@dataclass(frozen=True, slots=True)
class Startup:
    """Where a sitting begins."""

    path: str | None
    """The model to open; None opens the last one, or asks."""
    demo: bool
    settings: EngineSettings
    sampling: SamplingSettings
    n_predict: int
    raw: bool
    prompt: str | None
    quit_when_done: bool
    session_id: str
    resumed: bool = False
    """Started anew in place after llama.cpp gave up."""
    record_text: bool = True
    """Prompts and outputs go into the history."""
    span_s: float = SPAN_S
    """What the charts show at first."""
    thrift: bool = False
    """Send little to the terminal."""
    keep_running: bool = False
    """Where the terminal goes away, end what runs without it."""


@dataclass(frozen=True, slots=True)
class Resume:
    """What survives llama.cpp: enough to go on with the same model, settings and conversation."""

    path: str | None
    settings: EngineSettings
    sampling: SamplingSettings
    n_predict: int
    conversation: tuple[tuple[str, str], ...]
    last_prompt: str | None


def without_servers(settings: EngineSettings, lost: Collection[str]) -> EngineSettings:
    """The same settings without these RPC servers, and without what names their devices."""
    offload = settings.offload
    left = tuple(server for server in offload.rpc_servers if server not in lost)
    # RPC devices are counted over all servers, so their names mean others without some of them.
    own = tuple(name for name in offload.devices if not name.startswith("RPC"))
    kept = tuple(pair for pair in offload.override_tensor if not pair[1].startswith("RPC"))
    # Shares and the main device are counted over all devices, so they mean something else without some of them.
    return replace(
        settings,
        offload=replace(offload, rpc_servers=left, devices=own, tensor_split=(), main_gpu=0, override_tensor=kept),
    )


def _name(process: int) -> str:
    # The supervising parent is the same before and after: its number ties the two programs together.
    return f"resume-{process}"


def save_resume(paths: Paths, resume: Resume) -> None:
    data: dict[str, Any] = {
        "path": resume.path,
        "settings": settings_to_dict(resume.settings),
        "sampling": asdict(resume.sampling),
        "n_predict": resume.n_predict,
        "conversation": resume.conversation,
        "last_prompt": resume.last_prompt,
    }
    write_state(paths, _name(os.getppid()), data)


def forget_resume(paths: Paths) -> None:
    """For the parent, at the end: what nobody has taken holds a conversation."""
    with suppress(OSError):
        (paths.state / f"{_name(os.getpid())}.json").unlink(missing_ok=True)


def take_resume(paths: Paths) -> Resume | None:
    """What the program before left, once."""
    name = _name(os.getppid())
    data = read_state(paths, name)
    (paths.state / f"{name}.json").unlink(missing_ok=True)
    if not data:
        return None
    return Resume(
        path=data["path"],
        settings=settings_from_dict(data["settings"]),
        sampling=SamplingSettings(**data["sampling"]),
        n_predict=data["n_predict"],
        conversation=tuple((user, answer) for user, answer in data["conversation"]),
        last_prompt=data["last_prompt"],
    )
