"""What a report is made of, without saying how it is written: Markdown and HTML are made of the same parts.

All text may be anyone's (models, files and prompts name themselves); whoever writes it down makes it harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemtop.domain.word_diff import Piece


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph. One that is `strong` is set apart."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list of short texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads; the first cell of each row is its name."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True
    """Cells behind the first are figures, set to the right."""
    of_variants: int | None = None
    """Where heads are variants: the column of the first one."""
    marks: tuple[int, ...] = ()
    """Their marks, in order."""


@dataclass(frozen=True, slots=True)
class Code:
    """Text that is to be taken as it stands."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with the SQL that gives its figures, or why there is none."""

    name: str
    """Of gemtop's own: letters and hyphens. It is the name of its file too."""
    title: str
    caption: str
    sql: str
    picture: str | None
    """SVG."""
    reason: str = ""
    """Why there is no picture."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two outputs."""

    mark: int
    label: str
    verdict: str
    """Whether its answer is right."""
    top: str
    """What it held most likely where they part."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Two outputs to a prompt, side by side."""

    title: str
    left: Side
    right: Side
    pieces: tuple[Piece, ...]


Block = Words | Items | Table | Code | Figure | Outputs


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report under a heading. `name` is of gemtop's own."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it, in order."""

    title: str
    subtitle: str
    verdict: str
    warning: str | None
    """What a reader has to know first: it is unfinished."""
    sections: Sequence[Section]
