"""Every key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from gemtop.tui.widgets.values import Value, ValueGrid

KEYS = (
    ("Enter  /", "type a prompt (so does a click on its line)"),
    ("A-Z  0-9  \" ' (", "begin a prompt with that character"),
    ("Enter  Ctrl-J", "in the prompt: run it; a new line"),
    ("Up  Down", "in the prompt: earlier prompts of this sitting"),
    ("Esc", "stop the run or the loading; leave the prompt"),
    ("r", "run the last prompt again, the same tokens"),
    ("n", "new conversation (models with a chat template)"),
    ("t", "tune: context, offload, cache, batch, threads, LoRA"),
    ("s", "sampling: temperature, top-k, top-p, seed, length"),
    ("c", "compare: models held against each other"),
    ("h", "history: SQL over all sessions while this goes on"),
    ("m", "open another model"),
    ("l", "llama.cpp's own messages"),
    ("y", "copy the output (OSC 52: works over SSH)"),
    ("PgUp PgDn Home End", "scroll the text, as the mouse wheel does"),
    ("Tab", "from the text to the prompt and back"),
    ("Ctrl-P", "command palette: themes and more"),
    ("Ctrl-Z", "suspend; fg brings it back"),
    ("?", "this list; keys in the last line can be clicked"),
    ("q  Ctrl-Q  Ctrl-C", "leave; everything is recorded"),
)

SQL_SCREEN_KEYS = (
    ("F5 Ctrl-R Ctrl-J", "run the editor's SQL, or what is selected in it"),
    ("Esc  Ctrl-C", "stop what runs; Esc: back from the plot, to live"),
    ("q  h", "outside of the editor: back to the live screen"),
    ("Tab", "take the completion; else on to the next part"),
    ("Ctrl-Space", "show completions before a first letter"),
    ("Ctrl-U  Ctrl-Y", "in the editor: undo, redo"),
    ("F2  F3  F4", "to the queries and sessions, the rows, the editor"),
    ("F6", "ask the fleet, and this machine's history again"),
    ("Enter", "run the query, the session; show the cell whole"),
    ("e", "note and tags of the session in the list"),
    ("Space", "mark the column: the first is x, the second y"),
    ("p", "plot the marked columns, and back to the table"),
    ("o", "sort by the column: up, down, as it came"),
    ("d", "hold two runs of one prompt side by side"),
    ("g  G", "to the first row, to the last"),
    ("Ctrl-S", "save rows as CSV, Parquet, JSON; again: a query"),
    ("Ctrl-W", "allow statements to change the history, and not"),
)

COMPARE_SCREEN_KEYS = (
    ("Space", "mark a model: two or more are compared"),
    ("b", "make it the baseline, in place of the most bits"),
    ("Tab", "to the settings and back"),
    ("Enter", "start; go on with one that was stopped; outputs"),
    ("p", "one prompt of your own, for each model in turn"),
    ("o", "outputs side by side, of those that are there"),
    ("n", "choose other models; back to the last table"),
    ("Esc", "stop what goes on; else one step back"),
    ("c  q", "to the live screen, while it goes on"),
    ("y", "copy the table (OSC 52: works over SSH)"),
    ("PgUp PgDn Home End", "scroll the table"),
)
OUTPUT_SCREEN_KEYS = (
    ("[  ]  p  n", "the prompt before, the next one"),
    ("Left  Right", "the variant before, the next one"),
    ("d", "to the difference by words, and back to the top"),
    ("PgUp PgDn Home End", "scroll"),
    ("y", "copy both outputs (OSC 52: works over SSH)"),
    ("Esc  q", "back"),
)


class KeysScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Close"),
    ]

    def __init__(self, keys: Sequence[tuple[str, str]] = KEYS) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("keys", classes="title")
            yield ValueGrid(id="keys")
            yield Static("Esc closes", classes="note")

    def on_mount(self) -> None:
        rows = [[Value(f"{keys:<18}", text, left=True, label_role="title")] for keys, text in self._keys]
        self.query_one(ValueGrid).show_rows(rows)
