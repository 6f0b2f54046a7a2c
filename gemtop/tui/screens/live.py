"""The live screen: what is running now, and the prompt."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType

from gemtop.domain.errors import EXIT_BAD_INPUT, EXIT_CRASHED, EXIT_FAILURE, EXIT_OK
from gemtop.tui.bindings import bindings, keys_of
from gemtop.tui.hints import LIVE_KEYS, PROMPT_KEYS
from gemtop.tui.screens.base import ModeScreen
from gemtop.tui.screens.live_view import LiveView
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.pasted import excerpt
from gemtop.tui.widgets.prompt import PromptArea
from gemtop.tui.widgets.stream import StreamView
from gemtop.tui.widgets.values import ValueGrid

if TYPE_CHECKING:
    from gemtop.domain.events import EngineCrashed, GenerateRequest, LoadFailed, ModelLoaded, RunStarted
    from gemtop.session import Session
    from gemtop.tui.app import GemtopApp
    from gemtop.view import RunRecorded, SessionEvent, Shown


class LiveScreen(LiveView, ModeScreen):
    """What is running now."""

    MODE = "live"
    key_scopes = ("live", "prompt", "text", "app", "program")
    BINDINGS: ClassVar[list[BindingType]] = bindings("live")

    def __init__(self) -> None:
        super().__init__()
        self._loaded: ModelLoaded | None = None
        self._waiting = ""
        """A prompt that was entered before there was a model to run it."""
        self._change = ""
        """The change of settings that has just been made, in a few words."""

    @property
    def _app(self) -> GemtopApp:
        return cast("GemtopApp", self.app)

    @property
    def session(self) -> Session | None:
        return self._app.session

    @property
    def shown(self) -> Shown | None:
        return self.session

    @property
    def heading(self) -> str:
        return "gemtop (comparing)" if self._app.comparing else "gemtop"

    @property
    def opening(self) -> str:
        return PurePath(self._app.model_path or "").name

    @property
    def without_model(self) -> str:
        return f"no model is loaded; {keys_of(self.app).label('app.models')} lists them"

    def compose(self) -> ComposeResult:
        yield from self.compose_top()
        yield from self.compose_body(_EMPTY)
        yield PromptArea(id="prompt")
        yield KeyLine(LIVE_KEYS, id="keys")

    def on_mount(self) -> None:
        kept = self._app.paths.state / _PROMPTS if self._app.startup.record_text else None
        self.query_one("#prompt", PromptArea).keep_in(kept)

    def show_frame(self, *, whole: bool = True) -> None:
        super().show_frame(whole=whole)
        self.show_marks()

    # What happened

    def session_happened(self, event: SessionEvent, run_number: int, request: GenerateRequest | None) -> None:
        """Act on something that happened in the session, told by the application; `run_number` is where."""
        from gemtop.domain.events import (
            EngineCrashed,
            LoadFailed,
            ModelLoaded,
            Notice,
            RunFinished,
            RunStarted,
            SettingsRefused,
        )
        from gemtop.view import RunRecorded

        if self._app.comparing and isinstance(event, ModelLoaded | LoadFailed):
            self.show_frame()  # models come and go: they are not the user's choice
            return
        match event:
            case RunStarted():
                self._run_started(event, run_number, request)
            case RunRecorded():
                self._run_recorded(event)
            case RunFinished() if event.status == "failed" and self.session and not self.session.busy:
                self._refused(event.message or "the run failed")
            case ModelLoaded():
                self._model_loaded(event)
            case LoadFailed():
                self._refused(event.message)
                self._offer_without_servers(event)
            case SettingsRefused():
                self._tell(event.message)
                self.notify(event.message, title="not applied", severity="error", timeout=15, markup=False)
            case Notice():
                self.notify(event.text, severity="warning", timeout=10, markup=False)
            case EngineCrashed():
                self._crashed(event)
        self.show_frame()

    def _run_started(self, event: RunStarted, run_number: int, request: GenerateRequest | None) -> None:
        self._shown_run, self._shown_text, self._pieces = run_number, 0, 0
        self.query_one("#figures", ValueGrid).forget_widths()
        if event.kind == "generate" and request is not None and not request.resume:
            self.query_one("#output", StreamView).mark(f"> {excerpt(request.prompt)}")

    def _run_recorded(self, event: RunRecorded) -> None:
        self.show_text()
        # Where the next run has begun already, the rest of this one is only in the event.
        self.query_one("#output", StreamView).append(event.output[self._shown_text :])
        self._shown_text = len(event.output)
        if event.row["status"] == "failed":
            self._tell(event.message or "the run failed")
        if event.begin.kind == "apply" and event.row["status"] == "finished" and self._change:
            self._applied(event)
        crashed = event.row["status"] == "crashed"  # what llama.cpp said comes next
        goes_on = self.session is not None and self.session.busy  # after a change of settings
        if self._app.startup.quit_when_done and not crashed and not goes_on:
            self._app.leave(EXIT_FAILURE if event.row["status"] == "failed" else EXIT_OK)

    def _applied(self, event: RunRecorded) -> None:
        """Say what a change of settings took."""
        tokens, rate = event.row["prompt_tokens"], event.row["prefill_tokens_per_s"]
        words = f"{self._change}: {event.row['load_s']:.1f} s"
        if tokens and rate:
            words += f", and {tokens:,} tokens decoded again in {tokens / rate:.1f} s"
        self.notify(words, title="applied", timeout=6, markup=False)

    def _model_loaded(self, event: ModelLoaded) -> None:
        from gemtop.run import changes

        app, before = self._app, self._loaded
        self.query_one("#figures", ValueGrid).forget_widths()
        self._loaded, app.settings = event, event.settings
        if app.change_s and before is not None:  # settings of this model were changed, or taken back
            app.change_s[event.weights_kept] = event.change_s
            self._change = changes(before, event) if event.settings != before.settings else ""
            return
        app.change_s[False] = event.model.load_s
        app.remember_model()
        resume, app.resume = app.resume, None
        if resume is not None and self.session is not None:
            self.session.conversation[:] = resume.conversation
            for user, answer in resume.conversation:
                self.query_one("#output", StreamView).mark(f"> {excerpt(user)}")
                self.query_one("#output", StreamView).append(answer)
            if app.startup.resumed and before is None:  # and not after a comparison
                self.query_one("#output", StreamView).mark(_ANEW, "muted")
            if resume.last_prompt and not resume.conversation:
                self.query_one("#prompt", PromptArea).put(resume.last_prompt)
        elif app.startup.prompt:
            self._generate(app.startup.prompt)
        waiting, self._waiting = self._waiting, ""
        if waiting:
            self._generate(waiting)

    def _crashed(self, event: EngineCrashed) -> None:
        from gemtop.tui.screens.crash import CrashScreen

        self._tell(f"llama.cpp gave up: {event.message}")  # it is still there when the dialog has been left
        if self._app.startup.quit_when_done:
            self._app.leave_with(EXIT_CRASHED, f"llama.cpp gave up: {event.message}")
            return
        self.app.push_screen(CrashScreen(event.message, self._app.settings.offload.rpc_servers))

    def _offer_without_servers(self, event: LoadFailed) -> None:
        servers = self._app.settings.offload.rpc_servers
        if servers and not event.cancelled and not self._app.startup.quit_when_done and "RPC" in event.message:
            from gemtop.tui.screens.crash import LostServersScreen

            self.app.push_screen(LostServersScreen(event.message, servers))

    def _has_crashed(self) -> bool:
        """Whether llama.cpp has given up; if so its dialog, which may have been left, is shown again."""
        session = self.session
        if session is None or session.crashed is None:
            return False
        from gemtop.tui.screens.crash import CrashScreen

        self.app.push_screen(CrashScreen(session.crashed, self._app.settings.offload.rpc_servers))
        return True

    def _is_comparing(self) -> bool:
        """Whether a comparison has the session; if so that is said."""
        if self._app.comparing:
            self.notify("a comparison goes on, and nothing else runs meanwhile; c shows it, Esc stops it", timeout=4)
        return self._app.comparing

    def _tell(self, words: str) -> None:
        self.query_one("#output", StreamView).mark(words, "bad")

    def _refused(self, words: str) -> None:
        """A model or a prompt that cannot be used: nothing was measured."""
        self._tell(words)
        if self._app.startup.quit_when_done:
            self._app.leave_with(EXIT_BAD_INPUT, words)

    # What the user does

    def begin_prompt(self, event: events.Key) -> bool:
        """Whether this key moves to the prompt: Enter, a slash, or what a sentence begins with.

        Lower-case letters and digits are commands, so a capital letter or a quote is the prompt's first character.
        """
        prompt = self.query_one("#prompt", PromptArea)
        if self.focused is prompt or self.has_class("-tiny"):
            return False
        character = event.character or ""
        starts = character.isupper() or character in ("'", '"', "(")
        if not starts and event.key not in ("enter", "slash"):
            return False
        self.set_focus(prompt)
        if starts:
            prompt.insert(character)
        return True

    def on_paste(self, event: events.Paste) -> None:
        prompt = self.query_one("#prompt", PromptArea)
        if self.focused is not prompt:
            event.stop()
            self.set_focus(prompt)
            prompt.add(event.text)

    def on_prompt_area_submitted(self, message: PromptArea.Submitted) -> None:
        if not message.text.strip():
            self.notify("the prompt is empty; type some text", severity="warning")
            return
        self.set_focus(self.query_one("#output"))
        self._generate(message.text)

    def on_prompt_area_left(self) -> None:
        """Escape in the prompt stops a run that goes on, and leaves the prompt."""
        self.set_focus(self.query_one("#output"))
        self.action_stop()

    def _generate(self, prompt: str) -> None:
        session, app = self.session, self._app
        if self._has_crashed():
            self.query_one("#prompt", PromptArea).put(prompt)
            return
        if self._is_comparing():
            self.query_one("#prompt", PromptArea).put(prompt)
            return
        if session is None or not session.ready:
            self._keep_waiting(session, prompt)
            return
        if session.busy:
            self.query_one("#prompt", PromptArea).put(prompt)
            self.notify("a run is going on; Esc stops it. The prompt is kept", severity="warning")
            return

        from gemtop.domain.events import GenerateRequest

        session.generate(GenerateRequest(prompt, app.n_predict, app.sampling, app.startup.raw))

    def _keep_waiting(self, session: Session | None, prompt: str) -> None:
        """A prompt before its model: run when that is loaded, or kept where none is on its way."""
        if session is None or session.view(0).loading is not None:
            self._waiting = prompt
            self.notify("the prompt runs when the model is loaded; Esc takes it back", timeout=4)
        else:
            self.query_one("#prompt", PromptArea).put(prompt)
            self.notify("no model is loaded; m opens one. The prompt is kept", severity="warning")

    def on_descendant_focus(self) -> None:
        self._show_keys()

    def on_descendant_blur(self) -> None:
        self._show_keys()

    def _show_keys(self) -> None:
        typing = isinstance(self.focused, PromptArea)
        self.query_one("#keys", KeyLine).show_hints(PROMPT_KEYS if typing else LIVE_KEYS)

    def action_submit_prompt(self) -> None:
        self.query_one("#prompt", PromptArea).action_submit()

    def action_break_prompt(self) -> None:
        self.query_one("#prompt", PromptArea).action_new_line()

    def action_leave_prompt(self) -> None:
        self.query_one("#prompt", PromptArea).action_leave()

    def action_type(self) -> None:
        self.set_focus(self.query_one("#prompt"))

    def action_stop(self) -> None:
        """Esc: one thing a time, the least that it can mean first."""
        if self.selections:
            self.clear_selection()
            return
        if self._waiting:
            self.query_one("#prompt", PromptArea).put(self._waiting)
            self._waiting = ""
            return
        if self._app.comparing and self._app.comparison is not None:
            self._app.comparison.stop()
            return
        if self.session is not None:
            self.session.stop()

    def action_again(self) -> None:
        session, app = self.session, self._app
        if self._has_crashed() or self._is_comparing():
            return
        if session is None or not session.ready or session.busy or session.last_request is None:
            self.notify("there is nothing to run again yet", severity="warning")
            return
        session.generate_again(app.n_predict, app.sampling)

    def action_new(self) -> None:
        if not self._is_comparing() and self.session is not None and not self.session.busy:
            self.session.new_conversation()
            self.query_one("#output", StreamView).mark("- new conversation -", "muted")

    def action_tune(self) -> None:
        session = self.session
        if self._has_crashed() or self._is_comparing():
            return
        view = session.view(0) if session is not None else None
        if view is None or view.model is None:
            self.notify("there is no model to tune yet; m opens one", severity="warning")
            return
        if view.applying:
            self.notify("a change is being made already; Esc stops it", severity="warning")
            return

        from gemtop.tui.screens.tune import TuneScreen

        self.app.push_screen(TuneScreen(view, self._app.make_plans))

    def action_prompts(self) -> None:
        self.query_one("#prompt", PromptArea).action_pick()

    def action_sampling(self) -> None:
        from gemtop.tui.screens.sampling import SamplingScreen

        self.app.push_screen(SamplingScreen())

    def action_zoom(self) -> None:
        """The text over the whole screen, and back."""
        self.toggle_class("zoomed")
        self.call_after_refresh(self.show_frame)

    def action_span(self, way: int) -> None:
        """A longer (1) or shorter (-1) time on the charts."""
        from gemtop.charts.live import SPANS_S

        at = max(0, min(SPANS_S.index(int(self.span_s)) + way, len(SPANS_S) - 1))
        self.span_s = float(SPANS_S[at])
        self.show_frame()

    def action_charts(self) -> None:
        from gemtop.tui.screens.charts import ChartsScreen

        self.app.push_screen(ChartsScreen(self))

    def action_leave(self) -> None:
        self._app.action_leave()


_PROMPTS = "prompts.jsonl"
"""Earlier prompts, in the state folder."""
_ANEW = "- started anew: llama.cpp had given up; the runs before are in the history -"
_EMPTY = "Press Enter, type a prompt and press Enter again. ? shows every key."
