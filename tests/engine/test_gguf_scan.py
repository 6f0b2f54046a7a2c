"""Where a header ends, in real files, in made ones and in hostile ones."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.engine import probe_model
from gemtop.engine.binding import GgufInitParams, c
from gemtop.engine.gguf_scan import LONGEST_HEADER_BYTES, header_bytes, headers_folder, is_header_only
from tests.gguf_bytes import ARRAY, BOOL, F32, STRING, TYPE_F16, U32, U64, header, text, write_27b

ENOUGH = 1 << 40


def pieces(data: bytes, size: int = 64 * 1024) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def scan(data: bytes, size_bytes: int = ENOUGH) -> bytes:
    return header_bytes(pieces(data), "a.gguf", size_bytes)


def data_offset(path: Path | str) -> int:
    """What ggml says."""
    context = c("gguf_init_from_file")(str(path).encode(), GgufInitParams(True, None))
    try:
        return int(c("gguf_get_data_offset")(context))
    finally:
        c("gguf_free")(context)


def refusal(data: bytes, size_bytes: int = ENOUGH) -> str:
    with pytest.raises(BadInputError) as error:
        scan(data, size_bytes)
    words = str(error.value)
    assert words.startswith("a.gguf ")
    assert "\n" not in words
    return words


def test_the_demo_model(model_path: str) -> None:
    end = data_offset(model_path)
    data = Path(model_path).read_bytes()[: end + 1_000_000]
    assert scan(data) == data[:end]


def test_the_probe_model(tmp_path: Path) -> None:
    path = tmp_path / "probe.gguf"
    probe_model.write(path)
    assert len(scan(path.read_bytes(), path.stat().st_size)) == data_offset(path)


def test_a_27b_takes_no_more_than_its_header(tmp_path: Path) -> None:
    path = tmp_path / "27b.gguf"
    length = write_27b(path)
    assert 7e6 < length < 9e6
    assert data_offset(path) == length
    taken = 0

    def read() -> Iterator[bytes]:
        nonlocal taken
        with path.open("rb") as file:
            while piece := file.read(64 * 1024):
                taken += len(piece)
                yield piece

    assert len(header_bytes(read(), "27b", path.stat().st_size)) == length
    assert taken - length < 64 * 1024


@given(size=st.integers(1, 300), alignment=st.sampled_from([8, 32, 256]), values=st.lists(st.integers(0, 255)))
def test_however_it_is_cut_into_pieces(size: int, alignment: int, values: list[int]) -> None:
    keys = [
        ("general.architecture", STRING, "gemma3"),
        ("general.alignment", U32, alignment),
        ("a.list", ARRAY, (0, values)),
        ("a.flag", BOOL, True),
        ("a.number", U64, 2**63),
        ("some.words", ARRAY, (STRING, [str(value) * 3 for value in values])),
        ("some.floats", ARRAY, (F32, [0.5] * len(values))),
    ]
    whole = header(keys, [("token_embd.weight", (32, 4), TYPE_F16), ("output_norm.weight", (32,), 0)], alignment)
    assert header_bytes(pieces(whole + b"weights" * 40, size), "x", ENOUGH) == whole


def test_a_file_without_tensors_may_end_unpadded() -> None:
    whole = header([("general.architecture", STRING, "gemma3")]).rstrip(b"\0")
    assert scan(whole, len(whole)) == whole


def test_every_cut_is_refused() -> None:
    whole = header([("a.b", ARRAY, (STRING, ["x", "yy"]))], [("t", (32,), 0)])
    for length in range(4, len(whole) - 32):
        assert "ends too early" in refusal(whole[:length])


@pytest.mark.parametrize("data", [b"", b"<html>", b"PK\3\4", b"GGU"])
def test_what_is_no_gguf(data: bytes) -> None:
    assert "not a GGUF file" in refusal(data) or "ends too early" in refusal(data)


def _file(n_tensors: int, n_keys: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + rest + bytes(4096)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (_file(0, 0, version=1), "version reads 1"),
        (_file(0, 0, version=3 << 24), "version reads 50331648"),
        (_file(2**63, 0), "tensors are more than any model has"),
        (_file(0, 2**64 - 1), "keys are more than any model has"),
        (_file(0, 1, struct.pack("<Q", 2**40)), "bytes in a key"),
        (_file(0, 1, text("k") + struct.pack("<IQ", STRING, 2**62)), "a text in it is"),
        (_file(0, 1, text("k") + struct.pack("<I", 77)), "type 77"),
        (_file(0, 1, text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1)), "type 9"),
        (_file(0, 1, text("k") + struct.pack("<IIQ", ARRAY, STRING, 2**60)), "strings in a list"),
        (_file(0, 1, text("k") + struct.pack("<IIQ", ARRAY, 12, 2**60)), "values in a list"),
        (_file(0, 1, text("k") + struct.pack("<IIQ", ARRAY, 12, LONGEST_HEADER_BYTES)), "longer than 64 MiB"),
        (_file(0, 1, text("general.alignment") + struct.pack("<II", U32, 0)), "alignment reads 0"),
        (_file(0, 1, text("general.alignment") + struct.pack("<II", U32, 48)), "alignment reads 48"),
        (_file(0, 1, text("general.alignment") + struct.pack("<II", U32, 1 << 31)), "alignment reads"),
        (_file(0, 1, text("general.alignment") + struct.pack("<IQ", U64, 32)), "alignment is no number"),
        (_file(1, 0, text("t" * 64)), "a tensor's name"),
        (_file(1, 0, text("t") + struct.pack("<I", 5)), "5 dimensions"),
    ],
)
def test_absurd_counts_and_lengths(data: bytes, hint: str) -> None:
    assert hint in refusal(data)


def test_longer_than_the_file_it_is_in() -> None:
    assert "longer than the file" in refusal(_file(1000, 0, b""), 100)


def test_a_header_without_end_is_left_in_bounded_memory() -> None:
    def endless() -> Iterator[bytes]:
        yield b"GGUF" + struct.pack("<IQQ", 3, 0, 60_000)
        while True:
            yield (text("k") + struct.pack("<I", STRING) + text(b"v" * 60_000)) * 10

    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match=r"longer than 64 MiB|a text in it"):
            header_bytes(endless(), "a.gguf", ENOUGH)
        assert tracemalloc.get_traced_memory()[1] < 2.5 * LONGEST_HEADER_BYTES
    finally:
        tracemalloc.stop()


def test_headers_are_known_by_their_folder(folders: Paths, tmp_path: Path) -> None:
    where = Paths(history=folders.history, state=folders.state, cache=tmp_path / "cache")
    inside = headers_folder(where) / "models--a--b" / "0" / "x.gguf"
    assert is_header_only(inside, where)
    assert is_header_only(str(tmp_path / "cache" / "elsewhere" / ".." / "headers" / "x.gguf"), where)
    assert not is_header_only(tmp_path / "x.gguf", where)
    assert not is_header_only(tmp_path / "cache" / "headers.gguf", where)
