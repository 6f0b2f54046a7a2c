"""Predictions of the tokens of a text that is given to a model, each from all tokens before it.

llama-perplexity (llama.cpp, tools/perplexity/perplexity.cpp) cuts a text into chunks as long as the
context, puts the beginning-of-text token in place of the first token of each, and counts the predictions made at
positions n // 2 to n - 2 of a chunk of n tokens, so that each has half a chunk before it. `first_counted` says so;
other parts of a text can be counted as well.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gemtop.domain.errors import GemtopError
from gemtop.engine.binding import llama, token_array

Nll = npt.NDArray[np.float64]
"""Negative log-likelihood, in nats, of each counted token."""
Logits = npt.NDArray[np.float32]
"""A row for each counted token."""
Row = npt.NDArray[np.float32]
_NO_ROWS: Logits = np.empty((0, 0), dtype=np.float32)


def first_counted(n_tokens: int) -> int:
    """The first position of a chunk whose prediction llama-perplexity counts."""
    return n_tokens // 2


def clear(context: Any) -> None:
    """Empty a context."""
    llama.llama_memory_clear(llama.llama_get_memory(context), True)


def counted_rows(
    context: Any, tokens: Sequence[int], first: int, most: int | None = None
) -> Iterator[tuple[int, Logits]]:
    """The predictions made at positions `first` to the last but one, as (position of the first row, rows) a batch.

    Decodes the tokens into the context, behind what is in it, a batch (its n_batch, or `most`) at a time; the logits
    of a batch take 4 bytes for each entry of the vocabulary and counted token in it, and are there until the next
    batch. A batch without a counted token has none. Raises GemtopError where they cannot be decoded.
    """
    n_vocab = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(llama.llama_get_model(context))))
    n_batch = min(int(llama.llama_n_batch(context)), most or len(tokens))
    array = token_array(tokens)
    last = len(tokens) - 1  # nothing follows it: its prediction is of no use
    for begin in range(0, len(tokens), n_batch):
        end = min(begin + n_batch, len(tokens))
        _decode(context, array, begin, end, range(first, last))
        counted = range(max(begin, first), min(end, last))
        if counted:
            yield counted.start, np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(len(counted), n_vocab))
        else:
            yield min(end, last), _NO_ROWS


def token_nll(
    context: Any, tokens: Sequence[int], first: int, on_progress: Callable[[float], None] = lambda _fraction: None
) -> Nll:
    """Negative log-likelihood of tokens[first + 1:], each given all tokens before it and what the context holds.

    `on_progress` is told the share of the tokens that are done. Raises GemtopError where they cannot be decoded.
    """
    found = np.empty(max(len(tokens) - 1 - first, 0))
    scratch: Row | None = None
    for position, logits in counted_rows(context, tokens, first):
        for i, row in enumerate(logits, position):
            scratch = np.empty_like(row) if scratch is None else scratch
            found[i - first] = ln_sum_exp(row, scratch) - float(row[tokens[i + 1]])
        on_progress((position + len(logits)) / (len(tokens) - 1))
    return found


def _decode(context: Any, array: Any, begin: int, end: int, counted: range) -> None:
    """Decode tokens[begin:end], with logits where they are counted."""
    n = end - begin
    flags = (ctypes.c_int8 * n)(*(position in counted for position in range(begin, end)))
    batch = llama.llama_batch()
    batch.n_tokens = n
    batch.token = ctypes.cast(
        ctypes.byref(array, begin * ctypes.sizeof(llama.llama_token)), ctypes.POINTER(llama.llama_token)
    )
    batch.logits = ctypes.cast(flags, ctypes.POINTER(ctypes.c_int8))
    result = llama.llama_decode(context, batch)
    if result != 0:
        raise GemtopError(f"llama.cpp could not decode (llama_decode returned {result}); its log says why")
    llama.llama_synchronize(context)


def ln_sum_exp(row: Row, scratch: Row) -> float:
    """ln of the sum of e to the power of each logit, in float32 as the logits are.

    `scratch` is a row to work in: it is left with e to the power of each logit's distance from the highest.
    """
    highest = row.max()
    np.subtract(row, highest, out=scratch)
    np.exp(scratch, out=scratch)
    return math.log(float(scratch.sum())) + float(highest)
