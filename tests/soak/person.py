"""Somebody who uses every part of the program, at random, and comes back to the live screen after each."""

from __future__ import annotations

import random
import re
import string
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.tmux import Tmux

PROMPTS = (
    "The capital of France is",
    "Once upon a time",
    "Explain why the sea is salt:",
    "def fibonacci(n):",
    "Les phares, 灯台, маяки, \U0001f5fc:",
    "A list of rivers, one a line:",
)
SIZES = ((80, 24), (120, 40), (200, 60), (60, 20), (39, 9), (1, 1), (300, 12))
QUERIES = (
    "FROM runs SELECT count(*), avg(decode_tps)",
    "FROM samples SELECT device, count(*) GROUP BY ALL",
    "SELECT phase, count(*) FROM tokens GROUP BY ALL",
    "FROM nowhere",
    "SELECT * FROM samples ORDER BY t_s DESC LIMIT 2000",
)
COMMANDS = ("live screen", "log screen", "models screen", "draw the whole", "copy the output", "a longer span")
MARKED = ("Space", "Down", "Space")
FULL = (120, 40)
GOES_ON = ("prompt", "paste", "again", "tune", "screens", "sizes", "models", "log")
"""After these a run goes on: no dialog of theirs is left."""


class LostError(Exception):
    """The screen is not as this person expects it to be."""


