"""Readings of a card and of the machine as rows of labelled values: the same for the live screen and for top.

Most important first: where a table has too few rows, the last are cut. What a card cannot give is left out of
the rows and named below them, once for each reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, GpuProcess, HostSample
from gemtop.domain.text import one_line
from gemtop.tui.meters import meters
from gemtop.tui.widgets.values import Value, fitting

GIB = 2**30
UNKNOWN = "N/A"
LIVE_CELLS = 44
"""Of the table beside the charts on a terminal of 120 columns."""
NOT_READ = "not read"
_BARS = " ▁▂▃▄▅▆▇█"
_FROM_THE_START = frozenset({"limit", "slow", "ecc"})
"""What is known of a card without reading it."""


@dataclass(frozen=True, slots=True)
class _Table:
    """One card's values by key, and why some have none."""

    values: Mapping[str, Value]
    missing: Mapping[str, str]
    """Key to reason."""

    def rows(self, layout: Iterable[tuple[str, ...]]) -> list[list[Value]]:
        """The layout's rows without those in which nothing is known."""
        return [[self.values[key] for key in keys] for keys in layout if any(key not in self.missing for key in keys)]

    def unknowns(self, keys: Iterable[str]) -> list[list[Value]]:
        """A row for each reason, with what is missing for it."""
        return reason_rows({self.values[key].label: self.missing[key] for key in keys if key in self.missing})

    def lost(self) -> str | None:
        """The one reason why nothing can be read of the card any more; None where something can."""
        read = self.values.keys() - _FROM_THE_START
        (reason, *others) = {self.missing.get(key) for key in read}
        return None if others else reason


def _lost_row(reason: str) -> list[Value]:
    return [Value("", f"{UNKNOWN} ({reason})", "bad", left=True)]


def reason_rows(missing: Mapping[str, str]) -> list[list[Value]]:
    """Labels and their reasons as one row for each reason: a reason is longer than a column should be."""
    labels: dict[str, list[str]] = {}
    for label, reason in missing.items():
        labels.setdefault(reason, []).append(label)
    return [
        [Value(names[0], f"{UNKNOWN} ({reason})", "muted", left=True)]
        if len(names) == 1
        else [Value(UNKNOWN, f"{reason}: {', '.join(names)}", "muted", left=True)]
        for reason, names in labels.items()
    ]


# One card ---------------------------------------------------------------------------------------------------

_NARROW_FIRST = (("util", "ctrl"), ("vram", "free"), ("power", "limit"), ("temp", "fan"), ("sm", "mem"), ("throttle",))
_NARROW_REST = (
    ("pcie",),
    ("in", "out"),
    ("state", "instant"),
    ("energy", "others"),
    ("slow", "own"),
    ("ecc",),
)
_MEDIUM = (
    ("util", "vram", "power"),
    ("ctrl", "free", "limit"),
    ("temp", "sm", "mem"),
    ("fan", "pcie", "instant"),
    ("throttle",),
    ("state", "in", "out"),
    ("own", "slow", "energy"),
    ("others", "ecc"),
)
_WIDE = (
    ("util", "vram", "power", "sm", "pcie"),
    ("ctrl", "free", "instant", "mem", "in"),
    ("fan", "own", "limit", "temp", "out"),
    ("state", "others", "energy", "slow", "ecc"),
    ("throttle",),
)
_COMPACT = (
    "util",
    "ctrl",
    "vram",
    "instant",
    "power",
    "limit",
    "temp",
    "sm",
    "mem",
    "fan",
    "state",
    "pcie",
    "throttle",
)
_COMPACT_80 = ("util", "ctrl", "vram", "instant", "power", "limit", "temp")
_COMPACT_40 = ("util", "vram", "instant", "temp")
WIDE_CELLS = 112
"""Columns from which a card's values stand five in a row."""
_METER_CELLS = 150
"""Columns from which there is room for bars beside them."""
MEDIUM_CELLS = 70
_NAMED_CELLS = 50
"""Columns from which a row of its own has room for a card's name."""


def narrow_rows(info: DeviceInfo, sample: DeviceSample) -> tuple[list[list[Value]], list[list[Value]]]:
    """A card in two columns of 44 cells together: its title and what matters first; and all the rest."""
    table = _table(info, sample, short=True)
    if lost := table.lost():
        return [title_row(info), _lost_row(lost)], []
    return (
        [title_row(info), *table.rows(_NARROW_FIRST), *table.unknowns(_keys(_NARROW_FIRST))],
        [*table.rows(_NARROW_REST), *table.unknowns(_keys(_NARROW_REST))],
    )


