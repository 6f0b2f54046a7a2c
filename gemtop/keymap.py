"""Every key of the screens: what it does, what it is called, and what the user has put in its place.

Names of keys are Textual's (`ctrl+s`, `question_mark`, `escape`); nothing here needs Textual.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Action(NamedTuple):
    """Something keys do."""

    keys: str
    """Default keys with commas between them."""
    help: str
    """What it does, for the list of keys; actions of the same words stand on one line."""
    run: str = ""
    """Textual's action; empty where it is the last part of the name."""
    priority: bool = False
    """Acts before whatever has the focus, also where that takes text."""
    alone: str = ""
    """What this one does of several of the same words, where they do not stand on one line."""


_ACTIONS: dict[str, dict[str, Action]] = {
    "app": {
        "live": Action("1", "the live screen", "show('live')"),
        "compare": Action("2,c", "compare: models held against each other", "show('compare')"),
        "history": Action("3,h", "history: SQL over all sessions", "show('history')"),
        "models": Action("4,m", "models, and what each would take here", "show('models')"),
        "log": Action("5,l", "the log: llama.cpp's own messages", "show('log')"),
        "anywhere_live": Action("alt+1", "the same screens, also while typing", "show('live')", True),
        "anywhere_compare": Action("alt+2", "the same screens, also while typing", "show('compare')", True),
        "anywhere_history": Action("alt+3", "the same screens, also while typing", "show('history')", True),
        "anywhere_models": Action("alt+4", "the same screens, also while typing", "show('models')", True),
        "anywhere_log": Action("alt+5", "the same screens, also while typing", "show('log')", True),
        "palette": Action("ctrl+p", "command palette: everything by its name", "command_palette", True),
        "theme": Action("f9", "colours: another theme", "theme"),
    },
    "program": {
        "keys": Action("question_mark,f1", "this list; keys in the last line can be clicked"),
        "redraw": Action("ctrl+l", "draw the whole screen anew", priority=True),
        "suspend": Action("ctrl+z", "suspend; fg brings it back", "suspend_process", True),
        "copy_or_leave": Action("ctrl+c", "copy what is selected; else leave", "leave_or_copy", True),
        "leave": Action("ctrl+q", "leave; everything is recorded", priority=True),
    },
    "live": {
        "type": Action("enter,slash", "type a prompt (so does a click on its line)"),
        "stop": Action("escape", "stop the run or the loading; leave the prompt"),
        "again": Action("r", "run the last prompt again, the same tokens"),
        "new": Action("n", "new conversation (models with a chat template)"),
        "tune": Action("t", "tune: context, offload, cache, batch, threads, LoRA"),
        "sampling": Action("s", "sampling: temperature, top-k, top-p, seed, length"),
        "prompts": Action("p", "prompts: saved ones, and those of the sets"),
        "runs": Action("v", "runs of this session, each with its verdict"),
        "charts": Action("x", "charts: what they show"),
        "longer": Action(
            "minus", "charts: a longer span of time, a shorter one", "span(1)", alone="charts: a longer span of time"
        ),
        "shorter": Action(
            "plus,equals_sign",
            "charts: a longer span of time, a shorter one",
            "span(-1)",
            alone="charts: a shorter span of time",
        ),
        "zoom": Action("z", "the text alone, and back"),
        "copy": Action("y", "copy the output (OSC 52: works over SSH)"),
        "quit": Action("q", "leave; everything is recorded", "leave"),
    },
    "prompt": {
        "submit": Action("enter", "run the prompt"),
        "new_line": Action("ctrl+j", "a new line"),
        "save": Action("ctrl+s", "save the prompt under a name"),
        "search": Action("ctrl+r", "search the prompts of before"),
        "pick": Action("ctrl+o", "saved prompts, earlier ones, and those of the sets"),
        "leave": Action("escape", "stop what runs, and leave the prompt"),
    },
    "compare": {
        "mark": Action("space", "mark a model: two or more are compared"),
        "baseline": Action("b", "make it the baseline, in place of the most bits"),
        "start": Action("enter", "start; go on with one that was stopped; outputs"),
        "prompt": Action("p", "one prompt of your own, for each model in turn"),
        "outputs": Action("o", "outputs side by side, of those that are there"),
        "choose": Action("n", "choose other models; back to the last table"),
        "back": Action("escape", "stop what goes on; else one step back"),
        "leave": Action("q", "to the live screen, while it goes on"),
        "copy": Action("y", "copy the table (OSC 52: works over SSH)"),
    },
    "outputs": {
        "prompt_before": Action(
            "left_square_bracket,p", "the prompt before, the next one", "prompt(-1)", alone="the prompt before"
        ),
        "prompt_after": Action(
            "right_square_bracket,n", "the prompt before, the next one", "prompt(1)", alone="the next prompt"
        ),
        "variant_before": Action("left", "the variant before, the next one", "variant(-1)", alone="the variant before"),
        "variant_after": Action("right", "the variant before, the next one", "variant(1)", alone="the next variant"),
        "diff": Action("d", "to the difference by words, and back to the top"),
        "copy": Action("y", "copy both outputs (OSC 52: works over SSH)"),
        "dismiss": Action("escape,q", "back"),
    },
    "history": {
        "run": Action("f5,ctrl+r,ctrl+enter,ctrl+j", "run the editor's SQL, or what is selected in it", priority=True),
        "back": Action("escape", "stop what runs; back from the plot, to live"),
        "leave": Action("q", "outside of the editor: back to the live screen"),
        "complete": Action("ctrl+space,ctrl+@", "show completions before a first letter"),
        "undo": Action("ctrl+u", "in the editor: undo, redo", alone="in the editor: undo"),
        "redo": Action("ctrl+y", "in the editor: undo, redo", alone="in the editor: redo"),
        "lists": Action(
            "f2,ctrl+b",
            "to the queries and sessions, the rows, the editor",
            priority=True,
            alone="to the queries and sessions",
        ),
        "rows": Action("f3", "to the queries and sessions, the rows, the editor", priority=True, alone="to the rows"),
        "editor": Action(
            "f4", "to the queries and sessions, the rows, the editor", priority=True, alone="to the editor"
        ),
        "fleet": Action("f6", "ask the fleet, and this machine's history again", priority=True),
        "annotate": Action("e", "note and tags of the session in the list"),
        "mark": Action("space", "mark the column: the first is x, the second y"),
        "plot": Action("p", "plot the marked columns, and back to the table"),
        "sort": Action("o", "sort by the column: up, down, as it came"),
        "look": Action("enter", "run the query, the session; show the cell whole"),
        "outputs": Action("d", "hold two runs of one prompt side by side"),
        "copy": Action("y", "copy the rows (OSC 52: works over SSH)"),
        "save": Action("ctrl+s", "save rows as CSV, Parquet, JSON; again: a query", priority=True),
        "write": Action("ctrl+w", "allow statements to change the history, and not", priority=True),
    },
    "models": {
        "open": Action("enter", "open the model"),
        "context": Action("n", "plan for another context"),
        "card": Action("w", "plan for a card that is not here, such as 24GiB"),
        "adopt": Action("a", "copy the command that the model needs first"),
        "copy": Action("y", "copy the plan (OSC 52: works over SSH)"),
        "plan": Action("p", "plan at once, while a run goes on"),
        "again": Action("r", "look for models again"),
        "back": Action("escape,q", "back to the live screen"),
    },
    "log": {
        "find": Action("slash", "find text: lines that hold it"),
        "level": Action("w", "all lines, warnings and errors alone"),
        "copy": Action("y", "copy the lines shown (OSC 52: works over SSH)"),
        "back": Action("escape,q", "back to the live screen"),
    },
    "list": {
        "up": Action("up,k", "a row up or down", "move(-1)"),
        "down": Action("down,j", "a row up or down", "move(1)"),
        "page_up": Action("pageup", "a page up or down", "page(-1)"),
        "page_down": Action("pagedown", "a page up or down", "page(1)"),
        "first": Action("home,g", "to the beginning, to the end", "first"),
        "last": Action("end,G", "to the beginning, to the end", "last"),
    },
    "text": {
        "up": Action("up,k", "scroll the text, as the mouse wheel does", "move(-1)"),
        "down": Action("down,j", "scroll the text, as the mouse wheel does", "move(1)"),
        "page_up": Action("pageup", "scroll the text, as the mouse wheel does", "page(-1)"),
        "page_down": Action("pagedown", "scroll the text, as the mouse wheel does", "page(1)"),
        "first": Action("home", "to its beginning, to its end", "top"),
        "last": Action("end", "to its beginning, to its end", "bottom"),
    },
    "top": {
        "pause": Action("p,space", "hold the picture; readings go on meanwhile"),
        "up": Action("up,k", "scroll the cards, where not all fit", "scroll(-1)"),
        "down": Action("down,j", "scroll the cards, where not all fit", "scroll(1)"),
        "page_up": Action("pageup", "scroll the cards, where not all fit", "scroll(-8)"),
        "page_down": Action("pagedown", "scroll the cards, where not all fit", "scroll(8)"),
        "theme": Action("f9", "colours: another theme", "app.theme"),
        "quit": Action("q", "leave", "leave"),
    },
    "replay": {
        "pause": Action("space", "pause and go on; at the end, from the beginning", priority=True),
        "back": Action("left", "5 seconds back or forward", "skip(-5)", True),
        "forward": Action("right", "5 seconds back or forward", "skip(5)", True),
        "minute_back": Action("shift+left,pageup", "a minute back or forward", "skip(-60)", True),
        "minute_forward": Action("shift+right,pagedown", "a minute back or forward", "skip(60)", True),
        "beginning": Action("home", "the beginning, the end", "seek(0)", True),
        "end": Action("end", "the beginning, the end", "seek_end", True),
        "run_before": Action("left_square_bracket,N", "to the run before, to the next one", "next_run(-1)", True),
        "run_after": Action("right_square_bracket,n", "to the run before, to the next one", "next_run(1)", True),
        "slower": Action("minus", "slower, faster: 0.25x to 64x", "speed(-1)", True),
        "faster": Action("plus,equals_sign", "slower, faster: 0.25x to 64x", "speed(1)", True),
        "copy": Action("y", "copy the output (OSC 52: works over SSH)", "copy", True),
        "theme": Action("f9", "colours: another theme", "app.theme", True),
        "quit": Action("q", "leave", "leave", True),
    },
}

