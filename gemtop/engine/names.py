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
from gemtop.engine.stores.adopted import copies, instead
from gemtop.engine.stores.stored import StoredModel, exists, is_further_part, is_projector

_OF_REPOSITORIES = (huggingface, lmstudio, llamacpp)
"""Stores that keep files under the names of Hugging Face's repositories."""
_OWN_PATH = ("/", "./", "../", "~")
_HUB_HOSTS = ("hf.co/", "huggingface.co/")
_REPOSITORY = re.compile(r"([^/:]+/[^/:]+)(?:[:/](.+))?\Z")
_MOST_NAMED = 8


def resolve(name: str, paths: Paths, *, adopted: bool = True) -> str:
    """The path of the GGUF file that is meant by a path, or by a name as the store that has it gives it.

    A path that exists goes before any name. A name of Ollama's means the copy that was adopted from its blob where
    there is one, unless `adopted` is false. Raises BadInputError, with what is there and what to do, where nothing or
    more than one file is meant, or where it is no GGUF file.
    """
    if is_path(name):
        check_file(name)
        return name
    if name == demo.NAME:
        return str(demo.demo_model(paths))
    found = find(name, adopted=adopted)
    if len(found) > 1:
        listed = ", ".join(one_line(model.name) for model in found[:_MOST_NAMED])
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise BadInputError(f"{one_line(name)} may be any of {listed}{more}; name one of them")
    if found[0].problem:
        raise BadInputError(found[0].problem)
    check_file(found[0].path)
    return found[0].path


def is_path(name: str) -> bool:
    """Whether a model is named by its path, not by what a store calls it."""
    return os.path.lexists(name) or name.startswith(_OWN_PATH)


def find(name: str, *, adopted: bool = True) -> list[StoredModel]:
    """The stored models that a name may mean, at least one. Raises BadInputError where there is none.

    A model of Ollama's is the copy that was adopted from it, where there is one, unless `adopted` is false.
    """
    if name.startswith(PREFIX):
        found = _in_repositories(name)
        if not found:
            raise BadInputError(f"{one_line(name)} is not on this machine; fetch it with: gemtop pull {one_line(name)}")
        return found
    elsewhere: BadInputError | None = None
    try:
        stored = ollama.find(name)
        if stored:
            own = stored.path and adopted
            return [instead(stored, copies(folders.models(load_config().models_folders))) if own else stored]
    except BadInputError as error:
        elsewhere = error
    spec = _spec(name)
    if spec:
        found = _in_repositories(spec)
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
    models = _with_copies(list(files.values()))
    counts = Counter(model.name for model in models)
    return [model if counts[model.name] == 1 else replace(model, name=model.path) for model in models]


def _with_copies(models: list[StoredModel]) -> list[StoredModel]:
    """Models of Ollama's with their adopted copies in their place; those are no rows of their own then."""
    if not any(model.store == ollama.STORE for model in models):
        return models
    among = list(copies(model for model in models if model.store == folders.STORE))
    found = [instead(model, among) if model.store == ollama.STORE else model for model in models]
    taken = {model.path for model in found if model.adopted_from}
    return [model for model in found if model.adopted_from or model.path not in taken]


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


def _spec(name: str) -> str | None:
    """hf:OWNER/NAME[:CHOICE] for a name that may be of a repository; None for what no repository is called."""
    host = next((host for host in _HUB_HOSTS if name.startswith(host)), "")
    match = _REPOSITORY.match(name.removeprefix(host))
    if not match:
        return None
    spec = f"{PREFIX}{match[1]}{':' if match[2] else ''}{match[2] or ''}"
    try:
        parse_spec(spec)
    except BadInputError:
        return None
    return spec


def _nowhere(name: str) -> str:
    """What to say of a name that no store has."""
    shown = one_line(name)
    spec = _spec(name)
    fetch = None
    if name.endswith(".gguf"):
        pass
    elif spec and (name.count("/") == 1 or name.startswith(_HUB_HOSTS)):
        fetch = f"gemtop pull {spec}"
    elif ":" in name and ollama.parse(name):
        fetch = f"ollama pull {shown}"
    if fetch:
        return f"{shown} is not on this machine; {fetch} fetches it, gemtop models lists what is"
    if "/" in name or name.endswith(".gguf"):
        return (
            f"{shown} does not exist, here or in a store; give the path of a GGUF file, or a name gemtop models shows"
        )
    return f"{shown} is neither a command, a file that exists nor a model here; see gemtop --help, gemtop models"
