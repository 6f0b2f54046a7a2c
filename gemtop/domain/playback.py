"""The clock of a replay: which moment of the recorded time it shows, from a clock of its own."""

from __future__ import annotations

import re

from gemtop.domain.errors import BadInputError

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Faster and slower go through these."""
_SPEED = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*[x×]?\Z", re.IGNORECASE)
_MOMENT = re.compile(r"(?:(?:(?P<h>\d+):)?(?P<m>\d+):)?(?P<s>\d+(?:\.\d*)?)\Z")


class Playback:
    """A position from 0 to `duration_ns` that goes on by itself unless it is paused or waits.

    Every method takes `now_ns`, the time outside, on whatever clock the caller has.
    """

    def __init__(self, duration_ns: int, now_ns: int, *, position_ns: int = 0, speed: float = 1.0) -> None:
        self.duration_ns = max(0, duration_ns)
        self.speed = speed
        self._paused = self._waits = False
        self._from_ns = min(max(0, position_ns), self.duration_ns)
        self._since_ns = now_ns

    def position(self, now_ns: int) -> int:
        """Nanoseconds since the recording began."""
        if self._paused or self._waits:
            return self._from_ns
        return min(self.duration_ns, self._from_ns + max(0, round((now_ns - self._since_ns) * self.speed)))

    @property
    def paused(self) -> bool:
        """The user has stopped it."""
        return self._paused

    @property
    def waits(self) -> bool:
        """It stands still until what is to be shown has been read."""
        return self._waits

    def at_end(self, now_ns: int) -> bool:
        return self.position(now_ns) >= self.duration_ns

    def _hold(self, now_ns: int) -> None:
        self._from_ns, self._since_ns = self.position(now_ns), now_ns

    def pause(self, now_ns: int) -> None:
        """Stand still."""
        self._hold(now_ns)
        self._paused = True

    def play(self, now_ns: int) -> None:
        """Go on; from the beginning where it has come to its end."""
        self._hold(now_ns)
        if self._from_ns >= self.duration_ns:
            self._from_ns = 0
        self._paused = False

    def wait(self, now_ns: int, waits: bool) -> None:
        """Stand still, or no longer, whether it is paused or not."""
        self._hold(now_ns)
        self._waits = waits

    def seek(self, position_ns: int, now_ns: int) -> None:
        """Show another moment; beyond either end it is the end."""
        self._from_ns, self._since_ns = min(max(0, position_ns), self.duration_ns), now_ns

    def faster(self, steps: int, now_ns: int) -> None:
        """The next speed up, or down where `steps` is negative."""
        self._hold(now_ns)
        higher = [speed for speed in SPEEDS if speed > self.speed]
        lower = [speed for speed in SPEEDS if speed < self.speed]
        if steps > 0 and higher:
            self.speed = higher[0]
        elif steps < 0 and lower:
            self.speed = lower[-1]


def speed_of(text: str) -> float:
    """A speed as people write it: "4x", "4", "0.5". Raises BadInputError."""
    match = _SPEED.match(text.strip())
    speed = float(match["number"]) if match else 0.0
    if not SPEEDS[0] <= speed <= SPEEDS[-1]:
        raise BadInputError(f"'{text}' is no speed; give one from {SPEEDS[0]:g}x to {SPEEDS[-1]:g}x, as in --speed 4x")
    return speed


def moment_of(text: str) -> int:
    """Nanoseconds of a moment as people write it: "90", "1:30", "2:01:30.5". Raises BadInputError."""
    match = _MOMENT.match(text.strip())
    if match is None:
        raise BadInputError(f"'{text}' is no moment; give seconds or minutes:seconds, as in --from 1:30")
    seconds = 3600 * int(match["h"] or 0) + 60 * int(match["m"] or 0) + float(match["s"])
    return round(seconds * 1e9)


def moment_text(t_ns: int) -> str:
    """A moment in minutes and seconds, with hours where there are any: 1:05, 2:01:30."""
    seconds = t_ns // 1_000_000_000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
