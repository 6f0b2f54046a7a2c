"""Sessions by a part of their id."""

from __future__ import annotations

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.history.named import named_session
from gemtop.history.reader import Reader
from tests.history.rows import STARTED_AT_MS, put_in, session

IDS = ("20261123-100000-aaaa0001", "20261123-110000-bbbb0002", "20261124-100000-aaaa0003", "20261125-100000-aaaa0004",
       "20261126-100000-%_aa0005")  # fmt: skip


@pytest.fixture
def reader(paths: Paths) -> Reader:
    for number, session_id in enumerate(IDS):
        put_in(paths, [session(session_id, started_at_ms=STARTED_AT_MS + number)], session_id)
    return Reader.open(paths)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (IDS[1], IDS[1]),
        ("bbbb0002", IDS[1]),
        ("20261124", IDS[2]),
        ("4", IDS[3]),
        ("20261126-100000-%_", IDS[4]),
        ("last", IDS[4]),
    ],
)
def test_one_is_meant(reader: Reader, name: str, found: str) -> None:
    with reader:
        assert named_session(reader, name) == found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "there is no session ''"),
        ("nope", "there is no session 'nope'; gemtop sessions lists them"),
        ("%", "there is no session '%'"),
        ("100000", "there is no session '100000'"),
        ("20261123", "'20261123' stands for 2 sessions: 20261123-110000-bbbb0002, 20261123-100000-aaaa0001; give more"),
        ("2026", "stands for 5 sessions: .* and 2 more; give more of the id"),
    ],
)
def test_none_or_more_than_one(reader: Reader, name: str, words: str) -> None:
    with reader, pytest.raises(BadInputError, match=words):
        named_session(reader, name)


def test_an_empty_history_has_no_last_one(paths: Paths) -> None:
    with Reader.open(paths) as empty, pytest.raises(BadInputError, match="holds no session yet"):
        named_session(empty, "last")
