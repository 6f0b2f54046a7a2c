"""What a model may be called on the command line, and the file that is meant. llama.cpp is not needed for it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gemtop.config import Paths, load_config
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.engine.files import check_file
from gemtop.engine.hub_names import PREFIX, choose, parse_spec
from gemtop.engine.stores import demo, folders, huggingface, llamacpp, lmstudio, ollama
from gemtop.engine.stores.stored import StoredModel, exists, is_further_part, is_projector

_OF_REPOSITORIES = (huggingface, lmstudio, llamacpp)
"""Stores that keep files under the names of Hugging Face's repositories."""
_OWN_PATH = ("/", "./", "../", "~")
_REPOSITORY = re.compile(r"([^/:]+/[^/:]+)(?:[:/](.+))?\Z")
_MOST_NAMED = 8


def resolve(name: str, paths: Paths) -> str:
    """The path of the GGUF file that is meant by a path, or by a name as the store that has it gives it.

    A path that exists goes before any name. Raises BadInputError, with what is there and what to do, where nothing
    or more than one file is meant, or where it is no GGUF file.
    """
    if os.path.lexists(name) or name.startswith(_OWN_PATH):
        check_file(name)
        return name
    if name == demo.NAME:
        return str(demo.demo_model(paths))
    found = find(name)
    if len(found) > 1:
        listed = ", ".join(one_line(model.name) for model in found[:_MOST_NAMED])
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise BadInputError(f"{one_line(name)} may be any of {listed}{more}; name one of them")
    if found[0].problem:
        raise BadInputError(found[0].problem)
    check_file(found[0].path)
    return found[0].path


def find(name: str) -> list[StoredModel]:
    """The stored models that a name may mean, at least one. Raises BadInputError where there is none."""
    if name.startswith(PREFIX):
        found = _in_repositories(name)
        if not found:
            raise BadInputError(f"{one_line(name)} is not on this machine; fetch it with: gemtop pull {one_line(name)}")
        return found
    elsewhere: BadInputError | None = None
    try:
        stored = ollama.find(name)
        if stored:
            return [stored]
    except BadInputError as error:
        elsewhere = error
    spec = _REPOSITORY.match(name)
    if spec:
        found = _in_repositories(f"{PREFIX}{spec[1]}{':' if spec[2] else ''}{spec[2] or ''}")
        if found:
            return found
    everything = stored_models()
    found = [model for model in everything if name in (model.name, *model.also)]
    found = found or [model for model in everything if name == os.path.basename(model.path)]  # noqa: PTH119
    if not found:
        raise elsewhere or BadInputError(_nowhere(name))
    return found


def stored_models(configured: Sequence[str] | None = None) -> list[StoredModel]:
    """Every GGUF file of every store, a file that several have under the name of the first.

    Names are unique: where two files would have the same, they have their paths. `configured` are the folders of
    the configuration, which is read where they are not given.
    """
    if configured is None:
        configured = load_config().models_folders
    files: dict[str, StoredModel] = {}
    for model in _all(configured):
        real = os.path.realpath(model.path)
        first = files.get(real)
        if first is None:
            files[real] = model
        elif model.name != first.name and model.name not in first.also:
            files[real] = replace(first, also=(*first.also, model.name))
    counts = Counter(model.name for model in files.values())
    return [model if counts[model.name] == 1 else replace(model, name=model.path) for model in files.values()]


def _all(configured: Sequence[str]) -> Iterator[StoredModel]:
    yield from demo.models()
    for store in (ollama, *_OF_REPOSITORIES):
        yield from store.models()
    yield from folders.models(configured)


def _in_repositories(text: str) -> list[StoredModel]:
    """The files that hf:OWNER/NAME[:CHOICE] may mean, of the first store that has such; none where no store does.

    Raises BadInputError where a store has the repository but not this file of it.
    """
    spec = parse_spec(text)
    problem: BadInputError | None = None
    for store in _OF_REPOSITORIES:
        files = store.files_of(spec.repo)
        names = list(files)
        if spec.choice is None:
            chosen = [name for name in names if not is_further_part(name) and not is_projector(name)]
        else:
            try:
                chosen = list(choose(spec.repo, names, spec.choice))[:1] if names else []
            except BadInputError as error:
                problem = problem or error
                continue
        if chosen:
            return [_of_repository(store.STORE, spec.repo, name, files) for name in chosen]
    if problem:
        raise BadInputError(f"{problem}; that is what lies here, fetch more with: gemtop pull {one_line(text)}")
    return []


def _of_repository(store: str, repo: str, name: str, files: Mapping[str, Path]) -> StoredModel:
    typed = huggingface.typed(repo, name, list(files))
    problem = None if exists(files[name]) else huggingface.lost(typed)
    return StoredModel(typed, str(files[name]), store, problem)


def _nowhere(name: str) -> str:
    """What to say of a name that no store has."""
    shown = one_line(name)
    spec = _REPOSITORY.match(name)
    if name.endswith(".gguf"):
        return (
            f"{shown} does not exist, here or in a store; give the path of a GGUF file, or a name gemtop models shows"
        )
    if spec:
        return f"{shown} is not on this machine; gemtop pull {PREFIX}{shown} fetches it, gemtop models lists what is"
    if ":" in name:
        return f"{shown} is not on this machine; ollama pull {shown} fetches it, gemtop models lists what is"
    return f"{shown} is neither a command, a file that exists nor a model here; see gemtop --help, gemtop models"
