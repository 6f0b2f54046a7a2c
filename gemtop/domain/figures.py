"""Speed and latency of one run, computed once from its timestamps."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gemtop.domain.statistics import percentile


@dataclass(frozen=True, slots=True)
class Latency:
    """Inter-token latency (ITL): the gaps between generated tokens, in milliseconds."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Speed and latency of one run. None where the run was too short to have one."""

    prompt_tokens: int
    generated_tokens: int
    ttft_s: float | None
    """From the start of the run to the first generated token."""
    prefill_tokens_per_s: float | None
    """Prompt tokens over the time until the last of them was decoded."""
    decode_tokens_per_s: float | None
    """Generated tokens after the first, over the time from the first to the last."""
    latency: Latency


def rate_per_s(count: int, duration_ns: int) -> float | None:
    """Events a second; None where there are none or no time has passed."""
    return count * 1e9 / duration_ns if count > 0 and duration_ns > 0 else None


class TimingAccumulator:
    """Timing of a run while it runs and when it has ended: fed by one thread, read by any.

    All times are on one monotonic clock in nanoseconds.
    """

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self._prefill: tuple[int, int] | None = None
        self._first_ns: int | None = None
        self._decode_from_ns: int | None = None
        self._last_ns = 0
        self._generated = 0
        self._gaps_ms: list[float] = []

    def add_prefill(self, t_ns: int, n_done: int) -> None:
        """Prompt tokens decoded so far."""
        self._prefill = (t_ns, n_done)

    def begin_decode(self, t_ns: int) -> None:
        """Decoding starts without a prefill before it, as in a generation test: the first token counts too."""
        self._decode_from_ns = self._last_ns = t_ns

    def add_token(self, t_ns: int) -> None:
        """A generated token, stamped when it had been sampled."""
        if self._decode_from_ns is None:
            # The first token comes out of the prefill: decoding is what happens after it.
            self._first_ns = self._decode_from_ns = t_ns
        else:
            insort(self._gaps_ms, (t_ns - self._last_ns) / 1e6)
        self._last_ns = t_ns
        self._generated += 1

    def add_tokens(self, t_ns: Sequence[int]) -> None:
        """The tokens of a run that has ended, in order of time: the gaps between many are sorted once."""
        for stamp in t_ns[:1]:
            self.add_token(stamp)
        if len(t_ns) > 1:
            self._gaps_ms = sorted([*self._gaps_ms, *((b - a) / 1e6 for a, b in pairwise(t_ns))])
            self._last_ns = t_ns[-1]
            self._generated += len(t_ns) - 1

    @property
    def first_token_ns(self) -> int | None:
        """When the prefill had given its token; None before, and where there was no prefill."""
        return self._first_ns

    def timing(self) -> Timing:
        t_ns, prompt_tokens = self._prefill or (self.start_ns, 0)
        begun, gaps = self._decode_from_ns, self._gaps_ms
        return Timing(
            prompt_tokens=prompt_tokens,
            generated_tokens=self._generated,
            ttft_s=None if self._first_ns is None else (self._first_ns - self.start_ns) / 1e9,
            prefill_tokens_per_s=rate_per_s(prompt_tokens, t_ns - self.start_ns),
            decode_tokens_per_s=None if begun is None else rate_per_s(len(gaps), self._last_ns - begun),
            latency=Latency(percentile(gaps, 50), percentile(gaps, 95), percentile(gaps, 99)),
        )


def timing(start_ns: int, prefill: Sequence[tuple[int, int]], token_t_ns: Sequence[int]) -> Timing:
    """Timing of a whole run: `prefill` holds (t_ns, prompt tokens decoded so far) in order."""
    run = TimingAccumulator(start_ns)
    for t_ns, n_done in prefill:
        run.add_prefill(t_ns, n_done)
    run.add_tokens(token_t_ns)
    return run.timing()
