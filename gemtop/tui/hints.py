"""The keys a screen shows in its last line. Textual is not needed to know them."""

from __future__ import annotations

from typing import NamedTuple


class KeyHint(NamedTuple):
    """A key, what it does, and the action of the screen that a click runs."""

    key: str
    text: str
    action: str
    stays: bool = False
    """Shown however narrow the line is."""


LIVE_KEYS = (
    KeyHint("Enter", "Prompt", "type"),
    KeyHint("Esc", "Stop", "stop"),
    KeyHint("r", "Again", "again"),
    KeyHint("t", "Tune", "tune"),
    KeyHint("c", "Compare", "compare"),
    KeyHint("h", "History", "history"),
    KeyHint("s", "Sampling", "sampling"),
    KeyHint("m", "Models", "models"),
    KeyHint("l", "Log", "log"),
    KeyHint("y", "Copy", "copy"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("q", "Quit", "leave", stays=True),
)
TOP_KEYS = (
    KeyHint("p", "Pause", "pause"),
    KeyHint("Up Down", "Scroll", "scroll(1)"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("q", "Quit", "leave", stays=True),
)
REPLAY_KEYS = (
    KeyHint("Space", "Pause", "pause"),
    KeyHint("Left Right", "5 s", "skip(5)"),
    KeyHint("[ ]", "Run", "next_run(1)"),
    KeyHint("- +", "Speed", "speed(1)"),
    KeyHint("PgUp PgDn", "1 min", "skip(60)"),
    KeyHint("y", "Copy", "copy"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("q", "Quit", "leave", stays=True),
)
SQL_KEYS = (
    KeyHint("F5", "Run", "run"),
    KeyHint("Space", "Mark", "mark"),
    KeyHint("p", "Plot", "plot"),
    KeyHint("o", "Sort", "sort"),
    KeyHint("d", "Outputs", "outputs"),
    KeyHint("Ctrl-S", "Save", "save"),
    KeyHint("F2", "Lists", "lists"),
    KeyHint("Ctrl-W", "Write", "write"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("Esc", "Back", "back", stays=True),
)
SQL_LIST_KEYS = (
    KeyHint("Enter", "Run", "choose"),
    KeyHint("e", "Note", "annotate"),
    KeyHint("Tab", "Next", "app.focus_next"),
    KeyHint("F3", "Rows", "rows"),
    KeyHint("F4", "Editor", "editor"),
    KeyHint("F6", "Fleet", "fleet"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("Esc", "Back", "back", stays=True),
)
SQL_EDITOR_KEYS = (
    KeyHint("F5", "Run", "run"),
    KeyHint("Tab", "Complete", "complete"),
    KeyHint("Ctrl-S", "Save", "save"),
    KeyHint("F2", "Lists", "lists"),
    KeyHint("F3", "Rows", "rows"),
    KeyHint("Ctrl-W", "Write", "write"),
    KeyHint("Esc", "Back", "back", stays=True),
)
CHOOSING_KEYS = (
    KeyHint("Space", "Mark", "mark"),
    KeyHint("b", "Baseline", "baseline"),
    KeyHint("Enter", "Start", "start"),
    KeyHint("p", "Prompt", "prompt"),
    KeyHint("Tab", "Settings", "app.focus_next"),
    KeyHint("n", "Last one", "choose"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("Esc", "Back", "back", stays=True),
)
FORM_KEYS = (
    KeyHint("Enter", "Start", "start"),
    KeyHint("Tab", "Next", "app.focus_next"),
    KeyHint("Esc", "Back", "back", stays=True),
)
COMPARING_KEYS = (
    KeyHint("Esc", "Stop", "back", stays=True),
    KeyHint("c", "Live charts", "leave"),
    KeyHint("o", "Outputs", "outputs"),
    KeyHint("y", "Copy", "copy"),
    KeyHint("?", "Keys", "keys", stays=True),
)
COMPARED_KEYS = (
    KeyHint("Enter", "Outputs", "start"),
    KeyHint("p", "Prompt", "prompt"),
    KeyHint("n", "New", "choose"),
    KeyHint("c", "Live", "leave"),
    KeyHint("y", "Copy", "copy"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("Esc", "Back", "back", stays=True),
)
STOPPED_KEYS = (KeyHint("Enter", "Go on", "start"), KeyHint("o", "Outputs", "outputs"), *COMPARED_KEYS[1:])
OUTPUT_KEYS = (
    KeyHint("[ ]", "Prompts", "prompt(1)"),
    KeyHint("Left Right", "Variants", "variant(1)"),
    KeyHint("d", "Word diff", "diff"),
    KeyHint("y", "Copy", "copy"),
    KeyHint("?", "Keys", "keys", stays=True),
    KeyHint("Esc", "Back", "dismiss", stays=True),
)
PROMPT_KEYS = (
    KeyHint("Enter", "Run", "submit_prompt"),
    KeyHint("Ctrl-J", "New line", "break_prompt"),
    KeyHint("Esc", "Stop, leave the prompt", "leave_prompt"),
)
PROMPT_PLACEHOLDER = "Enter or a capital letter starts a prompt"
TYPING_PLACEHOLDER = "type a prompt; Enter runs it"


def fitting(hints: tuple[KeyHint, ...], width: int) -> list[tuple[int, KeyHint]]:
    """Hints with the column each begins at; of those that find no room the last ones go. Their texts are ASCII."""
    kept = list(hints)
    while kept:
        found, x = [], 1
        for hint in kept:
            found.append((x, hint))
            x += len(hint.key) + 1 + len(hint.text) + 2
        if x - 2 <= width:
            return found
        kept.remove(next((hint for hint in reversed(kept) if not hint.stays), kept[-1]))
    return []
