"""Parts of a whole as cells."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gemtop.charts.stacked import shares

parts = st.lists(st.integers(0, 2**40), min_size=1, max_size=6).filter(any)


@given(parts, st.integers(1, 300))
def test_the_bar_is_full_and_nothing_vanishes(sizes: list[int], width: int) -> None:
    cells = shares(sizes, width)
    assert sum(cells) == width and min(cells) >= 0
    assert all(count == 0 for size, count in zip(sizes, cells, strict=True) if not size)
    if width >= sum(size > 0 for size in sizes):
        assert all(count for size, count in zip(sizes, cells, strict=True) if size)


@given(parts, st.integers(1, 300))
def test_no_part_is_further_off_than_a_cell_for_each(sizes: list[int], width: int) -> None:
    for size, count in zip(sizes, shares(sizes, width), strict=True):
        assert abs(count - size * width / sum(sizes)) < len(sizes)


def test_a_part_that_grows_moves_no_border_before_its_own() -> None:
    first, second = shares([160, 12, 5, 4, 59], 44), shares([160, 12, 5, 20, 43], 44)
    assert first[:3] == second[:3] and first[3] < second[3]
