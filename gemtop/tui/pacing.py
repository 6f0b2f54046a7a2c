"""How much may be sent to the terminal now, from how fast it takes what it was sent.

A terminal is asked now and then whether it has come this far (a status report, which terminals answer since the
VT100). The answer comes back through whatever lies between, so what is not answered yet is what waits on the line:
of that there is never more than the line takes in a fraction of a second. A terminal that does not answer is
measured by how long it takes to write to it, which shows once the kernel's own buffer is full.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

QUERY = "\x1b[5n"
ANSWER = "\x1b[0n"

QUEUE_S = 0.35
"""So long what was sent may wait on the line before the terminal has it."""
_LEAST, _MOST = 512, 65536
"""Bytes on the line: what is always allowed, and what no line needs more of."""
_FIRST = 4096
_UNTRIED = 2048
"""Bytes sent before a terminal has had the time to answer at all."""
_PATIENCE_S = 0.3
_ASKED_BYTES = 200
"""So much may go unasked: words as they stream would otherwise cost a question each."""
_ASKED_MOST = 16
"""Questions to a terminal that has not answered one yet."""
_LOST_S, _LOST_MOST_S = 5.0, 40.0
"""An answer that takes longer is not waited for: the terminal may have been exchanged for another."""
_FULL = 0.9
"""Of the window: so much was on the line when it was full."""
_SMALL = 300
"""So little on the line hardly makes an answer later."""
_MEMORY_S = 10.0
"""The way to the terminal and back on an empty line is tried so often, if need be by a pause."""
_BLOCKED_S = 0.05
"""A write that takes longer has waited for room."""
_HOPE_A_S = 0.02
_PTY_BYTES = 20_480
"""What Linux holds for a terminal that nobody reads."""
STEPS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""From one frame to the next, on lines ever slower."""


