"""The first line of a screen: the model, what it is, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemtop.charts.colours import variant_role
from gemtop.charts.grid import BADGE, Canvas, Cells, badge
from gemtop.domain.text import one_line, text_width
from gemtop.tui.widgets.cells import CellWidget, clip, plain

if TYPE_CHECKING:
    from gemtop.domain.model import LoadedModel


@dataclass(frozen=True, slots=True)
class HeaderText:
    """The line in parts. Each is (text, colour role).

    Where room is short the last settings give way first, and on the right what has no colour of its own; a badge is
    the last to go.
    """

    left: tuple[tuple[str, str], ...] = ()
    right: tuple[tuple[str, str], ...] = ()


class HeaderLine(CellWidget):
    """Draws a HeaderText over its width."""

    DEFAULT_CSS = """
    HeaderLine { height: 1; width: 1fr; background: $panel; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = HeaderText()

    def show_text(self, text: HeaderText) -> None:
        if self.ascii_only:
            text = HeaderText(_plain(text.left), _plain(text.right))
        if text != self._text:
            self._text = text
            self.rebuild()

    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        left, right = self._text.left, list(self._text.right)
        names = next((left[: at + 1] for at, (_, role) in enumerate(left) if role.startswith(BADGE)), ())
        most = max(0, min(_RIGHT_SHARE * width, width - _cells(names) - 1))
        while (right_cells := _cells(right)) > most:
            spare = next((part for part in right if part[1] in ("text", "muted")), None)
            if spare is None:
                break
            right.remove(spare)
        limit = width - right_cells - 1
        x = 1
        for at, (text, role) in enumerate(left):
            behind = _cells(names[-1:]) if 0 < at < len(names) - 1 else 0  # a name gives way to the badge behind it
            room = limit - x - behind
            if text_width(text) > room:
                if role != "title" or room < 1:  # half a name says something, half a setting does not
                    break
                text = clip(text, room)
            canvas.put(x, 0, text, role)
            x += text_width(text) + 2
        x = max(width - right_cells, 0)
        for text, role in right:
            canvas.put(x, 0, text, role)
            x += text_width(text) + 2
        return canvas.freeze()


_RIGHT_SHARE = 0.6


def _plain(parts: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((plain(text), role) for text, role in parts)


def _cells(parts: Sequence[tuple[str, str]]) -> int:
    return sum(text_width(text) + 2 for text, _ in parts)


def variant_badge(variant: str, training: str, quantization: str) -> tuple[str, str]:
    """What a variant is called, on a ground of its colour: (text, role), for a header or a canvas."""
    return f" {one_line(variant)} ", badge(variant_role(training, quantization))


def model_header(model: LoadedModel) -> tuple[tuple[str, str], ...]:
    """Name, variant and settings of a loaded model."""
    label = model.classification
    cache = model.type_k if model.type_k == model.type_v else f"{model.type_k}/{model.type_v}"
    # What is 0 a replay does not know: the history has no count of layers, nor of threads before the first run.
    layers = f"ngl {model.n_gpu_layers}" + (f"/{model.n_layers}" if model.n_layers else "")
    return (
        (one_line(model.header.name), "title"),
        variant_badge(label.variant, label.training, label.quantization),
        (f"ctx {model.n_ctx}", "text"),
        (layers, "text"),
        (f"kv {cache}", "text"),
        (f"fa {model.flash_attn}", "text"),
        (f"ub {model.n_ubatch}", "text"),
        *((("swa full", "text"),) if model.swa_full else ()),
        *(((f"t {model.n_threads}", "text"),) if model.n_threads else ()),
    )
