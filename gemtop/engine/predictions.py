"""A model's predictions of a text in a compact file, to hold other models against without running it again.

For every counted token it keeps the most likely entries of the vocabulary exactly, the probability of all others
together, and some of those others drawn with their own probability. The KL divergence of another model q is then

    sum over the top of p ln(p / q)  +  P ln(P / Q)  +  P E[r - 1 - ln r],    r = (q / Q) / (p / P)

with P and Q the probability that p and q give to the rest. The first two terms are exact. The last, the divergence
within the rest, is a mean over the drawn entries: none of its terms is negative and, where the models are near each
other, each is of second order, so that few draws tell it well; their spread gives its standard error. (The form
r - 1 - ln r of -ln r has the mean of r, which is known to be 1, taken off: a control variate.)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.text import one_line
from gemtop.engine.perplexity import ln_sum_exp

Floats = npt.NDArray[np.float64]
Row = npt.NDArray[np.float32]

FORMAT = 1
N_TOP = 1024
N_DRAWN = 64
"""Entries kept of each prediction: 8.7 KB, where llama-perplexity keeps 512 KB for Gemma's vocabulary."""
_HEADER_BYTES = 4096
_LEAST_REST = 1e-12
_LEAST_BY_DIFFERENCE = 1e-3
"""A smaller rest is added up: logits are float32, and 1 - the top's probability is then mostly rounding."""
_BLOCK = 256
_BELOW_ALL = 1 - 1e-12
"""Keeps a draw below the sum of all weights, however it was rounded."""


@dataclass(frozen=True, slots=True)
class About:
    """What a file of predictions is of."""

    model_fingerprint: str
    model_name: str
    variant: str
    n_vocab: int
    n_ctx: int
    n_chunks: int
    n_rows: int
    """Counted tokens of a chunk."""
    tokens_sha256: str
    """Of the text's tokens as this model's tokenizer makes them."""
    n_top: int
    n_drawn: int


def tokens_sha256(tokens: Sequence[int]) -> str:
    return hashlib.sha256(np.asarray(tokens, dtype="<i4").tobytes()).hexdigest()


def record_type(n_top: int, n_drawn: int) -> np.dtype[Any]:
    """One prediction on the disk. Entries are the top, the most likely first, then the drawn ones."""
    entries = n_top + n_drawn
    return np.dtype(
        [("nll", "<f8"), ("rest", "<f8"), ("token", "<i4", (entries,)), ("ln_p", "<f4", (entries,))]
    )  # fmt: skip


def keep(row: Row, weights: Row, ln_sum: float, nll: float, position: int, into: Any, n_top: int) -> None:
    """Fill one record from a row of logits whose log-sum-exp is known. The same row gives the same record.

    `weights` are the probabilities over the highest of them, and are changed; `position` in the text seeds the draws.
    """
    top = np.argpartition(row, -n_top)[-n_top:]
    top = top[np.argsort(-row[top], kind="stable")]
    weights[top] = 0.0
    drawn, rest = _drawn(weights, len(into["token"]) - n_top, np.random.default_rng(position))
    into["token"][:n_top], into["token"][n_top:] = top, drawn
    into["ln_p"][:] = row[into["token"]].astype(np.float64) - ln_sum
    into["nll"], into["rest"] = nll, rest * np.exp(float(row[top[0]]) - ln_sum)


def _drawn(weights: Row, count: int, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], float]:
    """So many places, each drawn with its own weight: one from each of equal parts of the whole; and all weight.

    No draw depends on another, and they spread better than at will. The part a draw falls in is looked for among the
    sums of blocks first, so that one block is added up and not all weights.
    """
    edges = np.arange(0, len(weights), _BLOCK)
    sums = np.add.reduceat(weights, edges).astype(np.float64)
    reached = np.cumsum(sums)
    points = (np.arange(count) + random.random(count)) * (reached[-1] * _BELOW_ALL / count)
    blocks = np.minimum(np.searchsorted(reached, points, side="right"), len(edges) - 1)
    places = edges[blocks, None] + np.arange(_BLOCK)
    last = len(weights) - 1
    within = np.cumsum(np.where(places <= last, weights[np.minimum(places, last)], 0.0), axis=1, dtype=np.float64)
    left = np.minimum(points - (reached - sums)[blocks], within[:, -1] * _BELOW_ALL)
    found: npt.NDArray[np.int64] = np.minimum(edges[blocks] + (within <= left[:, None]).sum(axis=1), last)
    return found, float(reached[-1])


