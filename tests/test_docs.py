"""The documentation says what the program does: commands parse, links lead somewhere, generated pages are current."""

from __future__ import annotations

import html
import itertools
import re
import shlex
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemtop.cli.main import COMMANDS, build_parser
from gemtop.domain.records import RUN_FIELDS
from gemtop.domain.themes import THEMES
from tests.docs.pages import FENCE, ROOT, SHELL, name, pages
from tests.tools import cli_docs, config_docs, key_docs, man_page, query_docs

PAGES = pages()
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """What a heading's link is called, by GitHub's rule."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(_prose(page)))
    return {word.strip().replace(" ", "-") for word in words}


def _commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every `gemtop ...` in the page's shell examples."""
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in SHELL:
            continue
        pending = ""
        for line in block.replace("\\\n", " ").splitlines():
            pending += line.removeprefix("$ ") + "\n"
            try:
                lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
                lexer.wordchars += ",=@%+:[]{}!$"
                words = list(lexer)
            except ValueError:  # a quotation that goes on in the next line
                continue
            pending = ""
            for operator, group in itertools.groupby(words, lambda word: set(word) <= set("();<>|&") and word != ""):
                simple = [] if operator else list(group)
                while simple and re.fullmatch(r"\w+=.*", simple[0], re.DOTALL):
                    simple.pop(0)
                if simple and Path(simple[0]).name == "gemtop":
                    yield simple[1:]
        assert not pending, f"{name(page)}: an open quotation in\n{block}"


EXAMPLES = [(page, arguments) for page in PAGES for arguments in _commands(page)]


def _example_id(value: object) -> str:
    return name(value) if isinstance(value, Path) else " ".join(value) if isinstance(value, list) else str(value)


def _plain(help_text: str) -> list[str]:
    """Help without what Python versions differ in: line breaks, and a metavar behind every name of a flag."""
    once = re.sub(r"(?<=[ \[])(-[\w-]+) ([A-Z][\w:,.]*|on\|off\|auto|\{[\w,]+\}), (?=-)", r"\1, ", help_text)
    return re.sub(r"(?<=[ \[])(-[\w-]+) ([A-Z][\w:,.]*|on\|off\|auto|\{[\w,]+\}), (?=-)", r"\1, ", once).split()


def test_cli_page_is_current() -> None:
    written = cli_docs.TARGET.read_text(encoding="utf-8")
    assert _plain(written) == _plain(cli_docs.page()), "run: python -m tests.tools.cli_docs"


def test_the_man_page_is_current_and_every_reader_of_it_is_content() -> None:
    assert man_page.TARGET.read_text(encoding="utf-8") == man_page.page(), "run: python -m tests.tools.man_page"
    for reader in (["mandoc", "-T", "lint"], ["groff", "-ww", "-man", "-T", "utf8", "-z"]):
        done = subprocess.run([*reader, str(man_page.TARGET)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_list_of_queries_is_current() -> None:
    written = query_docs.TARGET.read_text(encoding="utf-8")
    assert written == query_docs.page(), "run: python -m tests.tools.query_docs"


def test_the_keys_of_the_configuration_are_current() -> None:
    written = config_docs.TARGET.read_text(encoding="utf-8")
    assert written == config_docs.page(), "run: python -m tests.tools.config_docs"
    assert all(f"`{theme}`" in written for theme in THEMES)


def test_the_list_of_keys_is_current() -> None:
    assert key_docs.TARGET.read_text(encoding="utf-8") == key_docs.page(), "run: python -m tests.tools.key_docs"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{name(page)} links to {target}"
        assert other.is_relative_to(ROOT), f"{name(page)} links out of the repository: {target}"
        assert not anchor or anchor in _anchors(other), f"{name(page)} links to {target}; there is no such heading"


@pytest.mark.parametrize(("page", "arguments"), EXAMPLES, ids=_example_id)
def test_examples_parse(page: Path, arguments: list[str]) -> None:
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    try:
        build_parser(command).parse_args(arguments)
    except SystemExit as leaving:  # --help and --version leave with 0
        assert leaving.code == 0, f"{name(page)}: gemtop {shlex.join(arguments)}"


def test_modules_that_are_named_are_there() -> None:
    """By their path, whole or from the package on."""
    named = {found for page in PAGES for found in re.findall(r"`([\w/]+/\w+\.py)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert [path for path in sorted(named) if not any((root / path).exists() for root in (ROOT, ROOT / "gemtop"))] == []


def test_every_column_of_runs_is_defined() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    defined = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert set(RUN_FIELDS) <= defined, f"docs/metrics.md does not define {sorted(set(RUN_FIELDS) - defined)}"


def test_the_guides_have_a_page_for_every_command() -> None:
    for command in ("live", *COMMANDS):
        page = {"sync": "fleet", "completion": "shell"}.get(command, command)  # named for what one wants
        assert (ROOT / "docs" / f"{page}.md").exists(), f"docs/{page}.md is missing"


def test_readme_names_every_guide() -> None:
    linked = set(_LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "index.md":  # it is the README of the site
            assert f"docs/{page.name}" in linked, f"README.md does not link docs/{page.name}"


def test_the_site_has_every_page() -> None:
    with (ROOT / "zensical.toml").open("rb") as file:
        nav = str(tomllib.load(file)["project"]["nav"])
    for page in (ROOT / "docs").rglob("*.md"):
        assert f"'{page.relative_to(ROOT / 'docs')}'" in nav, f"zensical.toml does not have {name(page)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\w.~$/])/(?:root|home|tmp|work|Users)/\S*", text)
    assert not found, f"{name(page)} names {found}"


PICTURES = sorted((ROOT / "docs" / "images").glob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=[picture.stem for picture in PICTURES])
def test_picture_is_whole_shown_and_asks_for_nothing(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "url(http" not in text and "@import" not in text and "@font-face" not in text
    assert not re.search(r"(?<![\w.~$/])/(?:root|home|tmp|work|Users)/", html.unescape(text)), "names a path"
    users = [*PAGES, ROOT / "zensical.toml"]
    assert any(f"images/{picture.name}" in page.read_text(encoding="utf-8") for page in users), "shown nowhere"
