"""A session's view as rows of labelled values."""

from __future__ import annotations

from dataclasses import replace

from gemtop.config import Paths
from gemtop.domain.settings import ContextSettings, EngineSettings
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.session import Session, begin_session
from gemtop.tui import present
from gemtop.tui.widgets.values import Value
from gemtop.view import SessionView
from tests.engines import FakeEngine, fake_model
from tests.fakes import CARD_0, FakeSampler, ListRecorder
from tests.tui.sitting import gemtop

NO_WINDOW = "needs an earlier sample to compare with"
NOT_SUPPORTED = "not supported by this card"


def view() -> SessionView:
    """One card and two samples of the machine, nothing loaded."""
    session = Session(
        begin_session("tui"),
        lambda emit: FakeEngine(emit, fake_model()),
        lambda emit, on_status: FakeSampler(emit, on_status, (CARD_0,)),
        ListRecorder(),
        lambda _event: None,
    )
    session.start()
    try:
        found = session.view()
    finally:
        session.close()
    return replace(found, host_samples=found.host_samples * 2)


def row_of(label: str, rows: list[list[Value]]) -> list[Value]:
    return next(row for row in rows if any(value.label == label for value in row))


def test_known_readings_stand_in_pairs() -> None:
    rows = present.device_rows(view())
    assert [value.label for value in row_of("CPU", rows)] == ["CPU", "gemtop"]
    assert [value.text for value in row_of("VRAM", rows)] == ["18.00 GiB", "N/A"]
    assert [value.text for value in row_of("power", rows)] == ["100 W", "450 W"]


def test_an_unknown_reading_has_a_line_of_its_own_for_its_reason() -> None:
    """Beside others it would push them out of the panel, for good: columns never shrink."""
    now = view()
    host = HostSample(now.t_ns, None, 12.0, 2**33, 2**34, 2**29, reasons={"host_cpu_pct": NO_WINDOW})
    card = DeviceSample(
        now.t_ns, CARD_0.index, power_w=100.0, reasons={"vram_used_bytes": "not supported by this card"}
    )
    rows = present.device_rows(replace(now, host_samples=(host, host), device_samples=(card,)))
    assert [value.text for value in row_of("CPU", rows)] == [f"N/A ({NO_WINDOW})"]
    assert [value.text for value in row_of("VRAM", rows)] == [f"N/A ({NOT_SUPPORTED})"]
    assert [value.text for value in row_of("power", rows)] == ["100 W", "450 W"]
    assert all(len(row) == 1 for row in rows if any(value.text.startswith("N/A (") for value in row))


async def test_a_change_of_settings_reads_applied(folders: Paths) -> None:
    async with gemtop(folders) as screen:
        screen.session.apply(EngineSettings(context=ContextSettings(n_ctx=8192)))
        await screen.until(lambda: not screen.session.busy, "applied")
        assert ("applied", "text") in present.header_text(screen.session.view()).right
        await screen.until_shown("run 1  applied")