def card_rows(info: DeviceInfo, sample: DeviceSample | None, width: int) -> list[list[Value]]:
    """A card with everything there is, in as many columns as the width has room for."""
    title = title_row(info, long=width >= MEDIUM_CELLS)
    if sample is None:
        reason = info.reasons.get("handle", "being read")
        return [title, [Value("", f"{UNKNOWN} ({reason})", "muted", left=True)]]
    if width < MEDIUM_CELLS:
        first, rest = narrow_rows(info, sample)
        return [title, *first[1:], *rest]
    table = _table(info, sample)
    layout = _WIDE if width >= WIDE_CELLS else _MEDIUM
    if lost := table.lost():
        return [title, _lost_row(lost)]
    rows = table.rows(layout)
    if width >= _METER_CELLS:
        for row, meter in zip(rows, meters(info, sample, width - WIDE_CELLS), strict=False):
            row.append(meter)
    return [title, *rows, *table.unknowns(_keys(layout))]


def compact_rows(infos: Sequence[DeviceInfo], latest: Mapping[str, DeviceSample], width: int) -> list[list[Value]]:
    """A row for each card below a row of headings, for many cards."""
    keys = _COMPACT if width >= WIDE_CELLS else _COMPACT_80 if width >= MEDIUM_CELLS else _COMPACT_40
    name_cells = 14 if width >= _NAMED_CELLS else 4
    tables = {i.index: _table(i, latest[i.index], bare=True) for i in infos if i.index in latest}
    heads = {"util": "util %", "ctrl": "ctrl %", "vram": "VRAM GiB", "instant": "W now", "power": "avg",
             "limit": "limit", "temp": "°C", "sm": "SM MHz", "mem": "mem MHz", "fan": "fan %", "state": "P",
             "pcie": "PCIe", "throttle": "throttle"}  # fmt: skip
    head = [Value("", heads[key], "muted", left=key == "throttle") for key in keys]
    rows = [[Value("GPU", "", "muted"), *head]]
    for info in infos:
        name = f"{info.index} {one_line(info.name).removeprefix('NVIDIA ').removeprefix('GeForce ')}"[:name_cells]
        table = tables.get(info.index)
        values = [table.values[key] if table else Value("", UNKNOWN, "muted") for key in keys]
        rows.append([Value(name, "", label_role="title"), *(replace(value, label="") for value in values)])
    if "throttle" not in keys:
        rows += _throttled_row(tables)
    return rows + _shared_unknowns(tables, keys)


def _throttled_row(tables: Mapping[str, _Table]) -> list[list[Value]]:
    """Which cards are slowed down, by what, where the rows have no room for it."""
    slowed = [f"GPU {i} {v.text}" for i, table in tables.items() if (v := table.values["throttle"]).role == "warn"]
    return [[Value("throttle", ", ".join(slowed), "warn", left=True)]] if slowed else []


def _shared_unknowns(tables: Mapping[str, _Table], keys: Sequence[str]) -> list[list[Value]]:
    """A row for each reason: what is missing for it, and on which cards where it is not on all."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for index, table in tables.items():
        for key in keys:
            if key in table.missing:
                labels, cards = found.setdefault(table.missing[key], ([], []))
                labels += [table.values[key].label] * (table.values[key].label not in labels)
                cards += [index] * (index not in cards)
    rows = []
    for reason, (labels, cards) in found.items():
        where = "" if len(cards) == len(tables) else f" (GPU {', '.join(cards)})"
        everything = len(labels) >= len(set(keys) - _FROM_THE_START)
        what = "everything" if everything else ", ".join(labels)
        rows.append([Value(UNKNOWN, f"{reason}: {what}{where}", "bad" if everything else "muted", left=True)])
    return rows


def title_row(info: DeviceInfo, *, long: bool = False) -> list[Value]:
    """The card's number and name, and where it is and what it can do."""
    words = [info.name]
    if long:
        generation = " ".join(part for part in (info.architecture, info.compute_capability) if part)
        words += [part for part in (info.pci_bus_id, generation, "MIG" if info.mig_enabled else "") if part]
    return [Value(f"GPU {info.index}", "  ".join(words), "title" if long else "text", left=True)]


def _keys(layout: Iterable[tuple[str, ...]]) -> list[str]:
    return [key for keys in layout for key in keys]


