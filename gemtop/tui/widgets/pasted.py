"""Long text in the line of the prompt: a few words stand for it, and the prompt that is run has all of it.

Textual's text area wraps a whole line anew for each key: a megabyte in one line takes seconds a key.
"""

from __future__ import annotations

LONGEST_CHARS = 4000
MOST_LINES = 100
_SHOWN_CHARS = 1000
"""What the output pane repeats of a long prompt."""


def is_long(text: str) -> bool:
    """Whether words stand for the text."""
    return len(text) > LONGEST_CHARS or text.count("\n") >= MOST_LINES


class LongTexts:
    """Texts by the words that stand for them."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._count = 0

    def words_for(self, text: str) -> str:
        """The text itself, or what stands for a long one."""
        if not is_long(text):
            return text
        self._count += 1
        lines = text.count("\n") + 1
        also = f" in {lines:,} lines" if lines > 1 else ""
        words = f"[text {self._count}: {len(text):,} characters{also}]"
        self._texts[words] = text
        return words

    def whole(self, text: str) -> str:
        """The text with everything that words stand for in it."""
        for words, stands_for in self._texts.items():
            text = text.replace(words, stands_for)
        return text

    def words_before(self, text: str) -> str:
        """The words with which the text ends, so that they are taken away at once; empty for others."""
        return next((words for words in self._texts if text.endswith(words)), "")

    def forget(self) -> None:
        """Nothing stands for anything any more."""
        self._texts.clear()


def excerpt(prompt: str) -> str:
    """A prompt as the output pane repeats it."""
    if not is_long(prompt):
        return prompt
    beginning = "\n".join(prompt[:_SHOWN_CHARS].split("\n")[:10])
    return f"{beginning} ... ({len(prompt):,} characters)"
