"""A text through a model in chunks: what it makes of each token, alone and against a baseline's predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.events import ScoreProgress, TextScored, TopTokens
from gemtop.domain.fidelity import Divergences, Likelihoods, check_length
from gemtop.engine import predictions
from gemtop.engine.binding import StopFlag, llama
from gemtop.engine.decode import Decoder, DecodeStopped
from gemtop.engine.model import LlamaModel
from gemtop.engine.perplexity import clear, counted_rows, first_counted, ln_sum_exp
from gemtop.engine.predictions import About, Predictions, Row, Writer
from gemtop.engine.protocol import EventSink, ScoreRequest

_HOST_BATCH = 128


class Scoring:
    """Scores texts on one context."""

    def __init__(self, model: LlamaModel, decoder: Decoder, stop: StopFlag) -> None:
        self._model, self._decoder, self._stop = model, decoder, stop

    def run(self, request: ScoreRequest, emit: EventSink) -> None:
        """Emit ScoreProgress after each chunk, and TextScored at the end."""
        try:
            emit(self._score(request, emit))
        except DecodeStopped:
            emit(TextScored("cancelled"))
        except GemtopError as error:
            stopped = self._stop.is_set()  # llama_decode breaks off in the middle of a batch
            emit(TextScored("cancelled") if stopped else TextScored("failed", str(error)))
        finally:
            self._decoder.clear()

    def _score(self, request: ScoreRequest, emit: EventSink) -> TextScored:
        n_ctx = request.n_ctx
        if n_ctx > self._model.n_ctx:
            raise BadInputError(f"chunks of {n_ctx:,} tokens do not fit into a context of {self._model.n_ctx:,}")
        tokens = self._model.tokenize(request.text, begin=True, special=False)
        check_length(len(tokens), n_ctx)
        n_chunks = min(request.n_chunks or len(tokens) // n_ctx, len(tokens) // n_ctx)
        tokens = tokens[: n_chunks * n_ctx]
        about = self._about(tokens, n_ctx, n_chunks)
        baselines = [_baseline(path, about) for path in request.baselines]
        known = [baseline for baseline in baselines if isinstance(baseline, Predictions)]
        writer = Writer(request.keep, about) if request.keep else None
        found = _Found()
        try:
            with ThreadPoolExecutor(self._model.info.n_threads_batch, "gemtop-score") as pool:
                for number in range(n_chunks):
                    chunk = tokens[number * n_ctx : (number + 1) * n_ctx]
                    part = _Chunk(chunk, number, about, known, writer)
                    self._decode(chunk, part, pool)
                    if writer is not None:
                        writer.write(part.kept)
                    found.add(part)
                    emit(ScoreProgress(number + 1, n_chunks, found.perplexity))
            if writer is not None:
                writer.finish()
        except BaseException:
            if writer is not None:
                writer.give_up()
            raise
        far = iter(found.divergences(len(known)))
        divergences = tuple(baseline if isinstance(baseline, str) else next(far) for baseline in baselines)
        return TextScored("finished", likelihoods=found.likelihoods(about), divergences=divergences)

    def _about(self, tokens: list[int], n_ctx: int, n_chunks: int) -> About:
        info = self._model.info
        return About(
            model_fingerprint=info.header.fingerprint,
            model_name=info.header.name,
            variant=info.classification.variant,
            n_vocab=self._model.n_vocab,
            n_ctx=n_ctx,
            n_chunks=n_chunks,
            n_rows=n_ctx - 1 - first_counted(n_ctx),
            tokens_sha256=predictions.tokens_sha256(tokens),
            n_top=min(predictions.N_TOP, self._model.n_vocab // 2),
            n_drawn=predictions.N_DRAWN,
        )

    def _decode(self, chunk: list[int], part: _Chunk, pool: ThreadPoolExecutor) -> None:
        """Decode a chunk, and have the rows of each batch worked on by several threads."""
        vocab = self._model.vocab
        if llama.llama_vocab_get_add_bos(vocab):
            chunk = [int(llama.llama_vocab_bos(vocab)), *chunk[1:]]
        clear(self._model.context)
        # On the CPU smaller batches cost nothing, and their logits take less memory; a card wants larger ones.
        most = None if self._model.info.devices else _HOST_BATCH
        for position, logits in counted_rows(self._model.context, chunk, first_counted(len(chunk)), most):
            workers = min(self._model.info.n_threads_batch, len(logits))
            shares = [range(i, len(logits), workers) for i in range(workers)]
            for _ in pool.map(lambda share, at=position, rows=logits: part.work(at, rows, share), shares):
                pass
            if self._stop.is_set():
                raise DecodeStopped("cancelled")

    def top_tokens(self, tokens: tuple[int, ...], count: int, emit: EventSink) -> None:
        """Emit TopTokens: the most likely tokens to follow, with their probabilities."""
        if len(tokens) >= self._model.n_ctx:
            emit(TopTokens((), f"{len(tokens):,} tokens do not fit into a context of {self._model.n_ctx:,}"))
            return
        self._decoder.clear()
        try:
            self._decoder.prefill(tokens, self._model.info.n_batch, self._check_stop, logits=True)
            row = np.ctypeslib.as_array(
                llama.llama_get_logits_ith(self._model.context, -1), shape=(self._model.n_vocab,)
            )
            ln_sum = ln_sum_exp(row, np.empty_like(row))
            best = np.argpartition(row, -count)[-count:]
            best = best[np.argsort(-row[best], kind="stable")]
            emit(
                TopTokens(
                    tuple(
                        (int(i), self._model.piece(int(i)).decode("utf-8", "replace"), math.exp(float(row[i]) - ln_sum))
                        for i in best
                    )
                )
            )
        except DecodeStopped:
            emit(TopTokens((), "stopped"))
        except GemtopError as error:
            emit(TopTokens((), str(error)))
        finally:
            self._decoder.clear()

    def _check_stop(self, _done: int) -> None:
        if self._stop.is_set():
            raise DecodeStopped("cancelled")


def _baseline(path: Path, about: About) -> Predictions | str:
    """A baseline's predictions of the same tokens in the same chunks, or why they are none."""
    try:
        found = Predictions(path)
    except BadInputError as error:
        return str(error)
    theirs = found.about
    if (theirs.n_vocab, theirs.tokens_sha256) == (about.n_vocab, about.tokens_sha256):
        return found
    if (theirs.n_ctx, theirs.n_chunks) != (about.n_ctx, about.n_chunks):
        return (
            f"the baseline's predictions are of {theirs.n_chunks} chunks of {theirs.n_ctx:,} tokens, not of"
            f" {about.n_chunks} of {about.n_ctx:,}"
        )
    return "its tokenizer makes other tokens of the text than the baseline's"


