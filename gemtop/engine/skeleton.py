"""A model's file without its vocabulary and its weights: what llama.cpp needs to say how much memory it would take.

Reading the 262,144 tokens of Gemma's vocabulary takes most of a load without weights. So the planner loads a copy
of the header that has none. Both the copy and the hole where the weights would be are in memory alone, where the
hole takes no room.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from gemtop.engine.binding import c, text


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where a tensor's bytes are: in which part of the model, from where, how many."""

    part: int
    offset: int
    size_bytes: int


class Skeleton:
    """The skeletons of a model's parts as files without a name, to be closed, and the places of its real tensors."""

    def __init__(self) -> None:
        self.places: dict[str, FilePlace] = {}
        self._files: list[int] = []

    @property
    def paths(self) -> tuple[str, ...]:
        """Where llama.cpp finds the parts, in this process."""
        return tuple(f"/proc/self/fd/{file}" for file in self._files)

    def add_part(self, context: int) -> None:
        """Make the skeleton of the next part out of its header, a gguf_context, which loses its vocabulary.

        Raises OSError where it cannot be written.
        """
        # A header that was made, not read, has no offset yet: its tensors will follow it.
        data, end = int(c("gguf_get_data_offset")(context) or c("gguf_get_meta_size")(context)), 0
        for index in range(c("gguf_get_n_tensors")(context)):
            size, offset = (int(c(f"gguf_get_tensor_{what}")(context, index)) for what in ("size", "offset"))
            name = text(c("gguf_get_tensor_name")(context, index))
            self.places[name] = FilePlace(len(self._files), data + offset, size)
            end = max(end, offset + size)
        _leave_out_vocabulary(context)
        self._files.append(os.memfd_create("gemtop-skeleton"))
        if not c("gguf_write_to_file")(context, self.paths[-1].encode(), True):
            raise OSError("the header cannot be copied")
        alignment = int(c("gguf_get_alignment")(context))
        os.truncate(self._files[-1], os.fstat(self._files[-1]).st_size + -(-end // alignment) * alignment)

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _leave_out_vocabulary(context: int) -> None:
    """A model without a vocabulary has to say for how many tokens its embedding is."""
    tokens, named = (c("gguf_find_key")(context, key) for key in (b"tokenizer.ggml.tokens", b"general.architecture"))
    if tokens < 0 or named < 0:
        return  # a further part of a split model, or one that llama.cpp will refuse
    architecture = text(c("gguf_get_val_str")(context, named))
    n_tokens = c("gguf_get_arr_n")(context, tokens)
    for index in reversed(range(c("gguf_get_n_kv")(context))):
        key = c("gguf_get_key")(context, index)
        if key.startswith(b"tokenizer."):
            c("gguf_remove_key")(context, key)
    c("gguf_set_val_str")(context, b"tokenizer.ggml.model", b"no_vocab")
    c("gguf_set_val_u32")(context, f"{architecture}.vocab_size".encode(), n_tokens)