ACTIONS: Mapping[str, Action] = {
    f"{scope}.{name}": action._replace(run=action.run or name)
    for scope, actions in _ACTIONS.items()
    for name, action in actions.items()
}
"""By name, `screen.action`: what may stand in the configuration under [keys]."""

TOGETHER: tuple[tuple[str, ...], ...] = (
    ("program", "app", "live", "text"),
    ("program", "app", "compare", "list"),
    ("program", "app", "history", "list"),
    ("program", "app", "models", "list"),
    ("program", "app", "log", "text"),
    ("program", "prompt"),
    ("program", "outputs", "list"),
    ("program", "top"),
    ("program", "replay"),
)
"""Scopes that are in force at once: within each a key can mean one thing only."""

_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "minus": "-",
    "plus": "+",
    "equals_sign": "=",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "Esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "full_stop": ".",
    "comma": ",",
    "colon": ":",
    "semicolon": ";",
    "asterisk": "*",
    "number_sign": "#",
    "at": "@",
    "underscore": "_",
    "tilde": "~",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "vertical_line": "|",
    "exclamation_mark": "!",
    "quotation_mark": '"',
    "apostrophe": "'",
    "left_parenthesis": "(",
    "right_parenthesis": ")",
    "percent_sign": "%",
    "ampersand": "&",
    "dollar_sign": "$",
}
_LONG = {shown: name for name, shown in _NAMES.items() if len(shown) == 1}


