"""Screens that lie over each other: what changes in one is painted, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from gemtop.tui.screens.base import BaseScreen


class Behind(BaseScreen[None]):
    def compose(self) -> ComposeResult:
        yield Static("behind", id="behind")


class Over(BaseScreen[None]):
    CSS = "#over { margin: 5 0 0 0; }"

    def compose(self) -> ComposeResult:
        yield Static("over", id="over")


class Dialog(ModalScreen[None]):
    CSS = "#over { margin: 5 0 0 0; }"

    def compose(self) -> ComposeResult:
        yield Static("over", id="over")


@pytest.mark.parametrize(("front", "shows_both"), [(Over, False), (Dialog, True)])
async def test_changes_in_two_screens_at_once_are_painted_where_they_can_be_seen(
    front: type[Screen[None]], shows_both: bool
) -> None:
    app: App[None] = App()
    async with app.run_test(size=(40, 12)) as pilot:
        behind, over = Behind(), front()
        await app.push_screen(behind)
        await app.push_screen(over)
        await pilot.pause()
        painted: list[Region] = []
        render = over._compositor.render_update

        def rendered(*args: Any, **named: Any) -> Any:
            painted.extend(over._compositor._dirty_regions)
            return render(*args, **named)

        over._compositor.render_update = rendered  # type: ignore[method-assign]
        below, above = behind.query_one("#behind"), over.query_one("#over")
        wanted = {above.region, below.region} if shows_both else {above.region}
        for round_ in ("as it opens", "then"):
            painted.clear()
            deadline = time.monotonic() + 15
            while not wanted <= set(painted):
                assert time.monotonic() < deadline, (round_, painted)
                below.refresh(Region(0, 0, *below.size))
                above.refresh(Region(0, 0, *above.size))
                await pilot.pause(0.05)
        assert set(painted) == wanted, "no screen is painted as a whole, and nothing that is hidden"


async def test_a_dialog_that_has_no_layout_yet_is_not_painted_into() -> None:
    app: App[None] = App()
    async with app.run_test(size=(40, 12)) as pilot:
        behind, dialog = Behind(), Dialog()
        await app.push_screen(behind)
        await pilot.pause()
        app.push_screen(dialog)
        painted: list[object] = []
        dialog._compositor.render_update = painted.append  # type: ignore[assignment,method-assign]
        behind._compositor._dirty_regions.add(Region(0, 0, 40, 1))
        behind._compositor_refresh()
        assert app.screen is dialog and not painted
        del dialog._compositor.render_update
