"""Colours that stay apart for people who do not see red, green or blue, and text that can be read."""

from __future__ import annotations

import itertools
import math

import pytest

from gemtop.charts.colours import (
    ANSI_BADGES,
    ANSI_DARK,
    ANSI_LIGHT,
    DARK,
    DARK_INK,
    DARK_SERIES,
    LIGHT,
    LIGHT_INK,
    LIGHT_SERIES,
    VARIANTS,
    contrast,
    named_variant_role,
    series_of,
    variant_role,
)

APART = 20.0
"""CIE 1976 colour difference; 2.3 is just noticeable."""
# Full dichromacy, on linear RGB: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, A Physiologically-based Model for
# Simulation of Color Vision Deficiency, IEEE TVCG 15 (6), 2009, table 1, severity 1.0.
SIGHTS = {
    "full": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TOGETHER = {
    "badges": VARIANTS,
    "verdicts": ("good", "warn", "bad"),
    "the chart of speed": ("prefill", "decode", "throttle"),
    "memory of four cards": ("memory", "prefill", "decode", "load"),
    "power of four cards": ("power", "prefill", "decode", "load"),
    "the ledger": ("weights", "kv", "compute"),
    "a difference of texts": ("removed", "added"),
}
GROUNDS = {"dark": ("#121417", "#1a1d21"), "light": ("#fefefe", "#f4f5f6")}
"""Background and surface of gemtop's own themes."""
REPORT = {"dark": "#151b23", "light": "#ffffff"}


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def lab(colour: str, sight: str) -> tuple[float, float, float]:
    """What a colour looks like, in CIE Lab under D65."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb(colour))]
    seen = [min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in SIGHTS[sight]]
    x = 0.4124564 * seen[0] + 0.3575761 * seen[1] + 0.1804375 * seen[2]
    y = 0.2126729 * seen[0] + 0.7151522 * seen[1] + 0.0721750 * seen[2]
    z = 0.0193339 * seen[0] + 0.1191920 * seen[1] + 0.9503041 * seen[2]
    fx, fy, fz = (
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x / 0.95047, y, z / 1.08883)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("shades", [DARK, LIGHT], ids=["dark", "light"])
def test_what_meets_stays_apart(shades: dict[str, str]) -> None:
    for what, roles in TOGETHER.items():
        for one, other in itertools.combinations(roles, 2):
            for sight in SIGHTS:
                apart = math.dist(lab(shades[one], sight), lab(shades[other], sight))
                assert apart >= APART, f"{what}: {one} and {other}, {sight}: {apart:.1f}"


@pytest.mark.parametrize("series", [DARK_SERIES, LIGHT_SERIES], ids=["dark", "light"])
def test_the_first_variants_of_a_report_stay_apart(series: tuple[str, ...]) -> None:
    """Of the rest each has a shape and a dash of its own, as all have."""
    for one, other in itertools.combinations(series[:5], 2):
        for sight in SIGHTS:
            assert math.dist(lab(one, sight), lab(other, sight)) >= APART, (one, other, sight)


@pytest.mark.parametrize("kind,shades,ink", [("dark", DARK, DARK_INK), ("light", LIGHT, LIGHT_INK)])
def test_text_can_be_read(kind: str, shades: dict[str, str], ink: str) -> None:
    for role, shade in shades.items():
        for ground in GROUNDS[kind]:
            assert contrast(rgb(shade), rgb(ground)) >= 4.5, f"{role} on {ground}"
    for role in VARIANTS:
        assert contrast(rgb(ink), rgb(shades[role])) >= 4.5, f"the badge of {role}"


@pytest.mark.parametrize("kind,series,shades", [("dark", DARK_SERIES, DARK), ("light", LIGHT_SERIES, LIGHT)])
def test_reports_have_the_colours_of_the_screen(kind: str, series: tuple[str, ...], shades: dict[str, str]) -> None:
    assert series[: len(VARIANTS)] == tuple(shades[role] for role in VARIANTS)
    assert len(set(series)) == len(series)
    for shade in series:  # 3:1 is what WCAG 2.2 (1.4.11) asks of graphics
        assert contrast(rgb(shade), rgb(REPORT[kind])) >= 4.5


@pytest.mark.parametrize("table", [ANSI_DARK, ANSI_LIGHT], ids=["dark", "light"])
def test_sixteen_colours_keep_apart_what_meets(table: dict[str, int]) -> None:
    for what, roles in TOGETHER.items():
        assert len({table[role] for role in roles}) == len(roles), what
    assert set(DARK) <= set(table)
    assert len({ANSI_BADGES[role] for role in (*VARIANTS, "other")}) == 4


def test_a_variant_has_its_kinds_colour() -> None:
    assert variant_role("qat", "Q4_0") == named_variant_role("QAT Q4_0") == "qat"
    assert variant_role("qat", "F16") == named_variant_role("QAT F16") == "qat"
    assert variant_role("ptq", "Q4_K_M") == named_variant_role("PTQ Q4_K_M + style") == "ptq"
    assert variant_role("none", "BF16") == named_variant_role("BF16") == "fp16"
    assert variant_role("unknown", "Q4_K_M") == named_variant_role("Q4_K_M") == named_variant_role("") == "other"


def test_each_variant_of_a_report_has_a_colour_of_its_own() -> None:
    assert series_of(["fp16", "ptq", "qat"]) == (0, 1, 2)
    assert series_of(["qat", "fp16"]) == (2, 0)
    assert series_of(["ptq", "ptq", "other", "qat", "qat", "fp16"]) == (1, 3, 4, 2, 5, 0)
    assert len(set(series_of(["ptq"] * 20))) == 20
