"""Progress for people who watch, who listen, and who read a log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from gemtop.cli.progress import Progress
from gemtop.cli.pull import Meter, progress_line
from gemtop.engine.hub import Arrival


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Have stderr be a terminal; gives what it was sent since the last time."""
    reading, writing = os.openpty()
    with os.fdopen(writing, "w", encoding="utf-8") as stderr, os.fdopen(reading, "rb", buffering=0) as master:

        def sent() -> str:
            stderr.write("\0")  # what comes before it has arrived when it has
            stderr.flush()
            found = b""
            while not found.endswith(b"\0"):
                found += master.read(65536)
            return found[:-1].decode().replace("\r\n", "\n")

        with redirect_stderr(stderr):
            yield sent


def test_a_terminal_has_one_line_written_over() -> None:
    with terminal() as sent:
        progress = Progress(Clock())
        progress.show("loading 10 %")
        progress.show("loading 20 %\x1b[2J")
        progress.clear()
        assert sent() == "\r\x1b[Kloading 10 %\r\x1b[Kloading 20 %␛[2J\r\x1b[K"


@pytest.mark.parametrize("name,value", [("ACCESSIBLE", "1"), ("TERM", "dumb")])
def test_a_terminal_that_is_read_aloud_has_whole_lines(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    clock = Clock()
    with terminal() as sent:
        progress = Progress(clock)
        progress.show("loading 10 %")
        clock.now_s += 2.9
        progress.show("loading 20 %")
        assert sent() == "", "what is done within three seconds needs no words"
        clock.now_s += 0.2
        for percent in range(30, 60):
            progress.show(f"loading {percent} %")
            progress.clear()
            clock.now_s += 1.01
        progress.show("loading 60 %")
        assert sent() == "gemtop: loading 30 %\ngemtop: loading 60 %\n"
        Progress(clock, late=True).show("asking llama.cpp")
        assert sent() == "gemtop: asking llama.cpp\n"
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("ACCESSIBLE", "0")
        assert not Progress().in_lines


def test_a_log_has_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress(clock)
    for second in range(130):
        progress.show(f"run {second}")
        clock.now_s += 1.0
    progress.clear()
    assert capsys.readouterr().err == "gemtop: run 60\ngemtop: run 120\n"


def test_lines_have_no_bars() -> None:
    arrival = Arrival("models/gemma.gguf", "pulling", 50_000_000, 200_000_000)
    assert "█" in progress_line(arrival, 1e6, 80)
    said: list[str] = []
    Meter(said.append, Clock(), bar=False)(arrival)
    assert said == ["pulling gemma.gguf  25%  50.0 of 200.0 MB"]
