from __future__ import annotations

import pytest

from gemtop.domain.visible import Card, visible

UNLIKE = (Card(0, "GPU-aaaa-1", "RTX 4090"), Card(1, "GPU-aabb-2", "T4"), Card(2, "GPU-cccc-3", "T4"))
ALIKE = tuple(Card(card.index, card.uuid, "T4") for card in UNLIKE)


@pytest.mark.parametrize("cards", [UNLIKE, ALIKE, ()])
def test_without_the_variable_all_are_visible(cards: tuple[Card, ...]) -> None:
    found = visible(cards, None, None)
    assert found.indices == tuple(card.index for card in cards)
    assert found.notes == ()


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles", "-1,0", "7", "GPU-aa", "GPU-zz", " ", "1 0", "0x1", "GPU"])
def test_a_list_that_is_empty_or_begins_with_something_invalid_hides_all(value: str) -> None:
    found = visible(UNLIKE, value, None)
    assert found.indices == ()
    assert found.notes == (
        "CUDA_VISIBLE_DEVICES hides GPU 0 (RTX 4090)",
        "CUDA_VISIBLE_DEVICES hides GPU 1 (T4)",
        "CUDA_VISIBLE_DEVICES hides GPU 2 (T4)",
    )


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("GPU-aaaa-1", (0,)),
        ("GPU-cc, GPU-aaa", (0, 2)),
        ("gpu-cc", ()),
        ("GPU-CC", (2,)),
        ("GPU-cc,nonsense,GPU-aaa", (2,)),
    ],
)
def test_cards_by_uuid_or_a_beginning_that_is_unique(value: str, indices: tuple[int, ...]) -> None:
    assert visible(UNLIKE, value, None).indices == indices


@pytest.mark.parametrize(
    ("value", "indices"), [("1", (1,)), ("2,0", (0, 2)), ("0,3,1", (0,)), ("0,-1,1", (0,)), ("1,GPU-aaaa", (0, 1))]
)
def test_cards_by_number_in_pcis_order(value: str, indices: tuple[int, ...]) -> None:
    assert visible(UNLIKE, value, "PCI_BUS_ID").indices == indices
    assert visible(ALIKE, value, None).indices == indices
    assert visible(ALIKE, value, "FASTEST_FIRST").indices == indices


def test_a_hidden_card_is_told() -> None:
    assert visible(UNLIKE, "1,2", "PCI_BUS_ID").notes == ("CUDA_VISIBLE_DEVICES hides GPU 0 (RTX 4090)",)


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_numbers_of_unlike_cards_in_cudas_own_order_cannot_be_told(order: str | None) -> None:
    found = visible(UNLIKE, "0", order)
    assert found.indices == (0, 1, 2)
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in found.notes[0]


def test_numbers_of_all_cards_mean_all_in_any_order() -> None:
    assert visible(UNLIKE, "2,0,1", None) == visible(UNLIKE, None, None)


def test_a_mig_instance_leaves_all_with_a_note() -> None:
    found = visible(UNLIKE, "MIG-1234", None)
    assert found.indices == (0, 1, 2)
    assert "MIG" in found.notes[0]
