"""The memory of each device by what it is for, as bars and their words, for the ledger to draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gemtop.domain.model import BackendDevice, DeviceMemory
from gemtop.domain.plan import GIB, MIB, MemoryUse
from gemtop.domain.telemetry import DeviceInfo, DeviceSample
from gemtop.domain.text import one_line
from gemtop.readings import matched
from gemtop.tui.widgets.ledger import BarText, Entry, LedgerText
from gemtop.view import SessionView

HOST = "CPU"
"""llama.cpp's name of the host."""
STEP_BYTES = GIB // 10
"""What other programs hold is shown in steps of this much."""
_ROUND = 64
"""The last reading of each device is among so many."""
_MAIN_SHARE = 10
"""A device that holds a tenth of the model matters."""
_NOT_READ = "not read yet"
_NO_SENSORS = "it has no sensors here"


@dataclass(frozen=True, slots=True)
class DeviceBar:
    """One device's memory."""

    name: str
    """Short and its own: CUDA0, GPU 0, RAM."""
    title: str
    """What it is: RTX 3090."""
    use: MemoryUse
    """Of the model, as llama.cpp reports it."""
    total_bytes: int | None
    other_bytes: int | None
    """In use beside the model: other programs, and what gemtop and the driver take for themselves."""
    reason: str | None = None
    """Why total or other are None."""
    planned: MemoryUse | None = None
    planned_reason: str | None = None
    """Why nothing was planned."""

    @property
    def model_parts(self) -> tuple[int, int, int]:
        """Weights, KV cache, and compute with the logits handed over."""
        return self.use.weights_bytes, self.use.kv_bytes, self.use.compute_bytes + self.use.output_bytes

    @property
    def used_bytes(self) -> int | None:
        """All that is in use."""
        return None if self.other_bytes is None else self.use.total_bytes + self.other_bytes

    @property
    def free_bytes(self) -> int | None:
        """What is left with all of the model in memory; 0 where that is less than nothing."""
        if self.total_bytes is None or self.used_bytes is None:
            return None
        return max(0, self.total_bytes - self.used_bytes)


def device_bars(view: SessionView) -> tuple[DeviceBar, ...]:
    """The devices that hold a part of the model and the host, last; all cards where no model is loaded."""
    devices = [entry for entry in view.memory if entry.device != HOST]
    cards = _cards(view, devices)
    samples = {sample.device: sample for sample in view.device_samples[-_ROUND:]}
    backends = {device.name: device for device in view.model.devices} if view.model else {}
    bars = [_device_bar(entry, cards.get(entry.device), samples, backends.get(entry.device)) for entry in devices]
    if not devices:
        bars = [_card_bar(card, samples.get(card.index)) for card in view.devices]
    return (*bars, _host_bar(view))


def _cards(view: SessionView, devices: Sequence[DeviceMemory]) -> dict[str, DeviceInfo]:
    """NVML's cards by llama.cpp's name. A replay knows no bus ids: there those in use are matched by what they are."""
    found = matched(view.model.devices if view.model else (), view.devices)
    left = [card for card in view.devices if card.index in view.used_devices and card not in found.values()]
    for entry in devices:
        same = [card for card in left if card.name == entry.description]
        if entry.device not in found and same:
            found[entry.device] = same[0]
            left.remove(same[0])
    return found


def _device_bar(
    entry: DeviceMemory,
    card: DeviceInfo | None,
    samples: Mapping[str, DeviceSample],
    backend: BackendDevice | None,
) -> DeviceBar:
    total = (card.memory_total_bytes if card else None) or (backend.memory_total_bytes if backend else 0) or None
    other, reason = None, _NO_SENSORS
    if card is not None:
        other, reason = _other(card, samples.get(card.index), total, entry.measured.total_bytes)
    title = short_name(card.name if card else entry.description)
    return DeviceBar(one_line(entry.device), title, entry.measured, total, other, reason, entry.predicted, entry.reason)


def _card_bar(card: DeviceInfo, sample: DeviceSample | None) -> DeviceBar:
    total = card.memory_total_bytes
    other, reason = _other(card, sample, total, 0)
    return DeviceBar(f"GPU {card.index}", short_name(card.name), MemoryUse(), total, other, reason)


