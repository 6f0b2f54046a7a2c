"""Writes docs/keys.md: every key of the screens, and the names under which they can be changed.

python -m tests.tools.key_docs           writes it
python -m tests.tools.key_docs --print   shows it
"""

from __future__ import annotations

import sys
from pathlib import Path

from gemtop.keymap import ACTIONS, Keys, key_label

TARGET = Path(__file__).parents[2] / "docs" / "keys.md"
SCOPES = {
    "app": ("On every screen", "Not while text is being typed, but for those with Alt and Ctrl."),
    "program": ("In every program with a screen", "`gemtop`, `gemtop top` and `gemtop replay`."),
    "live": ("Live", "A capital letter, a quote or `(` goes to the prompt too, and is its first character."),
    "prompt": ("The prompt", "Up and Down go through earlier prompts."),
    "text": ("Text that scrolls", "The output, the log."),
    "compare": ("Compare", "Tab goes to the settings and back."),
    "outputs": ("Outputs side by side", ""),
    "history": ("History", "Tab takes the completion that is shown; else it goes on to the next part."),
    "models": ("Models", ""),
    "log": ("Log", ""),
    "list": ("Lists and tables", ""),
    "top": ("`gemtop top`", ""),
    "replay": ("`gemtop replay`", "`1` to `9` go to the run of that number; a click on the bar goes to that moment."),
}
"""Heading and a sentence for each part of keymap."""
_HEAD = """# Keys

`?` lists the keys of a screen. Its last line shows those that matter most, and each can be clicked there.
`Ctrl-P` finds everything by its name.

Keys are changed in [the configuration](config.md), by the name of the action:

```toml
[keys]
"live.tune" = "Ctrl-T"
"app.compare" = "F7, c"
"replay.pause" = "p"
```

Several keys stand with commas between them; what is given replaces the defaults. Keys are written as they are shown:
`Ctrl-S`, `Alt-1`, `Shift-Left`, `F5`, `PgUp`, `Esc`, `Enter`, `Space`, `Tab`, `x`, `X`, `?`. A key that would mean two
things on one screen is refused, with both named. In dialogs Esc leaves and Enter takes, always.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for scope, (title, words) in SCOPES.items():
        rows = [(name, action) for name, action in ACTIONS.items() if name.partition(".")[0] == scope]
        lines = [f"| {_keys(name)} | {action.help}{_way(action.run)} | `{name}` |" for name, action in rows]
        head = f"## {title}\n\n" + (f"{words}\n\n" if words else "")
        parts.append(head + "| key | | name |\n|---|---|---|\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _keys(name: str) -> str:
    return " ".join(f"`{label}`" if label != "|" else "`\\|`" for label in map(key_label, Keys().of(name)))


def _way(run: str) -> str:
    """Of two actions with the same words, which way this one goes."""
    return "" if "(" not in run or "show" in run else " (back)" if "(-" in run or run.endswith("(0)") else " (on)"


def main() -> None:
    if "--print" in sys.argv[1:]:
        sys.stdout.write(page())
    else:
        TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
