"""Perplexity of real weights, against the same worked out from llama.cpp's logits token by token."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gemtop.domain.settings import OffloadSettings
from gemtop.engine.adopt_text import BETWEEN, PAGE
from gemtop.engine.binding import llama, token_array
from gemtop.engine.log import EngineLog
from gemtop.engine.params import ModelParams
from gemtop.engine.perplexity import clear, first_counted, token_nll

N_TOKENS = 64


@pytest.fixture(scope="module")
def model(model_path: str) -> Iterator[Any]:
    EngineLog(lambda _line: None).install()
    llama.llama_backend_init()
    # By name: the registry of this process may hold devices of RPC servers that have gone.
    params = ModelParams(OffloadSettings(n_gpu_layers=0, devices=("none",)))
    loaded = llama.llama_model_load_from_file(model_path.encode(), params.struct)
    yield loaded
    llama.llama_model_free(loaded)


def context(model: Any, n_batch: int) -> Any:
    params = llama.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = 128, n_batch, n_batch
    return llama.llama_init_from_model(model, params)


def all_logits(context: Any, text: list[int]) -> Any:
    """Logits of every position, decoded in one batch."""
    n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(llama.llama_get_model(context)))
    clear(context)
    array = token_array(text)
    batch = llama.llama_batch_get_one(array, len(text))
    wanted = (ctypes.c_int8 * len(text))(*[1] * len(text))
    batch.logits = ctypes.cast(wanted, ctypes.POINTER(ctypes.c_int8))
    assert llama.llama_decode(context, batch) == 0
    return np.ctypeslib.as_array(llama.llama_get_logits(context), shape=(len(text), n_vocab)).copy()


def tokens(model: Any) -> list[int]:
    buffer = (llama.llama_token * 512)()
    text = (PAGE + BETWEEN).encode()
    n = llama.llama_tokenize(llama.llama_model_get_vocab(model), text, len(text), buffer, 512, True, False)
    assert n >= N_TOKENS
    return list(buffer[:N_TOKENS])


def test_each_token_is_predicted_from_all_before_it(model: Any) -> None:
    text = tokens(model)
    whole = context(model, 128)
    told: list[float] = []
    nll = token_nll(whole, text, first_counted(N_TOKENS), told.append)
    assert len(nll) == N_TOKENS - N_TOKENS // 2 - 1
    assert told == [1.0]

    expected = []
    logits = all_logits(whole, text)
    llama.llama_free(whole)
    for position in range(N_TOKENS // 2, N_TOKENS - 1):
        row = logits[position].astype(np.float64)
        highest = row.max()
        expected.append(highest + math.log(np.exp(row - highest).sum()) - row[text[position + 1]])
    assert nll == pytest.approx(np.array(expected), abs=1e-4)


def test_the_batch_makes_no_difference(model: Any) -> None:
    text = tokens(model)
    found = []
    for n_batch in (128, 28):  # of three batches the second counts from its middle
        own = context(model, n_batch)
        found.append(token_nll(own, text, 35))
        llama.llama_free(own)
    assert len(found[0]) == N_TOKENS - 36
    assert found[0].mean() == pytest.approx(found[1].mean(), rel=0.03)  # other kernels round otherwise
    assert np.corrcoef(found[0], found[1])[0, 1] > 0.99


def test_what_the_context_holds_comes_before(model: Any) -> None:
    text = tokens(model)
    own = context(model, 128)
    whole = token_nll(own, text, 44)
    clear(own)
    assert len(token_nll(own, text[:24], 23)) == 0
    assert token_nll(own, text[24:], 20).mean() == pytest.approx(whole.mean(), rel=0.03)
    llama.llama_free(own)
