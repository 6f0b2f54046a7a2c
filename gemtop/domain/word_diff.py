"""Two texts held against each other, word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST_WORDS = 4000
"""Of a text; what comes after is shown as it is, not compared: the time grows with the square."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of both texts; it is the same in both, or one of them may be empty."""

    left: str
    right: str
    same: bool


def word_diff(left: str, right: str) -> list[Piece]:
    """The texts in pieces, in order; joined they are the texts. Words, signs and gaps are compared as they stand."""
    ours, theirs = _WORD.findall(left), _WORD.findall(right)
    heads = ours[:MOST_WORDS], theirs[:MOST_WORDS]
    pieces = [
        Piece("".join(heads[0][a:b]), "".join(heads[1][c:d]), tag == "equal")
        for tag, a, b, c, d in SequenceMatcher(None, *heads, autojunk=False).get_opcodes()
    ]
    rest = "".join(ours[MOST_WORDS:]), "".join(theirs[MOST_WORDS:])
    if rest[0] or rest[1]:
        pieces.append(Piece(*rest, rest[0] == rest[1]))
    return _joined(pieces)


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """A gap alone between two changes belongs to them: fewer and longer marks are easier to read."""
    found: list[Piece] = []
    for number, piece in enumerate(pieces):
        lone = piece.same and piece.left.isspace() and "\n" not in piece.left and 0 < number < len(pieces) - 1
        changed = not piece.same or lone
        if changed and found and not found[-1].same:
            last = found.pop()
            piece = Piece(last.left + piece.left, last.right + piece.right, False)
        found.append(piece)
    return found
