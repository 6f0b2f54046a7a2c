"""Files that are read from their beginning over and over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemtop.telemetry.kernel_file import KernelFile


def test_each_reading_is_of_the_present_and_opens_the_file_once(tmp_path: Path) -> None:
    path, opened = tmp_path / "counter", list[Path]()

    def open_file(at: Path, flags: int) -> int:
        opened.append(at)
        return os.open(at, flags)

    file = KernelFile(path, 8, open_file)
    for text in ("12345\n", "6\n", "0123456789\n"):
        path.write_text(text, encoding="ascii")
        assert file.read() == text.encode()[:8]
    assert opened == [path]
    file.close()
    file.close()
    assert file.read() == b"01234567"
    assert len(opened) == 2
    file.close()


def test_what_the_kernel_makes_anew_is_read_anew() -> None:
    """The CPU time of this process, which grows while it is read."""
    file = KernelFile(Path("/proc/self/schedstat"), 64)
    first = int(file.read().split()[0])
    while int(file.read().split()[0]) == first:
        pass
    file.close()


def test_a_file_that_fails_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "counter"
    file = KernelFile(path, 8)
    with pytest.raises(FileNotFoundError):
        file.read()
    path.mkdir()
    with pytest.raises(IsADirectoryError):  # it opens, and cannot be read
        file.read()
    path.rmdir()
    path.write_text("1\n", encoding="ascii")
    assert file.read() == b"1\n"
    file.close()