def _other(card: DeviceInfo, sample: DeviceSample | None, total: int | None, model: int) -> tuple[int | None, str]:
    """What is in use beside the model. What the driver keeps back is in use: the card does not give it away."""
    if sample is None:
        return None, card.reasons.get("handle", _NOT_READ)
    used = sample.vram_used_bytes
    if total is not None and sample.vram_free_bytes is not None:
        used = total - sample.vram_free_bytes
    if used is None:
        return None, sample.reasons.get("vram_used_bytes", _NOT_READ)
    why = "" if total is not None else card.reasons.get("memory_total_bytes", _NOT_READ)
    return max(0, used - model), why


def _host_bar(view: SessionView) -> DeviceBar:
    entry = next((entry for entry in view.memory if entry.device == HOST), None)
    use = entry.measured if entry else MemoryUse()
    planned, planned_reason = (entry.predicted, entry.reason) if entry else (None, None)
    sample = view.host_samples[-1] if view.host_samples else None
    total = other = None
    reason: str | None = _NOT_READ
    if sample is not None:
        total = sample.ram_total_bytes
        reason = sample.reasons.get("ram_used_bytes", _NOT_READ)
        if sample.ram_used_bytes is not None:
            other, reason = max(0, sample.ram_used_bytes - _counted_bytes(view, use)), None
    return DeviceBar("RAM", "RAM", use, total, other, reason, planned, planned_reason)


def _counted_bytes(view: SessionView, use: MemoryUse) -> int:
    """What the kernel counts as used of what the model takes of the host: pages of a mapped file it does not.

    Weights beyond the size of the file's tensors were repacked, into memory like any other.
    """
    if view.model is None or (view.settings is not None and not view.settings.offload.use_mmap):
        return use.total_bytes
    mapped = min(use.weights_bytes, view.model.tensor_bytes or use.weights_bytes)
    return use.total_bytes - mapped


def short_name(name: str) -> str:
    """A card's name without what all have: RTX 3090."""
    return one_line(name).removeprefix("NVIDIA ").removeprefix("GeForce ")


# Words -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Words:
    """Sizes of one bar in words whose widths do not change while the sizes do."""

    bar: DeviceBar
    other_bytes: int | None
    """As it is shown, in steps."""

    @property
    def _cells(self) -> int:
        """Of a size in GiB."""
        return len(f"{max(self.bar.total_bytes or 0, self.bar.used_bytes or 0, GIB) / GIB:.1f}")

    def gib(self, size_bytes: int | None) -> str:
        """In GiB, right-aligned, without the unit."""
        return f"{'?' if size_bytes is None else f'{size_bytes / GIB:.1f}':>{self._cells}}"

    @property
    def free_bytes(self) -> int | None:
        """As it is shown."""
        if self.other_bytes is None or self.bar.total_bytes is None:
            return None
        return max(0, self.bar.total_bytes - self.bar.use.total_bytes - self.other_bytes)

    @property
    def used(self) -> str:
        """18.1 of 24.0 GiB."""
        total, free = self.bar.total_bytes, self.free_bytes
        if total is None:
            known = self.bar.use.total_bytes + (self.other_bytes or 0)
            return f"{self.gib(known)} GiB"
        if free is None:
            return f"{self.gib(None)} of {self.gib(total)} GiB"
        return f"{self.gib(total - free)} of {self.gib(total)} GiB"

    def model(self, *sizes_bytes: int) -> tuple[list[str], str]:
        """Sizes of parts of the model, and their unit: MiB where all of it is less than a GiB."""
        if 0 < self.bar.use.total_bytes < GIB:
            return [f"{size / MIB:,.0f}" for size in sizes_bytes], "MiB"
        return [self.gib(size).lstrip() for size in sizes_bytes], "GiB"


def _legend(words: _Words, *, free: bool) -> list[Entry]:
    """What each part of the bar is; `free` is left out where another line has it."""
    bar, found = words.bar, list[Entry]()
    mixed = False
    if bar.use.total_bytes:
        texts, unit = words.model(*bar.model_parts)
        mixed = unit == "MiB"
        names = (("weights", "weights"), ("kv", "KV"), ("compute", "compute"))
        sized = zip(names, texts, bar.model_parts, strict=True)
        found = _with_unit([(*name, text) for name, text, size in sized if size], unit if mixed else "")
    rest = [("other", words.other_bytes), ("free", words.free_bytes if free else None)]
    gib = " GiB" if mixed else ""
    return [*found, *((part, part, f"{words.gib(size)}{gib}") for part, size in rest if size is not None)]


