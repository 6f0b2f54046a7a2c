"""The decode loop: a prompt in, timestamped tokens out."""

from __future__ import annotations

import codecs
import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.events import (
    GenerateRequest,
    PrefillProgress,
    RunFinished,
    RunStarted,
    RunStatus,
    StopReason,
    TokenGenerated,
)
from gemtop.engine import binding
from gemtop.engine.binding import llama
from gemtop.engine.model import LlamaModel
from gemtop.engine.protocol import EventSink
from gemtop.engine.sampling import Sampler, make_sampler

_OK, _NO_SLOT, _ABORTED = 0, 1, 2
"""What llama_decode returns; anything else is a failure."""


class DecodeStopped(Exception):
    """llama_decode did not finish: the user stopped it, or the context is full."""

    def __init__(self, reason: StopReason) -> None:
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ContextContent:
    """What a context holds, enough to fill another with the same."""

    tokens: tuple[int, ...]
    text: str | None
    """Their text, where a longer text may be built upon it; None where it is not known to the letter."""


class Decoder:
    """Decodes tokens into one context and knows what its KV cache holds."""

    def __init__(self, model: LlamaModel, stop: binding.StopFlag) -> None:
        self._model = model
        self._stop = stop
        self._one = binding.token_array([0])
        self._one_batch = _batch(self._one, 1, None)
        self._tokens: list[int] = []
        """Tokens in the context, one for each position of `n_past`."""
        self._sampled: tuple[int, str] | None = None
        """The last token of a run that ended before it was decoded, and its text."""
        self._text: str | None = None
        """The text of `_tokens`; None when it is not known to the letter."""
        self._sound = True
        """The context holds `_tokens` and nothing else; false once a decode has failed half-way."""

    @property
    def n_past(self) -> int:
        """Tokens in the context."""
        return len(self._tokens)

    def clear(self) -> None:
        """Empty the context."""
        llama.llama_memory_clear(llama.llama_get_memory(self._model.context), False)
        self._tokens.clear()
        self._text, self._sampled, self._sound = None, None, True

    def content(self) -> ContextContent:
        """What the context holds, with the token that was sampled last."""
        if self._sampled is None:
            return ContextContent(tuple(self._tokens), self._text)
        token, piece = self._sampled
        return ContextContent((*self._tokens, token), None if self._text is None else self._text + piece)

    def refill(self, content: ContextContent, emit: EventSink) -> None:
        """Decode what another context held, as a run of kind apply; `generate` may resume from there.

        What was decoded before a cancel stays nowhere: half of a conversation is none.
        """
        self.clear()
        emit(RunStarted(time.monotonic_ns(), content.tokens, 0, None, "apply"))
        try:
            if content.tokens:
                self._prefill_in_steps(content.tokens, emit)
            self._text = content.text
            emit(RunFinished(time.monotonic_ns(), "finished", "length", self.n_past))
        except DecodeStopped as stopped:
            self.clear()
            emit(RunFinished(time.monotonic_ns(), "cancelled", stopped.reason, 0))

    def prefill(self, tokens: Sequence[int], chunk: int, on_chunk: Callable[[int], None], *, logits: bool) -> None:
        """Decode a prompt in pieces of `chunk` tokens, synchronised after each.

        `on_chunk` is told how many are done; logits are computed for the last token only, if asked for.
        """
        array = binding.token_array(tokens)
        for begin in range(0, len(tokens), chunk):
            n = min(chunk, len(tokens) - begin)
            piece = ctypes.cast(ctypes.byref(array, begin * ctypes.sizeof(llama.llama_token)), _TOKEN_P)
            last = begin + n == len(tokens)
            flags = (ctypes.c_int8 * n)()
            flags[n - 1] = 1 if last and logits else 0
            self._decode(_batch(piece, n, flags))
            llama.llama_synchronize(self._model.context)
            self._tokens.extend(tokens[begin : begin + n])
            on_chunk(begin + n)

    def step(self, token: int) -> None:
        """Decode one token; its logits are ready for the sampler."""
        self._one[0] = token
        self._decode(self._one_batch)
        self._tokens.append(token)

    def _decode(self, batch: Any) -> None:
        result = llama.llama_decode(self._model.context, batch)
        if result == _OK:
            return
        # What part of the batch went in is llama.cpp's secret: the cache is not built upon any more.
        self._sound = False
        if result == _ABORTED or self._stop.is_set():
            raise DecodeStopped("cancelled")
        if result == _NO_SLOT:
            raise DecodeStopped("context_full")
        raise GemtopError(f"llama.cpp could not decode (llama_decode returned {result}); its log says why")

    # A run

    def generate(self, request: GenerateRequest, emit: EventSink) -> None:
        """Run a prompt and say what happens to `emit`. Raises GemtopError for what cannot be run at all."""
        tokens = self._resumed_tokens() if request.resume else self._new_tokens(self._prompt_text(request))
        sampler = make_sampler(request.sampling, self._model.n_vocab)
        try:
            emit(RunStarted(time.monotonic_ns(), tuple(tokens), self.n_past, sampler.seed))
            self._run(request, tokens, sampler, emit)
        finally:
            sampler.close()

    def _prompt_text(self, request: GenerateRequest) -> str:
        if not request.prompt.strip():
            raise BadInputError("the prompt is empty; give some text")
        if request.raw or not self._model.info.chat_template:
            return request.prompt
        turns = [turn for user, answer in request.history for turn in (("user", user), ("assistant", answer))]
        return self._model.chat_text([*turns, ("user", request.prompt)])

    def _new_tokens(self, text: str) -> list[int]:
        """What is to be decoded for `text`: all of it, or what it adds to what the context already holds."""
        cached = self._text if self._sound else None
        if cached and len(text) > len(cached) and text.startswith(cached):
            tokens = self._model.tokenize(text[len(cached) :], begin=False)
        else:
            self.clear()
            tokens = self._model.tokenize(text, begin=True)
        if self.n_past + len(tokens) > self._model.n_ctx:
            total, n_ctx = self.n_past + len(tokens), self._model.n_ctx
            raise BadInputError(
                f"the prompt is too long: {total:,} tokens in a context of {n_ctx:,}; shorten it or raise -c"
            )
        self._text = text
        return tokens

    def _resumed_tokens(self) -> list[int]:
        """What is to be decoded to go on from what the context holds: its last token once more, for its logits."""
        content = self.content()
        if not content.tokens or not self._sound:
            raise BadInputError("there is nothing to go on with; give a prompt")
        if self._sampled is None:
            last = self._tokens.pop()
            memory = llama.llama_get_memory(self._model.context)
            llama.llama_memory_seq_rm(memory, 0, self.n_past, -1)
            return [last]
        self._text = content.text
        return [self._sampled[0]]

    def _prefill_in_steps(self, tokens: Sequence[int], emit: EventSink) -> None:
        """Decode a prompt in micro-batches, saying how far it is."""
        chunk = min(self._model.info.n_ubatch, self._model.info.n_batch)
        self.prefill(tokens, chunk, lambda n: emit(PrefillProgress(time.monotonic_ns(), n)), logits=True)

    def _run(self, request: GenerateRequest, tokens: list[int], sampler: Sampler, emit: EventSink) -> None:
        output: list[str] = []
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        whole, self._text, self._sampled = self._text, None, None
        text: str | None = None
        status: RunStatus = "finished"
        reason: StopReason
        message = None
        try:
            self._prefill_in_steps(tokens, emit)
            text = whole
            reason = self._generate_tokens(request.n_predict, sampler, utf8, output, emit)
        except DecodeStopped as stopped:
            reason = stopped.reason
        except GemtopError as error:
            reason, status, message = "error", "failed", str(error)
        if reason == "cancelled":
            status = "cancelled"
        rest = utf8.decode(b"", True)
        if text is not None and not rest:
            decoded = output[:-1] if self._sampled else output
            self._text = text + "".join(decoded)
        emit(RunFinished(time.monotonic_ns(), status, reason, self.n_past, message, rest))

    def _generate_tokens(
        self,
        n_predict: int,
        sampler: Sampler,
        utf8: codecs.IncrementalDecoder,
        output: list[str],
        emit: EventSink,
    ) -> StopReason:
        model, clock, n_ctx = self._model, time.monotonic_ns, self._model.n_ctx
        context, stop = model.context, self._stop
        n = 0
        while n_predict < 0 or n < n_predict:
            if stop.is_set():
                return "cancelled"
            token = sampler.sample(context)
            t_ns = clock()
            if model.is_end_of_generation(token):
                return "end_of_generation"
            piece = utf8.decode(model.piece(token))
            output.append(piece)
            self._sampled = (token, piece)
            emit(TokenGenerated(t_ns, token, piece))
            n += 1
            if n == n_predict:
                break
            if self.n_past >= n_ctx:
                return "context_full"
            self.step(token)
            self._sampled = None
        return "length"


_TOKEN_P = ctypes.POINTER(llama.llama_token)
_FLAG_P = ctypes.POINTER(ctypes.c_int8)


def _batch(tokens: Any, n: int, logits: Any) -> Any:
    """A batch of one sequence whose positions llama.cpp counts itself; it lives as long as its arrays."""
    batch = llama.llama_batch()
    batch.n_tokens = n
    batch.token = ctypes.cast(tokens, _TOKEN_P)
    if logits is not None:
        batch.logits = ctypes.cast(logits, _FLAG_P)
    return batch
