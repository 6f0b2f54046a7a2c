"""What the command palette offers: every action of the screen that is shown, by what it does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from textual.app import SystemCommand
from textual.screen import Screen

from gemtop.keymap import ACTIONS, key_label
from gemtop.tui.bindings import keys_of
from gemtop.tui.widgets.tabs import SCREENS

_LEFT_OUT = frozenset({"list", "text", "prompt"})
"""Scopes whose keys move something: nobody looks for these by name."""


def commands_of(screen: Screen[object]) -> Iterator[SystemCommand]:
    """Title, keys, and what runs the action on this screen."""
    keys = keys_of(screen.app)
    for mode, title in SCREENS.items():
        label = keys.label(f"app.{mode}")
        yield SystemCommand(f"{title} screen", f"key {label}", partial(screen.run_action, f"app.show('{mode}')"))
    for scope in getattr(screen, "key_scopes", ()):
        if scope in _LEFT_OUT or scope == "app":
            continue
        for name, action in ACTIONS.items():
            if name.partition(".")[0] == scope:
                labels = ", ".join(map(key_label, keys.of(name)))
                words = action.alone or action.help
                title = f"{words[0].upper()}{words[1:]}"
                yield SystemCommand(title, f"key {labels}", partial(screen.run_action, _target(scope, action.run)))


def _target(scope: str, run: str) -> str:
    return f"app.{run}" if scope == "program" else run
