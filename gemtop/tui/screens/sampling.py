"""Sampling of the runs to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from gemtop.domain.settings import SamplingSettings

if TYPE_CHECKING:
    from gemtop.tui.app import GemtopApp


def _float(low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"between {low:g} and {high:g}")
        return value

    return convert


def _int(low: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError(f"at least {low}")
        return value

    return convert


_FIELDS: tuple[tuple[str, str, Callable[[str], float]], ...] = (
    ("temperature", "temperature (0: greedy)", _float(0, 100)),
    ("top_k", "top-k (0: off)", _int(0)),
    ("top_p", "top-p (1: off)", _float(0, 1)),
    ("min_p", "min-p (0: off)", _float(0, 1)),
    ("seed", "seed (-1: a new one)", _int(-1)),
    ("n_predict", "tokens (-1: to the end)", _int(-1)),
)


class SamplingScreen(ModalScreen[None]):
    """A form; Enter applies it whole, or says what is wrong and changes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Leave"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def compose(self) -> ComposeResult:
        app = cast("GemtopApp", self.app)
        now = app.sampling
        values = {name: getattr(now, name, None) for name, _, _ in _FIELDS}
        values |= {"seed": -1 if now.seed is None else now.seed, "n_predict": app.n_predict}
        with Vertical(classes="dialog"):
            yield Static("sampling of the runs to come", classes="title")
            for name, label, _ in _FIELDS:
                with Horizontal(classes="row"):
                    yield Label(label)
                    yield Input(f"{values[name]:g}", id=name, compact=True)
            yield Static("Enter applies, Esc leaves it as it was", id="note", classes="note")

    def on_input_submitted(self) -> None:
        app = cast("GemtopApp", self.app)
        values: dict[str, float] = {}
        for name, label, convert in _FIELDS:
            field = self.query_one(f"#{name}", Input)
            try:
                values[name] = convert(field.value.strip())
            except ValueError as error:
                words = str(error) if "between" in str(error) or "at least" in str(error) else "a number"
                note = self.query_one("#note", Static)
                note.update(f"{label}: {words}")
                note.add_class("-bad")
                field.focus()
                return
        seed = int(values["seed"])
        app.n_predict = int(values["n_predict"])
        app.sampling = SamplingSettings(
            temperature=values["temperature"],
            top_k=int(values["top_k"]),
            top_p=values["top_p"],
            min_p=values["min_p"],
            seed=None if seed < 0 else seed,
        )
        self.dismiss()
