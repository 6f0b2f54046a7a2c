"""Two outputs to the same prompt side by side: of a comparison, or of two runs of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import BindingType

from gemtop.charts.grid import CellRow
from gemtop.comparison.pairs import Pair, of_outcome
from gemtop.domain.text import printable
from gemtop.tui.bindings import bindings
from gemtop.tui.compare_present import output_rows, outputs_header
from gemtop.tui.hints import OUTPUT_KEYS
from gemtop.tui.screens.base import BaseScreen
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.widgets.header import HeaderLine, HeaderText
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.rows_view import RowsView
from gemtop.tui.widgets.styled import styled_rows

if TYPE_CHECKING:
    from gemtop.comparison.outcome import Outcome


class Pairs(Protocol):
    """Outputs to look at: of each prompt those of each variant beside the baseline's."""

    @property
    def shape(self) -> tuple[int, int]:
        """Prompts, and variants beside the baseline."""

    def pair(self, prompt: int, variant: int) -> Pair | str:
        """The two, or why they are not there."""


class OutcomePairs:
    """Those of a comparison, which may go on."""

    def __init__(self, get: Callable[[], Outcome | None]) -> None:
        self._get = get

    def _others(self, found: Outcome) -> Sequence[int]:
        return [number for number in range(len(found.variants)) if number != found.job.baseline]

    @property
    def shape(self) -> tuple[int, int]:
        found = self._get()
        return (0, 0) if found is None else (len(found.job.prompts), len(self._others(found)))

    def pair(self, prompt: int, variant: int) -> Pair | str:
        found = self._get()
        if found is None or prompt >= len(found.job.prompts):
            return "no prompt was asked: this comparison is of a text alone"
        asked, number = found.job.prompts[prompt], self._others(found)[variant]
        return of_outcome(found, asked.id, number) or self._missing(found, asked.id, number)

    def _missing(self, found: Outcome, prompt_id: str, number: int) -> str:
        missing = [i for i in (found.job.baseline, number) if (i, prompt_id) not in found.seen]
        names = " and ".join(found.variants[i].facts.label for i in missing)
        why = next((found.variants[i].failure for i in missing if found.variants[i].failure), None)
        return f"{prompt_id}: no output of {names} yet" + (f" ({why})" if why else "")


class OnePair:
    """Two recorded runs."""

    shape = (1, 1)

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def pair(self, prompt: int, variant: int) -> Pair | str:
        return self._pair


class OutputsScreen(BaseScreen[None]):
    """Left and Right go through variants, `[` and `]` through prompts."""

    key_scopes = ("outputs", "list", "program")
    DEFAULT_CSS = "OutputsScreen #outputs { margin: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("outputs")

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self._pairs = pairs
        self._prompt = self._variant = 0
        self._shown: Pair | str = ""
        self._diff_row = 0

    @property
    def shown(self) -> Pair | str:
        """What is on the screen."""
        return self._shown

    @property
    def view(self) -> RowsView:
        return self.query_one("#outputs", RowsView)

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header")
        yield RowsView(id="outputs")
        yield KeyLine(OUTPUT_KEYS, id="keys")

    def on_mount(self) -> None:
        self.view.focus()
        self._show(from_top=True)
        draw_frames(self, self._look)

    def _look(self) -> None:
        """Show what has come since, where the comparison goes on."""
        if self._pairs.pair(self._prompt, self._variant) != self._shown:
            self._show(from_top=False)

    def _show(self, *, from_top: bool) -> None:
        found = self._shown = self._pairs.pair(self._prompt, self._variant)
        prompts = self._pairs.shape[0]
        place = f"{self._prompt + 1} of {prompts}" if prompts > 1 else ""
        header = self.query_one("#header", HeaderLine)
        if isinstance(found, str):
            words = found
            header.show_text(HeaderText((("gemtop", "title"), ("outputs", "text"), (place, "muted"))))
            self.view.show_rows(lambda width: styled_rows([(words, "muted")], width), from_top=from_top)
            return
        pair = found
        header.show_text(outputs_header(pair, place))

        def make(width: int) -> Sequence[CellRow]:
            rows, self._diff_row = output_rows(pair, width)
            return rows

        self.view.show_rows(make, from_top=from_top)

    def action_prompt(self, way: int) -> None:
        self._go(self._prompt + way, self._variant)

    def action_variant(self, way: int) -> None:
        self._go(self._prompt, self._variant + way)

    def _go(self, prompt: int, variant: int) -> None:
        """To another pair; beyond the last one comes the first."""
        prompts, variants = self._pairs.shape
        if prompts and variants:
            self._prompt, self._variant = prompt % prompts, variant % variants
            self._show(from_top=True)

    def action_diff(self) -> None:
        """To the difference by words, and back to the top."""
        view = self.view
        view.scroll_to_row(0 if view.top else self._diff_row)

    def action_copy(self) -> None:
        found = self._shown
        if isinstance(found, str):
            self.notify("there are no outputs to copy yet", severity="warning")
            return
        parts = [f"> {found.prompt}"] + [f"{side.label}:\n{side.output}" for side in (found.left, found.right)]
        self.app.copy_to_clipboard(printable("\n\n".join(parts)))
        self.notify("both outputs copied, if your terminal allows it", timeout=4)
