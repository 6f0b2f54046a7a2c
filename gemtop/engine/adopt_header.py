"""The header of the copy that adoption makes of one of Ollama's own Gemma 3 files, ready before anything is written.

It holds the text model's tensors and every key of the file, and those that llama.cpp needs and the file lacks
(adopt_layout.py). adopt.py writes the copy with it; the planner plans with it what the copy would take.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gemtop import __version__
from gemtop.domain.errors import BadInputError
from gemtop.domain.model import ModelHeader
from gemtop.domain.text import one_line
from gemtop.engine.adopt_layout import VISION, VISION_KEYS, Contents, Filled, missing_keys, needs_adoption
from gemtop.engine.binding import GgufInitParams, c, text
from gemtop.engine.files import show
from gemtop.engine.gguf import check_language_model, header_in
from gemtop.engine.stores.adopted import DIGEST_KEY, NAME_KEY, OWN_KEYS, blob_digest

_TOKENS = "tokenizer.ggml.tokens"
_TOKEN_LISTS = (_TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_FIRST_TOKENS = 256
"""Gemma's special tokens are among the first of its vocabulary."""
_UINT8, _STRING, _ARRAY = 0, 8, 9
"""Of enum gguf_type."""
_LENGTH_BYTES = 8
"""Before each text in a file."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor's bytes in the file that is adopted."""

    offset: int
    size_bytes: int