def key_label(key: str) -> str:
    """A key as it is shown: Ctrl-S, Esc, ?, PgUp."""
    *modifiers, name = key.split("+") if key != "+" else ["+"]
    shown = _NAMES.get(name) or (name if len(name) == 1 else name.capitalize())
    if modifiers and len(shown) == 1:
        shown = shown.upper()
    return "-".join([*(modifier.capitalize() for modifier in modifiers), shown])


def normal_keys(keys: str) -> str:
    """Keys as Textual has them, from what a user may write: `Ctrl-S, ?, PgUp` is `ctrl+s,question_mark,pageup`.

    Raises ValueError for an empty list and for what is no key.
    """
    found = [_normal_key(part.strip()) for part in _split(keys)]
    if not found:
        raise ValueError("no key is given")
    return ",".join(found)


def _split(keys: str) -> list[str]:
    """At commas; a comma between commas, or alone, is a key."""
    if keys.strip() == ",":
        return [","]
    return ["," if part == "\0" else part for part in keys.replace(",,", ",\0").split(",") if part.strip()]


def _normal_key(key: str) -> str:
    if len(key) == 1:
        return _LONG.get(key, key)
    parts = key.replace("-", "+").split("+") if key not in ("-", "+") else [key]
    *modifiers, name = [part.strip() for part in parts]
    given = [modifier.lower() for modifier in modifiers]
    name = _LONG.get(name, name if len(name) == 1 and not given else name.lower())
    name = {"esc": "escape", "pgup": "pageup", "pgdn": "pagedown", "return": "enter", "del": "delete"}.get(name, name)
    known = len(name) == 1 or name in _NAMES or name in _SPECIAL
    if not known or any(modifier not in ("ctrl", "alt", "shift") for modifier in given):
        raise ValueError(f"{key!r} is no key; write it as in Ctrl-S, F5, Esc, x or ?")
    return "+".join([*sorted(given), name])


