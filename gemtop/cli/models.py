"""gemtop models: every GGUF file of this machine, what it is and whether it fits."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.cli.progress import Progress
from gemtop.config import load_config, paths
from gemtop.domain.errors import EXIT_OK, GemtopError
from gemtop.domain.model import Fit, ModelEntry
from gemtop.domain.settings import EngineSettings
from gemtop.domain.text import one_line, text_width

if TYPE_CHECKING:
    from gemtop.engine.planner import Planner
    from gemtop.engine.stores.stored import StoredModel

_HEADS = ["name", "size", "params", "format", "training", "context", "fits 8K", "store", "evidence"]
_FIELDS = tuple(field.name for field in fields(ModelEntry))
_NUMBERS = ("size", "params", "context")
_LEAST_EVIDENCE = 24
_INDENT = 4
_A_MOMENT_S = 0.7
"""What is done within it needs no line of progress."""
_TRAINING_WORDS = {"qat": "QAT", "ptq": "PTQ", "none": "none", "unknown": "?"}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="the models on this machine",
        description="Every GGUF model on this machine: the name to type for it, size, parameters, quantization, how it "
        "was trained and where that was read, trained context, and whether it fits the devices here with a context of "
        "8,192 tokens. Looked through are Ollama's store, the Hugging Face cache, LM Studio's and llama.cpp's folders, "
        "this folder, ~/models, the folders of the configuration, and the demo model.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these: names or paths, as commands take them")
    parser.add_argument("--all", action="store_true", help="also projectors, adapters and embedding models")
    parser.add_argument("--json", action="store_true", help="a list of objects on stdout")
    options.add_db(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    from gemtop.engine.planner import Planner

    where = paths(args.db)
    progress = _Progress()
    with Planner(where) as planner:
        planner.start()  # it loads llama.cpp while the models are looked up
        from gemtop.engine.catalogue import list_models
        from gemtop.engine.known_models import remember
        from gemtop.engine.names import stored_models

        try:
            stored = _named(args.names) if args.names else stored_models(_configured())
            if not args.names:
                remember(where, stored)
            entries = list_models(where, stored, lambda done, total: progress.show("reading headers", done, total))
            shown = [entry for entry in entries if args.all or args.names or entry.kind is None]
            planned = [entry for entry in shown if _can_be_planned(entry)]
            fits = fits_at_8k(planned, planner, lambda done, total: progress.show("planning", done, total))
        finally:
            progress.clear()
    if args.json:
        rows = [_as_json(entry, fits) for entry in shown]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    else:
        _table(shown, fits)
    if not entries:
        sys.stderr.write("gemtop: no GGUF file was found; gemtop pull hf:OWNER/NAME fetches one\n")
    return EXIT_OK


def fits_at_8k(
    entries: Sequence[ModelEntry], planner: Planner, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> dict[str, Fit]:
    """By path: whether each model fits this machine's devices with a context of 8,192 tokens, or of all it can.

    Each is planned once, some tenths of a second, and known from then on. The entries have fingerprints.
    """
    from gemtop.engine.planner import PlanRequest

    found = {}
    for number, entry in enumerate(entries):
        progress(number, len(entries))
        try:
            fit = Fit(*planner.fit(PlanRequest(entry.path, EngineSettings()), entry.fingerprint or ""))
        except GemtopError as error:
            fit = Fit(None, str(error))
        found[entry.path] = fit
    return found


def _named(names: Sequence[str]) -> list[StoredModel]:
    """What these names and paths mean. Raises BadInputError for what is not here."""
    from gemtop.engine.files import check_file
    from gemtop.engine.names import find
    from gemtop.engine.stores.stored import StoredModel

    found: dict[str, StoredModel] = {}
    for name in names:
        if os.path.lexists(name):
            check_file(name)
            path = os.path.abspath(name)  # noqa: PTH100  (the user's own path, links not followed)
            found.setdefault(path, StoredModel(name, path, "folder"))
        else:
            found.update({model.path: model for model in find(name)})
    return list(found.values())


def _configured() -> tuple[str, ...]:
    """Folders of the configuration; one that is not there is told of."""
    folders = load_config().models_folders
    for folder in folders:
        if not os.path.isdir(folder):  # noqa: PTH112  (false, not an error, where it may not be looked into)
            sys.stderr.write(f"gemtop: {one_line(folder)}, a folder of the configuration, cannot be looked through\n")
    return folders


def _can_be_planned(entry: ModelEntry) -> bool:
    """What llama.cpp refuses in Ollama's layout is planned as the copy that it needs."""
    return entry.problem is None and entry.kind is None and entry.fingerprint is not None


