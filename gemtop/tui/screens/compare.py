"""The Compare screen: models to choose, the comparison while it goes on, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static
from textual.worker import WorkerCancelled, get_current_worker

from gemtop.comparison.table import text
from gemtop.domain.text import printable
from gemtop.tui.bindings import bindings
from gemtop.tui.compare_present import compare_header, doing_spans, table_rows
from gemtop.tui.comparing import FEW, Chosen, Comparing, State
from gemtop.tui.hints import CHOOSING_KEYS, COMPARED_KEYS, COMPARING_KEYS, FORM_KEYS, STOPPED_KEYS
from gemtop.tui.screens.base import ModeScreen
from gemtop.tui.screens.outputs import OutcomePairs, OutputsScreen
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.widgets.header import HeaderLine
from gemtop.tui.widgets.keyline import KeyLine
from gemtop.tui.widgets.model_marks import ModelMarks
from gemtop.tui.widgets.prompt import PromptArea
from gemtop.tui.widgets.rows_view import RowsView
from gemtop.tui.widgets.styled import styled_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gemtop.domain.model import ModelEntry
    from gemtop.tui.app import GemtopApp

FIELDS = (
    ("prompts", "prompts", FEW),
    ("answer", "longest answer", "64"),
    ("chunks", "chunks of the text", "8"),
    ("repeats", "repeats", "1"),
)
_ABOUT = (
    "prompts: few is one of each kind, all the sixty that ship; none; kinds such as code,reasoning; saved, your own; "
    "or a file. A chunk is 512 tokens of the novel that ships, for perplexity and KL divergence; 0 leaves them out. An "
    "empty longest answer is as the prompts say."
)


class CompareScreen(ModeScreen):
    """Keeps what was chosen and what came of it while it is left."""

    DEFAULT_CSS = """
    CompareScreen {
        #choosing { height: 1fr; }
        #form { width: 46; padding: 1 1 0 2; }
        #form .row { height: 1; }
        #form Label { width: 20; }
        #form Input { border: none; width: 1fr; background: $boost; }
        #form Input:focus { background: $panel; }
        #about { margin-top: 1; color: $foreground 60%; }
        #said { height: auto; max-height: 4; padding: 0 1; }
        #said.-bad { color: $error; }
        #doing { height: 1; margin: 0 1; }
        &.-narrow #doing { height: 2; }
        #result { display: none; height: 1fr; }
        #table { margin: 0 1; }
        &.-table #choosing, &.-table #said { display: none; }
        &.-table #result { display: block; }
        &.-narrow #choosing { layout: vertical; }
        &.-narrow #form { width: 1fr; height: 4; padding: 0 1; }
        &.-narrow #about { display: none; }
        &.-narrow.-tall #form, &.-narrow.-high #form { height: 9; }
        &.-narrow.-tall #about, &.-narrow.-high #about { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = bindings(
        "compare", "start", "back", "leave", "outputs", "prompt", "choose", "copy"
    )

    MODE = "compare"
    key_scopes = ("compare", "list", "app", "program")

    def __init__(self) -> None:
        super().__init__()
        self._kept: Comparing | None = None
        """The last one that was no prompt of the user's own: its table stays."""
        self._drawn: State | None = None

    @property
    def _app(self) -> GemtopApp:
        return cast("GemtopApp", self.app)

    @property
    def shown(self) -> Comparing | None:
        """The comparison that goes on, else the last one."""
        return self._app.comparison if self._app.comparing else self._kept

    @property
    def marks(self) -> ModelMarks:
        return self.query_one("#models", ModelMarks)

    def compose(self) -> ComposeResult:
        yield from self.compose_top()
        with Horizontal(id="choosing"):
            yield ModelMarks(id="models")
            with Vertical(id="form"):
                for name, label, value in FIELDS:
                    with Horizontal(classes="row"):
                        yield Label(label)
                        yield Input(value, id=name, compact=True, select_on_focus=False)
                yield Static(_ABOUT, id="about", markup=False)
        with Container(id="result"):
            yield RowsView(id="doing")
            yield RowsView(id="table")
        yield Static("", id="said", markup=False)
        yield KeyLine(CHOOSING_KEYS, id="keys")

    def on_mount(self) -> None:
        self.query_one("#doing", RowsView).can_focus = False
        self.marks.focus()
        draw_frames(self, self._look)
        self.run_worker(self._find, thread=True, exit_on_error=False)
        self._say_what_is_chosen()
        self._look()

    def on_screen_resume(self) -> None:
        self._look()

    # What is shown

    def _find(self) -> None:
        from gemtop.domain.errors import BadInputError
        from gemtop.engine.catalogue import list_models

        app, worker = self._app, get_current_worker()

        def progress(done: int, total: int) -> None:
            if worker.is_cancelled:
                raise WorkerCancelled

        try:
            found = [entry for entry in list_models(app.paths, progress=progress) if entry.kind is None]
        except BadInputError as error:
            app.call_from_thread(self.say, str(error), bad=True)
            return
        app.call_from_thread(self._show_models, found)

    def _show_models(self, entries: Sequence[ModelEntry]) -> None:
        self.marks.show_entries(entries, "no model was found; gemtop pull hf:OWNER/NAME fetches one")

    def say(self, words: str, *, bad: bool = False) -> None:
        said = self.query_one("#said", Static)
        said.set_class(bad, "-bad")
        said.update(Content(printable(words)))

    def _say_what_is_chosen(self) -> None:
        marked, base = self.marks.marked, self.marks.baseline
        count = f"{len(marked)} {'model' if len(marked) == 1 else 'models'} marked"
        baseline = "the most bits a weight" if base is None else "as chosen"
        words = "Enter starts" if len(marked) > 1 else "Space marks two or more"
        self.say(f"{count} (baseline: {baseline}); {words}")

    def on_model_marks_changed(self) -> None:
        self._say_what_is_chosen()

    def _look(self) -> None:
        """Show how far it is."""
        if self.app.screen is not self:
            return
        comparing = self.shown
        state = comparing.state if comparing is not None else None
        table = comparing is not None and state is not None and self.has_class("-table")
        self.query_one("#header", HeaderLine).show_text(compare_header(state if table else None))
        self.show_marks()
        self._show_keys()
        if state is None or not table or state == self._drawn:
            return
        self._drawn, now = state, state
        doing = self.query_one("#doing", RowsView)
        doing.show_rows(lambda width: styled_rows(doing_spans(now), width)[: doing.size.height])
        self.query_one("#table", RowsView).show_rows(lambda width: table_rows(now, width))

    def _show_table(self, shown: bool) -> None:
        self.set_class(shown, "-table")
        self._drawn = None
        self.set_focus(self.query_one("#table") if shown else self.marks)
        self._look()

    # What happened

    def comparison_ended(self, comparing: Comparing) -> None:
        """Told by the application."""
        state = comparing.state
        if state.outcome is None and self._kept is comparing:  # it did not even begin: back to what was chosen
            self._kept = None
            self.say(state.words, bad=state.phase == "failed")
        self._show_table(self._kept is not None)
        if comparing.is_prompt and state.phase == "done" and self.app.screen is self:
            self._show_outputs(comparing)

    # What the user does

    def on_input_submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Start what is chosen; on a comparison that was stopped, go on with it; on one that is done, its outputs."""
        shown = self.shown
        if not self.has_class("-table"):
            fields = {name: self.query_one(f"#{name}", Input).value for name, _, _ in FIELDS}
            self._begin(Chosen(self.marks.marked, self.marks.baseline, self._app.settings, fields))
        elif shown is not None and shown.settled and shown.state.phase in ("stopped", "failed"):
            self._begin(shown.chosen)
        else:
            self.action_outputs()

    def _begin(self, chosen: Chosen) -> None:
        why = "mark two models or more with Space" if len(chosen.paths) < 2 else self._app.why_no_comparison()
        if why is not None:
            self.say(why, bad=True)
            self.notify(why, severity="warning", markup=False)
            return
        comparing = self._app.compare(chosen)
        if not comparing.is_prompt:
            self._kept = comparing
        self._say_what_is_chosen()
        self._show_table(True)

    def action_prompt(self) -> None:
        """One prompt of the user's own, for the models of the table or those that are marked."""
        chosen = self.shown.chosen if self.shown is not None and self.has_class("-table") else None
        paths = chosen.paths if chosen is not None else self.marks.marked
        baseline = chosen.baseline if chosen is not None else self.marks.baseline
        why = "mark two models or more with Space" if len(paths) < 2 else self._app.why_no_comparison()
        if why is not None:
            self.notify(why, severity="warning", markup=False)
            return

        def ask(prompt: str | None) -> None:
            if prompt:
                answer = str(max(self._app.n_predict, 0) or 256)
                self._begin(Chosen(paths, baseline, self._app.settings, {"answer": answer}, prompt))

        self.app.push_screen(AskScreen(), ask)

    def action_outputs(self) -> None:
        shown = self.shown
        if shown is None or shown.outcome is None or not self.has_class("-table"):
            self.notify("there are no outputs yet", severity="warning")
            return
        self._show_outputs(shown)

    def _show_outputs(self, comparing: Comparing) -> None:
        self.app.push_screen(OutputsScreen(OutcomePairs(lambda: comparing.outcome)))

    def action_choose(self) -> None:
        """Back to the models; what goes on is shown until it has ended."""
        if self._app.comparing:
            self.notify("a comparison goes on; Esc stops it", severity="warning")
        elif self.has_class("-table"):
            self._show_table(False)
        elif self.shown is not None:
            self._show_table(True)

    def action_back(self) -> None:
        """Esc: stop what goes on, else one step back."""
        if self._app.comparing and self._app.comparison is not None:
            self._app.comparison.stop()
            self._look()
        elif self.has_class("-table"):
            self.action_choose()
        else:
            self.action_leave()

    def action_leave(self) -> None:
        self._app.action_show("live")

    def action_copy(self) -> None:
        found = self.shown.outcome if self.shown is not None else None
        if found is None:
            self.notify("there is no table to copy yet", severity="warning")
            return
        self.app.copy_to_clipboard(text(found))
        self.notify("the table is copied, if your terminal allows it", timeout=4)

    def action_mark(self) -> None:
        self.marks.action_mark()

    def action_baseline(self) -> None:
        self.marks.action_baseline()

    def on_descendant_focus(self) -> None:
        self._show_keys()

    def _show_keys(self) -> None:
        if self.has_class("-table"):
            ended = self.shown is None or self.shown.state.phase == "done"
            hints = COMPARING_KEYS if self._app.comparing else COMPARED_KEYS if ended else STOPPED_KEYS
        else:
            hints = FORM_KEYS if isinstance(self.focused, Input) else CHOOSING_KEYS
        self.query_one("#keys", KeyLine).show_hints(hints)


class AskScreen(ModalScreen[str]):
    """A prompt for all models that are compared."""

    DEFAULT_CSS = "AskScreen { align: center middle; background: $background 60%; }"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("a prompt for each of the models in turn", classes="title")
            yield PromptArea(id="ask")
            yield Static("Enter runs it, Ctrl-J breaks the line, Esc leaves", classes="note")

    def on_mount(self) -> None:
        self.query_one("#ask", PromptArea).focus()

    def on_prompt_area_submitted(self, message: PromptArea.Submitted) -> None:
        if message.text.strip():
            self.dismiss(message.text)
        else:
            self.query_one("#ask", PromptArea).focus()

    def on_prompt_area_left(self) -> None:
        self.dismiss(None)
