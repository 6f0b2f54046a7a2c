"""A stacked bar: parts of a whole as runs of cells."""

from __future__ import annotations

from collections.abc import Sequence


def shares(parts: Sequence[int], width: int) -> list[int]:
    """Cells of each part of a bar of `width` cells, which they fill together.

    Borders lie where the parts before them end, rounded, so that a part that changes moves no border before its own.
    A part above nothing has at least one cell as long as there is one for each. Parts are not negative, and one of
    them at least is more than nothing.
    """
    total, ends, before = sum(parts), [], 0
    for part in parts:
        before += part
        ends.append((2 * before * width + total) // (2 * total))  # rounded, in whole numbers of any size
    cells = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    for at, part in enumerate(parts):
        if part and not cells[at]:
            largest = max(range(len(cells)), key=cells.__getitem__)
            if cells[largest] > 1:
                cells[largest] -= 1
                cells[at] = 1
    return cells
