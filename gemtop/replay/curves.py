"""A run's tokens as speed over time and as timing, at any moment of it, through the code of the live session."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby

from gemtop.domain.figures import Timing, TimingAccumulator
from gemtop.domain.rates import RatePoint, RateSeries
from gemtop.history.replaying import RecordedRun, RunTokens

_BEFORE = -(2**62)
"""Earlier than any token."""


class Curve:
    """Speed of one phase of a run, and how much of it was there at a moment."""

    def __init__(self, points: Sequence[RatePoint]) -> None:
        self._points = tuple(points)
        self._stamps = [point.t_ns for point in points]

    def until(self, t_ns: int) -> tuple[RatePoint, ...]:
        """The points that a live session had at `t_ns`."""
        count = bisect_right(self._stamps, t_ns)
        opens = count and self._points[count - 1].tokens_per_s is not None
        if opens and (count == 1 or self._points[count - 2].tokens_per_s is None):
            count -= 1  # the first point of a stretch comes with the second, when its bin is closed
        return self._points[:count]


class RunCurves:
    """Everything that follows from the tokens of one run."""

    def __init__(self, run: RecordedRun, tokens: RunTokens) -> None:
        self.run = run
        self.tokens = tokens
        self.prefill = Curve(self._prefill_points())
        self.decode = Curve(self._decode_points())
        self._accumulator = TimingAccumulator(run.begin.start_ns)
        self._until_ns = _BEFORE

    @property
    def prefilled(self) -> bool:
        """The prompt was decoded to its end."""
        end = self.run.end
        return bool(self.tokens.generated_ns) or (end is not None and end.status == "finished")

    def _progress(self) -> Iterator[tuple[int, int]]:
        """(moment, tokens that were done then): those of one micro-batch have the same moment."""
        return ((t_ns, len(list(batch))) for t_ns, batch in groupby(self.tokens.prompt_ns))

    def _prefill_points(self) -> tuple[RatePoint, ...]:
        stamps = self.tokens.prompt_ns
        if not stamps:
            return ()
        series = RateSeries(keep=2 * len(stamps) + 4)
        series.begin(self.run.begin.start_ns)
        for t_ns, count in self._progress():
            series.add(t_ns, count)
        if self.prefilled:
            series.end(stamps[-1])
        return series.points()

    def _decode_points(self) -> tuple[RatePoint, ...]:
        stamps = self.tokens.generated_ns
        if not stamps:
            return ()
        series = RateSeries(keep=2 * len(stamps) + 4)
        series.begin(stamps[0])
        for t_ns in stamps[1:]:
            series.add(t_ns)
        if self.run.end is not None:
            series.end(self.run.end.end_ns)
        return series.points()

    def timing(self, t_ns: int) -> Timing:
        """The figures of the run as they stood at `t_ns`. Going on costs what has come since; going back all of it."""
        if t_ns < self._until_ns:
            self._accumulator, self._until_ns = TimingAccumulator(self.run.begin.start_ns), _BEFORE
        tokens, since_ns = self.tokens, self._until_ns
        done = bisect_right(tokens.prompt_ns, t_ns)
        if done:
            self._accumulator.add_prefill(tokens.prompt_ns[done - 1], done)
        first = bisect_right(tokens.generated_ns, since_ns)
        for stamp in tokens.generated_ns[first : bisect_right(tokens.generated_ns, t_ns)]:
            self._accumulator.add_token(stamp)
        self._until_ns = t_ns
        return self._accumulator.timing()
