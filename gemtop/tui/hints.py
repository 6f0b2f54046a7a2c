"""The keys a screen shows in its last line. Textual is not needed to know them."""

from __future__ import annotations

from typing import NamedTuple


class KeyHint(NamedTuple):
    """A key, what it does, and the action of the screen that a click runs."""

    key: str
    text: str
    action: str


LIVE_KEYS = (
    KeyHint("Enter", "Prompt", "type"),
    KeyHint("Esc", "Stop", "stop"),
    KeyHint("r", "Again", "again"),
    KeyHint("t", "Tune", "tune"),
    KeyHint("s", "Sampling", "sampling"),
    KeyHint("m", "Models", "models"),
    KeyHint("?", "Keys", "keys"),
    KeyHint("q", "Quit", "leave"),
    KeyHint("l", "Log", "log"),
)
PROMPT_KEYS = (
    KeyHint("Enter", "Run", "submit_prompt"),
    KeyHint("Ctrl-J", "New line", "break_prompt"),
    KeyHint("Esc", "Stop, leave the prompt", "leave_prompt"),
)
PROMPT_PLACEHOLDER = "Enter or a capital letter starts a prompt"


def fitting(hints: tuple[KeyHint, ...], width: int) -> list[tuple[int, KeyHint]]:
    """Hints with the column each begins at; those that find no room are left out. Their texts are ASCII."""
    found, x = [], 1
    for hint in hints:
        cells = len(hint.key) + 1 + len(hint.text)
        if x + cells > width:
            break
        found.append((x, hint))
        x += cells + 2
    return found
