"""gemtop.keymap's actions as Textual's bindings, by the names under which a user may give them other keys."""

from __future__ import annotations

from textual.app import App
from textual.binding import Binding, BindingType

from gemtop.keymap import ACTIONS, Keys


def bindings(scope: str, *names: str) -> list[BindingType]:
    """Bindings of a scope, all of them or those named."""
    found: list[BindingType] = []
    for name, action in ACTIONS.items():
        part, _, short = name.partition(".")
        if part == scope and (not names or short in names):
            found.append(Binding(action.keys, action.run, action.help, show=False, priority=action.priority, id=name))
    return found


def keys_of(app: App[object]) -> Keys:
    """The keys in force in an application."""
    return getattr(app, "keys", None) or Keys()
