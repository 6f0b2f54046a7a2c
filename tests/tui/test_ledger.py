"""The memory ledger: what its bars are made of, and how they are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from textual.app import App, ComposeResult

from gemtop.domain.model import BackendDevice, DeviceMemory
from gemtop.domain.plan import GIB, MIB, MemoryUse
from gemtop.domain.settings import EngineSettings, OffloadSettings
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample
from gemtop.tui.ledger import DeviceBar, device_bars
from gemtop.tui.widgets.ledger import MemoryLedger
from gemtop.view import SessionView
from tests.engines import fake_model
from tests.fakes import CARD_0

MODEL = MemoryUse(16 * GIB, GIB, GIB // 5, GIB // 2)
HOST = MemoryUse(170 * MIB, 0, 0, 10 * MIB, 2 * MIB)
CUDA0 = BackendDevice("CUDA0", "Stub RTX 24G", "gpu", "CUDA", 24 * GIB, 20 * GIB, "0000:65:00.0")
RPC0 = BackendDevice("RPC0", "box:50052", "gpu", "RPC", 16 * GIB, 16 * GIB, None)
MACHINE = HostSample(1, ram_used_bytes=4 * GIB, ram_total_bytes=16 * GIB, process_rss_bytes=GIB)
BAR = DeviceBar("CUDA0", "RTX 3090", MODEL, 24 * GIB, 2 * GIB // 5, planned=MODEL)
RAM = DeviceBar("RAM", "RAM", HOST, 64 * GIB, 9 * GIB, planned_reason="unplanned")


def view(
    *memory: DeviceMemory, devices: tuple[BackendDevice, ...] = (), cards: tuple[DeviceInfo, ...] = (), **more: Any
) -> SessionView:
    model = replace(fake_model(), devices=devices, tensor_bytes=160 * MIB) if memory else None
    found = SessionView(
        t_ns=1, session_id="s", model=model, loading=None, load_error=None, crashed=None, run=None, runs=(),
        prefill_rate=(), decode_rate=(), devices=cards, used_devices=(), device_samples=(), host_samples=(MACHINE,),
        cost=None, telemetry=None, problem=None, notes=(), settings=EngineSettings(), memory=memory, marks=(),
        applying=False,
    )  # fmt: skip
    return replace(found, **more)


def memory(device: str, use: MemoryUse, predicted: MemoryUse | None = None) -> DeviceMemory:
    return DeviceMemory(device, "Stub RTX 24G", use, None, predicted, None if predicted else "not planned")


# What the bars are made of


def test_a_card_holds_the_model_and_what_others_and_the_driver_take() -> None:
    sample = DeviceSample(1, "0", vram_used_bytes=18 * GIB, vram_free_bytes=5 * GIB)
    bars = device_bars(
        view(memory("CUDA0", MODEL, MODEL), memory("CPU", HOST), devices=(CUDA0,), cards=(CARD_0,),
             device_samples=(sample,))
    )  # fmt: skip
    assert [bar.name for bar in bars] == ["CUDA0", "RAM"]
    assert bars[0].free_bytes == 5 * GIB and bars[0].total_bytes == 24 * GIB and bars[0].planned == MODEL
    assert sum(bars[0].model_parts) + (bars[0].other_bytes or 0) == 19 * GIB


def test_a_mapped_file_counts_beside_what_the_machine_has_in_use() -> None:
    """The kernel counts its pages as free; repacked weights, beyond the tensors of the file, are in use."""
    mapped = device_bars(view(memory("CPU", HOST)))[0]
    assert mapped.other_bytes == 4 * GIB - 10 * MIB - 12 * MIB
    assert mapped.free_bytes == 12 * GIB - 160 * MIB
    read = EngineSettings(OffloadSettings(use_mmap=False))
    whole = device_bars(view(memory("CPU", HOST), settings=read))[0]
    assert whole.used_bytes == 4 * GIB and whole.free_bytes == 12 * GIB


def test_what_is_unknown_says_why() -> None:
    far = device_bars(view(memory("RPC0", MODEL), devices=(RPC0,)))[0]
    assert (far.total_bytes, far.other_bytes, far.free_bytes) == (16 * GIB, None, None)
    assert far.reason == "it has no sensors here"
    silent = DeviceSample(1, "0", reasons={"vram_used_bytes": "not supported by this card"})
    card = device_bars(
        view(memory("CUDA0", MODEL), devices=(CUDA0,), cards=(CARD_0,), device_samples=(silent,))
    )[0]  # fmt: skip
    assert card.reason == "not supported by this card"
    assert device_bars(view(memory("CPU", HOST), host_samples=()))[0].reason == "not read yet"


def test_without_a_model_all_cards_are_there_and_what_others_hold_of_them() -> None:
    sample = DeviceSample(1, "0", vram_used_bytes=2 * GIB)
    bars = device_bars(view(cards=(CARD_0,), device_samples=(sample,)))
    assert [(bar.name, bar.other_bytes, bar.free_bytes) for bar in bars] == [
        ("GPU 0", 2 * GIB, 22 * GIB),
        ("RAM", 4 * GIB, 12 * GIB),
    ]


def test_a_replay_finds_its_cards_by_what_they_are() -> None:
    device = replace(CUDA0, pci_bus_id=None, memory_total_bytes=0)
    sample = DeviceSample(1, "0", vram_used_bytes=18 * GIB)
    found = view(memory("CUDA0", MODEL), devices=(device,), cards=(CARD_0,), device_samples=(sample,),
                 used_devices=("0",))  # fmt: skip
    assert device_bars(found)[0].total_bytes == 24 * GIB


# How they are drawn


class Program(App[None]):
    def __init__(self, ascii_only: bool) -> None:
        super().__init__()
        self.ledger = MemoryLedger(ascii_only=ascii_only)

    def compose(self) -> ComposeResult:
        yield self.ledger


async def drawn(*bars: DeviceBar, width: int = 54, height: int = 6, note: str = "", ascii_only: bool = False) -> str:
    program = Program(ascii_only)
    async with program.run_test(size=(width, height)) as pilot:
        program.ledger.show_bars(bars, note)
        await pilot.pause()
        return program.ledger.cells.text


async def test_one_card_with_all_there_is_to_say() -> None:
    shown = (await drawn(BAR, note="longest context that fits   f16 43,000")).splitlines()
    assert shown == [
        "┌─ memory ─────────────── RTX 3090 18.1 of 24.0 GiB ─┐",
        "│ █████████████████████████████████▓▓▓▒░············ │",
        "│ █ weights 16.0 ▓ KV 1.2 ▒ compute 0.5 ░ other  0.4 │",
        "│ planned 17.7   measured 17.7   · free  5.9         │",
        "│ longest context that fits f16 43,000               │",
        "└────────────────────────────────────────────────────┘",
    ]
    plain = await drawn(BAR, ascii_only=True)
    assert "| #################################===+-............ |" in plain and plain.isascii()


async def test_a_small_model_is_told_in_mib() -> None:
    shown = await drawn(replace(RAM, planned=HOST), width=70)
    assert "█ weights 170   ▒ compute 12 MiB   ░ other  9.0 GiB" in shown
    assert "planned 182   measured 182 MiB   · free 54.8 GiB" in shown
    assert "█weights 170 ▒comp 12M ░other  9.0G" in await drawn(replace(RAM, planned=HOST), width=40)


async def test_details_go_before_devices_and_devices_are_named() -> None:
    low = (await drawn(BAR, RAM, height=4)).splitlines()
    assert [line[2:7] for line in low[1:3]] == ["CUDA0", "RAM  "] and "model 17.9 GiB" in low[0]
    assert "18.1 of 24.0 GiB (+RAM)" in await drawn(BAR, RAM, height=3, width=60)
    assert "18.1 of 24.0 GiB   RAM  9.2 of 64.0 GiB" in await drawn(BAR, RAM, height=3, width=80)
    assert "18.1 of 24.0 GiB (+2 devices)" in await drawn(BAR, BAR, RAM, height=3, width=60)
    cards = [replace(BAR, name=f"CUDA{number}") for number in range(8)]
    many = (await drawn(*cards, RAM, height=8)).splitlines()
    assert [line[2:7] for line in many[1:6]] == [f"CUDA{number}" for number in range(5)]
    assert "4 more: CUDA5, CUDA6, CUDA7, RAM" in many[6]
    tall = (await drawn(BAR, RAM, height=10, note="a note")).splitlines()
    assert "weights 16.0" in tall[2] and "planned" in tall[3] and "RAM" in tall[4] and "a note" in tall[7]


async def test_what_is_unknown_is_left_blank_and_explained() -> None:
    far = replace(BAR, other_bytes=None, reason="it has no sensors here", planned=None, planned_reason=None)
    shown = (await drawn(far, width=70)).splitlines()
    assert "?" in shown[0] and "of 24.0 GiB" in shown[0]
    assert shown[1].rstrip(" │").endswith("▒")
    assert "measured 17.7   free N/A (it has no sensors here)" in shown[3]


async def test_readings_that_go_to_and_fro_move_nothing() -> None:
    program = Program(ascii_only=False)
    async with program.run_test(size=(54, 6)) as pilot:
        program.ledger.show_bars([BAR])
        await pilot.pause()
        before = program.ledger.cells
        for jitter in (40, -40, 90, -90):
            program.ledger.show_bars([replace(BAR, other_bytes=2 * GIB // 5 + jitter * MIB)])
            assert program.ledger.cells.text == before.text
        program.ledger.show_bars([replace(BAR, other_bytes=2 * GIB // 5 + 150 * MIB)])
        assert "other  0.5" in program.ledger.cells.text, "the number goes in tenths of a GiB"
        assert program.ledger.cells.rows[1] == before.rows[1], "and the bar in cells"
        program.ledger.show_bars([replace(BAR, other_bytes=3 * GIB)])
        assert program.ledger.cells.rows[1] != before.rows[1]
