"""The user's own queries beside the shipped ones, and headers that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.history import queries

MINE = "-- Fast runs\n-- Those above a speed.\n-- param: speed number = 10  tokens per second\n"
MINE += "SELECT run_id FROM runs WHERE decode_tokens_per_s > $speed"


@pytest.fixture
def yours(folders: Paths) -> Path:
    """The folder of the user's queries, beside where the configuration would be."""
    where = queries.your_folder()
    where.mkdir(parents=True)
    return where


def test_without_the_folder_there_are_the_shipped_ones(folders: Paths) -> None:
    library = queries.library()
    assert library.queries == queries.all_queries() and library.problems == {}


def test_yours_are_found_with_and_without_a_number(yours: Path) -> None:
    (yours / "fast.sql").write_text(MINE)
    (yours / "002_slow.sql").write_text(MINE)
    (yours / "README.md").write_text("no query")
    library = queries.library()
    assert [q.name for q in library.queries if q.yours] == ["slow", "fast"]
    fast = library.find("fast")
    assert (fast.title, fast.bind({"speed": "3"}), fast.path) == ("Fast runs", {"speed": 3.0}, yours / "fast.sql")
    assert not library.find("sessions").yours
    with pytest.raises(BadInputError, match="did you mean fast"):
        library.find("fats")


def test_a_name_that_is_taken_is_refused_with_both_files(yours: Path) -> None:
    (yours / "sessions.sql").write_text(MINE)
    (yours / "001_fast.sql").write_text(MINE)
    (yours / "fast.sql").write_text(MINE)
    library = queries.library()
    for name, files in (
        ("sessions", ("001_sessions.sql", yours / "sessions.sql")),
        ("fast", (yours / "001_fast.sql", yours / "fast.sql")),
    ):
        with pytest.raises(BadInputError) as error:
            library.find(name)
        assert all(str(file) in str(error.value) for file in files) and "\n" not in str(error.value)
        assert name not in [q.name for q in library.queries]
    assert library.find("variants").name == "variants"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1", "line 1: the header needs a title and a sentence"),
        ("", "line 1: the header needs a title and a sentence"),
        ("-- Title\nSELECT 1", "line 2: the header needs a title and a sentence"),
        ("-- T\n-- S.\n-- param: n number\nSELECT 1", "line 3: 'param: n number' is not 'param: name text|integer"),
        ("-- T\n-- S.\n-- param: n date = 3\nSELECT 1", "line 3: 'param: n date = 3' is not"),
        ("-- T\n-- param: n integer = many  x\n-- S.\nSELECT 1", "line 2: the default of n is integer, not 'many'"),
        ("-- T\n-- S.\n-- param: \x1b[2J\nSELECT 1", "line 3: 'param: ␛[2J' is not"),
    ],
)
def test_a_bad_header_names_file_and_line_and_spoils_no_other(yours: Path, text: str, words: str) -> None:
    (yours / "broken.sql").write_text(text)
    (yours / "fast.sql").write_text(MINE)
    library = queries.library()
    assert library.find("fast").yours
    with pytest.raises(BadInputError) as error:
        library.find("broken")
    assert str(error.value).startswith(f"{yours / 'broken.sql'}, {words}")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_files_that_cannot_be_used(yours: Path) -> None:
    (yours / "bytes.sql").write_bytes(b"-- \xff\n")
    (yours / "folder.sql").mkdir()
    (yours / "My Query.sql").write_text(MINE)
    library = queries.library()
    assert [q for q in library.queries if q.yours] == []
    assert "cannot be read" in library.problems["bytes"]
    assert "cannot be read" in library.problems["folder"]
    assert "small letters" in library.problems["My Query"]