class CopyHeader:
    """One file and the header of its copy. A context manager."""

    filled: tuple[Filled, ...]
    """Keys that the copy has and the file has not."""
    left_out: str
    """What of the file is not in the copy, in words."""
    pieces: tuple[Piece, ...]
    """The copy's tensors, in their order."""
    meta_bytes: int
    """Of the header; the tensors follow it, each padded."""
    size_bytes: int
    """Of the whole copy."""

    def __init__(self, header: ModelHeader, *, words: bool = True) -> None:
        """Without `words` the copy's vocabulary has no texts, which cost a second: it can be planned, not written.

        Its size may be up to 32 bytes off then. Raises BadInputError for a file that cannot be adopted, or needs not
        be.
        """
        _check_adoptable(header)
        self.header = header
        self._words = words
        self._tensors = ctypes.c_void_p()
        self._copy = c("gguf_init_empty")()
        parameters = GgufInitParams(True, ctypes.addressof(self._tensors))
        self._source = c("gguf_init_from_file")(os.fsencode(header.path), parameters)
        try:
            if not self._source:
                raise BadInputError(
                    f"{show(Path(header.path))} is damaged: its GGUF header does not parse; fetch it again"
                )
            self._n_rows = self._surplus_bytes = 0
            self._set_origin()
            self.pieces = self._add_tensors()
            self.filled = self._fill_keys()
            self._set_provenance()
        except BaseException:
            self.close()
            raise
        self._alignment = int(c("gguf_get_alignment")(self._copy))
        self.meta_bytes = self.padded(int(c("gguf_get_meta_size")(self._copy)) - self._surplus_bytes)
        self.size_bytes = self.meta_bytes + sum(self.padded(piece.size_bytes) for piece in self.pieces)
        if not words:
            self._forget_words()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_how: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the headers; safe to call twice."""
        for context in (self._source, self._copy):
            c("gguf_free")(context)
        c("ggml_free")(self._tensors)
        self._source = self._copy = None
        self._tensors = ctypes.c_void_p()

    @property
    def context(self) -> int:
        """The copy's gguf_context, to read or to use up."""
        assert self._copy is not None
        return int(self._copy)

    def as_header(self) -> ModelHeader:
        """What would be read of the copy, under the path and the fingerprint of the file it is made of."""
        return header_in(self.context, self.header, self.size_bytes)

    def meta(self) -> memoryview[int]:
        """The bytes of the copy's header."""
        assert self._words
        meta = ctypes.create_string_buffer(self.meta_bytes)
        c("gguf_get_meta_data")(self._copy, meta)
        return memoryview(meta).cast("B")

    def padded(self, size_bytes: int) -> int:
        """The room that a tensor of this size has in the copy."""
        return -(-size_bytes // self._alignment) * self._alignment

    def _add_tensors(self) -> tuple[Piece, ...]:
        """Add the text model's tensors to the copy, whose offsets ggml counts; where their bytes are in the file."""
        pieces, n_left_out, bytes_left_out = [], 0, 0
        data = int(c("gguf_get_data_offset")(self._source))
        for index in range(c("gguf_get_n_tensors")(self._source)):
            name = c("gguf_get_tensor_name")(self._source, index)
            size = int(c("gguf_get_tensor_size")(self._source, index))
            if name.startswith(tuple(prefix.encode() for prefix in VISION)):
                n_left_out, bytes_left_out = n_left_out + 1, bytes_left_out + size
                continue
            c("gguf_add_tensor")(self._copy, c("ggml_get_tensor")(self._tensors, name))
            pieces.append(Piece(data + int(c("gguf_get_tensor_offset")(self._source, index)), size))
        self.left_out = f"{n_left_out} vision tensors ({bytes_left_out / 1e9:.2f} GB)" if n_left_out else "nothing"
        return tuple(pieces)

    def _fill_keys(self) -> tuple[Filled, ...]:
        """Give the copy the file's keys, but for those of the vision model, and the missing ones."""
        source, copy = self._source, self._copy
        keys = [text(c("gguf_get_key")(source, index)) for index in range(c("gguf_get_n_kv")(source))]
        shapes = self._shapes()
        contents = Contents(self.header.metadata, frozenset(keys), shapes, self._token_id, self.header.known_as)
        filled = missing_keys(contents)
        for key in keys:
            # The copy has ggml's own alignment, whatever the file had, and says itself where it is from.
            if key.startswith((*VISION_KEYS, OWN_KEYS)) or key == "general.alignment":
                c("gguf_remove_key")(source, key.encode())
        c("gguf_set_kv")(copy, source)
        self._n_rows = shapes["token_embd.weight"][1]
        self._cut_vocabulary(self._n_rows)
        for item in filled:
            value = item.value.encode() if isinstance(item.value, str) else item.value
            c(f"gguf_set_val_{item.kind}")(copy, item.key.encode(), value)
        return filled

    def _cut_vocabulary(self, n_rows: int) -> None:
        """Leave out tokens the embedding has no row for: Ollama lists the image's, llama.cpp wants as many as rows."""
        for key in _TOKEN_LISTS:
            index = self._array(key)
            if index is None:
                continue
            n = int(c("gguf_get_arr_n")(self._source, index))
            if n < n_rows:
                raise self._odd(f"{n:,} entries in {key} for the {n_rows:,} rows of its embedding")
            if n > n_rows:
                if self._words or key != _TOKENS:
                    self._cut(key, index, n_rows)
                else:
                    surplus = (c("gguf_get_arr_str")(self._source, index, i) for i in range(n_rows, n))
                    self._surplus_bytes = sum(_LENGTH_BYTES + len(token) for token in surplus)
                if key == _TOKENS:
                    self.left_out += f", {n - n_rows} of {n:,} tokens, which the embedding has no row for"

    def _forget_words(self) -> None:
        """Put numbers in the place of the tokens' texts, as many."""
        if self._array(_TOKENS) is not None:
            c("gguf_set_arr_data")(self._copy, _TOKENS.encode(), _UINT8, bytes(self._n_rows), self._n_rows)

    def _array(self, key: str) -> int | None:
        """The index of an array, None where there is none; ggml would end the process over one of another type."""
        index = int(c("gguf_find_key")(self._source, key.encode()))
        if index < 0:
            return None
        if int(c("gguf_get_kv_type")(self._source, index)) != _ARRAY:
            raise self._odd(f"no list in {key}")
        if key == _TOKENS and int(c("gguf_get_arr_type")(self._source, index)) != _STRING:
            raise self._odd(f"no texts in {key}")
        return index

    def _odd(self, what: str) -> BadInputError:
        return BadInputError(f"{show(Path(self.header.path))} has {what}; that is not Ollama's layout of Gemma 3")

    def _cut(self, key: str, index: int, n: int) -> None:
        kind = int(c("gguf_get_arr_type")(self._source, index))
        if kind == _STRING:
            get = c("gguf_get_arr_str")
            values = (ctypes.c_char_p * n)(*(get(self._source, index, i) for i in range(n)))
            c("gguf_set_arr_str")(self._copy, key.encode(), values, n)
        else:
            data = c("gguf_get_arr_data")(self._source, index)
            c("gguf_set_arr_data")(self._copy, key.encode(), kind, data, n)

    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        shapes = {}
        for index in range(c("gguf_get_n_tensors")(self._copy)):
            ne = c("gguf_get_tensor_ne")(self._copy, index)
            shapes[text(c("gguf_get_tensor_name")(self._copy, index))] = (ne[0], ne[1], ne[2], ne[3])
        return shapes

    def _token_id(self, token: str) -> int | None:
        index = self._array(_TOKENS)
        if index is None:
            return None
        n = min(int(c("gguf_get_arr_n")(self._source, index)), _FIRST_TOKENS)
        wanted = token.encode()
        return next((i for i in range(n) if c("gguf_get_arr_str")(self._source, index, i) == wanted), None)

    def _set_origin(self) -> None:
        """Where the copy is from: its first keys, so that a few bytes of a file tell (stores/adopted.py)."""
        self._set_own(NAME_KEY, self.header.known_as or self.header.path.rpartition("/")[2])
        digest = blob_digest(self.header.path)
        if digest:
            self._set_own(DIGEST_KEY, digest)

    def _set_provenance(self) -> None:
        """What was done."""
        self._set_own(f"{OWN_KEYS}by", f"gemtop {__version__}")
        self._set_own(f"{OWN_KEYS}left_out", self.left_out)
        words = [str(item).encode() for item in self.filled]
        array = (ctypes.c_char_p * len(words))(*words)
        c("gguf_set_arr_str")(self._copy, f"{OWN_KEYS}filled".encode(), array, len(words))

    def _set_own(self, key: str, value: str) -> None:
        c("gguf_set_val_str")(self._copy, key.encode(), value.encode("utf-8", "replace"))


def _check_adoptable(header: ModelHeader) -> None:
    check_language_model(header)
    name = one_line(header.known_as or header.path)
    if header.architecture != "gemma3":
        raise BadInputError(f"{name} is {one_line(header.architecture)}; adopt is for Ollama's own layout of Gemma 3")
    if header.metadata.get("split.count", 1) != 1:
        raise BadInputError(f"{name} is split into parts, as Ollama's models are not; join them, or fetch a whole one")
    if not needs_adoption(header):
        raise BadInputError(f"{name} needs no adoption: llama.cpp loads it as it is")