class Pace:
    """The line to one terminal. Methods may be called by any thread.

    The application says what it `queued`, the writer what it `wrote`, the reader of the terminal's input that it
    `answered`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent = 0
        """Bytes handed to the writer since the program began."""
        self.begin()

    def begin(self) -> None:
        """A terminal is taken: nothing is known of it, and nothing of what was sent before will be answered."""
        with self._lock:
            self._begun_s = self._clock()
            self._first = self._written = self._taken = self._sent
            self._asked: deque[tuple[float, int, int]] = deque()
            """When, up to which byte, and up to which the terminal had answered by then."""
            self._heard_s = self._begun_s
            self._stale, self._ate = 0, False
            """Questions that were given up and may yet be answered; whether such answers have come since."""
            self._answers = False
            self._window = float(_FIRST)
            self._lost_s = _LOST_S
            self._trips: deque[float] = deque(maxlen=3)
            """Seconds to an answer and back while the line was nearly empty."""
            self._tried_s = self._begun_s
            """When the last of them was taken."""
            self._learnt_at = self._sent
            """What was asked before this byte was sent is of a window that is past."""
            self._rate = 0.0
            """Bytes a second of a terminal that does not answer and was seen to be slow; 0 of one that was not."""
            self._held, self._held_s = 0.0, self._begun_s
            """About so much of it is in the kernel, and when that was so."""
            self._frame: tuple[float, int] | None = None
            self._drain_s = 0.0

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the writer since the program began."""
        return self._sent

    @property
    def awaits_answer(self) -> bool:
        """Whether the terminal, which answers, has not answered all it was asked."""
        return self._answers and bool(self._asked)

    # The application

    def queued(self, count: int, *, asks: bool = False) -> None:
        """`count` bytes go to the writer; `asks` says that they end with QUERY."""
        with self._lock:
            self._sent += count
            if asks:
                self._asked.append((self._clock(), self._sent, self._taken))

    def should_ask(self, count: int) -> bool:
        """Whether `count` more bytes are to be followed by a question."""
        with self._lock:
            self._give_up(self._clock())
            if len(self._asked) >= _ASKED_MOST and not self._answers:
                return False
            asked = self._asked[-1][1] if self._asked else self._taken
            return self._sent + count - asked >= _ASKED_BYTES

    def room(self) -> int:
        """Bytes that may be sent now."""
        with self._lock:
            return max(0, int(min(self._room(), _MOST - (self._sent - self._written))))

    @property
    def is_mute(self) -> bool:
        """Whether there is no room and no answer on its way that would say when there is."""
        with self._lock:
            return self._answers and not self._asked and self._room() <= 0

    def is_clear(self) -> bool:
        """Whether the line has drained, so that a new frame would not wait behind another."""
        with self._lock:
            now = self._clock()
            self._give_up(now)
            if self._answers:
                clear = self._sent == self._written and not self._asked
            else:
                clear = self._sent == self._written and self._in_kernel(now) < _ASKED_BYTES
            if clear and self._frame is not None and self._sent > self._frame[1]:
                self._drained((self._sent - self._frame[1]) / self._rate if self._rate else 0.0)
            return clear

    # Frames

    def frame_drawn(self) -> None:
        """A frame of the charts is about to be sent."""
        with self._lock:
            self._frame = (self._clock(), self._sent)

    @property
    def step_s(self) -> float:
        """From one frame to the next, so that frames take half of the line at most; the first of STEPS_S mostly."""
        return next((step for step in STEPS_S if step >= 2 * self._drain_s), STEPS_S[-1])

    # The writer and the reader

    def wrote(self, count: int, took_s: float) -> None:
        """The writer has handed `count` bytes to the kernel, which took so long."""
        with self._lock:
            now = self._clock()
            self._written += count
            if self._answers:
                return
            if took_s >= _BLOCKED_S:
                self._blocked(now, count / took_s)
            elif self._rate:
                held, past_s = self._in_kernel(now) + count, now - self._held_s
                self._held, self._held_s = held, now
                self._rate *= 1 + _HOPE_A_S * min(past_s, 1.0)  # it may have become faster
                if self._rate * QUEUE_S > _MOST:
                    self._rate = self._held = 0.0

    def answered(self) -> None:
        """The terminal has taken all up to the oldest question."""
        with self._lock:
            now = self._clock()
            self._heard_s = now
            if self._stale or not self._asked:  # an answer to a question that was given up
                self._stale, self._ate = max(0, self._stale - 1), True
                return
            asked_s, upto, taken = self._asked.popleft()
            self._answers = True
            self._lost_s = _LOST_S
            self._taken = max(self._taken, upto)
            self._learn(now, now - asked_s, upto, upto - taken)
            self._ate = self._ate and bool(self._asked)
            if not self._asked and self._frame is not None and upto > self._frame[1]:
                self._drained(now - self._frame[0])

    # With the lock held

    def _room(self) -> float:
        now = self._clock()
        self._give_up(now)
        if self._answers:
            flight = self._sent - self._taken
            if now - self._tried_s > _MEMORY_S:
                return 0 if self._asked else _SMALL - flight - len(QUERY)
            return self._window - flight
        if now - self._begun_s < _PATIENCE_S:
            return _UNTRIED - (self._sent - self._first)
        window = max(_LEAST, self._rate * QUEUE_S) if self._rate else _MOST
        return window - (self._sent - self._written) - self._in_kernel(now)

    def _give_up(self, now: float) -> None:
        """Forget questions that nobody will answer any more, each time after a longer wait."""
        if self._asked and now - max(self._asked[0][0], self._heard_s) > self._lost_s:
            self._lost_s = min(2 * self._lost_s, _LOST_MOST_S)
            # Where the line only stood they will be answered yet. Where these have waited while others were taken for
            # answers to older ones, it was these that were answered, and the older ones are lost.
            self._stale = 0 if self._ate else self._stale + len(self._asked)
            self._ate = False
            self._asked.clear()
            self._taken = self._sent
            self._window = float(_LEAST)

    def _learn(self, now: float, trip_s: float, upto: int, flight: int) -> None:
        """Open or close the window: `flight` bytes were on the line with this question, and it took so long.

        As many bytes may be there as make an answer QUEUE_S later than it is on an empty line.
        """
        if flight <= _SMALL:
            self._trips.append(trip_s)
            self._tried_s = now
        most_s = min(self._trips, default=trip_s) + QUEUE_S
        wanted = flight * most_s / max(trip_s, 1e-4)
        # However slow, a line takes a little at once: only what filled the window says that there is room for more.
        if trip_s > most_s or (flight >= _FULL * self._window and upto > self._learnt_at):
            self._window = min(max(wanted, _LEAST), 2 * self._window, _MOST)
            self._learnt_at = self._sent

    def _drained(self, took_s: float) -> None:
        self._frame = None
        self._drain_s = max(took_s, self._drain_s / 2)

    def _blocked(self, now: float, rate: float) -> None:
        """The kernel's buffer was full when something was written, and is again: so fast it is emptied."""
        self._rate = (self._rate + rate) / 2 if self._rate else rate
        self._held, self._held_s = float(min(_PTY_BYTES, self._written - self._first)), now

    def _in_kernel(self, now: float) -> float:
        """Bytes in the kernel's buffer, of a terminal that does not answer: a guess from when it was last full."""
        return max(0.0, self._held - 0.9 * self._rate * (now - self._held_s))
