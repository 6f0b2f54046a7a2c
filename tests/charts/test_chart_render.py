"""Charts as cells."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from gemtop.charts.grid import Cells
from gemtop.charts.render import render
from gemtop.charts.spec import Band, ChartSpec, Mark, Series

SIZES = [(60, 8), (70, 12), (118, 8), (36, 6)]


def level(value: float, label: str = "decode", right: bool = False) -> Series:
    return Series(label, label, tuple((t / 5, value) for t in range(301)), right)


def chart(*series: Series, **changes: object) -> ChartSpec:
    spec = ChartSpec(series=series, y_range=(0.0, 50.0), x_label="60 s", placeholder="no run yet")
    return replace(spec, **changes)


def rows_of(cells: Cells, role: str) -> set[int]:
    return {y for y, row in enumerate(cells.rows) if role in row.roles}


def columns_of(cells: Cells, role: str) -> list[int]:
    return sorted({x for row in cells.rows for x, at in enumerate(row.roles) if at == role})


@pytest.mark.parametrize("size", SIZES)
def test_a_level_curve_runs_from_edge_to_edge(size: tuple[int, int]) -> None:
    cells = render(chart(level(25.0)), *size)
    assert (cells.width, cells.height) == size
    assert all(len(row.glyphs) == len(row.roles) == size[0] for row in cells.rows)
    assert columns_of(cells, "decode") == list(range(5, size[0]))
    assert len(rows_of(cells, "decode")) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_labels_stand_beside_their_values(size: tuple[int, int], share: float) -> None:
    cells = render(chart(level(50.0 * share)), *size)
    (y,) = rows_of(cells, "decode")
    if share != 0.5 or size[1] >= 6:
        assert cells.rows[y].text[:4].strip() == f"{50 * share:.0f}"


def test_a_gap_is_a_gap() -> None:
    points = tuple((t / 5, None if 100 <= t <= 200 else 20.0) for t in range(301))
    cells = render(chart(Series("decode", "decode", points)), 118, 8)
    columns = columns_of(cells, "decode")
    jumps = [b - a for a, b in pairwise(columns) if b - a > 1]
    assert len(jumps) == 1
    assert 30 < jumps[0] < 45


def test_two_scales() -> None:
    spec = chart(level(800.0, "prefill", right=True), level(10.0), right_range=(0.0, 1000.0))
    cells = render(spec, 70, 12)
    assert max(rows_of(cells, "prefill")) < min(rows_of(cells, "decode"))
    assert cells.rows[0].text.rstrip().endswith("├1000")


def test_marks_stand_behind_curves_and_name_themselves() -> None:
    cells = render(chart(level(25.0), marks=(Mark(20.0, "ctx 8192→16384"), Mark(900.0, "later"))), 70, 12)
    assert "┊ctx 8192→16384" in cells.rows[10].text
    assert "later" not in cells.text
    assert columns_of(cells, "decode") == list(range(5, 70))


def test_a_band_has_a_ground_and_says_why() -> None:
    plain = render(chart(level(25.0)), 118, 8)
    wide = render(chart(level(25.0), bands=(Band(10.0, 30.0, "SwPowerCap", "throttle"),)), 118, 8)
    assert "SwPowerCap▔▔" in wide.rows[0].text
    tinted = [x for x, role in enumerate(wide.rows[3].roles) if role.endswith("@throttle")]
    assert tinted == list(range(tinted[0], tinted[-1] + 1)) and 35 <= len(tinted) <= 40
    assert {role.partition("@")[0] for role in wide.rows[3].roles} <= {"", "decode", "axis"}, "curves keep their colour"
    narrow = render(chart(level(25.0), bands=(Band(10.0, 11.0, "SwPowerCap", "throttle"),)), 118, 8)
    assert re.search(r"▔+ SwPowerCap ", narrow.rows[0].text)
    two = (Band(10.0, 13.0, "SwPowerCap", "throttle"), Band(14.0, 18.0, "SwThermalSlowdown", "throttle"))
    both = render(chart(level(25.0), bands=two), 118, 8).rows[0].text
    assert re.search(r" SwPowerCap ▔+ ▔+ SwThermalSlowdown ", both), "no words lie over another band"
    at_the_edge = render(chart(level(25.0), bands=(Band(58.0, 70.0, "SwPowerCap", "throttle"),)), 118, 8)
    assert re.search(r" SwPowerCap ▔+$", at_the_edge.rows[0].text)
    outside = render(chart(level(25.0), bands=(Band(61.0, 70.0, "SwPowerCap", "throttle"),)), 118, 8)
    assert outside == plain
    assert "^^" in render(chart(level(25.0), bands=(Band(1.0, 30.0, "x", "throttle"),)), 118, 8, ascii_only=True).text


def test_values_outside_stay_at_the_edge() -> None:
    assert rows_of(render(chart(level(5000.0)), 60, 8), "decode") == {0}
    assert rows_of(render(chart(level(-5.0)), 60, 8), "decode") == {6}


def test_time_labels_keep_their_places() -> None:
    first = render(chart(level(25.0)), 60, 8).rows[7].text
    later = render(chart(level(25.0), x_range=(15.0, 75.0)), 60, 8).rows[7].text
    assert [part.strip("└─ ") for part in first.split(" ") if ":" in part] == ["0:15", "0:30", "0:45"]
    assert first.index("0:15") == later.index("0:30")
    assert first.endswith("60 s")


def test_the_placeholder_stands_in_for_data() -> None:
    cells = render(chart(), 60, 8)
    assert "no run yet" in cells.text
    assert "50┤" in cells.text


def test_ascii_is_ascii() -> None:
    spec = chart(level(25.0), level(300.0, "prefill", right=True), right_range=(0.0, 500.0))
    text = render(replace(spec, marks=(Mark(20.0, "run 4"),)), 70, 12, ascii_only=True).text
    assert text.isascii()
    assert "*" in text
    assert "+" in text


def test_no_size_raises() -> None:
    spec = chart(level(25.0), level(300.0, "prefill", right=True), right_range=(0.0, 500.0))
    spec = replace(spec, marks=(Mark(20.0, "run 4"),))
    for width in range(30):
        for height in range(8):
            for ascii_only in (False, True):
                cells = render(spec, width, height, ascii_only=ascii_only)
                assert (cells.width, cells.height) == (width, height)
    assert render(spec, -1, -1).rows == ()


def test_noise_within_a_dot_changes_no_cell() -> None:
    # A dot is 2.1 high here; 26 lies near the middle of one.
    rng = random.Random(5)
    noisy = tuple((t / 5, 26.0 + rng.uniform(-0.5, 0.5)) for t in range(301))
    assert render(chart(Series("decode", "decode", noisy)), 118, 8) == render(chart(level(26.0)), 118, 8)


def test_a_new_point_changes_few_cells() -> None:
    rng = random.Random(5)
    points = tuple((t / 5, 34.0 + rng.gauss(0, 1)) for t in range(301))
    cells = [render(chart(Series("decode", "decode", points[:count])), 118, 8) for count in (200, 205)]
    changed = sum(
        a != b
        for old, new in zip(cells[0].rows, cells[1].rows, strict=True)
        for a, b in zip(old.glyphs, new.glyphs, strict=True)
    )
    assert 0 < changed <= 8


def test_plotext_is_imported_late() -> None:
    code = (
        "import sys; import gemtop.charts.render, gemtop.charts.spec; "
        "assert 'plotext' not in sys.modules and 'textual' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_colours_each_curve_has_its_own_marker() -> None:
    spec = ChartSpec(
        series=(
            Series("prefill", "prefill", ((0.0, 0.9), (60.0, 0.9))),
            Series("decode", "decode", ((0.0, 0.1), (60.0, 0.1))),
        )
    )
    coloured, plain = render(spec, 60, 12), render(spec, 60, 12, coloured=False)
    in_ascii = render(spec, 60, 12, ascii_only=True)

    def drawn(cells: Cells, role: str) -> set[str]:
        return {g for row in cells.rows for g, r in zip(row.glyphs, row.roles, strict=True) if r == role}

    assert all(ord(glyph) in range(0x2800, 0x2900) for role in ("prefill", "decode") for glyph in drawn(coloured, role))
    assert drawn(plain, "prefill") == {"•"}
    assert all(ord(glyph) in range(0x2800, 0x2900) for glyph in drawn(plain, "decode")), "the finest for what is on top"
    assert (drawn(in_ascii, "decode"), drawn(in_ascii, "prefill")) == ({"*"}, {"+"})