def _planned(words: _Words) -> list[Entry]:
    """What was planned beside what came of it, and what is free; or why something is not known."""
    bar, found = words.bar, list[Entry]()
    unit = ""
    if bar.use.total_bytes and bar.planned is None:
        (measured,), unit = words.model(bar.use.total_bytes)
        found = [("", "measured", measured)]
    elif bar.planned is not None:
        (before, measured), unit = words.model(bar.planned.total_bytes, bar.use.total_bytes)
        found = [("", "planned", before), ("", "measured", measured)]
    mixed = unit == "MiB"
    found = _with_unit(found, unit if mixed else "")
    if words.free_bytes is not None:
        found += _with_unit([("free", "free", words.gib(words.free_bytes))], "GiB" if mixed else "")
    return [*found, *_unknown(bar)]


def _with_unit(entries: list[Entry], unit: str) -> list[Entry]:
    """The unit behind the last of them."""
    if not entries or not unit:
        return entries
    part, word, text = entries[-1]
    return [*entries[:-1], (part, word, f"{text} {unit}")]


def _unknown(bar: DeviceBar) -> Iterator[Entry]:
    if bar.reason and (bar.other_bytes is None or bar.total_bytes is None):
        yield "", "free", f"N/A ({one_line(bar.reason)})"
    if bar.planned is None and bar.planned_reason and bar.use.total_bytes:
        yield "", "planned", f"N/A ({one_line(bar.planned_reason)})"


# What is shown -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Held:
    """What others hold of a device, as it is shown."""

    model_parts: tuple[int, int, int]
    """With another model it begins anew."""
    number_bytes: int | None
    bar_bytes: int | None


@dataclass(slots=True)
class Steady:
    """Bars of one moment after the other. Readings that go to and fro by less than a step move nothing."""

    _held: dict[str, _Held] = field(default_factory=dict)

    def texts(self, bars: Sequence[DeviceBar], width: int) -> LedgerText:
        """What to draw on `width` cells."""
        self._held = {bar.name: _hold(self._held.get(bar.name), bar, max(1, width)) for bar in bars}
        model = sum(bar.use.total_bytes for bar in bars)
        found = [_bar_text(bar, self._held[bar.name], model) for bar in bars]
        if len(bars) == 1:
            reading = (bars[0].title, found[0].used)
        else:
            reading = ("model", f"{model / GIB:.1f} GiB") if model else ("", "")
        return LedgerText(tuple(found), *reading)


def _bar_text(bar: DeviceBar, held: _Held, model_bytes: int) -> BarText:
    words = _Words(bar, held.number_bytes)
    used = (*bar.model_parts, held.bar_bytes or 0)
    known = bar.other_bytes is not None and bar.total_bytes is not None
    return BarText(
        name=bar.name,
        used=words.used,
        parts=(*used, max(0, (bar.total_bytes or 0) - sum(used))),
        free_known=known,
        reason=one_line(bar.reason or ""),
        main=bar.use.total_bytes * _MAIN_SHARE >= model_bytes,
        whole=tuple(_legend(words, free=True) + ([] if bar.other_bytes is not None else _planned(words))),
        legend=tuple(_legend(words, free=False)),
        planned=tuple(_planned(words)),
    )


def _hold(held: _Held | None, bar: DeviceBar, width: int) -> _Held:
    now, parts = bar.other_bytes, bar.model_parts
    known = held is not None and held.model_parts == parts
    if now is None or held is None or not known or held.number_bytes is None or held.bar_bytes is None:
        return _Held(parts, now, now)
    cell = (bar.total_bytes or 0) // width
    return _Held(
        parts,
        now if abs(now - held.number_bytes) >= STEP_BYTES else held.number_bytes,
        now if abs(now - held.bar_bytes) >= max(cell, STEP_BYTES) else held.bar_bytes,
    )
