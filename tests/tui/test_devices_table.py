"""A card and the machine as rows: what is told, in which order, and what is said of what is not known."""

from __future__ import annotations

from dataclasses import replace

from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, GpuProcess, HostSample, TelemetryStatus
from gemtop.tui import devices, no_card
from gemtop.tui.widgets.values import Value, ValueGrid

GIB = 2**30
CARD = DeviceInfo(
    "0", "NVIDIA GeForce RTX 3090", "GPU-1", "0000:1a:00.0", 24 * GIB, 350.0, {}, "Ampere", "8.6", "average",
    2100.0, 9751.0, 83.0, 95.0, 98.0, 384, 4, 16, True, False,
)  # fmt: skip
PROCESSES = (GpuProcess(7, "G", None, None), GpuProcess(12, "C", GIB, "pyth\x1bon\nx", True))
SAMPLE = DeviceSample(
    1, "0", 97.0, 88.0, 18 * GIB, 312.0, 1_234_567.0, 67.0, 1695.0, 9751.0, {}, 6 * GIB, 312.0, 318.0,
    ("SwPowerCap",), 2, 62.0, 3, 8, 120_000_000, 30_000_000, 4, 0, 17 * GIB, 1, PROCESSES,
)  # fmt: skip
HOST = HostSample(1, 34.0, 12.0, 8 * GIB, 16 * GIB, GIB // 2, {}, 10.0, 21.5, 0, GIB, 54.0, (0.0, 50.0, 100.0))
LIVE_CELLS = 44
"""The table of the live screen at 120x40."""


def shown(rows: list[list[Value]], width: int) -> str:
    grid = ValueGrid()
    grid.show_rows(rows)
    return grid.draw(width, len(rows)).text


def values(rows: list[list[Value]]) -> dict[str, str]:
    return {value.label: value.text for row in rows for value in row}


def test_everything_a_card_tells_stands_in_its_table_at_every_width() -> None:
    for width in (devices.WIDE_CELLS, devices.MEDIUM_CELLS):
        assert values(devices.card_rows(CARD, SAMPLE, width)) == {
            "GPU 0": "NVIDIA GeForce RTX 3090  0000:1a:00.0  Ampere 8.6",
            "util": "97 %", "mem ctrl": "88 %", "VRAM": "18.00 of 24.00 GiB", "free": "6.00 GiB", "own": "17.00 GiB",
            "power avg": "312 W", "now": "318 W", "limit": "350 W", "energy": "1,235 kJ", "temp": "67 of 83 °C",
            "slows at": "95, off 98 °C", "SM": "1695 of 2100 MHz", "mem": "9751 of 9751 MHz", "throttle": "SwPowerCap",
            "fan": "62 %", "state": "P2", "PCIe": "3 of 4 x8 of 16", "in": "0.12 GB/s", "out": "0.03 GB/s",
            "ECC": "4 corr 0 uncorr", "others": "1",
        }  # fmt: skip


def test_no_value_is_cut_at_the_widths_it_is_made_for() -> None:
    first, rest = devices.narrow_rows(CARD, SAMPLE)
    for rows, width in (
        (first + rest, LIVE_CELLS),
        (devices.card_rows(CARD, SAMPLE, 76), 76),
        (devices.card_rows(CARD, SAMPLE, 116), 116),
        (devices.wide_host_rows(HOST, 116), 116),
        (devices.host_rows(HOST), LIVE_CELLS),
    ):
        assert "…" not in shown(rows, width), shown(rows, width)


def test_in_two_columns_what_matters_most_comes_first() -> None:
    first, rest = devices.narrow_rows(CARD, SAMPLE)
    order = [value.label for row in first for value in row]
    assert order == ["GPU 0", "util", "mem ctrl", "VRAM", "free", "power avg", "limit", "temp", "fan", "SM MHz",
                     "mem MHz", "throttle"]  # fmt: skip
    assert {"PCIe", "in", "out", "energy", "ECC", "own", "others"} <= {value.label for row in rest for value in row}


def test_average_and_instantaneous_power_are_named_for_what_they_are() -> None:
    only = replace(SAMPLE, power_average_w=None, power_instant_w=None)
    for reading, label in (("average", "power avg"), ("instant", "power now"), (None, "power")):
        table = values(devices.card_rows(replace(CARD, power_reading=reading), only, 116))
        assert table[label] == "312 W"


def test_what_a_card_cannot_give_is_named_once_for_each_reason() -> None:
    reasons = dict.fromkeys(("pcie_gen", "pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s"), "not supported by this card")
    sample = replace(
        SAMPLE, pcie_gen=None, pcie_rx_bytes_per_s=None, pcie_tx_bytes_per_s=None, fan_pct=None,
        reasons={**reasons, "fan_pct": "no fan"},
    )  # fmt: skip
    rows = devices.card_rows(CARD, sample, 116)
    (several,) = [row for row in rows if "not supported" in row[0].text]
    assert several[0].text == "not supported by this card: PCIe, in, out"
    assert next(row for row in rows if row[0].label == "fan" and len(row) == 1)[0].text == "N/A (no fan)"
    assert values(rows)["in"] == "N/A"


def test_a_zero_is_a_zero_and_an_unknown_is_not() -> None:
    idle = replace(SAMPLE, gpu_util_pct=0.0, mem_util_pct=None, throttle_reasons=())
    table = values(devices.card_rows(CARD, idle, 116)[:-1])
    assert (table["util"], table["mem ctrl"], table["throttle"]) == ("0 %", "N/A", "none")


def test_a_card_that_is_lost_says_that_alone() -> None:
    names = [name for name in DeviceSample.__slots__ if name not in ("t_ns", "device", "reasons")]
    lost = DeviceSample(1, "0", reasons=dict.fromkeys(names, "GPU is lost"))
    bare = replace(DeviceInfo("0", "RTX", None, None, None, None), reasons=dict.fromkeys(
        ("power_limit_w", "temperature_slowdown_c"), "GPU is lost"))  # fmt: skip
    rows = devices.card_rows(bare, lost, 116)
    assert [[value.text for value in row] for row in rows] == [["RTX"], ["N/A (GPU is lost)"]]


def test_many_cards_have_a_row_each_with_what_tells_most() -> None:
    cards = [replace(CARD, index=str(number)) for number in range(8)]
    latest = {card.index: replace(SAMPLE, device=card.index) for card in cards if card.index != "3"}
    rows = devices.compact_rows(cards, latest, 116)
    assert len(rows) == 9
    lines = shown(rows, 116).splitlines()
    assert lines[0].split() == ["GPU", "util", "%", "ctrl", "%", "VRAM", "GiB", "W", "now", "avg", "limit", "°C",
                                "SM", "MHz", "mem", "MHz", "fan", "%", "P", "PCIe", "throttle"]  # fmt: skip
    assert lines[1].split()[:5] == ["0", "RTX", "3090", "97", "88"]
    assert lines[4].split()[3:6] == ["N/A", "N/A", "N/A"]
    assert len({line.index("67") for number, line in enumerate(lines[1:]) if number != 3}) == 1
    assert "…" not in shown(devices.compact_rows(cards, latest, 36)[:9], 36)


def test_a_card_that_is_slowed_down_is_told_where_there_is_no_column_for_it() -> None:
    cards = [replace(CARD, index=str(number)) for number in range(2)]
    calm, slow = replace(SAMPLE, throttle_reasons=("GpuIdle",)), replace(SAMPLE, throttle_reasons=("SwPowerCap",))
    rows = devices.compact_rows(cards, {"0": calm, "1": replace(slow, device="1")}, 76)
    assert rows[3] == [Value("throttle", "GPU 1 SwPowerCap", "warn", left=True)]
    assert len(devices.compact_rows(cards, {"0": calm, "1": replace(calm, device="1")}, 76)) == 3


def test_many_cards_say_once_what_they_cannot_give_and_which_of_them() -> None:
    cards = [replace(CARD, index=str(number)) for number in range(3)]
    fanless = {"fan_pct": "not supported by this card"}
    samples = {card.index: replace(SAMPLE, device=card.index, fan_pct=None, reasons=fanless) for card in cards}
    samples["1"] = replace(samples["1"], pstate=None, reasons={**fanless, "pstate": "no permission"})
    rows = devices.compact_rows(cards, samples, 116)[4:]
    assert [row[0].text for row in rows] == ["not supported by this card: fan", "no permission: state (GPU 1)"]
    gone = dict.fromkeys((name for name in DeviceSample.__slots__), "GPU is lost")
    samples["2"] = DeviceSample(1, "2", reasons=gone)
    assert devices.compact_rows(cards, samples, 116)[-1][0].text == "GPU is lost: everything (GPU 2)"


def test_names_of_processes_reach_no_terminal_as_they_are() -> None:
    rows = devices.process_rows([CARD], {"0": SAMPLE})
    assert [value.text for value in rows[1]] == ["0", "12", "compute", "1.00 GiB", "pyth␛on x  (this gemtop)"]
    assert [value.text for value in rows[2]] == ["0", "7", "graphics", "N/A", "N/A (not seen from here)"]
    hidden = replace(SAMPLE, processes=None, reasons={"processes": "not in a MIG instance"})
    assert devices.process_rows([CARD], {"0": hidden})[0][0].text == "N/A (not in a MIG instance)"
    assert devices.process_rows([CARD], {"0": replace(SAMPLE, processes=())})[0][0].text == "none on the cards"


def test_without_a_card_it_says_why_and_what_would_help() -> None:
    for reason, hint in (
        ("no driver: libnvidia-ml.so.1 not found", "--gpus all"),
        ("no driver: the NVIDIA kernel module is not loaded", "sudo modprobe nvidia"),
        ("no permission to talk to the driver (/dev/nvidia*)", "group"),
        ("nvidia-ml-py is not installed", "pip install nvidia-ml-py"),
    ):
        status = TelemetryStatus((), None, reason)
        ((line,),) = no_card.no_gpu_lines(status, 160)
        assert reason in line.text and hint in line.text
        (first,), *rest = no_card.no_gpu_lines(status, 40)
        assert reason in first.text and hint in " ".join(line.text for (line,) in rest)
        assert all(len(line.text) <= 36 for (line,) in rest), "nothing is cut off"
        assert hint in no_card.no_gpu_rows(status, 200)[-1][0].text


def test_the_machine_shows_its_cores_and_why_its_power_is_unknown() -> None:
    why = "no permission: sudo chmod a+r /sys/class/powercap/intel-rapl:0/energy_uj"
    host = replace(HOST, package_power_w=None, reasons={"package_power_w": why})
    rows = devices.wide_host_rows(host, 116, CostSample(1, 0.0, 1.25, 0.1, 512.0))
    table = values(rows)
    assert (table["CPU"], table["RAM"], table["CPU temp"]) == ("34 %", "8.00 of 16.00 GiB", "54 °C")
    assert table["cores"] == "▕ ▄█▏"
    assert table["gemtop"] == "1.2 % of a core, in NVML 0.1 % of the time, 512 B/s to the terminal"
    assert rows[-1][0].text == f"N/A ({why})"


def test_more_cores_than_cells_share_them() -> None:
    assert devices.core_bars([0.0, 100.0] * 100, 50) == "▄" * 50
    assert len(devices.core_bars([10.0] * 192, 70)) <= 70
