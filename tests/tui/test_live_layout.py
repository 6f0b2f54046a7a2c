"""What the live screen shows, at any size of the terminal, over a fake engine."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from textual.widgets import Static

from gemtop.config import Paths
from gemtop.domain.events import LoadProgress
from gemtop.domain.records import RunEnd
from gemtop.domain.settings import EngineSettings
from gemtop.domain.telemetry import DeviceInfo
from gemtop.tui.widgets.cells import CellWidget
from tests.fakes import CARD_0, CARD_1
from tests.tui.scenes import StillSession
from tests.tui.sitting import Options, gemtop
from tests.tui.stills import still


@pytest.mark.parametrize("size", [(200, 60), (120, 40), (80, 24), (60, 20), (45, 12), (20, 5), (1, 1)])
@pytest.mark.parametrize("devices", [(), (CARD_0, CARD_1)])
async def test_any_size_of_terminal(folders: Paths, size: tuple[int, int], devices: tuple[DeviceInfo, ...]) -> None:
    async with gemtop(folders, Options(size=size, devices=devices, prompt="one two three")) as screen:
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        live = screen.app.live
        live.show_frame()
        await screen.pilot.pause()
        text = screen.text
        if size[0] < 40 or size[1] < 10:
            if size[0] >= 20:
                assert "gemtop needs" in text
        else:
            assert ("QAT Q4_0" if size[0] >= 80 else "gemma-3-27") in text
            assert "one two three" in text
        assert all(len(line) <= size[0] for line in text.splitlines())
        for key in ("5", "1", "question_mark", "escape", "s", "escape", "t", "escape", "2", "3", "alt+4", "alt+1"):
            await screen.pilot.press(key)
        await screen.pilot.resize_terminal(100, 30)
        await screen.until_shown("one two three", "tokens/s")
        await screen.type("q")
        await screen.until_ended()


async def test_what_there_is_no_sensor_for_is_labelled_so(folders: Paths) -> None:
    async with gemtop(folders, Options(prompt="one two")) as screen:
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        await screen.until_shown("N/A", "(no driver)", "CPU load (no power sensor)", "RAM GiB")


async def test_cards_are_shown_with_their_readings(folders: Paths) -> None:
    async with gemtop(folders, Options(devices=(CARD_0, CARD_1), prompt="one two", size=(160, 50))) as screen:
        await screen.until(lambda: screen.recorder.of(RunEnd), "the run")
        await screen.until_shown("Stub RTX 24G", "18.00 GiB", "100 W", "VRAM")


async def test_charts_are_drawn_when_they_have_moved(folders: Paths) -> None:
    """And readings of the machine once a second; what the run does is drawn with every frame."""
    async with still(folders, "generating", (120, 40)) as (app, _):
        session, live = cast("StillSession", app.session), app.live
        names = ("chart-0", "chart-1", "chart-2", "devices", "figures")
        shown = [live.query_one(f"#{name}", CellWidget) for name in names]

        def moved_after(step_s: float, tokens: int) -> list[str | None]:
            """What is drawn anew, so long after, with so many tokens more and a card that has become idle."""
            before = {one: one.cells for one in shown}
            view = session.shown
            assert view.run is not None
            session.shown = replace(
                view,
                t_ns=view.t_ns + round(step_s * 1e9),
                run=replace(view.run, context_used=view.run.context_used + tokens),
                decode_rate=view.decode_rate[: -20 * tokens],
                device_samples=tuple(
                    replace(s, gpu_util_pct=tokens, vram_used_bytes=tokens << 30, power_instant_w=tokens)
                    for s in view.device_samples
                ),
            )
            live.show_frame(whole=False)
            return [one.id for one, cells in before.items() if one.cells != cells]

        live.show_frame(whole=False)  # with its second axis, which it has since the first, a chart has other columns
        assert moved_after(0.0, 1) == ["figures"]
        assert moved_after(2.0, 2) == list(names)


async def test_loading_shows_how_far_it_is(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        screen.session.open("fake.gguf", EngineSettings())
        await screen.until(lambda: screen.session.ready, "it is loaded again")
        screen.session._on_event(LoadProgress(0.5))
        await screen.until_shown("50%", "█", "░")


async def test_the_fields_of_the_dialog_stay_within_small_terminals(folders: Paths) -> None:
    async with gemtop(folders, Options(size=(60, 20))) as screen:
        await screen.type("s")
        await screen.until_shown("sampling of the runs to come", "min-p", "Esc leaves it as it was")
        assert screen.app.screen.query_one("#note", Static).region.bottom <= 20


async def test_the_keys_that_matter_stay_on_a_narrow_line(folders: Paths) -> None:
    async with gemtop(folders, Options(size=(40, 20))) as screen:
        await screen.until_shown("? Keys", "q Quit", "Enter Prompt")
        assert "Sampling" not in screen.text