class _Apart:
    """How far a chunk's predictions are from a baseline's, a value for each counted position."""

    def __init__(self, records: npt.NDArray[Any]) -> None:
        self._records = records
        self.baseline_nll = records["nll"]
        self.kl, self.kl_error = np.zeros(len(records)), np.zeros(len(records))
        self.same_top = np.zeros(len(records), dtype=bool)

    def work(self, at: int, row: Row, ln_sum: float, n_top: int) -> None:
        record = self._records[at]
        self.kl[at], self.kl_error[at] = predictions.divergence(record, row, ln_sum, n_top)
        self.same_top[at] = row.argmax() == record["token"][0]


class _Chunk:
    """What is found in one chunk, a value for each counted position; rows are worked on by several threads."""

    def __init__(
        self, tokens: list[int], number: int, about: About, baselines: Sequence[Predictions], writer: Writer | None
    ) -> None:
        self._tokens, self._about, self._first = tokens, about, first_counted(len(tokens))
        self._position = number * about.n_rows
        self.nll = np.zeros(about.n_rows)
        self.apart = [_Apart(baseline.chunk(number)) for baseline in baselines]
        kind = predictions.record_type(about.n_top, about.n_drawn)
        self.kept: npt.NDArray[Any] = np.zeros(0 if writer is None else about.n_rows, dtype=kind)

    def work(self, position: int, logits: npt.NDArray[np.float32], rows: range) -> None:
        """Rows of a batch of logits whose first is of this position in the chunk."""
        scratch = np.empty(logits.shape[1], dtype=np.float32)
        n_top = self._about.n_top
        for i in rows:
            row, at = logits[i], position + i - self._first
            ln_sum = ln_sum_exp(row, scratch)
            self.nll[at] = ln_sum - float(row[self._tokens[position + i + 1]])
            for apart in self.apart:
                apart.work(at, row, ln_sum, n_top)
            if len(self.kept):
                # What is left in the scratch row is in proportion to the probabilities.
                predictions.keep(row, scratch, ln_sum, self.nll[at], self._position + at, self.kept[at], n_top)


class _Found:
    """What was found in the chunks so far."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []

    def add(self, chunk: _Chunk) -> None:
        chunk.kept = chunk.kept[:0]
        self._chunks.append(chunk)

    @property
    def perplexity(self) -> float:
        return float(np.exp(min(self._all(lambda chunk: chunk.nll).mean(), 700.0)))

    def likelihoods(self, about: About) -> Likelihoods:
        return Likelihoods(about.n_ctx, about.n_chunks, self._all(lambda chunk: chunk.nll).tolist())

    def divergences(self, count: int) -> list[Divergences]:
        """From each of so many baselines."""

        def values(number: int, name: str) -> Any:
            return self._all(lambda chunk: getattr(chunk.apart[number], name)).tolist()

        names = Divergences.__slots__
        return [Divergences(**{name: values(number, name) for name in names}) for number in range(count)]

    def _all(self, of: Callable[[_Chunk], Any]) -> Any:
        return np.concatenate([of(chunk) for chunk in self._chunks])
