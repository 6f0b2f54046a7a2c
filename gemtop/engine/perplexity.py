"""Perplexity: how well a model predicts the tokens of a text that is given to it.

It is e to the power of the mean negative log-likelihood, in nats, of the counted tokens, each predicted from all
tokens before it. llama-perplexity (llama.cpp, tools/perplexity/perplexity.cpp) cuts a text into chunks as long as the
context, puts the beginning-of-text token in place of the first token of each, and counts the predictions made at
positions n // 2 to n - 2 of a chunk of n tokens, so that each has half a chunk before it. `first_counted` says so;
other parts of a text can be counted as well.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gemtop.domain.errors import GemtopError
from gemtop.engine.binding import llama, token_array

Nll = npt.NDArray[np.float64]
"""Negative log-likelihood, in nats, of each counted token."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    value: float
    standard_error: float
    """Of the value, from the spread of the tokens' log-likelihoods."""
    n_tokens: int
    """Tokens that were counted."""


def first_counted(n_tokens: int) -> int:
    """The first position of a chunk whose prediction llama-perplexity counts."""
    return n_tokens // 2


def clear(context: Any) -> None:
    """Empty a context."""
    llama.llama_memory_clear(llama.llama_get_memory(context), True)


def token_nll(
    context: Any, tokens: Sequence[int], first: int, on_progress: Callable[[float], None] = lambda _fraction: None
) -> Nll:
    """Negative log-likelihood of tokens[first + 1:], each given all tokens before it and what the context holds.

    Decodes the tokens into the context, behind what is in it, a batch (its n_batch) at a time; the logits of a batch
    take 4 bytes for each entry of the vocabulary and counted token in it. `on_progress` is told the share of the
    tokens that are done. Raises GemtopError where they cannot be decoded.
    """
    n_vocab = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(llama.llama_get_model(context))))
    n_batch = int(llama.llama_n_batch(context))
    found = np.empty(max(len(tokens) - 1 - first, 0))
    array = token_array(tokens)
    last = len(tokens) - 1  # nothing follows it: its prediction is of no use
    for begin in range(0, len(tokens), n_batch):
        end = min(begin + n_batch, len(tokens))
        _decode(context, array, begin, end, range(first, last))
        counted = range(max(begin, first), min(end, last))
        if counted:
            logits = np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(len(counted), n_vocab))
            targets = tokens[counted.start + 1 : counted.stop + 1]
            found[counted.start - first : counted.stop - first] = _nll(logits, targets)
        on_progress(end / len(tokens))
    return found


def perplexity(nll: Nll) -> Perplexity:
    """The perplexity of counted tokens. Its error is the mean's, sd / sqrt(n - 1), times the value."""
    n = len(nll)
    value = math.exp(min(float(nll.mean()), 700.0))
    spread = float(nll.std()) / math.sqrt(n - 1) if n > 1 else math.inf
    return Perplexity(value, value * spread, n)


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


def _nll(logits: npt.NDArray[np.float32], targets: Sequence[int]) -> Nll:
    """-log softmax(logits)[target] of each row, in float32 as the logits are, one row in the cache at a time."""
    found = np.empty(len(targets))
    scratch = np.empty(logits.shape[1], dtype=np.float32)
    for i, target in enumerate(targets):
        row = logits[i]
        highest = row.max()
        np.subtract(row, highest, out=scratch)
        np.exp(scratch, out=scratch)
        found[i] = math.log(float(scratch.sum())) - float(row[target] - highest)
    return found
