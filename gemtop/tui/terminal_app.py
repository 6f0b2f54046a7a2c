"""What the program's applications share: one picture of the screen, sent as fast as the terminal takes it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from rich.color import ColorSystem
from textual import events
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.worker import WorkerFailed

from gemtop import logs
from gemtop.domain.errors import EXIT_FAILURE
from gemtop.tui.ordered_app import OrderedApp
from gemtop.tui.pacing import STEPS_S, Pace
from gemtop.tui.pens import pen_of
from gemtop.tui.picture import Picture
from gemtop.tui.terminal import Terminal, erases

if TYPE_CHECKING:
    from textual.screen import Screen

    from gemtop.tui.picture import PenOf

TEXT_S = 0.2
THRIFTY_FRAME_S, THRIFTY_TEXT_S = 2.0, 0.5
_EARLY_S = 0.05
"""A timer that fires this much too soon is not sent away."""
_AGAIN_S = 0.1
_PIECE_BYTES = 512
"""Each is asked for: answers that follow each other tell how fast the line is."""
_WHOLE_BYTES = 300
"""An update of less is not put between the marks of a whole frame (mode 2026)."""


@lru_cache
def _pens(color_system: ColorSystem) -> PenOf:
    return lambda style: pen_of(style, color_system)


class Beat:
    """The rate at which one screen draws its frames, `least_s` apart on a line that takes them."""

    def __init__(self, app: TerminalApp, least_s: float) -> None:
        self._app = app
        self._least_s = least_s
        self._last_s = -STEPS_S[-1]

    @property
    def period_s(self) -> float:
        """From one frame to the next, as the line takes them."""
        step_s = self._app.pace.step_s
        slow_s = step_s if step_s > STEPS_S[0] else 0.0
        return max(self._least_s, slow_s, THRIFTY_FRAME_S if self._app.thrift else 0.0)

    def is_due(self) -> bool:
        """Whether a frame is to be drawn now; it counts as drawn then."""
        now_s = time.monotonic()
        if now_s - self._last_s < self.period_s - _EARLY_S or not self._app.may_draw:
            return False
        self._last_s = now_s
        self._app.pace.frame_drawn()
        return True


class TerminalApp(OrderedApp):
    """An application whose screen is sent in pieces, each when the one before has arrived."""

    def __init__(self, *, thrift: bool = False) -> None:
        super().__init__(driver_class=Terminal)
        self.thrift = thrift
        """Send as little as can be: fewer frames, 256 colours, nothing that blinks, slides, or dims what is behind."""
        if thrift:
            self.animation_level = "none"
            self.add_class("-thrift")
        self.pace = Pace()
        self.picture = Picture()
        self.is_detached = False
        """The terminal has gone, and what runs is ended without it."""
        self.failure = ""
        """The exception that ended the application, in one line."""
        self._line_loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.TimerHandle | None = None
        self._soon = False

    # From start to end

    def run_screen(self) -> int | None:
        """Run until it is left. Returns the exit code; None where an exception has ended it: `failure` says which."""
        try:
            return self.run()
        except Exception as error:
            self._failed(error)
            if self._driver is not None:
                self._driver.stop_application_mode()
                self._driver.close()
            return None

    def _handle_exception(self, error: Exception) -> None:
        """End the application for an exception; the terminal gets a line about it and not what Textual says."""
        if not isinstance(self._driver, Terminal):
            super()._handle_exception(error)
            return
        self._failed(error)
        self._close_messages_no_wait()

    def _failed(self, error: Exception) -> None:
        self._return_code = EXIT_FAILURE
        if self._exception is None:  # what comes after the first comes of it
            self._exception = error
            self._exception_event.set()
            cause = error.error if isinstance(error, WorkerFailed) else error
            self.failure = logs.unexpected(cause, "the screen")

    def tell(self, words: str) -> None:
        """A line for who started the program, when the screen has gone; nothing where that cannot be said any more."""
        if words:
            with suppress(OSError):
                sys.stderr.write(f"gemtop: {words}\n")
                sys.stderr.flush()

    def hung_up(self) -> None:
        """The terminal has gone, by SIGHUP or by an error on it: end well, and soon."""
        self.exit(128 + signal.SIGHUP)

    def detach(self) -> None:
        """Go on without a terminal: draw nothing more, and hold none open."""
        self.is_detached = True
        if isinstance(self._driver, Terminal):
            self._driver.let_go()

    # May I draw now?

    @property
    def may_draw(self) -> bool:
        """Whether all that was drawn before has arrived; where not, a frame drawn now would only come later."""
        if self.is_detached:
            return False
        return not isinstance(self._driver, Terminal) or (self.picture.is_sent and self.pace.is_clear())

    @property
    def line_note(self) -> str:
        """What to say of a line that is too slow for the usual rate; empty for one that is not."""
        usual_s = THRIFTY_FRAME_S if self.thrift else STEPS_S[0]
        step_s = self.pace.step_s
        return f"line slow: 1 frame in {step_s:g} s" if step_s > usual_s else ""

    # The picture

    @property
    def pens(self) -> PenOf:
        """Styles as this terminal's colours."""
        system = self.console._color_system or ColorSystem.TRUECOLOR
        return _pens(ColorSystem.EIGHT_BIT if self.thrift and system is ColorSystem.TRUECOLOR else system)

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """Put what Textual has rendered into the picture, in place of sending it."""
        update = isinstance(renderable, LayoutUpdate | ChopsUpdate)
        if not update or self._batch_count or not self._running or self._closed or not self.is_drawn:
            super()._display(screen, renderable)
            return
        try:
            self._take(renderable)
        except Exception as error:
            self._handle_exception(error)
        self.send_picture()
        self.post_display_hook()

    @property
    def is_drawn(self) -> bool:
        """Whether there is a terminal, and not only a test."""
        return isinstance(self._driver, Terminal) and not self.is_detached

    def _take(self, update: LayoutUpdate | ChopsUpdate) -> None:
        picture, pens = self.picture, self.pens
        if not self._is_fit():
            picture.resize(*self.size)
            if not isinstance(update, LayoutUpdate) or update.region.size != self.size:
                self.call_later(self._draw_all)  # not at once: Textual is about to forget what it was asked to draw
        picture.tick()
        if isinstance(update, LayoutUpdate):
            left, top, right, _ = update.region.corners
            for y, strips in enumerate(update.strips, top):
                picture.put_segments(left, y, (segment for strip in strips for segment in strip), pens, right)
            return
        for y, start, end in update.spans:
            for stop, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                if strip is None or x >= end or stop <= start:
                    continue
                first, last = max(x, start), min(stop, end)
                picture.put_segments(first, y, strip.crop(first - x, last - x), pens, last)

    def _is_fit(self) -> bool:
        """Whether the picture is of the terminal's size; where not, Textual is about to draw one that is."""
        return self.size == (self.picture.width, self.picture.height)

    def on_resize(self, event: events.Resize) -> None:
        """Send all of it, be the size as before: a terminal that was small in between has cut off what it showed."""
        self.picture.forget()
        self.call_later(self._draw_all)  # back at the size of before there is nothing new to Textual

    def _draw_all(self) -> None:
        if self._running and self._screen_stack:
            self.screen.refresh()

    def send_picture(self) -> None:
        """Send as much of what has changed as there is room for; the rest when there is room again."""
        driver, picture = self._driver, self.picture
        if not isinstance(driver, Terminal) or self.is_detached or not self._is_fit():
            return
        typing = hasattr(self.focused, "cursor_location") or hasattr(self.focused, "cursor_position")
        picture.home = self.screen.outer_size.clamp_offset(self.cursor_position) if typing else None
        while not picture.is_sent:
            room = self.pace.room()
            if room <= 0:
                if self.pace.is_mute:
                    driver.send("", asks=True)
                self._send_later()
                return
            piece = picture.next_piece(min(room, max(room // 4, _PIECE_BYTES)))
            if not piece:
                return
            if self._sync_available and len(piece) >= _WHOLE_BYTES and not self.thrift:
                piece = f"\x1b[?2026h{piece}\x1b[?2026l"
            driver.send(piece, asks=self.pace.should_ask(len(piece)))

    def send_soon(self) -> None:
        """Send what was put into the picture past Textual, when all of the frame is there."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._send_again)

    def _send_later(self) -> None:
        if self._again is None or self._again.when() < asyncio.get_running_loop().time():
            self._again = asyncio.get_running_loop().call_later(_AGAIN_S, self._send_again)

    def _send_again(self) -> None:
        self._again, self._soon = None, False
        try:
            if self._running and self._screen_stack:
                self.send_picture()
        except Exception as error:
            self._handle_exception(error)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A cursor that blinks would cost more than the text that streams."""
        if self.thrift and hasattr(event.widget, "cursor_blink"):
            event.widget.cursor_blink = False

    def action_redraw(self) -> None:
        """Send all of the screen again: something else may have written to the terminal."""
        self.picture.forget()
        self._draw_all()
        self.send_picture()

    # What the driver asks and tells

    def encoded(self, text: str) -> bytes:
        return text.encode("utf-8", "replace")

    def terminal_taken(self) -> None:
        self._line_loop = asyncio.get_running_loop()
        self.picture.erases = erases()
        self.picture.forget()

    def line_moved(self) -> None:
        """There may be room: called on the threads that write and read."""
        if self._again is not None and self._line_loop is not None and not self._line_loop.is_closed():
            self._line_loop.call_soon_threadsafe(self._send_again)

    def terminal_lost(self) -> None:
        """Called on the threads that write and read."""
        if self._line_loop is not None and not self._line_loop.is_closed():
            self._line_loop.call_soon_threadsafe(self.hung_up)


def draw_frames(screen: Screen[Any], draw: Callable[[], None]) -> None:
    """Have a screen draw charts and figures as often as the line allows, from its mounting on."""
    beat = Beat(cast(TerminalApp, screen.app), STEPS_S[0])

    def due() -> None:
        if beat.is_due():
            draw()

    screen.set_interval(STEPS_S[0], due)


def draw_text(screen: Screen[Any], draw: Callable[[], None]) -> None:
    """Have a screen draw what streams, all that has come since the last time at once."""
    app = cast(TerminalApp, screen.app)

    def due() -> None:
        if app.may_draw:
            draw()

    screen.set_interval(THRIFTY_TEXT_S if app.thrift else TEXT_S, due)