class _Builder:
    """Fills a table: each value names the fields it needs."""

    def __init__(self, info: DeviceInfo, sample: DeviceSample) -> None:
        self._info, self._sample = info, sample
        self.values: dict[str, Value] = {}
        self.missing: dict[str, str] = {}

    def reason(self, field: str) -> str:
        """Why this field of sample or device is None."""
        known = self._sample.reasons.get(field) or self._info.reasons.get(field)
        return known or self._info.reasons.get("handle") or NOT_READ

    def add(self, key: str, label: str, field: str, text: Callable[[float], str], role: str = "text") -> None:
        """A value of one field of the sample, or of the device."""
        held = getattr(self._sample if hasattr(self._sample, field) else self._info, field)
        if held is None:
            self.lacks(key, label, self.reason(field))
        else:
            self.values[key] = Value(label, text(held), role)

    def lacks(self, key: str, label: str, reason: str) -> None:
        """A value that is not known."""
        self.values[key] = Value(label, UNKNOWN, "muted")
        self.missing[key] = reason


def _table(info: DeviceInfo, s: DeviceSample, *, short: bool = False, bare: bool = False) -> _Table:
    """Everything of one card. `short`: for two columns of 44 cells; `bare`: units are in the headings."""
    table = _Builder(info, s)
    percent, watts = ("{:.0f}", "{:.0f}") if bare else ("{:.0f} %", "{:.0f} W")
    table.add("util", "util", "gpu_util_pct", percent.format)
    table.add("ctrl", "mem ctrl", "mem_util_pct", percent.format)
    table.add("fan", "fan", "fan_pct", percent.format)
    table.add("state", "state", "pstate", "{}".format if bare else "P{}".format)
    _add_memory(table, info, short, bare)
    _add_power(table, info, s, watts, bare)
    _add_heat_and_clocks(table, info, short, bare)
    _add_throttle(table, s)
    _add_pcie_and_ecc(table, info, s, bare)
    table.add("others", "others", "other_processes", "{}".format)
    return _Table(table.values, table.missing)


def _add_memory(table: _Builder, info: DeviceInfo, short: bool, bare: bool) -> None:
    total, unit = info.memory_total_bytes, "" if bare else " GiB"
    of = f" of {total / GIB:.{1 if bare else 2}f}" if total and not short else ""
    digits = 1 if bare else 2
    table.add("vram", "VRAM", "vram_used_bytes", lambda v: f"{v / GIB:.{digits}f}{of}{unit}")
    table.add("free", "free", "vram_free_bytes", lambda v: f"{v / GIB:.2f} GiB")
    table.add("own", "own", "vram_process_bytes", lambda v: f"{v / GIB:.2f} GiB")


def _add_power(table: _Builder, info: DeviceInfo, s: DeviceSample, watts: str, bare: bool) -> None:
    """The average and the draw at this moment, each by its name; a card may have one of them alone."""
    names = {"average": "power avg", "instant": "power now"}
    averaged = s.power_average_w is not None
    label = names["average"] if averaged else names.get(info.power_reading or "", "power")
    # Between headings that say which is which there is no place for a reading of another kind, or of neither.
    table.add("power", label, "power_average_w" if averaged or bare else "power_w", watts.format)
    table.add("instant", "now", "power_instant_w", watts.format)
    table.add("limit", "limit", "power_limit_w", watts.format)
    table.add("energy", "energy", "energy_j", lambda v: f"{v / 1000:,.0f} kJ")


def _add_heat_and_clocks(table: _Builder, info: DeviceInfo, short: bool, bare: bool) -> None:
    target = info.temperature_target_c
    of = f" of {target:.0f}" if target is not None and not bare else ""
    table.add("temp", "temp", "temperature_c", lambda v: f"{v:.0f}{of}" + ("" if bare else " °C"))
    off = info.temperature_shutdown_c
    off_at = "" if off is None or short else f", off {off:.0f}"
    table.add("slow", "slows at", "temperature_slowdown_c", lambda v: f"{v:.0f}{off_at} °C")
    for key, label, most in (("sm", "SM", info.clock_sm_max_mhz), ("mem", "mem", info.clock_mem_max_mhz)):
        of_most = f"{'/' if short else ' of '}{most:.0f}" if most is not None and not bare else ""
        words = f"{{:.0f}}{of_most}" + ("" if short or bare else " MHz")
        table.add(key, f"{label} MHz" if short else label, f"clock_{key}_mhz", words.format)


