"""What happened elsewhere, told to the screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from gemtop.session import SessionEvent


class SessionHappened(Message):
    """Something happened in the session; tokens and progress are polled instead."""

    def __init__(self, event: SessionEvent) -> None:
        self.event = event
        super().__init__()


class SessionReady(Message):
    """The session stands and the model may be opened."""


class ModelChosen(Message):
    """The user picked a model."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        """None is the demo model."""
        super().__init__()