@dataclass
class Person:
    """Acts until told to stop; `done` counts what was done, by name."""

    tmux: Tmux
    rng: random.Random
    diary: Path
    done: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Everything once: what a part loads with its first use is there from then on."""
        self.until_idle()
        for name in ACTS:
            self._do(name)

    def act(self) -> None:
        """One thing."""
        (name,) = self.rng.choices(list(ACTS), [weight for _, weight in ACTS.values()])
        self._do(name)

    def _do(self, name: str) -> None:
        """What has this name, and back to the live screen."""
        self._note(name)
        act, _ = ACTS[name]
        act(self)
        self.done[name] += 1
        if name not in GOES_ON:
            self.tmux.press("Escape")  # a dialog may be left, and the live screen be seen behind it
        self.home()

    def home(self) -> None:
        """At 120x40, on the live screen, nothing typed, whatever goes on."""
        self.tmux.resize(*FULL)
        self._expect(lambda text: "q Quit" in text or "Esc" in text, "a screen")
        for _ in range(8):
            self.tmux.press("M-1")  # though it may be shown: a key before may have yet to lead away from it
            if self.tmux.wait(self._is_home, 1.0):
                return
            self.tmux.press("Escape")
            self.tmux.wait(self._is_home, 2.0)
        raise LostError(f"not on the live screen:\n{self.tmux.text}")

    def settle(self) -> None:
        """Home, idle, and with the settings of the beginning."""
        self.home()
        self.until_idle(stops=True)
        self._tune({0: "2048", 4: "2048", 5: "512", 7: "1"})
        self.home()
        self.until_idle()

    def until_idle(self, *, stops: bool = False) -> None:
        """Wait for what goes on, or stop it; the model is loaded then."""
        if stops:
            self._expect(lambda text: not _loads(text), "the model is there")  # Esc would keep it from being loaded
            self.tmux.press("Escape")
        self._expect(lambda text: not _busy(text), "nothing goes on")
        if not _has_model(self.tmux.text) and self._is_home(self.tmux.text):
            self._open()

    def _open(self) -> None:
        """The first of the models: an Esc has come while one was loaded."""
        self.tmux.press("M-4")
        self._expect(lambda text: "241 MiB" in text, "the models")
        self.tmux.press("Enter")
        self._expect(_has_model, "the model is there")

    @staticmethod
    def _is_home(text: str) -> bool:
        return "q Quit" in text.rstrip().rpartition("\n")[2] and "Esc Stop  t Tune" in text

    def _expect(self, condition: Callable[[str], bool], what: str) -> None:
        if not self.tmux.wait(condition):
            raise LostError(f"{what}: not so; the screen reads\n{self.tmux.text}")

    def _note(self, name: str) -> None:
        with self.diary.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%H:%M:%S} {name}\n")

    def _pause(self, most_s: float) -> None:
        time.sleep(self.rng.uniform(0.2, most_s))

    # What is done

    def _open_prompt(self) -> None:
        self.tmux.press("/")
        self._expect(lambda text: "Ctrl-S Save" in text, "the prompt")

    def prompt(self) -> None:
        """One that is waited for, stopped, or left to go on."""
        self.until_idle()
        self._open_prompt()
        self.tmux.write(self.rng.choice(PROMPTS))
        self.tmux.press("Enter")
        self._pause(20)
        if self.rng.random() < 0.3:
            self.tmux.press("Escape")

    def paste(self) -> None:
        self.until_idle()
        self._open_prompt()
        words = ("".join(self.rng.choices(string.ascii_lowercase, k=5)) for _ in range(self.rng.choice((5, 80, 4000))))
        self.tmux.paste(" ".join(words))
        self.tmux.press("Enter")
        self._pause(10)

    def again(self) -> None:
        self.tmux.press("r")
        self._pause(10)

    def _tune(self, values: dict[int, str]) -> None:
        """By the row's number among those that can be changed."""
        self._expect(lambda text: not _applies(text), "the change before is made")  # the panel waits for it
        self.tmux.press("t")
        self._expect(lambda text: "Enter apply" in text, "the panel")
        row = 0
        for to, value in values.items():
            self.tmux.press(*["Down"] * (to - row))
            row = to
            self.tmux.write(value)
        self.tmux.press("Enter")
        if not self.tmux.wait(self._is_home, 5.0):  # refused, or nothing to change
            self.tmux.press("Enter")
            if not self.tmux.wait(self._is_home, 5.0):
                self.tmux.press("Escape")

    def tune(self) -> None:
        """While a run goes on as well."""
        row, values = self.rng.choice(
            ((0, ("512", "1024", "4096", "8192", "9")), (4, ("256", "1024")), (5, ("64", "256")), (7, ("1", "2")))
        )
        self._tune({row: self.rng.choice(values)})

    def sampling(self) -> None:
        self.tmux.press("s", *self.rng.choices(("Down", "Up", "Right", "Left"), k=6))
        self.tmux.press(self.rng.choice(("Enter", "Escape")))

    def screens(self) -> None:
        for _ in range(self.rng.randint(2, 8)):
            self.tmux.press(self.rng.choice(("M-1", "M-2", "M-3", "M-4", "M-5")))
            self._pause(1)

    def sizes(self) -> None:
        for _ in range(self.rng.randint(1, 6)):
            self.tmux.resize(*self.rng.choice(SIZES))
            self._pause(0.5)

    def shipped_query(self) -> None:
        self.tmux.press("M-3", "F2", *["Down"] * self.rng.randint(0, 12), "Enter")
        self._pause(4)
        self.tmux.press("F3", *self.rng.choices(("Down", "Right", "o", "Space", "p", "Enter", "Escape"), k=5))

    def own_query(self) -> None:
        self.tmux.press("M-3", "F4", "C-a", "C-k")
        self.tmux.press(*["C-u"] * 3)
        self.tmux.write(self.rng.choice(QUERIES))
        self.tmux.press("F5")
        self._pause(4)

    def models(self) -> None:
        self.tmux.press("M-4", *self.rng.choices(("Down", "Up"), k=2))
        self._pause(3)
        self.tmux.press("y")

    def log(self) -> None:
        self.tmux.press("M-5", "w", "/")
        self.tmux.write("cache")
        self._pause(1)
        self.tmux.press("Escape", "w")

    def palette(self) -> None:
        self.tmux.press("C-p")
        self.tmux.write(self.rng.choice(COMMANDS))
        self._pause(1.5)
        self.tmux.press(self.rng.choice(("Enter", "Escape")))

    def charts(self) -> None:
        self.tmux.press(*self.rng.choices(("-", "+", "z", "y", "?", "Escape"), k=4))

    def dialogs(self) -> None:
        self.tmux.press(self.rng.choice(("v", "p", "x", "?")), *self.rng.choices(("Down", "Up", "PageDown"), k=4))
        self.tmux.press("Escape")

    def suspend(self) -> None:
        self.tmux.press("C-z")
        self._expect(lambda text: "2 Compare" not in text, "the shell")
        self._pause(2)
        self.tmux.write("fg\n")
        self._expect(lambda text: "2 Compare" in text, "the program again")

    def compare(self) -> None:
        """Two files on two short prompts and a chunk of text; stopped now and then."""
        self.until_idle(stops=True)
        self.tmux.press("M-2")
        self._expect(lambda text: "chunks of the text" in text or "n Models" in text or "n Last" in text, "compare")
        if "chunks of the text" not in self.tmux.text:
            self.tmux.press("n")
            self._expect(lambda text: "chunks of the text" in text, "the models")
        self._expect(lambda text: text.count("[") >= 2, "the models")
        self.tmux.press("Home")
        while self.tmux.text.count("[x]") < 2:
            for key in MARKED:
                self.tmux.press(key)
        self.tmux.press("Tab")
        for value in ("two.toml", "8", "1", "1"):
            self.tmux.press("C-e", "C-u")
            self.tmux.write(value)
            self.tmux.press("Tab")
        self.tmux.press("Enter")
        self._pause(60)
        if self.rng.random() < 0.3:
            self.tmux.press("Escape")
        self._expect(lambda text: "done" in text or "stopped" in text or "Enter starts" in text, "its end")


def _busy(text: str) -> bool:
    """By what the first two lines say of the model and of the screens."""
    return _loads(text) or bool(re.search(r"1 Live running|2 Compare (\d|preparing)", "\n".join(text.splitlines()[:2])))


def _loads(text: str) -> bool:
    return "loading" in text.partition("\n")[0]


def _has_model(text: str) -> bool:
    return " ctx " in text.partition("\n")[0]


def _applies(text: str) -> bool:
    return "applying" in text.partition("\n")[0]


ACTS: dict[str, tuple[Callable[[Person], None], float]] = {
    act.__name__: (act, weight)
    for act, weight in (
        (Person.prompt, 10.0),
        (Person.paste, 1.0),
        (Person.again, 2.0),
        (Person.tune, 3.0),
        (Person.sampling, 1.0),
        (Person.screens, 3.0),
        (Person.sizes, 2.0),
        (Person.shipped_query, 2.0),
        (Person.own_query, 2.0),
        (Person.models, 1.0),
        (Person.log, 1.0),
        (Person.palette, 2.0),
        (Person.charts, 2.0),
        (Person.dialogs, 2.0),
        (Person.suspend, 0.5),
        (Person.compare, 0.7),
    )
}
