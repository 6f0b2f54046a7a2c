"""What may stand for a value on the command line, by what its help calls it: models, queries, sessions, files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gemtop.domain.text import one_line


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that Tab may put on the command line."""

    value: str
    says: str = ""
    open: bool = False
    """Something follows it without a blank: a folder, NAME=."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files may stand here as well, and folders on the way to them."""

    ending: str = ""
    """Only those whose names end so."""
    folders_only: bool = False


Found = tuple[list[Offer], Files | None]
Given = Mapping[str, Sequence[str]]
"""Words that were given before, by the destination of their argument."""


def of_action(action: argparse.Action, current: str, given: Given) -> Found:
    """What may stand for the value of an argument that begins with `current`."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices is not None:
        return [Offer(str(choice)) for choice in action.choices], None
    if metavar == "on|off|auto":
        return [Offer(word) for word in metavar.split("|")], None
    maker = _MAKERS.get(metavar)
    if maker is None:
        return [], None
    offers, files = maker(action, current, given)
    return [offer for offer in offers if offer.value.isprintable()], files


def _models(_action: argparse.Action, _current: str, _given: Given) -> Found:
    from gemtop.config import places
    from gemtop.engine.known_models import known_models

    return [Offer(name, store) for name, store in known_models(places(None))], Files(".gguf")


def _ollamas(action: argparse.Action, current: str, given: Given) -> Found:
    offers, files = _models(action, current, given)
    return [offer for offer in offers if action.dest == "names" or offer.says == "ollama"], files


def _checkpoints(action: argparse.Action, current: str, given: Given) -> Found:
    first, equals, _ = current.partition("=")
    offers, _ = _models(action, current, given)
    if equals:
        return [Offer(f"{first}={offer.value}", offer.says) for offer in offers], None
    return [Offer(f"{offer.value}=", offer.says, open=True) for offer in offers], None


def _sessions(_action: argparse.Action, _current: str, given: Given) -> Found:
    from gemtop.config import paths
    from gemtop.history.known_sessions import known_sessions

    found = known_sessions(paths(next(iter(given.get("db", ())), None)))
    return [Offer("last", "the newest"), *(Offer(name, says) for name, says in found)], None


def _queries(_action: argparse.Action, _current: str, _given: Given) -> Found:
    from gemtop.history.queries import library

    return [Offer(query.name, one_line(query.title)) for query in library().queries], None


def _parameters(_action: argparse.Action, _current: str, given: Given) -> Found:
    """Those of the query that was named, but those that have a value."""
    from gemtop.history.queries import library

    named = next(iter(given.get("query", ())), "")
    taken = {word.partition("=")[0] for word in given.get("parameters", ())}
    parameters = next((query.parameters for query in library().queries if query.name == named), ())
    return [
        Offer(f"{each.name}=", one_line(f"{each.description} ({each})"), open=True)
        for each in parameters
        if each.name not in taken
    ], None


def _keys(_action: argparse.Action, _current: str, _given: Given) -> Found:
    from gemtop.config.schema import KEYS, TABLES
    from gemtop.keymap import ACTIONS

    keys = [Offer(key.full, key.says.replace("`", "")) for key in KEYS if key.name]
    actions = [Offer(f"keys.{name}", action.help) for name, action in ACTIONS.items()]
    return [*(Offer(table, "the whole table") for table in TABLES), *keys, *actions], None


def _cache_types(_action: argparse.Action, current: str, _given: Given) -> Found:
    from gemtop.domain.settings import CACHE_TYPES

    return _listed(current, CACHE_TYPES), None


def _types(action: argparse.Action, current: str, given: Given) -> Found:
    if not action.dest.endswith("tensor_type") and action.dest != "token_embedding_type":
        return _cache_types(action, current, given)
    from gemtop.domain.quantization import TENSOR_TYPES

    return [Offer(name) for name in TENSOR_TYPES], None


def _many_types(action: argparse.Action, current: str, given: Given) -> Found:
    if action.dest != "formats":
        return _cache_types(action, current, given)
    from gemtop.domain.quantization import FILE_TYPES

    return _listed(current, FILE_TYPES), None


def _listed(current: str, names: Iterable[str]) -> list[Offer]:
    """The next of names with commas between them."""
    before, comma, _ = current.rpartition(",")
    taken = before.split(",")
    return [Offer(f"{before}{comma}{name}") for name in names if name not in taken]


def _any_file(_action: argparse.Action, _current: str, _given: Given) -> Found:
    return [], Files()


def _folder(_action: argparse.Action, _current: str, _given: Given) -> Found:
    return [], Files(folders_only=True)


def _gguf(_action: argparse.Action, _current: str, _given: Given) -> Found:
    return [], Files(".gguf")


_MAKERS: Mapping[str, Callable[[argparse.Action, str, Given], Found]] = {
    "MODEL": _models,
    "SOURCE": _models,
    "NAME": _ollamas,
    "MODEL=CHECKPOINT": _checkpoints,
    "SESSION": _sessions,
    "SQL|NAME": _queries,
    "NAME=VALUE": _parameters,
    "KEY": _keys,
    "TYPE": _types,
    "TYPE,...": _many_types,
    "FILE": _any_file,
    "PATH": _any_file,
    "PLACE": _folder,
    "DIR": _folder,
    "PATH[=SCALE]": _gguf,
}
"""By the metavar that an argument's help has for its value."""


def in_folder(current: str, files: Files) -> list[Offer]:
    """Files and folders whose paths begin with `current`; hidden ones where it names a beginning of them."""
    folder, _, begins = current.rpartition("/")
    shown = f"{folder}/" if "/" in current else ""
    try:
        with os.scandir(Path(shown or ".").expanduser()) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if not entry.name.startswith(begins) or (entry.name.startswith(".") and not begins):
            continue
        if entry.is_dir():
            found.append(Offer(f"{shown}{entry.name}/", open=True))
        elif not files.folders_only and entry.name.endswith(files.ending):
            found.append(Offer(f"{shown}{entry.name}"))
    return [offer for offer in found if offer.value.isprintable()]
