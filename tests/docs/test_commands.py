"""Every command of the documentation is run, page by page, on a machine that has what the page assumes."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.machine import Docs, documented_machine, prepare
from tests.docs.pages import ROOT, Statement, is_whole, name, pages, shown_after, statements
from tests.docs.table import EXACT, NOT_RUN, reason_not_run

PAGES = [page for page in pages() if statements(page)]


@pytest.fixture(scope="module")
def lay_out(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Docs]]:
    with (
        pytest.MonkeyPatch.context() as patch,
        documented_machine(tmp_path_factory.mktemp("docs"), Path(model_path), patch) as lay,
    ):
        yield lay


@pytest.fixture(autouse=True)
def folders() -> None:
    """The machine of this module has folders of its own, in the place of each test's."""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_run(page: Path, lay_out: Callable[[], Docs]) -> None:
    wanted = [one for one in statements(page) if reason_not_run(one.page, one.text) is None]
    if not wanted:
        return
    docs = lay_out()
    with docs.open:
        prepare(docs, name(page))
        ended = docs.run(wanted)
    failed = [
        f"{one.statement.page}, line {one.statement.line}: {one.statement.text}\nended with {one.code}: {one.said}"
        for one in ended
        if one.code != 0
    ]
    assert not failed, "\n\n".join(failed)
    for one in ended:
        if (one.statement.page, one.statement.text) in EXACT:
            assert one.out.rstrip() == shown_after(page, one.statement).rstrip()


def test_what_is_not_run_is_in_the_documentation() -> None:
    every = [one for page in PAGES for one in statements(page)]
    for entry in NOT_RUN:
        page, _, reason = entry
        assert any(reason_not_run(one.page, one.text) == reason for one in every if one.page == page), entry


def left_out() -> list[Statement]:
    return [one for page in PAGES for one in statements(page) if reason_not_run(one.page, one.text)]


@pytest.mark.parametrize("one", left_out(), ids=lambda one: f"{one.page}:{one.line}")
def test_what_is_not_run_can_be_read(one: Statement) -> None:
    """By bash; gemtop's own command lines are looked at in tests/test_docs.py, and modules have to be there."""
    assert is_whole(one.text)
    words = shlex.split(one.text, comments=True)
    for option, module in itertools.pairwise(words):
        if option == "-m" and module.startswith("tests."):
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
