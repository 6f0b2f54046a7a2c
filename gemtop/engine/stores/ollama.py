"""Ollama's store: manifests under the names its users type, and blobs named by their hash.

manifests/HOST/NAMESPACE/MODEL/TAG is JSON; its layer of the type below has the digest of blobs/sha256-HEX
(ollama/ollama, types/model/name.go and server/manifest.go).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.engine.stores.stored import StoredModel, exists

STORE = "ollama"
_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_MODEL_LAYER = "application/vnd.ollama.image.model"
_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z")
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})\Z")
_BLOB = re.compile(r"sha256-[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, order=True)
class OllamaName:
    """HOST/NAMESPACE/MODEL:TAG."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        """As `ollama list` shows it: the parts that are Ollama's own are left out."""
        parts = [self.host, self.namespace, self.model]
        if self.host == _HOST:
            parts = parts[2:] if self.namespace == _NAMESPACE else parts[1:]
        return f"{'/'.join(parts)}:{self.tag}"


def roots() -> tuple[Path, ...]:
    """OLLAMA_MODELS, else where Ollama and its packages and service keep models, those that are there."""
    given = os.environ.get("OLLAMA_MODELS")
    if given:
        return (Path(given).expanduser(),)
    usual = (
        Path.home() / ".ollama" / "models",
        Path("/usr/share/ollama/.ollama/models"),
        Path("/var/lib/ollama"),
        Path("/var/lib/ollama/models"),
        Path("/var/snap/ollama/common/models"),
    )
    return tuple(root for root in usual if exists(root / "manifests"))


def parse(text: str) -> OllamaName | None:
    """A name as Ollama's users type it, with what they leave out filled in; None for what cannot be one."""
    rest, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        rest, tag = text, _TAG
    parts = rest.split("/")
    if not 1 <= len(parts) <= 3 or ".." in text or not all(map(_NAME_PART.match, (*parts, tag))):
        return None
    host, namespace, model = [_HOST, _NAMESPACE][: 3 - len(parts)] + parts
    return OllamaName(host, namespace, model, tag)


def find(text: str) -> StoredModel | None:
    """The model of that name; None where Ollama has no such model.

    Raises BadInputError where it has the model under other tags only, with the command that fetches this one.
    """
    name = parse(text)
    if name is None:
        return None
    others: list[tuple[Path, OllamaName]] = []
    for root in roots():
        folder = root / "manifests" / name.host / name.namespace / name.model
        for tag in _names(folder):
            there = OllamaName(name.host, name.namespace, name.model, tag)
            if tag.casefold() == name.tag.casefold():
                return _stored(root, there)
            others.append((root, there))
    if others:
        here = ", ".join(_listed(root, other) for root, other in others)
        raise BadInputError(
            f"Ollama has {here} here, but no {one_line(str(name))}; fetch it with: ollama pull {one_line(str(name))}"
        )
    return None


def _listed(root: Path, name: OllamaName) -> str:
    """A model among those that are here."""
    try:
        _blob(root, name)
    except _DamagedError:
        return f"{one_line(str(name))} (its manifest is damaged; ollama pull {one_line(str(name))} mends it)"
    return one_line(str(name))


def models() -> Iterator[StoredModel]:
    """Every model whose weights are a GGUF file, or should be; one whose manifest is damaged has that for its path."""
    for root in roots():
        for name in _manifests(root):
            stored = _stored(root, name)
            if stored.path:
                yield stored


def name_of(file: Path) -> str | None:
    """What Ollama calls a blob of its store; its own models' names go before others, `latest` comes last."""
    if file.parent.name != "blobs" or not _BLOB.match(file.name):
        return None
    root = file.parent.parent
    names = [name for name in _manifests(root) if _is_of(root, name, file.name)]
    names.sort(key=lambda name: (name.tag == _TAG, name.host != _HOST, name.namespace != _NAMESPACE, str(name)))
    return str(names[0]) if names else None


def _manifests(root: Path) -> Iterator[OllamaName]:
    top = root / "manifests"
    for host in _names(top):
        for namespace in _names(top / host):
            for model in _names(top / host / namespace):
                for tag in _names(top / host / namespace / model):
                    yield OllamaName(host, namespace, model, tag)


def _stored(root: Path, name: OllamaName) -> StoredModel:
    shown = one_line(str(name))
    try:
        blob = _blob(root, name)
    except _DamagedError:
        why = f"Ollama's manifest of {shown} is damaged; this mends it: ollama pull {shown}"
        return StoredModel(str(name), str(_manifest(root, name)), STORE, why)
    if blob is None:
        why = f"Ollama's {shown} has no GGUF file of its own, as models in its cloud or of other formats"
        return StoredModel(str(name), "", STORE, why)
    path = root / "blobs" / blob
    problem = None if exists(path) else f"Ollama's {shown} lacks its blob {blob}; fetch it again: ollama pull {shown}"
    return StoredModel(str(name), str(path), STORE, problem)


class _DamagedError(Exception):
    """A manifest that is no manifest, as a full disk or a crash leaves it."""


def _is_of(root: Path, name: OllamaName, blob: str) -> bool:
    try:
        return _blob(root, name) == blob
    except _DamagedError:
        return False


def _blob(root: Path, name: OllamaName) -> str | None:
    """File name of the blob with the model's weights; None where the manifest names none or cannot be read.

    Raises _DamagedError for a manifest that Ollama could not read either.
    """
    import json

    try:
        data = _manifest(root, name).read_bytes()
    except OSError:
        return None
    try:
        digests = [layer["digest"] for layer in json.loads(data)["layers"] if layer["mediaType"] == _MODEL_LAYER]
        matches = [_DIGEST.match(digest) for digest in digests]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _DamagedError from None
    if not matches:
        return None
    if matches[0] is None:
        raise _DamagedError
    return f"sha256-{matches[0][1]}"


def _manifest(root: Path, name: OllamaName) -> Path:
    return root / "manifests" / name.host / name.namespace / name.model / name.tag


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError:
        return []
