"""Choosing the next token: greedy over the logits, or llama.cpp's sampler chain."""

from __future__ import annotations

import ctypes
import secrets
from typing import Any, Protocol

import numpy as np

from gemtop.domain.settings import SamplingSettings
from gemtop.engine.binding import llama

_DRAW_ONE = 0xFFFFFFFF
"""The seed for which llama.cpp draws one itself and keeps it secret: it would not repeat a run."""


class Sampler(Protocol):
    @property
    def seed(self) -> int | None:
        """What the draw began with; None for greedy."""

    def sample(self, context: Any) -> int:
        """The next token from the logits of the last decoded one."""

    def close(self) -> None: ...


class GreedySampler:
    """The most likely token, by numpy: a fifth of the time llama.cpp's sampler takes over 262,144 logits."""

    seed: int | None = None

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._views: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}

    def sample(self, context: Any) -> int:
        pointer = llama.llama_get_logits_ith(context, -1)
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        if address is None:
            raise RuntimeError("llama.cpp has no logits for the last token")
        view = self._views.get(address)
        if view is None:
            view = np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))
            self._views[address] = view
        return int(view.argmax())

    def close(self) -> None:
        self._views.clear()


class ChainSampler:
    """top-k, top-p, min-p, temperature, then a draw: the order of llama.cpp's own tools."""

    def __init__(self, settings: SamplingSettings) -> None:
        wanted = None if settings.seed is None else settings.seed & _DRAW_ONE
        self.seed: int | None = secrets.randbelow(_DRAW_ONE) if wanted in (None, _DRAW_ONE) else wanted
        self._chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        for link in (
            llama.llama_sampler_init_top_k(settings.top_k),
            llama.llama_sampler_init_top_p(settings.top_p, 0),
            llama.llama_sampler_init_min_p(settings.min_p, 0),
            llama.llama_sampler_init_temp(settings.temperature),
            llama.llama_sampler_init_dist(self.seed),
        ):
            llama.llama_sampler_chain_add(self._chain, link)

    def sample(self, context: Any) -> int:
        return int(llama.llama_sampler_sample(self._chain, context, -1))

    def close(self) -> None:
        if self._chain:
            llama.llama_sampler_free(self._chain)
            self._chain = None


def make_sampler(settings: SamplingSettings, n_vocab: int) -> Sampler:
    return GreedySampler(n_vocab) if settings.greedy else ChainSampler(settings)
