"""Tuning: the settings of the model that is loaded, what a change of them would take, and Enter to make it.

The planner is asked on a thread of its own, the newest choice first; the screen shows the last answer until then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer

from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.plan import Plan
from gemtop.domain.settings import EngineSettings
from gemtop.domain.text import one_line
from gemtop.tui import tuning
from gemtop.tui.terminal_app import draw_frames
from gemtop.tui.tuning import Knob, Loaded, Plans
from gemtop.tui.widgets.tune_panel import PanelText, Row, TunePanel

if TYPE_CHECKING:
    from gemtop.session import Session
    from gemtop.tui.app import GemtopApp
    from gemtop.view import SessionView

_SEARCH_AFTER_S = 0.8
"""A choice has to stand so long before the longest contexts are searched for: that takes a second or two."""
_TRY = "Enter again tries it all the same."


class Planned(Message):
    """An answer of the planner, or why there is none."""

    def __init__(self, chosen: EngineSettings, plan: Plan | None, error: GemtopError | None) -> None:
        self.chosen, self.plan, self.error = chosen, plan, error
        super().__init__()


class TuneScreen(ModalScreen[None]):
    """The panel over the live screen, which goes on behind it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "apply", "Apply"),
        Binding("escape", "leave", "Leave"),
    ]

    def __init__(self, view: SessionView, make_plans: Callable[[], Plans]) -> None:
        """`view` has a model loaded."""
        super().__init__()
        now = tuning.loaded(view, None)
        assert now is not None
        self._view = view
        self._now: Loaded = now
        self._chosen = now.settings
        self._knobs: list[Knob] = tuning.knobs(now)
        self._selected = 0
        self._typed = ""
        """What stands in the selected row while it is typed."""
        self._before_typing = now.settings
        self._said = ""
        """What the last key led to."""
        self._apply_when_planned = False
        self._warned = False
        """Enter has been pressed on a choice that does not fit, and the reason was there to read."""
        self._plans = make_plans()
        self._plan: Plan | None = None
        self._planned: EngineSettings | None = None
        """The choice that the answer is of."""
        self._error: GemtopError | None = None
        self._asking = False
        self._search: Timer | None = None

    @property
    def _app(self) -> GemtopApp:
        return cast("GemtopApp", self.app)

    @property
    def chosen(self) -> EngineSettings:
        return self._chosen

    def compose(self) -> ComposeResult:
        yield TunePanel(id="tune")

    def on_mount(self) -> None:
        self.query_one(TunePanel).focus()
        draw_frames(self, self._look)
        self._show()
        self._ask(search=False)

    def on_unmount(self) -> None:
        # Not here: it may have to wait until a question that is under way has been given up.
        threading.Thread(target=self._plans.close, name="gemtop-plan-close").start()

    # The planner

    @property
    def _answered(self) -> bool:
        """What the planner said is of what is chosen."""
        return self._planned == self._chosen

    def _ask(self, *, search: bool) -> None:
        """Ask about what is chosen, unless a question is under way: its answer asks again."""
        if self._asking:
            return
        self._asking = True
        chosen = self._chosen
        request = tuning.plan_request(self._now, chosen, search=search)

        def ask() -> None:
            plan, error = None, None
            try:
                plan = self._plans.plan(request)
            except GemtopError as refused:
                error = refused
            self.post_message(Planned(chosen, plan, error))

        self.run_worker(ask, thread=True, name="plan", exit_on_error=False)

    def on_planned(self, message: Planned) -> None:
        self._asking = False
        self._planned, self._error = message.chosen, message.error
        if message.plan is not None:
            self._learn(message.plan)
        if not self._answered:
            self._ask(search=False)
        elif message.plan is not None and not message.plan.max_n_ctx:
            self._search_later()
        if self._answered and self._apply_when_planned:
            self.action_apply()
        self._show()

    def _learn(self, plan: Plan) -> None:
        """Take the answer; the first one may tell of devices that hold nothing yet."""
        self._plan = plan
        now = tuning.loaded(self._view, plan)
        if now is not None and now != self._now:
            selected = self._knobs[self._selected].name
            self._now, self._knobs = now, tuning.knobs(now)
            names = [knob.name for knob in self._knobs]
            self._selected = names.index(selected) if selected in names else 0

    def _search_later(self) -> None:
        if self._search is not None:
            self._search.stop()
        chosen = self._chosen

        def search() -> None:
            if self._chosen == chosen:
                self._ask(search=True)

        self._search = self.set_timer(_SEARCH_AFTER_S, search)

    # What is shown

    def _look(self) -> None:
        session = self._app.session
        if session is not None:
            self._view = session.view(0)
            self._show()

    @property
    def _tokens(self) -> int:
        """What the context holds, and would have to be decoded again."""
        return self._view.run.context_used if self._view.run else 0

    def _show(self) -> None:
        plan, chosen = self._plan, self._chosen
        rows = tuple(self._row(knob, index == self._selected) for index, knob in enumerate(self._knobs))
        changed = chosen != self._now.settings
        costs = tuning.cost(self._now, chosen, self._tokens, self._app.change_s, self._view.runs) if changed else ""
        message, bad = self._message()
        self.query_one(TunePanel).show_text(
            PanelText(
                rows=rows,
                selected=self._selected,
                memory=tuple(tuning.ledger_lines(self._now, plan)),
                limits=tuning.limits(plan) if plan else "",
                cost=costs or "nothing is changed yet",
                message=message,
                bad=bad,
                stale=not self._answered,
            )
        )

    def _row(self, knob: Knob, selected: bool) -> Row:
        typing = selected and bool(self._typed)
        value = knob.value(self._chosen)
        if knob.then is None or self._plan is None:
            then = value
        else:
            then = knob.then(self._plan)
        return Row(
            label=knob.label,
            value=self._typed if typing else value,
            now=knob.now,
            then="" if knob.fixed or then == knob.now else then,
            fixed=bool(knob.fixed),
            typing=typing,
        )

    def _message(self) -> tuple[str, bool]:
        """What stands against the choice, and whether it forbids it."""
        if self._said:
            return self._said, False
        if self._answered and self._error is not None:
            words = one_line(str(self._error))
            return (f"{words}. {_TRY}" if self._warned else words), True
        if self._answered and self._plan is not None:
            refused = tuning.refusal(self._plan, self._tokens)
            if refused is not None:
                return refused, True
            warning = tuning.warning(self._plan)
            if warning is not None:
                return f"{warning} {_TRY}" if self._warned else warning, False
        return "", False

    # What the user does

    def on_tune_panel_moved(self, message: TunePanel.Moved) -> None:
        """To the next row that can be changed."""
        row, count = self._selected, len(self._knobs)
        for _ in range(count):
            row = (row + message.way) % count
            if not self._knobs[row].fixed:
                break
        self._select(row)

    def on_tune_panel_selected(self, message: TunePanel.Selected) -> None:
        self._select(message.row)

    def _select(self, row: int) -> None:
        self._end_typing()
        self._selected = row
        self._said = ""
        self._show()

    def on_tune_panel_stepped(self, message: TunePanel.Stepped) -> None:
        self._end_typing()
        knob = self._knobs[self._selected]
        if knob.fixed:
            return
        if message.way:
            self._choose(knob.step(self._chosen, message.way))
        elif knob.toggle is not None:
            self._choose(knob.toggle(self._chosen))

    def on_tune_panel_typed(self, message: TunePanel.Typed) -> None:
        knob = self._knobs[self._selected]
        if knob.enter is None or knob.fixed:
            return
        if not self._typed:
            if not message.character:
                return
            self._before_typing = self._chosen
        typed = self._typed + message.character if message.character else self._typed[:-1]
        self._typed = typed[:16]
        try:
            self._choose(knob.enter(self._chosen, self._typed) if self._typed else self._before_typing)
        except ValueError as error:
            self._choose(self._before_typing)
            self._said = str(error)
            self._show()

    def _end_typing(self) -> None:
        self._typed = ""

    def _choose(self, settings: EngineSettings) -> None:
        self._said, self._apply_when_planned = "", False
        if settings != self._chosen:
            self._chosen, self._warned = settings, False
            self._ask(search=False)
        self._show()

    def action_leave(self) -> None:
        """Leave; while a value is typed, only take it back."""
        if self._typed:
            self._end_typing()
            self._choose(self._before_typing)
        else:
            self.dismiss()

    def action_apply(self) -> None:
        """Apply what is chosen, once its prediction is there and nothing stands against it."""
        self._end_typing()
        session = self._app.session
        objection = self._objection(session)
        if objection is not None:
            self._said = objection
        elif not self._answered:
            self._apply_when_planned, self._said = True, "waiting for the prediction ..."
        elif self._may_be_tried():
            assert session is not None
            session.apply(self._chosen)
            self.dismiss()
            return
        else:
            self._apply_when_planned, self._said = False, ""
        self._show()

    def _objection(self, session: Session | None) -> str | None:
        if session is None or not session.ready:
            return "no model is loaded any more; Esc leaves"
        if session.applying:
            return "a change is being made already"
        return "nothing is changed yet; Left and Right change a value" if self._chosen == session.settings else None

    def _may_be_tried(self) -> bool:
        """Whether what the planner said lets it be applied.

        What no device can hold is refused. What only other programs keep from fitting may be tried at the second
        Enter, and so may what could not be planned: a load that fails goes back to the settings before.
        """
        if isinstance(self._error, BadInputError):
            return False
        if self._error is None and self._plan is not None and tuning.refusal(self._plan, self._tokens) is not None:
            return False
        if self._error is None and self._plan is not None and self._plan.fits:
            return True
        if self._warned:
            return True
        self._warned = True
        return False
