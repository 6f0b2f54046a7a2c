"""Speed over time, for charts: tokens a second in short bins, prefill and decode apart."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gemtop.domain.figures import rate_per_s


@dataclass(frozen=True, slots=True)
class RatePoint:
    """Speed over one stretch of time; None is a gap between runs."""

    t_ns: int
    tokens_per_s: float | None


class RateSeries:
    """Speed of a phase: each bin's tokens over the time since the bin before. Fed by one thread.

    A rate is taken between timestamps of tokens, never from the edges of a bin, so that a model slower
    than a bin shows its true speed and not a comb of zeros.
    """

    def __init__(self, bin_ns: int = 250_000_000, keep: int = 4000) -> None:
        self._bin_ns = bin_ns
        self._points: deque[RatePoint] = deque(maxlen=keep)
        self._from_ns: int | None = None
        self._count = 0

    def begin(self, t_ns: int) -> None:
        """A phase starts: what comes counts from here."""
        if self._points:
            self._points.append(RatePoint(t_ns, None))
        self._from_ns, self._count = t_ns, 0

    def add(self, t_ns: int, tokens: int = 1) -> None:
        """Tokens that were done at `t_ns`."""
        if self._from_ns is None:
            self.begin(t_ns)
            return
        self._count += tokens
        if t_ns - self._from_ns >= self._bin_ns:
            self._close_bin(t_ns)

    def end(self, t_ns: int) -> None:
        """The phase ends: what is in the open bin is counted, then a gap."""
        if self._from_ns is not None and self._count:
            self._close_bin(t_ns)
        self._points.append(RatePoint(t_ns, None))
        self._from_ns = None

    def _close_bin(self, t_ns: int) -> None:
        assert self._from_ns is not None
        rate = rate_per_s(self._count, t_ns - self._from_ns)
        if not self._points or self._points[-1].tokens_per_s is None:
            self._points.append(RatePoint(self._from_ns, rate))  # a stretch has two ends, the first one too
        self._points.append(RatePoint(t_ns, rate))
        self._from_ns, self._count = t_ns, 0

    def points(self) -> tuple[RatePoint, ...]:
        """The points kept, oldest first; safe to call from any thread."""
        return tuple(self._points)
