"""Which cards CUDA_VISIBLE_DEVICES leaves to this process, as far as that can be told without CUDA."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Card:
    """What is needed of a card to find it in the list."""

    index: int
    """NVML's, which counts in the order of PCI bus ids."""
    uuid: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Visible:
    """The cards to show, and what to say about the others."""

    indices: tuple[int, ...]
    """NVML's indices, ascending."""
    notes: tuple[str, ...] = ()


def visible(cards: Sequence[Card], value: str | None, order: str | None) -> Visible:
    """The cards left by `value` of CUDA_VISIBLE_DEVICES and `order` of CUDA_DEVICE_ORDER; None where unset.

    As in CUDA the list ends before its first invalid entry, and an empty one hides every card. Where CUDA
    alone knows which cards are meant, all are visible and a note says so.
    """
    everything = tuple(card.index for card in cards)
    if value is None:
        return Visible(everything)
    shown: set[int] = set()
    numbers: set[int] = set()
    for entry in (part.strip() for part in value.split(",")):
        if entry.startswith("MIG-"):
            return Visible(
                everything, (f"{_VARIABLE} names a MIG instance: readings are those of whole cards, all shown",)
            )
        if re.fullmatch(r"\+?\d+", entry):
            if int(entry) >= len(cards):
                break
            numbers.add(int(entry))
            continue
        found = _by_uuid(cards, entry)
        if found is None:
            break
        shown.add(found)
    if numbers and not _numbered_like_nvml(cards, order) and len(numbers) < len(cards):
        note = (
            f"{_VARIABLE}={value} counts the cards in CUDA's own order, which cannot be told from here: "
            "all are shown; set CUDA_DEVICE_ORDER=PCI_BUS_ID or name cards by UUID"
        )
        return Visible(everything, (note,))
    # A number is a place in the order, and NVML's indices are the places in PCI's.
    shown |= {cards[number].index for number in numbers}
    hidden = tuple(f"{_VARIABLE} hides GPU {card.index} ({card.name})" for card in cards if card.index not in shown)
    return Visible(tuple(index for index in everything if index in shown), hidden)


def _by_uuid(cards: Sequence[Card], entry: str) -> int | None:
    """The one card whose UUID begins with the entry; None where none or several do."""
    if not entry.startswith("GPU-"):
        return None
    found = [card.index for card in cards if card.uuid is not None and card.uuid.lower().startswith(entry.lower())]
    return found[0] if len(found) == 1 else None


def _numbered_like_nvml(cards: Sequence[Card], order: str | None) -> bool:
    """Whether CUDA counts in PCI's order: told to, or by default where no card is faster than another."""
    return order == "PCI_BUS_ID" or len({card.name for card in cards}) <= 1
