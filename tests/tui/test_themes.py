"""Themes: every one can be read, each is shown as one goes past it, and the one that is chosen is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from textual.app import ComposeResult
from textual.color import Color
from textual.pilot import Pilot
from textual.theme import BUILTIN_THEMES, Theme
from textual.widget import Widget

from gemtop.charts.colours import DARK, LIGHT, VARIANTS, contrast
from gemtop.charts.grid import Canvas, Cells, badge
from gemtop.config import config_file, load_config
from gemtop.tui.terminal_app import TerminalApp
from gemtop.tui.themes import own_themes
from gemtop.tui.widgets.cells import CellWidget
from gemtop.tui.widgets.palette import ROLES, role_style

TRUE_COLOUR = [theme for theme in (*own_themes(), *BUILTIN_THEMES.values()) if not theme.ansi]
FAINT = ("muted", "placeholder", "axis", "mark", "other", "frame-focus")


def on_ground(theme: Theme, ground: Color) -> Widget:
    """As much of a widget as the palette asks for."""
    variables = theme.to_color_system().generate()
    app = SimpleNamespace(no_color=False, current_theme=theme, theme_variables=variables)
    return cast("Widget", SimpleNamespace(app=app, background_colors=(ground, ground)))


@pytest.mark.parametrize("theme", TRUE_COLOUR, ids=lambda theme: theme.name)
def test_every_role_can_be_read_on_every_ground(theme: Theme) -> None:
    variables = theme.to_color_system().generate()
    for name in ("background", "surface", "panel"):
        widget = on_ground(theme, Color.parse(variables[name]))
        for role in ROLES:
            if role in ("frame", "free"):
                continue
            for ground in ("", "@prompt", "@selection", "@throttle"):
                least = 3.0 if role in FAINT else 4.5
                assert _contrast(widget, role + ground) >= least, f"{role}{ground} on {name}"
        for role in (*VARIANTS, "other"):
            assert _contrast(widget, badge(role)) >= 4.5, f"the badge of {role}"


@pytest.mark.parametrize("theme,shades", [*zip(own_themes(), (DARK, LIGHT), strict=True)], ids=("dark", "light"))
def test_own_themes_show_the_shades_as_they_are(theme: Theme, shades: dict[str, str]) -> None:
    """Nothing has to be made lighter or darker there, so that they are those of reports."""
    for name in ("background", "surface"):
        widget = on_ground(theme, Color.parse(theme.to_color_system().generate()[name]))
        for role, shade in shades.items():
            style = role_style(widget, role)
            assert style.color is not None and style.color.get_truecolor().hex == shade, role
    for role in VARIANTS:
        style = role_style(widget, badge(role))
        assert style.bgcolor is not None and style.bgcolor.get_truecolor().hex == shades[role]


def _contrast(widget: Widget, role: str) -> float:
    style = role_style(widget, role)
    assert style.color is not None and style.bgcolor is not None
    return contrast(style.color.get_truecolor(), style.bgcolor.get_truecolor())


class Line(CellWidget):
    def draw(self, width: int, height: int) -> Cells:
        canvas = Canvas(width, height)
        canvas.put(0, 0, "QAT Q4_0", badge("qat"))
        return canvas.freeze()


class Program(TerminalApp):
    def compose(self) -> ComposeResult:
        yield Line()

    def on_mount(self) -> None:
        self.query_one(Line).rebuild()

    def ground(self) -> str:
        style = self.screen_stack[0].query_one(Line)._style_of(badge("qat"))
        assert style.bgcolor is not None
        return style.bgcolor.get_truecolor().hex


async def _until(pilot: Pilot[Any], condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("it does not happen")


async def test_a_theme_is_looked_at_left_and_kept() -> None:
    app = Program()
    async with app.run_test(size=(80, 30)) as pilot:
        assert app.theme == "gemtop-dark" and app.ground() == DARK["qat"]
        await app.run_action("theme")
        await _until(pilot, lambda: app.screen.query("CommandList.--visible"))
        await pilot.press("down")
        await _until(pilot, lambda: app.theme == "gemtop-light")
        await _until(pilot, lambda: app.ground() == LIGHT["qat"])
        assert not config_file().exists(), "looking writes nothing"
        await pilot.press("escape")
        await _until(pilot, lambda: app.theme == "gemtop-dark")
        assert not config_file().exists()
        await app.run_action("theme")
        await _until(pilot, lambda: app.screen.query("CommandList.--visible"))
        await pilot.press(*"nord")
        await _until(pilot, lambda: app.theme == "nord")
        await pilot.press("enter")
        await _until(pilot, lambda: config_file().exists())
    assert load_config().screen_theme == "nord"
    assert Program().theme == "nord"


def test_a_theme_of_the_environment_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMTOP_SCREEN_THEME", "dracula")
    assert Program().theme == "dracula"
    assert not config_file().exists()


async def test_a_theme_that_cannot_be_kept_is_shown_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMTOP_SCREEN_THEME", "dracula")
    app = Program()
    told: list[str] = []
    monkeypatch.setattr(app, "notify", lambda words, **_: told.append(words))
    async with app.run_test():
        app.choose_theme("nord")
        assert app.theme == "nord"
        assert "GEMTOP_SCREEN_THEME goes before" in told.pop()
        config_file().unlink()
        config_file().mkdir()
        app.choose_theme("gruvbox")
        assert app.theme == "gruvbox"
        assert "cannot be" in told.pop()


def test_sixteen_colours_have_themes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "linux")
    monkeypatch.delenv("COLORTERM")
    monkeypatch.setenv("GEMTOP_SCREEN_THEME", "solarized-light")
    app = Program()
    assert app.theme == "gemtop-light", "as light as what was asked for"
    assert [theme.name for theme in app.themes_in_order] == ["gemtop-light", "gemtop-dark", "ansi-dark", "ansi-light"]
    assert all(theme.ansi for theme in app.themes_in_order)
    assert app.ascii and CellWidget.ascii_only, "its font has no braille"


@pytest.mark.parametrize("environment,ascii_only", [("on", True), ("off", False)])
def test_ascii_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, environment: str, ascii_only: bool) -> None:
    monkeypatch.setenv("GEMTOP_SCREEN_ASCII", environment)
    monkeypatch.setenv("LC_ALL", "C.UTF-8" if ascii_only else "C")
    assert Program().ascii is ascii_only
