"""The application: owns the session, knows the screens, and leaves in good order.

What the first frame does not need, the session and llama.cpp first of all, is imported after it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from textual import events
from textual.binding import BindingType
from textual.widgets import TextArea
from textual.worker import WorkerState

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_CRASHED, EXIT_FAILURE, EXIT_OK, GemtopError
from gemtop.domain.text import one_line
from gemtop.keymap import Keys
from gemtop.supervisor import RESTART
from gemtop.tui.base_app import BaseApp
from gemtop.tui.bindings import bindings
from gemtop.tui.comeback import Comeback
from gemtop.tui.messages import ComparisonEnded, ModelChosen, SessionHappened, SessionReady
from gemtop.tui.screens.live import LiveScreen
from gemtop.tui.startup import Resume, Startup, save_resume, take_resume, without_servers
from gemtop.tui.widgets.tabs import SCREENS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from textual.app import SystemCommand
    from textual.screen import Screen
    from textual.worker import Worker

    from gemtop.domain.settings import EngineSettings
    from gemtop.session import Session
    from gemtop.tui.comparing import Chosen, Comparing
    from gemtop.tui.screens.base import ModeScreen
    from gemtop.tui.screens.compare import CompareScreen
    from gemtop.tui.screens.history import HistoryScreen
    from gemtop.tui.tuning import Plans
    from gemtop.view import SessionEvent

    MakeSession = Callable[[Callable[[SessionEvent], None]], Session]
    MakePlans = Callable[[], Plans]

_LAST = "last"
_OF_TEXTUAL = frozenset({"Theme", "Screenshot", "Maximize", "Minimize"})
_POLLED = frozenset({"TokenGenerated", "PrefillProgress", "LoadProgress", "LogLine"})
"""Events that come too often for messages; the screen asks for what they tell, at its own rate."""


class GemtopApp(BaseApp):
    """gemtop's screens over one session; each is a mode, so that dialogs lie over it and it stays as it is left."""

    CSS_PATH = "gemtop.tcss"
    TITLE = "gemtop"
    ENABLE_COMMAND_PALETTE = True
    DEFAULT_MODE = "live"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app"), *bindings("program")]

    def __init__(
        self,
        startup: Startup,
        paths: Paths,
        make_session: MakeSession | None = None,
        make_plans: MakePlans | None = None,
        keys: Keys | None = None,
    ) -> None:
        super().__init__(keys, thrift=startup.thrift)
        self.startup = startup
        self.paths = paths
        self._make_session = make_session or self._real_session
        self.make_plans = make_plans or self._real_plans
        self.session: Session | None = None
        self.settings: EngineSettings = startup.settings
        """Those in force; until a model is loaded, those asked for."""
        self.change_s: dict[bool, float] = {}
        """Seconds the last change of this model took, by whether its weights were kept."""
        self.sampling = startup.sampling
        self.n_predict = startup.n_predict
        self.resume: Resume | None = None
        self.model_path: str | None = None
        self.live = LiveScreen()
        self.live.span_s = startup.span_s
        self._history: HistoryScreen | None = None
        self._compare: CompareScreen | None = None
        for mode in SCREENS:
            self.add_mode(mode, partial(self._make_screen, mode))
        self.comparison: Comparing | None = None
        """The one that goes on, or the last one."""
        self._before: Resume | None = None
        """What was loaded when it began."""
        self._leaving = False
        self._exit_words = ""
        self._unrecorded = False
        """The session could not be written down."""

    # From start to end

    def run_and_report(self) -> int:
        """Run until the user leaves; say in a line what is kept, and return the exit code."""
        code = self.run_screen()
        if code is None:
            self.tell(self.failure)
            self._close_session("the screen failed")
        self.tell(self._exit_words)
        if code == EXIT_OK and self._unrecorded and self.startup.quit_when_done:
            return EXIT_BAD_INPUT  # as the headless commands have it: a script must not take this for done
        return EXIT_FAILURE if code is None else code

    def _make_screen(self, mode: str) -> ModeScreen:
        """A screen, when it is gone to for the first time. All but the live one are imported here."""
        if mode == "compare":
            from gemtop.tui.screens.compare import CompareScreen

            self._compare = CompareScreen()
            return self._compare
        if mode == "history":
            from gemtop.tui.screens.history import HistoryScreen

            self._history = HistoryScreen(self.paths)
            return self._history
        if mode == "models":
            from gemtop.tui.screens.models import ModelsScreen

            return ModelsScreen()
        if mode == "log":
            from gemtop.tui.screens.log import LogScreen

            return LogScreen()
        return self.live

    def get_system_commands(self, screen: Screen[object]) -> Iterator[SystemCommand]:
        """The palette's: those of the screen, then Textual's own but for what would stand twice."""
        from gemtop.tui.commands import commands_of

        yield from commands_of(screen)
        yield from (command for command in super().get_system_commands(screen) if command.title in _OF_TEXTUAL)

    def action_show(self, mode: str) -> None:
        """Go to a screen."""
        self.switch_mode(mode)

    def marks_of_screens(self) -> dict[str, str]:
        """What goes on in the screens, in a word or two each."""
        marks: dict[str, str] = {}
        session = self.session
        if session is not None and session.busy and not self.comparing:
            marks["live"] = "running"
        if self.comparison is not None and self.comparing:
            doing = self.comparison.state.doing
            marks["compare"] = f"{doing.done} of {doing.total}" if doing is not None else "preparing"
        return marks

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._leave_at_once, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGHUP, self.hung_up)
        Comeback(self._driver).install()
        # The first frame is on the screen before anything big is imported.
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        gc.enable()
        gc.freeze()  # the program itself is never garbage: collections while the engine runs stay short
        self.run_worker(self._start_session, thread=True, name="start", exit_on_error=False)

    def _start_session(self) -> None:
        self.session = self._make_session(self._session_event)
        self.session.start()
        if self.startup.resumed:
            self.resume = take_resume(self.paths)
        self.post_message(SessionReady())

    def _real_session(self, listener: Callable[[SessionEvent], None]) -> Session:
        from gemtop.assembly import make_session

        return make_session(
            "tui",
            self.paths,
            listener,
            self.startup.session_id,
            unrecorded_ok=True,
            record_text=self.startup.record_text,
            terminal_bytes=lambda: self.pace.sent_bytes,
        )

    def _real_plans(self) -> Plans:
        from gemtop.assembly import make_planner

        return make_planner(self.paths)

    def _session_event(self, event: SessionEvent) -> None:
        """Called on the engine's and the sampler's threads."""
        if type(event).__name__ not in _POLLED and not self._leaving:
            session = self.session
            number, request = (session.run_number, session.last_request) if session else (0, None)
            self.post_message(SessionHappened(event, number, request))
        if self.comparison is not None and not self.comparison.settled:
            self.comparison.hear(event)

    async def take_up(self, event: events.Key | events.Paste) -> None:
        """A key that begins a prompt moves the focus and is passed to it."""
        # Not is_current: that is true of the screen behind a dialog as well.
        on_live = isinstance(event, events.Key) and self.live.is_mounted and self.screen is self.live
        if not (on_live and self.live.begin_prompt(cast("events.Key", event))):
            await super().take_up(event)

    def on_session_happened(self, message: SessionHappened) -> None:
        if not self._leaving:  # what was under way when the user left finds no widgets any more
            self.live.session_happened(message.event, message.run_number, message.request)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.name in ("start", "find"):
            error = event.worker.error
            words = str(error) if isinstance(error, GemtopError) else f"{type(error).__name__}: {error}"
            self.failed_to_start(one_line(words))

    def failed_to_start(self, words: str) -> None:
        """A model that cannot be had: shown, or told on the command line where nobody looks."""
        if self.startup.quit_when_done:
            self.leave_with(EXIT_BAD_INPUT, words)
            return
        self.notify(words, severity="error", timeout=15, markup=False)
        if self.session is not None and not self.session.ready and self.screen is self.live:
            self.action_show("models")  # a screen without a model is of no use

    # Models

    def on_session_ready(self) -> None:
        resume = self.resume
        if resume is not None:
            self.settings, self.sampling, self.n_predict = resume.settings, resume.sampling, resume.n_predict
            if resume.path:
                self.open_model(resume.path)
            return
        last = read_state(self.paths, _LAST).get("path")
        if self.startup.path:
            self.open_model(self.startup.path)
        elif self.startup.demo:
            self.open_model(None)
        elif isinstance(last, str) and os.path.exists(last):  # noqa: PTH110  (one stat, no object)
            self.open_model(last)
        else:
            self.action_show("models")

    def open_model(self, path: str | None) -> None:
        """Load a model; None is the demo model, put together first if need be."""
        if path is None:
            self.run_worker(self._find_demo, thread=True, name="find", exit_on_error=False)
            return
        if self.settings.lora and self.model_path not in (None, path):
            self.settings = replace(self.settings, lora=())  # adapters belong to the model they were given for
        self.model_path = path
        self.change_s = {}
        assert self.session is not None
        self.session.open(path, self.settings)

    def open_again(self, without: Collection[str]) -> None:
        """Try once more to load the model that could not be, without these RPC servers."""
        if without:
            self.settings = without_servers(self.settings, without)
        self.open_model(self.model_path)

    def _find_demo(self) -> None:
        from gemtop.engine.stores.demo import demo_model

        self.call_from_thread(self.notify, "looking for the demo model, or putting it together ...", timeout=3)
        path = str(demo_model(self.paths))
        self.call_from_thread(self.open_model, path)

    def remember_model(self) -> None:
        """The model to open next time."""
        if self.model_path:
            write_state(self.paths, _LAST, {"path": os.path.abspath(self.model_path)})  # noqa: PTH100

    # Comparisons

    @property
    def comparing(self) -> bool:
        """A comparison goes on, and the session is its own."""
        return self.comparison is not None and not self.comparison.settled

    def why_no_comparison(self) -> str | None:
        """Why none can begin now."""
        session = self.session
        if session is None:
            return "the session is not there yet"
        if session.crashed is not None:
            return "llama.cpp has given up; r on the live screen starts it anew"
        if self.comparing:
            return "a comparison goes on; Esc stops it"
        return "a run goes on; Esc on the live screen stops it" if session.busy else None

    def compare(self, chosen: Chosen) -> Comparing:
        """Begin a comparison; what is loaded makes room for it and comes back at its end."""
        from gemtop.engine.stores.demo import demo_model
        from gemtop.tui.comparing import Comparing

        session = self.session
        assert session is not None and self.why_no_comparison() is None
        loaded = session.ready or session.view(0).loading is not None
        self._before = self.resume or Resume(
            path=self.model_path if loaded else None,
            settings=self.settings,
            sampling=self.sampling,
            n_predict=self.n_predict,
            conversation=tuple(session.conversation),
            last_prompt=None,
        )
        comparing = Comparing(
            session,
            chosen,
            self.paths,
            self.make_plans,
            lambda: str(demo_model(self.paths)),
            self._comparison_has_ended,
        )
        self.comparison = comparing
        comparing.start()
        return comparing

    def _comparison_has_ended(self, comparing: Comparing) -> None:
        """Called on the comparison's thread."""
        self.post_message(ComparisonEnded(comparing))

    def on_comparison_ended(self, message: ComparisonEnded) -> None:
        """Load again what was loaded before, and tell of the end where it is not seen."""
        comparing = message.comparing
        comparing.settled = True
        before, self._before = self._before, None
        if self._leaving or self.session is None:
            return
        if self.is_detached:
            self.leave(EXIT_FAILURE if comparing.state.phase == "failed" else EXIT_OK)
            return
        if comparing.asked and self.session.crashed is None and before is not None and before.path:
            self.resume, self.settings = before, before.settings
            self.open_model(before.path)
        state, seen = comparing.state, self.screen is self._compare
        if self._compare is not None:
            self._compare.comparison_ended(comparing)
        if not seen or state.phase == "failed":
            severity: Literal["error", "information"] = "error" if state.phase == "failed" else "information"
            self.notify(state.words, title=f"comparison {state.phase}", severity=severity, timeout=15, markup=False)

    def on_model_chosen(self, message: ModelChosen) -> None:
        self.action_show("live")
        self.open_model(message.path)

    # Leaving

    def action_leave(self) -> None:
        self.leave(EXIT_CRASHED if self.session and self.session.crashed else EXIT_OK)

    def action_leave_or_copy(self) -> None:
        """Ctrl-C stops a query, copies where text is selected, and leaves elsewhere."""
        focused = self.focused
        selected = focused.selected_text if isinstance(focused, TextArea) else self.screen.get_selected_text()
        if self._history is not None and self.screen is self._history and self._history.stop():
            return
        if selected:
            self.copy_to_clipboard(selected)
            if not isinstance(focused, TextArea):
                self.screen.clear_selection()  # the next Ctrl-C leaves
            self.notify(f"{len(selected):,} characters copied, if your terminal allows it", timeout=4)
        else:
            self.action_leave()

    def leave(self, code: int) -> None:
        """Stop what runs, write everything down, and end with this exit code."""
        if self._leaving:
            return
        self._leaving = True
        if self._history is not None:
            self._history.stop()  # the last batch needs the file
        self.notify("writing the session down ...", timeout=30)

        def close() -> None:
            try:
                self._close_session(None)
            except Exception as error:
                self.call_from_thread(self._handle_exception, error)
            else:
                self.call_from_thread(self.exit, code)

        self.run_worker(close, thread=True, name="close", exit_on_error=False)

    def leave_with(self, code: int, words: str) -> None:
        """Leave, and say this on the command line."""
        self._exit_words = words
        self.leave(code)

    def restart(self, *, without: Collection[str] = ()) -> None:
        """Start the program anew in place, with the same model, settings and conversation.

        `without` are RPC servers to leave out, and with them what names their devices.
        """
        session = self.session
        if session is None:
            return
        if without:
            self.settings = without_servers(self.settings, without)
        last = session.last_request
        save_resume(
            self.paths,
            Resume(
                path=self.model_path,
                settings=self.settings,
                sampling=self.sampling,
                n_predict=self.n_predict,
                conversation=tuple(session.conversation),
                last_prompt=last.prompt if last else None,
            ),
        )
        self.leave(RESTART)

    def _close_session(self, reason: str | None) -> None:
        session, self.session = self.session, None
        if self.comparison is not None:
            self.comparison.close()
        if session is None:
            return
        session.close(reason)
        runs = len(session.view(0).runs)
        if session.crashed and not self._exit_words:
            self._exit_words = f"llama.cpp gave up: {session.crashed}; the session is kept in the history as crashed"
        elif session.problem:
            self._unrecorded = True
            self._exit_words = self._exit_words or session.problem
        elif runs and not self._exit_words:
            self._exit_words = f"{runs} {'run' if runs == 1 else 'runs'} recorded; see them with: gemtop query sessions"

    def hung_up(self) -> None:
        """The terminal has gone: keep the session and end, or, where that was asked for, end what runs first."""
        if self._leaving or self.is_detached:
            return
        session, asked = self.session, self.startup
        runs = session is not None and (session.busy or (session.loading and bool(asked.prompt)))
        if not asked.keep_running or not (runs or self.comparing):
            self._leave_at_once(signal.SIGHUP)
            return
        self.startup = replace(asked, quit_when_done=True)
        self.detach()

    def _leave_at_once(self, number: int) -> None:
        """The terminal is gone or somebody wants this to end: keep the session, then end."""
        self._leaving = True
        self._close_session(f"ended by {signal.Signals(number).name}")
        self.exit(128 + number)
