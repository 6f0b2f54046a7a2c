"""Whether a model fits, asked of llama.cpp in a child process: it aborts on some inputs, and that is an answer too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.plan import Plan, plan_from_json
from gemtop.domain.settings import EngineSettings, settings_to_dict
from gemtop.domain.text import one_line

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
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._cards: tuple[int, ...] = ()

    def __enter__(self) -> Planner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, request: PlanRequest) -> Plan:
        """Raises BadInputError for what cannot be planned, GemtopError where llama.cpp refuses or dies."""
        with self._lock:
            if self._child is not None and request.gpu_memory_bytes != self._cards:
                self._end()  # a card on paper stays in a process's registry
            answer = self._ask(self._question(request))
        if "plan" in answer:
            return plan_from_json(answer["plan"])
        raise (BadInputError if answer.get("bad_input") else GemtopError)(answer["refused"])

    def close(self) -> None:
        """End the child; a question that waits for it gets an error. Safe to call twice."""
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            self._end()

    def _question(self, request: PlanRequest) -> bytes:
        self._cards = request.gpu_memory_bytes
        question = {
            "path": request.path,
            "settings": settings_to_dict(request.settings),
            "gpu_memory_bytes": request.gpu_memory_bytes,
            "search": request.search,
            "reserves": dict(request.reserves),
            "held": dict(request.held),
            "cache": str(self._paths.cache / "plans"),
            "state": str(self._paths.state),
        }
        return json.dumps(question).encode() + b"\n"

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
        if line:
            answer = json.loads(line)
            assert isinstance(answer, dict)
            return answer
        raise GemtopError(f"llama.cpp refuses this: {self._last_words(child)}")

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._folder = tempfile.TemporaryDirectory(prefix="gemtop-plan-")
            self._child = subprocess.Popen(
                [sys.executable, "-m", "gemtop.engine.planner_child", self._folder.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                start_new_session=True,  # Ctrl-C on the terminal is for this process to handle
            )
        return self._child

    def _last_words(self, child: subprocess.Popen[bytes]) -> str:
        """What a child that died said, or what it died of."""
        _, said = child.communicate()
        code = child.returncode
        self._end()
        lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        if code == -signal.SIGKILL:
            return "its dry run took too long, or the machine ran out of memory"
        if lines:
            return one_line(lines[-1])
        return f"its dry run died of {signal.Signals(-code).name}" if code < 0 else f"its dry run ended with {code}"

    def _end(self) -> None:
        child, folder = self._child, self._folder
        self._child = self._folder = None
        if child is not None:
            child.kill()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            child.wait()
        if folder is not None:
            folder.cleanup()


def parse_sizes(text: str) -> tuple[int, ...]:
    """Memory sizes as `24GiB,24576MiB`; GB is 10^9 bytes, G and GiB are 2^30. Raises BadInputError."""
    return tuple(_size(part.strip()) for part in text.split(","))


_UNITS: Sequence[tuple[str, int]] = (
    ("tib", 1 << 40), ("gib", 1 << 30), ("mib", 1 << 20), ("tb", 10**12), ("gb", 10**9), ("mb", 10**6),
    ("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20),
)  # fmt: skip
_LARGEST_BYTES = 1 << 50


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
