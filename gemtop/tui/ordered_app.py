"""An application in which keys take effect in the order in which they were typed.

Textual hands each key to the widget with the focus at once. A letter is written there and then; what a key is bound to,
Backspace or an arrow, happens only when it has passed through the queues of all widgets around that one. Keys that come
together, as they do over a slow line, would so overtake each other: "ab", Backspace, "c" left "ab".
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from textual import events
from textual.app import App
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

_LOOK_S = 0.05
_PATIENCE_S = 1.0
"""A key that takes longer does not hold up the next: it may have begun something that waits for one."""


class Follower(Message):
    """Takes the way of a key behind it, from widget to widget: where it has come, the key has been."""

    def __init__(self, target: Widget, *, first: bool) -> None:
        self.target = target
        self.first = first
        super().__init__()


class OrderedApp(App[int]):
    """Holds a key or a paste back until the one before has taken effect."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._typed: deque[events.Key | events.Paste] = deque()
        """What has not been handed on yet."""
        self._follower: Follower | None = None
        """Behind the key that is on its way; None where none is."""
        self._since_s = 0.0
        """When that key was handed on."""
        self._in_front: Screen[Any] | None = None
        """The screen that keys have come to."""

    async def take_up(self, event: events.Key | events.Paste) -> None:
        """Hand what was typed to the widget with the focus, or do what it is bound to before all widgets."""
        await super().on_event(event)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self._typed.append(event)
            await self._take_next()
        else:
            await super().on_event(event)

    async def _take_next(self) -> None:
        while self._typed and self._follower is None and self._screen_stack:
            event = self._typed.popleft()
            self._in_front, target = self.screen, self.focused or self.screen
            await self.take_up(event)
            self._since_s = asyncio.get_running_loop().time()
            if event.is_forwarded:
                self._follow(target, first=True)
            else:
                self._follow_to_front()

    def _follow(self, target: Widget, *, first: bool) -> None:
        follower = Follower(target, first=first)
        if target.post_message(follower):
            self._follower = follower
            asyncio.get_running_loop().call_later(_LOOK_S, self._look_after, follower)

    def _follow_to_front(self) -> None:
        """A screen that has come to the front gives the focus to one of its widgets before it takes up a key."""
        if self._screen_stack and self.screen is not self._in_front:  # the last one goes before the application does
            self._in_front = self.screen
            self._follow(self.screen, first=False)

    async def on_follower(self, follower: Follower) -> None:
        """The key has been everywhere; another follower comes behind the messages that it led to."""
        if follower is not self._follower:
            return
        self._follower = None
        if follower.first:
            self._follow(follower.target, first=False)
        if self._follower is None:
            self._follow_to_front()
        await self._take_next()

    def _look_after(self, follower: Follower) -> None:
        """A dialog that a key has closed passes nothing on any more."""
        if follower is not self._follower:
            return
        loop = asyncio.get_running_loop()
        is_late = loop.time() - self._since_s >= _PATIENCE_S
        if follower.target.is_attached and not is_late:
            loop.call_later(_LOOK_S, self._look_after, follower)
            return
        self._follower = None
        if not is_late:
            self._follow_to_front()
        self.call_later(self._take_next)
