"""What `gemtop compare --demo` holds against each other: formats of the demo model, and a stand-in for a QAT model.

The demo model comes as Q4_K_M, so that its other formats are made of weights that were quantised once: derived, and
called so. The stand-in has the same weights moved onto the points that Q4_0 can hold, by quantising to Q4_0 and back:
Q4_0 costs it nothing, as it would cost a perfect QAT model nothing. It was not trained, and is not called QAT.

Q4_0 is multiplied by numbers of 8 bits on a CPU, and F16 by numbers of 16: their predictions differ by that too,
whatever the weights. So the stand-in's Q4_0 is there in 16 bits as well: what its weights alone cost.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.quantization import QuantizeOptions
from gemtop.engine.gguf import read_header
from gemtop.engine.quantize import Quantizer, check_space

BASELINE = "F16 derived"
GRID, GRID_Q4_0, GRID_WIDENED = "grid F16", "grid Q4_0", "grid Q4_0 in 16 bits"
CHECKPOINTS = {GRID_Q4_0: GRID, GRID_WIDENED: GRID}
"""What is whose own unquantised checkpoint."""
_PUBLISHED = "Q4_K_M as published"
_STEPS = (
    *((_PUBLISHED, name, f"{name} derived") for name in ("F16", "Q8_0", "Q5_0", "Q4_0", "Q2_K")),
    ("Q4_0 derived", "F16", GRID), (GRID, "Q4_0", GRID_Q4_0), (GRID_Q4_0, "F16", GRID_WIDENED),
)  # fmt: skip
"""What each file is made of, its format, and what it is called."""

NOTE = (
    "The demo model is published as Q4_K_M. All else here is made of those weights and is derived: F16 is not the"
    " original but its Q4_K_M in 16 bits. The grid model has weights that Q4_0 can hold exactly, as quantisation-aware"
    " training aims at; it was not trained, and its loss against F16 is that of moving untrained weights. How far its"
    " Q4_0 is from it is the arithmetic of the kernels, which multiply it by numbers of 8 bits; the same weights in 16"
    " bits show what Q4_0 costs them."
)


def make(source: str, folder: Path, progress: Callable[[str], None]) -> dict[str, str]:
    """The files of the demonstration, label to path; those that are not there yet are made. Raises BadInputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{folder} cannot be made: {error.strerror}") from error
    found = {_PUBLISHED: source}
    for origin, name, label in _STEPS:
        target = folder / f"gemma-3-270m-{label.replace(' ', '-')}.gguf"
        if not target.exists():
            _quantize(Path(found[origin]), name, target, progress)
        found[label] = str(target)
    return found


def _quantize(origin: Path, name: str, target: Path, progress: Callable[[str], None]) -> None:
    quantizer = Quantizer(read_header(origin), QuantizeOptions(allow_requantize=True))
    outline = quantizer.outline(name)
    check_space(target.parent, [outline])
    quantizer.write(outline, target, lambda done, _: progress(f"making {target.name} {done:.0%}"))