def divergence(record: Any, row: Row, ln_sum: float, n_top: int) -> tuple[float, float]:
    """KL divergence of a row of logits from a kept prediction, in nats, and its standard error by the draws."""
    ln_p = record["ln_p"].astype(np.float64)
    ln_q = row[record["token"]].astype(np.float64) - ln_sum
    p = np.exp(ln_p[:n_top])
    top = float(p @ (ln_p[:n_top] - ln_q[:n_top]))
    rest_p = float(record["rest"])
    if rest_p <= _LEAST_REST:
        return top, 0.0
    rest_q = 1.0 - float(np.exp(ln_q[:n_top]).sum())
    ln_rest_q = np.log(rest_q) if rest_q > _LEAST_BY_DIFFERENCE else _ln_rest(row, record["token"][:n_top]) - ln_sum
    ln_rest = np.log(rest_p) - ln_rest_q
    ln_r = ln_q[n_top:] - ln_p[n_top:] + ln_rest
    terms = np.expm1(ln_r) - ln_r
    within = rest_p * float(terms.mean())
    error = rest_p * float(terms.std(ddof=1)) / np.sqrt(len(terms))
    return top + rest_p * float(ln_rest) + within, float(error)


def _ln_rest(row: Row, top: npt.NDArray[np.int32]) -> float:
    """ln of the sum of e to the power of each logit but the top's, however far below those it is."""
    others = row.copy()
    others[top] = -np.inf
    return ln_sum_exp(others, others)


class Writer:
    """Makes a file of predictions, under another name until it is whole."""

    def __init__(self, path: Path, about: About) -> None:
        """Raises GemtopError where it cannot be written."""
        self._path, self._part = path, path.with_name(f"{path.name}.{os.getpid()}.part")
        header = json.dumps({"gemtop_predictions": FORMAT} | asdict(about), ensure_ascii=False).encode()
        if len(header) >= _HEADER_BYTES:
            raise GemtopError("the model's name is too long for a file of predictions")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
            self._file.write(header.ljust(_HEADER_BYTES - 1) + b"\n")
        except OSError as error:
            raise self._failed(error) from error

    def write(self, records: npt.NDArray[Any]) -> None:
        """The predictions of a chunk. Raises GemtopError."""
        try:
            self._file.write(records.tobytes())
        except OSError as error:
            raise self._failed(error) from error

    def finish(self) -> None:
        """Put it in place. Raises GemtopError."""
        try:
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise self._failed(error) from error

    def give_up(self) -> None:
        """Remove what there is of it."""
        with suppress(OSError, AttributeError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> GemtopError:
        self.give_up()
        return GemtopError(
            f"the baseline's predictions cannot be kept in {one_line(str(self._path))}: {error.strerror}"
        )


class Predictions:
    """A file of predictions, read a chunk at a time."""

    def __init__(self, path: Path) -> None:
        """Raises BadInputError for a file that is none, or is not whole."""
        self.path = path
        try:
            with path.open("rb") as file:
                data: Mapping[str, Any] = json.loads(file.read(_HEADER_BYTES))
            if data["gemtop_predictions"] != FORMAT:
                raise ValueError
            self.about = About(**{name: data[name] for name in About.__slots__})
            self._type = record_type(self.about.n_top, self.about.n_drawn)
            size = _HEADER_BYTES + self.about.n_chunks * self.about.n_rows * self._type.itemsize
            if path.stat().st_size != size:
                raise ValueError
        except OSError as error:
            raise BadInputError(f"{one_line(str(path))} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"{one_line(str(path))} is no whole file of predictions: delete it") from error
        self._records = np.memmap(path, self._type, "r", _HEADER_BYTES, shape=(self.about.n_chunks, self.about.n_rows))

    def chunk(self, number: int) -> npt.NDArray[Any]:
        """The predictions of a chunk of the text."""
        records: npt.NDArray[Any] = self._records[number]
        return records


def is_whole(path: Path) -> bool:
    """Whether there is a file of predictions that can be read."""
    try:
        Predictions(path)
    except BadInputError:
        return False
    return True
