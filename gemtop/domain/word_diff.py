"""Two texts held against each other, word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST_WORDS = 2000
"""Of what lies between the same beginning and the same end; the rest is shown as it is: time grows with the square."""
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
    most = min(len(ours), len(theirs))
    begin = next((i for i in range(most) if ours[i] != theirs[i]), most)
    end = next((i for i in range(most - begin) if ours[-1 - i] != theirs[-1 - i]), most - begin)
    mine, others = ours[begin : len(ours) - end], theirs[begin : len(theirs) - end]
    heads = mine[:MOST_WORDS], others[:MOST_WORDS]
    same = "".join(ours[:begin]), "".join(ours[len(ours) - end :])
    # What is frequent is no anchor (autojunk): a text that repeats itself would take time by the cube.
    pieces = [Piece(same[0], same[0], True)] + [
        Piece("".join(heads[0][a:b]), "".join(heads[1][c:d]), tag == "equal")
        for tag, a, b, c, d in SequenceMatcher(None, *heads).get_opcodes()
    ]
    pieces.append(Piece("".join(mine[MOST_WORDS:]), "".join(others[MOST_WORDS:]), False))
    pieces.append(Piece(same[1], same[1], True))
    return _joined([piece for piece in pieces if piece.left or piece.right])


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
