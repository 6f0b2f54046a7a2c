"""Whether a model fits, asked of llama.cpp in a child process: it aborts on some inputs, and that is an answer too."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.plan import Plan, plan_from_json
from gemtop.domain.settings import EngineSettings, settings_to_dict
from gemtop.domain.text import one_line
from gemtop.engine import stand_ins

_BUILD_FOLDER = re.compile(r"^\S*/(?=\S+:\d+: )")
"""Of the source file that ggml names when it aborts."""
_TIMEOUT_S = 120.0
"""A model of hundreds of layers on a slow disk; what takes longer hangs."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    path: str
    settings: EngineSettings
    gpu_memory_bytes: tuple[int, ...] = ()
    """Plan for cards of these sizes instead of this machine's."""
    search: bool = True
    """Look for the largest contexts and the most layers as well."""
    reserves: Mapping[str, int] = field(default_factory=dict)
    """Bytes of a device's memory, by its description, that its driver takes beside what is free now."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Bytes by device name that this program's own model takes now and would give back; "host" is the host's."""


class Planner:
    """Keeps the child for as long as it is asked. Safe to use from several threads, one question at a time."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._on_paper: tuple[tuple[int, ...], tuple[stand_ins.StandIn, ...]] | None = None
        """What the child has in its registry; None before its first question."""

    def __enter__(self) -> Planner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Have the child begin to load llama.cpp, so that it has when it is asked."""
        with self._lock:
            self._running_child()

    def plan(self, request: PlanRequest) -> Plan:
        """Raises BadInputError for what cannot be planned, GemtopError where llama.cpp refuses or dies."""
        return plan_from_json(self._answer("plan", request))

    def fit(self, request: PlanRequest, fingerprint: str) -> tuple[bool, str]:
        """Only whether it fits, and by how much or by how little. `fingerprint` is the one of the model's header.

        The file is not opened where the answer is known. Raises as `plan` does.
        """
        fits, words = self._answer("fit", request, fingerprint)
        return bool(fits), str(words)

    def close(self) -> None:
        """End the child; a question that waits for it gets an error. Safe to call twice."""
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            self._end()

    def _answer(self, ask: str, request: PlanRequest, fingerprint: str | None = None) -> Any:
        with self._lock:
            on_paper = (request.gpu_memory_bytes, stand_ins.of(request.settings.offload.rpc_servers))
            if self._on_paper not in (None, on_paper):
                self._end()  # a device on paper stays in a process's registry
            self._on_paper = on_paper
            question = {
                "ask": ask,
                "path": request.path,
                "fingerprint": fingerprint,
                "settings": settings_to_dict(request.settings),
                "gpu_memory_bytes": request.gpu_memory_bytes,
                "stand_ins": [asdict(device) for device in on_paper[1]],
                "search": request.search,
                "reserves": dict(request.reserves),
                "held": dict(request.held),
                "cache": str(self._paths.cache / "plans"),
                "state": str(self._paths.state),
            }
            try:
                answer = self._ask(json.dumps(question).encode() + b"\n")
            except BaseException:
                self._end()  # its answer, should it still come, is to no other question
                raise
        if ask in answer:
            return answer[ask]
        raise (BadInputError if answer["bad_input"] else GemtopError)(answer["refused"])

    def _ask(self, question: bytes) -> dict[str, Any]:
        child = self._running_child()
        assert child.stdin is not None and child.stdout is not None
        overdue = threading.Timer(_TIMEOUT_S, child.kill)
        overdue.daemon = True
        overdue.start()
        try:
            child.stdin.write(question)
            child.stdin.flush()
            line = child.stdout.readline()
        except OSError:
            line = b""
        finally:
            overdue.cancel()
        if line.endswith(b"\n"):
            answer = json.loads(line)
            assert isinstance(answer, dict)
            return answer
        raise GemtopError(_last_words(child))

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "gemtop.engine.planner_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                start_new_session=True,  # Ctrl-C on the terminal is for this process to handle
            )
        return self._child

    def _end(self) -> None:
        child, self._child, self._on_paper = self._child, None, None
        if child is not None:
            child.kill()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            child.wait()


def _last_words(child: subprocess.Popen[bytes]) -> str:
    """What a child that died said, or what it died of."""
    _, said = child.communicate()
    code = child.returncode
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    last = _BUILD_FOLDER.sub("", one_line(lines[-1])) if lines else ""
    if code >= 0:
        return f"the planner failed: {last or f'it ended with {code}'}"
    if -code == signal.SIGKILL:
        return "llama.cpp's dry run of this took too long, or the machine ran out of memory"
    return f"llama.cpp refuses this: {last or f'its dry run died of {signal.Signals(-code).name}; see gemtop doctor'}"


def parse_sizes(text: str) -> tuple[int, ...]:
    """Memory sizes as `24GiB,24576MiB`; GB is 10^9 bytes, G and GiB are 2^30. Raises BadInputError."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and "" in parts:
        raise BadInputError(
            f"--gpu-memory {one_line(text)}: there is no size on one side of a comma; give one for each card, such as "
            "24GiB,16GiB"
        )
    sizes = tuple(_size(part) for part in parts)
    if len(sizes) > _MOST_CARDS:
        raise BadInputError(
            f"--gpu-memory names {len(sizes)} cards; llama.cpp shares a model among {_MOST_CARDS} at most"
        )
    return sizes


_UNITS: Sequence[tuple[str, int]] = (
    ("tib", 1 << 40), ("gib", 1 << 30), ("mib", 1 << 20), ("tb", 10**12), ("gb", 10**9), ("mb", 10**6),
    ("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20),
)  # fmt: skip
_LARGEST_BYTES = 1 << 50
_MOST_CARDS = 16
"""LLAMA_MAX_DEVICES."""


def _size(text: str) -> int:
    lowered = text.lower()
    for unit, factor in _UNITS:
        if lowered.endswith(unit):
            try:
                size = float(lowered.removesuffix(unit)) * factor
            except ValueError:
                break
            if not (1 << 20) <= size <= _LARGEST_BYTES:
                raise BadInputError(f"--gpu-memory {one_line(text)}: no card has that much or that little memory")
            return int(size)
    raise BadInputError(f"--gpu-memory {one_line(text)}: give a size with its unit, such as 24GiB or 24GiB,16GiB")
