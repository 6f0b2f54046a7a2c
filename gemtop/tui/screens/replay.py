"""The live screen once more, fed from the history: a bar of time in the place of the prompt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.worker import WorkerState

from gemtop.domain.errors import GemtopError
from gemtop.domain.text import one_line
from gemtop.tui.bindings import bindings
from gemtop.tui.hints import REPLAY_KEYS
from gemtop.tui.screens.live_view import LiveView
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.pasted import excerpt
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.timebar import TimeBar, TimeBarState
from gemtop.tui.widgets.values import ValueGrid

if TYPE_CHECKING:
    from textual.worker import Worker

    from gemtop.history.replaying import RecordedRun
    from gemtop.replay import Replay
    from gemtop.tui.replay import ReplayApp

_AHEAD_S = 5.0
"""What comes so soon, at the speed in force, is read before it is shown."""
_BEFORE_A_RUN_NS = 500_000_000
"""Within it, the run before is meant, as a player of music has it."""


class ReplayScreen(LiveView):
    """What was running at one moment of a recorded session."""

    # Keys of replay have priority: the text pane, which has the focus, scrolls with some of them; and of keys that come
    # together, those with priority are acted on first.
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("replay"),
        *(Binding(str(number), f"run({number})", show=False, priority=True) for number in range(1, 10)),
    ]
    key_scopes = ("replay", "text", "program")

    def __init__(self, replay: Replay) -> None:
        super().__init__()
        self._replay = replay
        self._jumped = True
        """The text in the pane is not what came before this moment."""
        self._reading = False

    @property
    def _player(self) -> ReplayApp:
        return cast("ReplayApp", self.app)

    @property
    def heading(self) -> str:
        return "gemtop replay"

    @property
    def shown(self) -> Replay:
        """What is drawn, at the moment it was last moved to."""
        return self._replay

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header")
        yield from self.compose_body("what was generated appears here")
        yield TimeBar(id="timebar")
        yield KeyLine(REPLAY_KEYS, id="keys")

    def on_mount(self) -> None:
        if self._replay.notes:
            self.notify("\n".join(map(one_line, self._replay.notes)), timeout=8, markup=False)
        self.show_frame()

    def on_paste(self, event: events.Paste) -> None:
        event.prevent_default()  # there is no prompt to take it

    # Time

    def _position(self) -> int:
        return self._player.playback.position(time.monotonic_ns())

    def _advance(self) -> bool:
        """Move the replay to where the clock is; False where that has to be read first."""
        playback, now_ns = self._player.playback, time.monotonic_ns()
        position_ns = playback.position(now_ns)
        is_prepared = self._replay.is_prepared(position_ns)
        if is_prepared != (not playback.waits):
            playback.wait(now_ns, not is_prepared)
        if is_prepared:
            self._replay.move(position_ns)
            ahead_ns = round(_AHEAD_S * max(1.0, playback.speed) * 1e9)
            self._read(min(position_ns + ahead_ns, playback.duration_ns))
        else:
            self._read(position_ns)
        return is_prepared

    def _read(self, position_ns: int) -> None:
        """Have this moment read on a thread, unless that is done or under way."""
        if self._reading or self._replay.is_prepared(position_ns):
            return
        self._reading = True
        self.run_worker(lambda: self._replay.prepare(position_ns), thread=True, name="read", exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.name != "read" or event.state not in (WorkerState.SUCCESS, WorkerState.ERROR):
            return
        self._reading = False
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            words = str(error) if isinstance(error, GemtopError) else f"{type(error).__name__}: {error}"
            self._player.playback.pause(time.monotonic_ns())
            self.notify(one_line(words), title="not read", severity="error", timeout=10, markup=False)
            return
        self.show_text()
        self.show_frame()

    # What is shown

    def show_frame(self, *, whole: bool = True) -> None:
        """Everything but the text."""
        if self._advance():
            super().show_frame(whole=whole)
        self._show_bar()

    def _show_bar(self) -> None:
        playback, now_ns, replay = self._player.playback, time.monotonic_ns(), self._replay
        word, role = "playing", "good"
        if playback.waits:
            word, role = "reading", "warn"
        elif playback.at_end(now_ns):
            word, role = "at end", "muted"
        elif playback.paused:
            word, role = "paused", "warn"
        count = len(replay.recording.runs)
        run = f"run {replay.run_number} of {count}" if count else "no runs"
        second_ns = 1_000_000_000  # the bar changes once a second of the recording, and not with every frame
        position_ns = playback.position(now_ns) // second_ns * second_ns if not playback.at_end(now_ns) else None
        self.query_one(TimeBar).show_state(
            TimeBarState(
                position_ns=replay.duration_ns if position_ns is None else position_ns,
                duration_ns=replay.duration_ns,
                speed=playback.speed,
                word=word,
                role=role,
                run=run,
                spans=self._player.spans,
            )
        )

    def show_text(self) -> None:
        """The text of the runs up to this moment: what has come since the last time, or all anew after a jump."""
        if not self._advance():
            return
        replay, output = self._replay, self.query_one("#output", StreamView)
        begun = replay.begun()
        new = [run for run in begun if run.number > self._shown_run]
        if self._jumped or len(new) == len(begun):
            output.clear()
            self._jumped, new = False, begun
        else:
            for run in begun:
                if run.number == self._shown_run:
                    self._add_text(run)
        for run in new:
            self._shown_run, self._shown_text = run.number, 0
            self.query_one("#figures", ValueGrid).forget_widths()
            if run.begin.kind == "generate" and not replay.goes_on(run):
                output.mark(f"> {excerpt(run.begin.prompt or '(the prompt was not kept)')}")
            self._add_text(run)
        if not begun:
            self._shown_run = 0

    def _add_text(self, run: RecordedRun) -> None:
        text = self._replay.text_of(run)
        if len(text) > self._shown_text:
            self.query_one("#output", StreamView).append(text[self._shown_text :])
            self._shown_text = len(text)

    # What the user does

    def _seek(self, position_ns: int) -> None:
        self._player.playback.seek(position_ns, time.monotonic_ns())
        self._jumped = True
        self.show_text()
        self.show_frame()

    def on_time_bar_sought(self, message: TimeBar.Sought) -> None:
        self._seek(message.position_ns)

    def action_pause(self) -> None:
        playback, now_ns = self._player.playback, time.monotonic_ns()
        if playback.at_end(now_ns):
            self._jumped = True
            playback.play(now_ns)
        elif playback.paused:
            playback.play(now_ns)
        else:
            playback.pause(now_ns)
        self.show_frame()

    def action_skip(self, seconds: int) -> None:
        self._seek(self._position() + seconds * 1_000_000_000)

    def action_seek(self, position_ns: int) -> None:
        self._seek(position_ns)

    def action_seek_end(self) -> None:
        self._seek(self._replay.duration_ns)

    def action_next_run(self, step: int) -> None:
        """To where the next run begins, or the one before this moment."""
        here_ns, moments = self._position(), self._replay.run_moments
        if step > 0:
            found = [moment for moment in moments if moment > here_ns][:1]
        else:
            found = [moment for moment in moments if moment < here_ns - _BEFORE_A_RUN_NS][-1:]
        if found:
            self._seek(found[0])
        else:
            self.notify(
                "no run begins after this moment" if step > 0 else "no run begins before this moment", timeout=3
            )

    def action_run(self, number: int) -> None:
        """To where the run of this number begins."""
        found = self._replay.moment_of_run(number)
        if found is None:
            self.notify(f"there is no run {number}", timeout=3)
        else:
            self._seek(found)

    def action_speed(self, steps: int) -> None:
        self._player.playback.faster(steps, time.monotonic_ns())
        self._show_bar()

    def action_leave(self) -> None:
        self._player.exit(0)