_SPECIAL = frozenset(
    {"enter", "tab", "space", "backspace", "delete", "insert", "home", "end", "up", "down", "left", "right"}
    | {f"f{number}" for number in range(1, 25)}
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys in force: the defaults, with what the user has put in their place."""

    own: Mapping[str, str] = field(default_factory=dict)
    """By the action's name, keys as `normal_keys` gives them."""

    def of(self, name: str) -> tuple[str, ...]:
        """The keys of an action."""
        return tuple((self.own.get(name) or ACTIONS[name].keys).split(","))

    def label(self, name: str) -> str:
        """The first key of an action, as it is shown."""
        return key_label(self.of(name)[0])

    def clash(self) -> str | None:
        """What is wrong with them, in a line: a key that means two things at once. None where all is well."""
        for scopes in TOGETHER:
            taken: dict[str, str] = {}
            for name in ACTIONS:
                if name.partition(".")[0] not in scopes:
                    continue
                for key in self.of(name):
                    other = taken.setdefault(key, name)
                    if other != name and (name in self.own or other in self.own):
                        return f"{key_label(key)} is given to both {other} and {name}"
        return None

    def listed(self, scopes: Iterable[str]) -> list[tuple[str, str]]:
        """(keys, what they do) of these scopes, for a list of keys; actions of the same words on one line."""
        lines: dict[str, list[str]] = {}
        for scope in scopes:
            for name, action in ACTIONS.items():
                if name.partition(".")[0] == scope:
                    lines.setdefault(action.help, []).extend(map(key_label, self.of(name)))
        return [("  ".join(keys), words) for words, keys in lines.items()]


class KeyHint(NamedTuple):
    """A place in the last line of a screen: a key, what it does, and the action that a click runs."""

    actions: tuple[str, ...]
    """Names of actions whose first keys are shown; a click runs the last one's."""
    text: str
    stays: bool = False
    """Shown however narrow the line is."""
    fixed: str = ""
    """Shown in place of the keys, where they are no actions: Tab, 0-9."""
    run: str = ""
    """What a click runs, where that is none of the actions."""

    def label(self, keys: Keys) -> str:
        """What the user is to press."""
        return self.fixed or " ".join(keys.label(name) for name in self.actions)

    @property
    def action(self) -> str:
        """Textual's action for a click; empty where there is none."""
        return self.run or (ACTIONS[self.actions[-1]].run if self.actions else "")


def hint(actions: str, text: str, *, stays: bool = False, fixed: str = "", run: str = "") -> KeyHint:
    """A KeyHint; `actions` are names with blanks between them."""
    return KeyHint(tuple(actions.split()), text, stays, fixed, run)


def fitting(hints: Sequence[KeyHint], keys: Keys, width: int) -> list[tuple[int, str, KeyHint]]:
    """(column, keys, hint) of the hints that find room; of those that do not, the last ones go. All ASCII."""
    kept = list(hints)
    while kept:
        found, x = [], 1
        for one in kept:
            label = one.label(keys)
            found.append((x, label, one))
            x += len(label) + 1 + len(one.text) + 2
        if x - 2 <= width:
            return found
        kept.remove(next((one for one in reversed(kept) if not one.stays), kept[-1]))
    return []
