"""What each colour stands for, and its shade on dark and on light grounds: the same on every screen and in reports.

Okabe and Ito's set (jfly.uni-koeln.de/color), each moved as little as it takes for text in it to stand out from the
grounds by 4.5:1 and for those that meet in a chart, a bar or a row of badges to lie 20 and more apart in CIE Lab for
people who do not see red, green or blue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SKY, _ORANGE, _GREEN = ("#95d3fd", "#0574be"), ("#eea800", "#af5900"), ("#1ab67a", "#005c36")
_VERMILION, _PURPLE = ("#ee672e", "#8f0300"), ("#c27ba5", "#a55389")
_YELLOW, _BLUE, _GREY = ("#fef857", "#494200"), ("#6d91d4", "#1d2c82"), ("#c8ccd2", "#59606a")
_SERIES = (_SKY, _ORANGE, _GREEN, _PURPLE, _BLUE, _VERMILION, _YELLOW, _GREY)

_SHADES: Mapping[str, tuple[str, str]] = {
    "good": ("#1ab67a", "#006b5a"),
    "warn": _ORANGE,
    "bad": _VERMILION,
    "prefill": _SKY,
    "decode": _ORANGE,
    "throttle": _YELLOW,
    "memory": _GREEN,
    "power": _VERMILION,
    "load": _PURPLE,
    "weights": _BLUE,
    "kv": _SKY,
    "compute": _ORANGE,
    "fp16": _SKY,
    "ptq": _ORANGE,
    "qat": _GREEN,
    "removed": _VERMILION,
    "added": _PURPLE,
}
DARK: Mapping[str, str] = {role: shades[0] for role, shades in _SHADES.items()}
"""Shades for dark grounds, by role."""
LIGHT: Mapping[str, str] = {role: shades[1] for role, shades in _SHADES.items()}

VARIANTS = ("fp16", "ptq", "qat")
"""Roles of variants, which are those of their badges."""
DARK_INK, LIGHT_INK = "#0b0f14", "#ffffff"
"""Text on a badge of the dark and of the light shades."""
DARK_SERIES = tuple(shade for shade, _ in _SERIES)
"""For variants in a report: those of the three kinds, and what is left for others of the same kind."""
LIGHT_SERIES = tuple(shade for _, shade in _SERIES)

BLACK, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, WHITE, GREY = range(9)
BRIGHT = 8
"""To be added for the bright one of the sixteen colours of a terminal."""
ANSI_DARK: Mapping[str, int] = {
    "text": BRIGHT + WHITE,
    "title": BRIGHT + WHITE,
    "muted": WHITE,
    "placeholder": WHITE,
    "axis": WHITE,
    "mark": WHITE,
    "other": WHITE,
    "frame": GREY,
    "free": GREY,
    "frame-focus": BRIGHT + BLUE,
    "key": BRIGHT + CYAN,
    "prompt": BRIGHT + CYAN,
    "good": BRIGHT + GREEN,
    "warn": BRIGHT + YELLOW,
    "bad": BRIGHT + RED,
    "prefill": BRIGHT + CYAN,
    "decode": BRIGHT + YELLOW,
    "throttle": BRIGHT + RED,
    "memory": BRIGHT + GREEN,
    "power": BRIGHT + RED,
    "load": BRIGHT + MAGENTA,
    "weights": BRIGHT + BLUE,
    "kv": BRIGHT + CYAN,
    "compute": BRIGHT + YELLOW,
    "fp16": BRIGHT + CYAN,
    "ptq": BRIGHT + YELLOW,
    "qat": BRIGHT + GREEN,
    "removed": BRIGHT + RED,
    "added": BRIGHT + MAGENTA,
}
"""The same of a terminal's sixteen colours, on black."""
ANSI_LIGHT: Mapping[str, int] = {
    **dict.fromkeys(ANSI_DARK, BLACK),
    **dict.fromkeys(("frame", "free", "axis", "mark", "muted", "placeholder"), GREY),
    **dict.fromkeys(("frame-focus", "key", "prompt", "prefill", "weights", "fp16"), BLUE),
    **dict.fromkeys(("bad", "decode", "ptq", "removed", "compute"), RED),
    **dict.fromkeys(("warn", "load", "throttle", "added"), MAGENTA),
    **dict.fromkeys(("good", "memory", "qat", "power"), GREEN),
    "kv": CYAN,
}
"""On white, where yellow and what is bright cannot be read."""
ANSI_BADGES: Mapping[str, int] = {"fp16": CYAN, "ptq": YELLOW, "qat": GREEN, "other": WHITE}
"""Grounds of badges, under black text."""


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance of an sRGB colour (WCAG 2.2)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def variant_role(training: str, quantization: str) -> str:
    """The colour of a variant; `other` where nobody can say how it was quantised."""
    if training == "qat":
        return "qat"
    if quantization in ("F16", "BF16", "F32"):
        return "fp16"
    return "ptq" if training == "ptq" else "other"


def named_variant_role(variant: str) -> str:
    """The same for a variant of which only the name is known: QAT Q4_0, PTQ Q4_K_M with LoRA, FP16."""
    kind = variant.partition(" ")[0].partition("+")[0]
    return {"QAT": "qat", "PTQ": "ptq"}.get(kind, "fp16" if kind in ("FP16", "BF16", "FP32") else "other")


def series_of(roles: Sequence[str]) -> tuple[int, ...]:
    """Places in the series of colours: the first variant of a kind has its kind's, others what is left.

    Where all are taken the count goes on, so that each place is given once.
    """
    spare = iter(range(len(VARIANTS), len(VARIANTS) + len(roles)))
    found: list[int] = []
    for role in roles:
        own = VARIANTS.index(role) if role in VARIANTS else None
        found.append(next(spare) if own is None or own in found else own)
    return tuple(found)
