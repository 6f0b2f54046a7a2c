"""How much may be sent: lines of every speed, by a clock that only the test moves."""

from __future__ import annotations

from collections import deque

import pytest

from gemtop.tui.pacing import QUERY, Pace


class Line:
    """A line of a speed and a way to the terminal and back, with an application that always has more to send."""

    def __init__(self, bytes_per_s: float, trip_s: float = 0.02, at_once: float = 0.0) -> None:
        """`at_once`: bytes that it takes without delay after a rest."""
        self.now_s = 100.0
        self.at_once = self.rested = at_once
        self.bytes_per_s, self.trip_s = bytes_per_s, trip_s
        self.pace = Pace(lambda: self.now_s)
        self.on_line: deque[int] = deque()
        """Bytes, and 0 for a question."""
        self.answers: deque[float] = deque()
        self.waits_bytes = 0.0
        self.sent = 0
        self.say("", asks=True)

    def say(self, text: str, *, asks: bool) -> None:
        data = text + QUERY if asks else text
        self.pace.queued(len(data), asks=asks)
        self.pace.wrote(len(data), 0.0)
        self.waits_bytes += len(data)
        self.sent += len(data)
        self.on_line.append(len(data))
        if asks:
            self.on_line.append(0)

    def step(self, seconds: float = 0.01) -> None:
        self.now_s += seconds
        carried = min(self.rested + self.bytes_per_s * seconds, max(self.at_once, self.bytes_per_s * seconds))
        while self.on_line and carried >= 0:
            if self.on_line[0] == 0:
                self.on_line.popleft()
                self.answers.append(self.now_s + self.trip_s)
                continue
            taken = min(carried, self.on_line[0])
            if not taken:
                break
            carried -= taken
            self.waits_bytes -= taken
            self.on_line[0] -= taken  # type: ignore[assignment]
            if self.on_line[0] <= 1e-6:
                self.on_line.popleft()
        self.rested = min(carried, self.at_once)
        while self.answers and self.answers[0] <= self.now_s:
            self.answers.popleft()
            self.pace.answered()

    def send_all_there_is_room_for(self) -> None:
        while room := self.pace.room():
            if self.now_s < 101 and self.sent > 8000:
                return  # a first screen is not larger
            size = min(room, 400)
            self.say("x" * size, asks=self.pace.should_ask(size))
        if self.pace.is_mute:
            self.say("", asks=True)

    def room(self) -> int:
        """Bytes that may be sent when nothing is on the line."""
        for _ in range(2):
            self.run(1, busy=False)
            self.say("x" * 100, asks=True)
        self.run(1, busy=False)
        return self.pace.room()

    def run(self, seconds: float, *, busy: bool = True) -> float:
        """The most bytes that waited on the line in the last half of the time."""
        most = 0.0
        for number in range(round(seconds / 0.01)):
            if busy:
                self.send_all_there_is_room_for()
            self.step()
            if number > seconds / 0.02:
                most = max(most, self.waits_bytes)
        return most


@pytest.mark.parametrize(("bytes_per_s", "trip_s"), [(2000, 0.01), (2000, 0.3), (1000, 0.05), (20_000, 0.1)])
def test_what_waits_on_a_slow_line_is_a_fraction_of_a_second(bytes_per_s: float, trip_s: float) -> None:
    line = Line(bytes_per_s, trip_s)
    assert line.run(60) <= max(1000, bytes_per_s * 0.9)
    before = line.sent
    line.run(20)
    assert line.sent - before >= 0.8 * 20 * bytes_per_s, "and the line is never idle for long"


@pytest.mark.parametrize("frame", [300, 450, 500, 550, 600, 800])
def test_what_a_line_takes_at_once_does_not_make_it_a_fast_one(frame: int) -> None:
    """Small frames are there at once, and say nothing of what a whole screen would wait for."""
    line = Line(2000, at_once=400)
    line.run(5)
    for _ in range(60):
        line.say("x" * frame, asks=True)
        line.run(1, busy=False)
    assert line.room() <= 1400


def test_a_fast_line_takes_a_whole_screen_at_once_wherever_it_ends() -> None:
    line = Line(5_000_000, 0.2)
    line.run(10)
    assert line.room() >= 30_000


