"""Pasted text, taken out of the terminal's input before Textual looks for escape sequences in it.

Textual 8.2 leaves the paste at the first ESC inside it and takes the rest for keys, one by one and in another order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.keys import Keys
from textual.message import Message

from gemtop.domain.text import printable
from gemtop.tui.pacing import ANSWER

BEGIN, END = "\x1b[200~", "\x1b[201~"
_ALT_DIGIT = re.compile(r"\x1b\d").fullmatch
_SURE = 3
"""Characters of BEGIN that are held back at the end of what was read: fewer may be a key by itself."""


class PasteParser(XTermParser):
    """Textual's parser, which never sees a paste; `answered` is called for each answer to a status report."""

    def __init__(self, debug: bool = False, answered: Callable[[], None] = lambda: None) -> None:
        super().__init__(debug)
        self._answered = answered
        self._pasted: str | None = None
        """What has come of a paste that goes on; None outside one."""
        self._held = ""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        if sequence == ANSWER:
            self._answered()
            return [events.Key(Keys.Ignore, sequence)]
        if _ALT_DIGIT(sequence):  # Textual takes these for what a Mac's Option key types
            return [events.Key(f"alt+{sequence[1]}", None)]
        keys = super()._sequence_to_key_events(sequence, alt)
        return (_typing_nothing(key) for key in keys) if alt else keys

    def feed(self, data: str) -> Iterable[Message]:
        """Parse what was read; nothing read is the end of the input."""
        if not data:
            yield from super().feed(data)
            return
        rest, self._held = self._held + data, ""
        while rest:
            if self._pasted is None:
                keys, begun, rest = rest.partition(BEGIN)
                if begun:
                    self._pasted = ""
                else:
                    keys, self._held = _without_begun(keys)
                if keys:
                    yield from super().feed(keys)
            else:
                text, ended, rest = (self._pasted + rest).partition(END)
                self._pasted = None if ended else text
                if ended:
                    yield events.Paste(harmless(text))


def _typing_nothing(key: events.Key) -> events.Key:
    """A key pressed with Alt writes no letter where somebody types."""
    return events.Key(key.key, None) if key.key.startswith("alt+") else key


def _without_begun(keys: str) -> tuple[str, str]:
    """The keys, and the beginning of BEGIN that they end with."""
    for length in range(len(BEGIN) - 1, _SURE - 1, -1):
        if keys.endswith(BEGIN[:length]):
            return keys[:-length], keys[-length:]
    return keys, ""


def harmless(text: str) -> str:
    """What a terminal pasted, with line ends as they are in text and other control characters as pictures."""
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"))
