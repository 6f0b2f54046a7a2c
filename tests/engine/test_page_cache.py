"""How much of a file is in the page cache, on real files."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from gemtop.config import Paths
from gemtop.domain.events import ModelLoaded
from gemtop.domain.settings import ContextSettings, EngineSettings
from gemtop.engine.page_cache import cached_share
from gemtop.run import ledger_rows
from tests.engines import EngineDriver


def make_cold(*files: Path) -> None:
    """Have the kernel forget what it keeps of these files."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two parts of 24 and 8 MiB."""
    both = (tmp_path / "a", tmp_path / "b")
    for file, mib in zip(both, (24, 8), strict=True):
        file.write_bytes(os.urandom(2**20) * mib)
    return both


def test_cold_partly_and_warm(files: tuple[Path, Path]) -> None:
    make_cold(*files)
    assert cached_share(files) == 0.0
    files[1].read_bytes()
    assert cached_share(files) == pytest.approx(0.25, abs=0.01)
    assert cached_share(files[:1]) == 0.0 and cached_share(files[1:]) == 1.0
    files[0].read_bytes()
    assert cached_share(files) == 1.0


def test_asking_reads_nothing(files: tuple[Path, Path]) -> None:
    make_cold(*files)
    for _ in range(5):
        assert cached_share(files) == 0.0


def test_of_a_large_file_windows_are_asked_for(tmp_path: Path) -> None:
    """A hole of 40 GiB, with the first quarter of the pages asked for in memory."""
    file = tmp_path / "large"
    size = 40 * 2**30
    with file.open("wb") as stream:
        stream.truncate(size)
    make_cold(file)
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    window = 256 * 4096
    for i in range(64):
        os.pread(descriptor, window, i * (size - window) // 255 // 4096 * 4096)
    os.close(descriptor)
    begun = time.perf_counter()
    share = cached_share([file])
    took = time.perf_counter() - begun
    assert share == pytest.approx(0.25, abs=0.01)
    assert took < 0.1


def test_what_cannot_be_told(tmp_path: Path) -> None:
    assert cached_share([tmp_path / "missing"]) is None
    assert cached_share([tmp_path]) is None
    (tmp_path / "empty").touch()
    assert cached_share([tmp_path / "empty"]) is None
    assert cached_share([]) is None


def test_a_load_says_how_warm_its_file_was(
    engine: EngineDriver, model_path: str, tmp_path: Path, folders: Paths
) -> None:
    copy = tmp_path / "model.gguf"
    shutil.copy(model_path, copy)
    settings = EngineSettings(context=ContextSettings(n_ctx=512))
    make_cold(copy)
    shares = []
    rows = []
    for changed in (settings, EngineSettings(context=ContextSettings(n_ctx=768))):
        engine.engine.open(str(copy), changed)
        loaded = engine.wait_for(ModelLoaded)
        shares.append(loaded.file_cached_share)
        rows += [row.file_cached_share for row in ledger_rows(loaded, 1, None)]
    cold, kept = shares
    assert cold is not None and cold < 0.5, "the header was read before it"
    assert kept is None
    assert rows == [cold, None], "on the CPU a load has one row"
