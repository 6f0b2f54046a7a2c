"""gemtop on a real pseudo-terminal behind a slow line: what it sends is read no faster than that."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Sequence

from tests.tui.program import GemtopTerminal


class SlowTerminal(GemtopTerminal):
    """A terminal that takes `bytes_per_s`, a few at a time, and answers when it has come so far, as terminals do.

    With `answers` off it is one that never says anything by itself. While `stopped` it takes nothing at all.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        bytes_per_s: float = 2000,
        *,
        answers: bool = True,
        columns: int = 120,
        rows: int = 40,
        **environment: str,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self.answers = answers
        self.stopped = False
        self.most_waiting = 0
        """Bytes that were sent and not read at one time, the most of them; the kernel counts 4,095 of them."""
        self._credit, self._since_s = 0.0, time.monotonic()
        super().__init__(arguments, columns, rows, **environment)

    def _answer(self, data: bytes) -> None:
        if self.answers:
            super()._answer(data)

    def read(self, wait_s: float = 0.02) -> bool:
        """Take in what the line has carried since the last time."""
        self.most_waiting = max(self.most_waiting, self._waiting())
        now_s = time.monotonic()
        earned = self.bytes_per_s * (now_s - self._since_s)
        # A line carries on while the reader of this test is busy, but it saves nothing up.
        self._credit = min(self._credit + earned, max(self.bytes_per_s / 5, earned))
        self._since_s = now_s
        if self.stopped or self._credit < 1 or not select.select([self.fd], [], [], 0)[0]:
            select.select([], [], [], wait_s)
            return False
        try:
            sent = os.read(self.fd, int(self._credit))
        except OSError:
            return False
        self._credit -= len(sent)
        self.feed(sent)
        return bool(sent)

    def _waiting(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))[0])