def _add_throttle(table: _Builder, s: DeviceSample) -> None:
    if s.throttle_reasons is None:
        table.lacks("throttle", "throttle", table.reason("throttle_reasons"))
        return
    calm = all(reason in ("GpuIdle", "ApplicationsClocksSetting") for reason in s.throttle_reasons)
    words = ", ".join(s.throttle_reasons) or "none"
    table.values["throttle"] = Value("throttle", words, "text" if calm else "warn", left=True)


def _add_pcie_and_ecc(table: _Builder, info: DeviceInfo, s: DeviceSample, bare: bool) -> None:
    if s.pcie_gen is None or s.pcie_width is None:
        table.lacks("pcie", "PCIe", table.reason("pcie_gen" if s.pcie_gen is None else "pcie_width"))
    else:
        gen = f" of {info.pcie_gen_max}" if info.pcie_gen_max and not bare else ""
        width = f" of {info.pcie_width_max}" if info.pcie_width_max and not bare else ""
        table.values["pcie"] = Value("PCIe", f"{s.pcie_gen}{gen} x{s.pcie_width}{width}")
    table.add("in", "in", "pcie_rx_bytes_per_s", lambda v: f"{v / 1e9:.2f} GB/s")
    table.add("out", "out", "pcie_tx_bytes_per_s", lambda v: f"{v / 1e9:.2f} GB/s")
    if info.ecc_enabled is False:
        table.values["ecc"] = Value("ECC", "off")
    elif s.ecc_corrected is None or s.ecc_uncorrected is None:
        field = "ecc_corrected" if s.ecc_corrected is None else "ecc_uncorrected"
        table.lacks("ecc", "ECC", table.reason(field))
    else:
        words = f"{s.ecc_corrected} corr {s.ecc_uncorrected} uncorr"
        table.values["ecc"] = Value("ECC", words, "bad" if s.ecc_uncorrected else "text")


# Processes --------------------------------------------------------------------------------------------------


_KINDS = {"C": "compute", "G": "graphics", "C+G": "both"}


def process_rows(infos: Sequence[DeviceInfo], latest: Mapping[str, DeviceSample]) -> list[list[Value]]:
    """Every process on every card, the largest first; a card that does not tell says why."""
    head = [
        Value("", "GPU", "muted"),
        Value("", "pid", "muted"),
        Value("", "type", "muted", left=True),
        Value("", "memory", "muted"),
        Value("", "name", "muted", left=True),
    ]
    rows: list[list[Value]] = []
    missing: dict[str, str] = {}
    for info in infos:
        sample = latest.get(info.index)
        if sample is None:
            continue
        if sample.processes is None:
            missing[f"GPU {info.index}"] = sample.reasons.get("processes", NOT_READ)
        largest_first = sorted(sample.processes or (), key=lambda p: (-(p.memory_bytes or 0), p.pid))
        rows += [_process_row(info.index, process) for process in largest_first]
    if missing:
        return ([head, *rows] if rows else []) + reason_rows(missing)
    return [head, *rows] if rows else [[Value("", "none on the cards", "muted", left=True)]]


def _process_row(device: str, process: GpuProcess) -> list[Value]:
    memory = UNKNOWN if process.memory_bytes is None else f"{process.memory_bytes / GIB:.2f} GiB"
    name = f"{UNKNOWN} (not seen from here)" if process.name is None else one_line(process.name)
    return [
        Value("", device),
        Value("", str(process.pid)),
        Value("", _KINDS[process.kind], left=True),
        Value("", memory, "muted" if process.memory_bytes is None else "text"),
        Value("", name + ("  (this gemtop)" if process.own else ""), left=True),
    ]


# The machine ------------------------------------------------------------------------------------------------


def host_rows(s: HostSample) -> list[list[Value]]:
    """The machine in two columns, for the live screen."""
    found = _host_values(s)
    pairs = (("cpu", "process_cpu"), ("ram", "rss"), ("ram_total",), ("temp", "package"))
    # What the processor's sensors tell is shown where it is told: without a right to read them nothing changes here.
    optional = {"temp", "package"}
    rows: list[list[Value]] = []
    for keys in pairs:
        known = [found.values[key] for key in keys if key not in found.missing]
        if known:
            rows.append(known)
        rows += found.unknowns(key for key in keys if key not in optional)
    return rows