def _as_json(entry: ModelEntry, fits: dict[str, Fit]) -> dict[str, Any]:
    """The entry under its fields' names, and the fit."""
    fit = fits.get(entry.path) or Fit(None, _why_not_planned(entry))
    data = {name: getattr(entry, name) for name in _FIELDS} | {"fits_8k": fit.fits, "fits_8k_reason": fit.reason}
    if entry.refused:
        data["adopt"] = entry.adopt_command
    return data


def _why_not_planned(entry: ModelEntry) -> str:
    return entry.problem or entry.kind or "the file is put together when it is first used"


def _table(entries: Sequence[ModelEntry], fits: dict[str, Fit]) -> None:
    """One line each. On a terminal too narrow for that, two or three, of which only the name may be longer than it."""
    rows = [_HEADS, *([*_cells(entry, fits.get(entry.path)), _evidence(entry)] for entry in entries)]
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None
    for name, *cells, evidence in rows:
        facts = ""
        for head, cell, width in zip(_HEADS[1:], cells, widths[1:], strict=False):
            facts += f"{cell:{'>' if head in _NUMBERS else '<'}{width}}  "
        for line in _lines(name, facts, evidence, widths[0], columns):
            sys.stdout.write(line.rstrip() + "\n")


def _lines(name: str, facts: str, evidence: str, widest_name: int, columns: int | None) -> list[str]:
    """A row, in as many lines as this many columns take; `facts` are as long in every row."""
    beside = f"{name}{' ' * (widest_name - text_width(name))}  {facts}"
    if columns is None:
        return [beside + evidence]
    if columns - text_width(beside) >= _LEAST_EVIDENCE:
        return [beside + _cut(evidence, columns - text_width(beside))]
    indent, room = " " * _INDENT, columns - _INDENT
    if room - len(facts) >= _LEAST_EVIDENCE:
        return [name, indent + facts + _cut(evidence, room - len(facts))]
    return [name, *(indent + _cut(text, room) for text in (facts.rstrip(), evidence) if text)]


def _cells(entry: ModelEntry, fit: Fit | None) -> list[str]:
    fits = "?" if fit is None or fit.fits is None else "yes" if fit.fits else "no"
    return [
        one_line(entry.name),
        "" if entry.size_bytes is None else _size(entry.size_bytes),
        "" if entry.parameters is None else _parameters(entry.parameters),
        entry.quantization or "",
        _training(entry),
        "" if entry.trained_context is None else f"{entry.trained_context:,}",
        "" if entry.problem or entry.kind else fits,
        entry.store,
    ]


def _training(entry: ModelEntry) -> str:
    words = _TRAINING_WORDS[entry.training] if entry.training else ""
    return f"{words} (derived)" if entry.derived else words


def _evidence(entry: ModelEntry) -> str:
    if entry.problem:
        return one_line(entry.problem)
    if entry.kind:
        return one_line(entry.kind)
    words = [entry.evidence or _why_not_planned(entry)]
    if entry.refused:
        words.insert(0, f"needs {entry.adopt_command}")
    if entry.refused and entry.outdated_copy:
        words.insert(1, f"{os.path.basename(entry.outdated_copy)} is of what it was before")  # noqa: PTH119
    if entry.adopted_from:
        words.insert(0, f"the adopted copy, {os.path.basename(entry.path)}")  # noqa: PTH119
    return one_line("; ".join(words))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB" if size_bytes < 2**30 else f"{size_bytes / 2**30:.2f} GiB"


def _parameters(count: int) -> str:
    return f"{count / 1e6:.0f} M" if count < 1e9 else f"{count / 1e9:.1f} B"


def _cut(text: str, room: int) -> str:
    """As much of a text as there is room for."""
    while text_width(text) > room and text != "…":
        text = text[: -2 if text.endswith("…") else -1] + "…"
    return text


class _Progress:
    """How far the reading of headers has come, once it takes more than a moment."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()
        self._line = Progress()

    def show(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._begun_s >= _A_MOMENT_S:
            self._line.show(f"{what}: {done:,} of {total:,}")

    def clear(self) -> None:
        self._line.clear()
