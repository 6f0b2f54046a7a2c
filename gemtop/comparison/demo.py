"""What `gemtop compare --demo` holds against each other: formats of the demo model, and a stand-in for a QAT model.

The demo model comes as Q4_K_M, so that its other formats are made of weights that were quantised once: derived, and
called so. The stand-in has the same weights moved onto the points that Q4_0 can hold, by quantising to Q4_0 and back:
Q4_0 costs it nothing, as it would cost a perfect QAT model nothing. It was not trained, and is not called QAT.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gemtop.domain.errors import BadInputError
from gemtop.domain.quantization import QuantizeOptions
from gemtop.engine.gguf import read_header
from gemtop.engine.quantize import Quantizer, check_space

BASELINE = "F16"
FORMATS = ("F16", "Q8_0", "Q5_0", "Q4_0", "Q2_K")
_GRID = (("Q4_0", "F16"), ("grid-F16", "Q4_0"))
"""Source and format of the steps to the stand-in: its unquantised weights, and their Q4_0."""

NOTE = (
    "The demo model is published as Q4_K_M. All else here is made of those weights and is derived: F16 is not the"
    " original but its Q4_K_M in 16 bits. The grid model has weights that Q4_0 can hold exactly, as quantisation-aware"
    " training aims at; it was not trained, and its loss against F16 is that of moving untrained weights."
)


def make(source: str, folder: Path, progress: Callable[[str], None]) -> dict[str, str]:
    """The files of the demonstration, label to path; those that are not there yet are made. Raises BadInputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{folder} cannot be made: {error.strerror}") from error
    paths = {name: folder / f"gemma-3-270m-derived-{name}.gguf" for name in FORMATS}
    paths |= {f"grid-{to}": folder / f"gemma-3-270m-grid-{to}.gguf" for _, to in _GRID}
    steps = [(Path(source), name, paths[name]) for name in FORMATS]
    steps += [(paths[origin], to, paths[f"grid-{to}"]) for origin, to in _GRID]
    for origin, name, target in steps:
        if not target.exists():
            _quantize(origin, name, target, progress)
    return {
        "Q4_K_M as published": source,
        **{f"{name} derived": str(paths[name]) for name in FORMATS},
        "grid F16": str(paths["grid-F16"]),
        "grid Q4_0": str(paths["grid-Q4_0"]),
    }


def _quantize(origin: Path, name: str, target: Path, progress: Callable[[str], None]) -> None:
    quantizer = Quantizer(read_header(origin), QuantizeOptions(allow_requantize=True))
    outline = quantizer.outline(name)
    check_space(target.parent, [outline])
    quantizer.write(outline, target, lambda done, _: progress(f"making {target.name} {done:.0%}"))