def wide_host_rows(s: HostSample, width: int, cost: CostSample | None = None) -> list[list[Value]]:
    """The machine over a whole width: load, memory, heat and power, and the cores one beside the other."""
    found = _host_values(s, whole=True)
    values = found.values
    load, heat = [values["cpu"], values["ram"]], [values["temp"], values["package"]]
    if width >= WIDE_CELLS:
        heat += [values["swap_in"], values["swap_out"]]
    rows = [[*load, *heat]] if width >= MEDIUM_CELLS else [load, heat]
    if s.cpu_by_core_pct:
        rows.append([Value("cores", core_bars(s.cpu_by_core_pct, width - 6), "load", left=True)])
    rows += cost_rows(cost, width)
    missing = {values[key].label: reason for key, reason in found.missing.items() if key not in ("process_cpu", "rss")}
    if s.cpu_by_core_pct is None:
        missing["cores"] = s.reasons.get("cpu_by_core_pct", NOT_READ)
    return [*rows, *reason_rows(missing)]


def cost_rows(cost: CostSample | None, width: int) -> list[list[Value]]:
    """What gemtop itself takes, the engine apart, as much of it as there is room for; nothing before it is known."""
    if cost is None:
        return []
    known = (
        (cost.observer_cpu_pct, "{:.1f} % of a core"),
        (cost.engine_cpu_pct or None, "engine {:.0f} %"),
        (cost.nvml_pct, "in NVML {:.1f} % of the time"),
        (cost.terminal_bytes_per_s, "{:,.0f} B/s to the terminal"),
        (cost.samples_late, "{} samples late"),
    )
    parts = [form.format(value) for value, form in known if value is not None]
    return [[Value("gemtop", fitting(parts, width - len("gemtop ")), "muted", left=True)]]


def core_bars(loads: Sequence[float], width: int) -> str:
    """Each core's load as a bar of one cell; where there are more cores than cells, the mean of several."""
    together = max(1, -(-len(loads) // max(1, width)))
    groups = [loads[at : at + together] for at in range(0, len(loads), together)]
    means = (sum(group) / len(group) for group in groups)
    bars = "".join(_BARS[min(8, max(0, round(mean / 12.5)))] for mean in means)
    return f"▕{bars}▏" if len(bars) + 2 <= width else bars


def _host_values(s: HostSample, *, whole: bool = False) -> _Table:
    values: dict[str, Value] = {}
    missing: dict[str, str] = {}

    def add(key: str, label: str, field: str, text: Callable[[float], str]) -> None:
        held = getattr(s, field)
        if held is None:
            missing[key] = s.reasons.get(field, NOT_READ)
        values[key] = Value(label, UNKNOWN, "muted") if held is None else Value(label, text(held))

    total = f" of {s.ram_total_bytes / GIB:.2f}" if whole and s.ram_total_bytes else ""
    add("cpu", "CPU", "host_cpu_pct", "{:.0f} %".format)
    add("process_cpu", "gemtop", "process_cpu_pct", "{:.0f} % core".format)
    add("ram", "RAM", "ram_used_bytes", lambda v: f"{v / GIB:.2f}{total} GiB")
    add("rss", "gemtop", "process_rss_bytes", lambda v: f"{v / GIB:.2f} GiB")
    if not whole:
        add("ram_total", "RAM total", "ram_total_bytes", lambda v: f"{v / GIB:.2f} GiB")
    add("temp", "CPU temp" if whole else "temp", "cpu_temperature_c", "{:.0f} °C".format)
    add("package", "package", "package_power_w", "{:.1f} W".format)
    if whole:
        add("swap_in", "swapped in", "swap_in_bytes", lambda v: f"{v / GIB:.2f} GiB")
        add("swap_out", "out", "swap_out_bytes", lambda v: f"{v / GIB:.2f} GiB")
    return _Table(values, missing)


# Without a screen -------------------------------------------------------------------------------------------


def plain(rows: Sequence[Sequence[Value]]) -> list[str]:
    """Rows as lines of text, in the columns that a grid would give them."""
    columns = max((len(row) for row in rows), default=0)
    shown = [[(one_line(v.label), one_line(v.text), v.left) for v in row] for row in rows]
    aligned = [row for row in shown if len(row) > 1]
    labels = [max((len(row[c][0]) for row in aligned if c < len(row)), default=0) for c in range(columns)]
    texts = [max((len(row[c][1]) for row in aligned if c < len(row)), default=0) for c in range(columns)]
    lines = []
    for row in shown:
        if len(row) == 1:
            lines.append(f"{row[0][0]} {row[0][1]}".strip())
            continue
        parts = []
        for c, (label, text, left) in enumerate(row):
            text = text.ljust(texts[c]) if left else text.rjust(texts[c])
            parts.append(f"{label.ljust(labels[c])} {text}" if labels[c] else text)
        lines.append("   ".join(parts).rstrip())
    return lines
