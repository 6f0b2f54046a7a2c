"""Long prompts: as long as was asked for, or a reason why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.errors import BadInputError
from gemtop.prompts import corpus, excerpts
from gemtop.prompts.excerpts import TEMPLATE_TOKENS, Excerpt, Planted

BEGIN = "Mr Shepherd, a civil, cautious lawyer"


@given(st.integers(600, 20_000), st.lists(st.floats(0, 1), max_size=4))
def test_as_many_whole_sentences_as_fit(context_tokens: int, depths: list[float]) -> None:
    planted = tuple(Planted(f"Number {number}.", depth) for number, depth in enumerate(depths))
    text = excerpts.fill("A {excerpt} Z", Excerpt(context_tokens, BEGIN, planted), 100, lambda text: len(text) // 4)
    assert len(text) // 4 <= context_tokens - 100 - TEMPLATE_TOKENS
    for plant in planted:
        assert text.count(plant.text) == 1
        text = text.replace(plant.text + "\n\n", "", 1).replace("\n\n" + plant.text, "", 1)
    piece = text.removeprefix("A ").removesuffix(" Z")
    source = corpus.default().text
    assert source[source.index(BEGIN) :].startswith(piece)
    assert piece[-1] in ".!?\"')"


def test_planted_texts_of_one_depth_keep_their_order() -> None:
    planted = (Planted("First.", 0.5), Planted("Second.", 0.5), Planted("Zero.", 0), Planted("Last.", 1))
    text = excerpts.fill("{excerpt}", Excerpt(2048, BEGIN, planted), 64, lambda text: len(text) // 4)
    assert text.startswith("Zero.\n\n")
    assert "First.\n\nSecond.\n\n" in text
    assert text.endswith("\n\nLast.")


def test_a_tokenizer_of_long_tokens_gets_a_longer_excerpt() -> None:
    text = excerpts.fill("{excerpt}", Excerpt(1024, BEGIN), 64, lambda text: len(text) // 100)
    assert len(text) // 100 > 900


def test_no_room_and_no_more_text() -> None:
    with pytest.raises(BadInputError, match="a context of 256 tokens has no room for this prompt and an answer of 128"):
        excerpts.fill("{excerpt}" + "x" * 1000, Excerpt(256, BEGIN), 128, len)
    with pytest.raises(BadInputError, match="the corpus ends before a context of 131072 tokens is full"):
        excerpts.fill("{excerpt}", Excerpt(131_072, BEGIN), 128, lambda text: len(text.split()))


def test_the_beginning_must_be_one_paragraph() -> None:
    with pytest.raises(BadInputError, match='no paragraph of Persuasion begins with "Mr Darcy"; one must'):
        excerpts.start("Mr Darcy")
    with pytest.raises(BadInputError, match=r'\d+ paragraphs of Persuasion begin with "Anne"; one must'):
        excerpts.start("Anne")