def test_a_line_that_becomes_faster_and_slower() -> None:
    line = Line(2000)
    line.run(20)
    line.bytes_per_s = 1_000_000
    line.run(10)
    assert line.room() > 20_000
    line.bytes_per_s = 2000
    line.run(40)
    assert line.run(20) <= 1500


def test_frames_come_more_slowly_the_slower_they_drain_and_again_as_before() -> None:
    line = Line(400)
    steps = []
    for speed in (400, 400, 400, 100_000, 100_000, 100_000, 100_000, 100_000):
        line.bytes_per_s = speed
        while not line.pace.is_clear():
            line.step()
        line.pace.frame_drawn()
        line.say("x" * 600, asks=True)
        for _ in range(600):
            line.step()
        steps.append(line.pace.step_s)
    assert steps[2] == 4.0
    assert steps[-1] == 0.5


def test_a_terminal_that_takes_nothing_for_long_is_not_sent_more_and_more() -> None:
    line = Line(2000)
    line.run(20)
    line.bytes_per_s = 0.0
    before = line.sent
    for _ in range(2000):
        line.send_all_there_is_room_for()
        line.step()
    assert line.sent - before < 4000
    line.bytes_per_s = 2000
    line.run(20)
    assert line.run(20) <= 1100


def test_a_terminal_exchanged_for_another_loses_answers_and_goes_on() -> None:
    line = Line(100_000)
    line.run(5)
    line.on_line = deque(size for size in line.on_line if size)  # attached anew: questions on their way are lost
    line.answers.clear()
    line.run(30)
    assert line.room() > 2000


def test_words_that_stream_are_not_asked_for_one_by_one() -> None:
    line = Line(100_000)
    line.run(1, busy=False)
    asked = 0
    for _ in range(50):
        asked += line.pace.should_ask(8)
        line.say(" council", asks=line.pace.should_ask(8))
        line.step(0.1)
    line.step(0.1)
    assert 1 <= asked <= 3
    assert line.pace.is_clear()


class Deaf:
    """A terminal that never answers, behind the kernel's buffer."""

    def __init__(self, bytes_per_s: float, holds: int = 20_480) -> None:
        self.now_s = 0.0
        self.bytes_per_s, self.holds = bytes_per_s, holds
        self.pace = Pace(lambda: self.now_s)
        self.held = 0.0
        self.pace.queued(4, asks=True)
        self.pace.wrote(4, 0.0)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.held = max(0.0, self.held - self.bytes_per_s * seconds)

    def write(self, size: int) -> None:
        self.pace.queued(size)
        while size:
            part = min(512, size)
            begun_s = self.now_s
            if self.held + part > self.holds:
                self.wait((self.held + part - self.holds) / self.bytes_per_s)
            self.held += part
            self.pace.wrote(part, self.now_s - begun_s)
            size -= part


def test_a_terminal_that_does_not_answer_is_known_by_its_writes() -> None:
    deaf = Deaf(2000)
    deaf.wait(1.0)
    assert deaf.pace.room() > 5000, "nothing says that it is slow"
    deaf.write(30_000)
    assert not deaf.pace.is_clear()
    assert deaf.pace.room() == 0
    most = 0.0
    for number in range(240):
        if deaf.pace.is_clear():
            deaf.write(min(300, deaf.pace.room()))
        deaf.wait(0.25)
        if number > 60:
            most = max(most, deaf.held)
    assert most < 500


def test_a_terminal_that_does_not_answer_is_asked_seldom() -> None:
    deaf = Deaf(1_000_000)
    asked = 0
    for _ in range(300):
        deaf.wait(0.1)
        if deaf.pace.should_ask(300):
            asked += 1
            deaf.pace.queued(304, asks=True)
            deaf.pace.wrote(304, 0.0)
    assert 1 <= asked <= 64
    assert not deaf.pace.awaits_answer, "nobody waits for it at the end"


def test_until_a_terminal_has_had_the_time_to_answer_it_is_sent_little() -> None:
    deaf = Deaf(2000)
    assert 0 < deaf.pace.room() <= 2048
    deaf.write(deaf.pace.room())
    assert deaf.pace.room() == 0
    deaf.wait(0.4)
    assert deaf.pace.room() > 5000
