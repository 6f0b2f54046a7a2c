"""The models of this machine with what their headers say, which is read once and kept in the cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from gemtop import __version__
from gemtop.config import Paths
from gemtop.domain.model import ModelEntry
from gemtop.engine.files import show
from gemtop.engine.names import stored_models
from gemtop.engine.stores import demo, ollama
from gemtop.engine.stores.stored import StoredModel, is_projector, part_name, split_part

_CACHE = "models.json"
_MADE_BY = f"{__version__} 2"
"""What is kept was found out by this program; the number goes up when it would find out something else."""
_PROJECTOR = "a vision projector (mmproj)"
_FACTS = frozenset(field.name for field in fields(ModelEntry)) - {
    "name", "path", "store", "also", "size_bytes", "adopted_from", "outdated_copy",
}  # fmt: skip

Progress = Callable[[int, int], None]
"""Told how many headers have been read, and of how many; raising stops the reading, and what was read is kept."""


def list_models(
    paths: Paths, stored: Sequence[StoredModel] | None = None, progress: Progress | None = None
) -> list[ModelEntry]:
    """These stored models, or all of this machine, the largest first, projectors and adapters included.

    A file that cannot be read is an entry with its problem. Raises BadInputError for a configuration that cannot be
    used.
    """
    if stored is None:
        stored = stored_models()
    cache = _Cache(paths.cache / _CACHE)
    unread = [model for model in stored if not model.problem and cache.facts(model) is None and _size(model)]
    done = 0
    try:
        for model, facts, died in _read_headers(unread):
            cache.keep(model, facts, died)
            done += 1
            if progress:
                progress(done, len(unread))
    finally:
        if done:
            cache.write()
    return sorted((_entry(model, cache) for model in stored), key=lambda entry: (-(entry.size_bytes or 0), entry.name))


def _entry(model: StoredModel, cache: _Cache) -> ModelEntry:
    size = None if model.problem else _size(model)  # a store's problem is that there is no such file
    facts = {} if model.problem else cache.facts(model) or {}
    problem = model.problem or facts.get("problem")
    if problem is None and not size and model.store != demo.STORE:
        problem = "is empty; fetch it again" if size == 0 else "is not there any more"
    if problem:
        problem = problem.removeprefix(f"{show(Path(model.path))} ")
    if problem and is_projector(model.path):
        facts = {"kind": _PROJECTOR}
    return ModelEntry(
        name=model.name, path=model.path, store=model.store, also=model.also, size_bytes=size,
        adopted_from=model.adopted_from, outdated_copy=model.outdated_copy,
        **{name: value for name, value in facts.items() if name != "problem"}, problem=problem,
    )  # fmt: skip


class _Cache:
    """What headers say, by path; it holds for as long as sizes and dates of the files and their names stay."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: dict[str, dict[str, Any]] = {}
        self._fleeting: set[str] = set()
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            data = json.loads(file.read_bytes())
            if data.get("gemtop") == _MADE_BY:
                self._rows = {path: row for path, row in data["models"].items() if set(row["facts"]) <= _FACTS}

    def facts(self, model: StoredModel) -> dict[str, Any] | None:
        row = self._rows.get(model.path)
        return row["facts"] if row and row.get("identity") == _identity(model) else None

    def keep(self, model: StoredModel, facts: dict[str, Any] | None, died: str) -> None:
        self._rows[model.path] = {"identity": _identity(model), "facts": facts or {"problem": died}}
        if facts is None:  # another build of llama.cpp may read it
            self._fleeting.add(model.path)

    def write(self) -> None:
        """Replace the file in one step, without models that are gone; where it cannot be written, so be it."""
        rows = {p: row for p, row in self._rows.items() if p not in self._fleeting and os.path.lexists(p)}
        temporary = self._file.with_name(f"{_CACHE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"gemtop": _MADE_BY, "models": rows}))
            temporary.replace(self._file)


def _identity(model: StoredModel) -> list[Any]:
    """Size and date of each part, None for one that is missing; and Ollama's names, which are evidence."""
    names = [model.name, *model.also] if model.store == ollama.STORE else []
    return [names, *([status.st_size, status.st_mtime_ns] if status else None for status in _statuses(model))]


def _size(model: StoredModel) -> int | None:
    """All parts that are there; None where none is."""
    sizes = [status.st_size for status in _statuses(model) if status]
    return sum(sizes) if sizes else None


def _statuses(model: StoredModel) -> Iterator[os.stat_result | None]:
    folder, _, name = model.path.rpartition("/")
    part = split_part(name)
    names = [part_name(part[0], n, part[2]) for n in range(1, part[2] + 1)] if part else [name]
    for each in names:
        try:
            yield os.stat(f"{folder}/{each}" if folder else each)  # noqa: PTH116
        except OSError:
            yield None


def _read_headers(models: Sequence[StoredModel]) -> Iterator[tuple[StoredModel, dict[str, Any] | None, str]]:
    """What the headers of these say, read by a child; or None, and how the child died of it, to be told not kept."""
    remaining = deque(models)
    while remaining:
        with _reader() as child:
            assert child.stdin is not None
            assert child.stdout is not None
            if not child.stdout.readline():  # it says when it has loaded the library
                words = f"this llama.cpp build {_end(child)}; see gemtop doctor"
                yield from ((model, None, words) for model in remaining)
                return
            while remaining:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.write(json.dumps(remaining[0].path) + "\n")
                    child.stdin.flush()
                answer = child.stdout.readline()
                if not answer.endswith("\n"):
                    yield remaining.popleft(), None, f"llama.cpp's reader {_end(child)} on it"
                    break
                yield remaining.popleft(), json.loads(answer), ""


@contextlib.contextmanager
def _reader() -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "gemtop.engine.headers_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,  # Ctrl-C is for this process, which ends the child
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _end(child: subprocess.Popen[str]) -> str:
    code = child.wait()
    return f"dies of {signal.Signals(-code).name}" if code < 0 else f"fails with exit code {code}"
