"""What happened elsewhere, told to the screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from gemtop.domain.events import GenerateRequest
    from gemtop.tui.comparing import Comparing
    from gemtop.view import SessionEvent


class SessionHappened(Message):
    """Something happened in the session; tokens and progress are polled instead."""

    def __init__(self, event: SessionEvent, run_number: int, request: GenerateRequest | None) -> None:
        self.event = event
        self.run_number, self.request = run_number, request
        """The run it happened in and what that was asked for: by the time this is read, another may have begun."""
        super().__init__()


class SessionReady(Message):
    """The session stands and the model may be opened."""


class ModelChosen(Message):
    """The user picked a model."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        """None is the demo model."""
        super().__init__()


class ComparisonEnded(Message):
    """A comparison asks no more of the session: it is done, was stopped, or failed."""

    def __init__(self, comparing: Comparing) -> None:
        self.comparing = comparing
        super().__init__()
