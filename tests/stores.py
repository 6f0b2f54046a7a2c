"""A machine of a test's own: its home folder, and the stores of other programs laid out in it as they do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gemtop.config import Paths, paths
from tests.gguf_files import GEMMA, Tensor, gemma, write_gguf

_VARIABLES = (
    "OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "GEMTOP_CONFIG",
    "XDG_CACHE_HOME",
)  # fmt: skip
REVISION = "0f6f5dd5ac1dbb1a37ef5a2f52d4ac0d0e6f7b3c"


def ollama_layer(kind: str, sha256: str, size_bytes: int) -> dict[str, Any]:
    return {
        "mediaType": f"application/vnd.ollama.image.{kind}",
        "digest": f"sha256:{sha256}",
        "size": size_bytes,
    }


class Machine:
    """Its folders are empty until a test fills them; the working folder is one of them."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.here = top / "home", top / "here"
        for folder in (self.home, self.here):
            folder.mkdir()
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(self.home / ".config"))
        for name in _VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(self.here)
        self.ollama_root = self.home / ".ollama" / "models"
        self.hub_root = self.home / ".cache" / "huggingface" / "hub"
        self.lmstudio_root = self.home / ".lmstudio" / "models"
        self.llamacpp_root = self.home / ".cache" / "llama.cpp"

    @property
    def paths(self) -> Paths:
        return paths()

    def gguf(self, path: Path, keys: dict[str, Any] | None = None, tensors: Iterable[Tensor] | None = None) -> Path:
        """A small Gemma 3 in Q4_0."""
        own = {**GEMMA, "general.file_type": 2, **(keys or {})}
        return write_gguf(path, own, list(gemma("q4_0", "q6_K") if tensors is None else tensors))

    def ollama(self, name: str, root: Path | None = None, layer: str = "model", **gguf: Any) -> Path:
        """Pull a model (HOST/NAMESPACE/MODEL:TAG, in full) and return its blob."""
        root = root or self.ollama_root
        digest = hashlib.sha256(name.encode()).hexdigest()
        blob = self.gguf(root / "blobs" / f"sha256-{digest}", **gguf)
        small = (("template", "e" * 64, 358), ("license", "d" * 64, 8_432), ("params", "3" * 64, 77))
        layers = [ollama_layer(*each) for each in ((layer, digest, blob.stat().st_size), *small)]
        self.manifest(name, layers, root)
        return blob

    def manifest(self, name: str, layers: list[dict[str, Any]], root: Path | None = None) -> Path:
        model, _, tag = name.rpartition(":")
        file = (root or self.ollama_root) / "manifests" / model / tag
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": {
                        "mediaType": "application/vnd.docker.container.image.v1+json",
                        "digest": f"sha256:{'c' * 64}",
                        "size": 490,
                    },
                    "layers": layers,
                }
            )
        )
        return file

    def hub(self, repo: str, name: str, revision: str = REVISION, root: Path | None = None, **gguf: Any) -> Path:
        """Download a file of a repository and return the link to it."""
        folder = (root or self.hub_root) / f"models--{repo.replace('/', '--')}"
        blob = self.gguf(folder / "blobs" / hashlib.sha256(f"{repo}/{name}".encode()).hexdigest(), **gguf)
        link = folder / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(revision)
        return link

    def lmstudio(self, name: str, **gguf: Any) -> Path:
        return self.gguf(self.lmstudio_root / name, **gguf)

    def llamacpp(self, name: str, **gguf: Any) -> Path:
        return self.gguf(self.llamacpp_root / name, **gguf)
