"""Sets of the user's own, found by name, and the one into which the screen saves: files that an editor opens too."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemtop.config import config_file
from gemtop.domain.errors import BadInputError
from gemtop.domain.text import one_line, storable
from gemtop.prompts.model import Prompt, PromptSet
from gemtop.prompts.own_files import held, replace
from gemtop.prompts.reading import HEADER, read_set

SAVED = "saved"
"""Name of the set that the screen saves into."""
_WAIT_S = 2.0
"""For another gemtop to be done with the file, while the user waits."""
_SUFFIXES = (".toml", ".jsonl", ".ndjson")
_BEGINNING = (
    "# Prompts saved in gemtop, a [[prompt]] for each. Checks and longest answers may stand here too:\n"
    "# gemtop compare --prompts saved asks them all.\n"
    'title = "Saved prompts"\n'
)
_ESCAPES = {"\b": "\\b", "\f": "\\f", "\r": "\\r", "\\": "\\\\"}
_LONGEST_NAME = 80


class NameTakenError(Exception):
    """A saved prompt has the name already."""


def your_folder() -> Path:
    """Where the user's own sets are: beside the configuration file. It need not exist."""
    return config_file().parent / "prompts"


def saved_file() -> Path:
    return your_folder() / f"{SAVED}.toml"


def your_sets() -> dict[str, Path]:
    """The user's own sets by name, the saved prompts first; what is in the files is not looked at."""
    with suppress(OSError):
        files = sorted(file for file in your_folder().iterdir() if file.suffix in _SUFFIXES and file.is_file())
        named = {file.stem: file for file in reversed(files) if not file.name.startswith(".")}
        return dict(sorted(named.items(), key=lambda pair: (pair[0] != SAVED, pair[0])))
    return {}


def find_set(words: str) -> PromptSet:
    """A set by its file, or by the name of one of the user's own. Raises BadInputError."""
    file = Path(words).expanduser()
    own = your_sets()
    if words in own and not file.is_file():
        return read_set(own[words])
    if not file.exists() and file.name == words and not file.suffix:
        known = f"there are {', '.join(own)}" if own else f"your own sets go into {one_line(str(your_folder()))}"
        raise BadInputError(f"{one_line(words)}: no file, and no set of that name; {known}")
    return read_set(file)


def read_saved() -> tuple[Prompt, ...]:
    """The saved prompts; none where there is no file. Raises BadInputError for one that cannot be used."""
    file = saved_file()
    with suppress(OSError, ValueError):
        if not HEADER.search(file.read_text(encoding="utf-8")):
            return ()
    return read_set(file).prompts if file.exists() else ()


def name_for(text: str) -> str:
    """A name to begin with, out of the first words."""
    words = re.findall(r"\w+", text.lower())[:4]
    return "-".join(words)[:40] or "prompt"


def checked_name(name: str) -> str:
    """The name as an id of the set, blanks as hyphens. Raises BadInputError."""
    found = "-".join(name.split())
    if not found:
        raise BadInputError("a saved prompt has a name")
    if len(found) > _LONGEST_NAME or not found.isprintable():
        raise BadInputError(f"a name has at most {_LONGEST_NAME} letters, digits and signs")
    return found


def save(name: str, text: str, *, replacing: bool = False) -> Path:
    """Put a prompt into the saved ones and return their file; its comments and other prompts stay as they are.

    Raises BadInputError where that cannot be, NameTakenError where the name is another's, unless `replacing`.
    """
    name = checked_name(name)
    if not text.strip():
        raise BadInputError("the prompt is empty; type some text")
    file = saved_file()
    _check(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file = file.resolve()  # it may be a link into a folder of dotfiles
        with held(file, _WAIT_S):
            before = file.read_text(encoding="utf-8")
            at = _position(_rows(file, before), name)
            if at is not None:
                if not replacing:
                    raise NameTakenError(name)
                before = _without(file, before, at)
            replace(file, _with(file, before, name, text))
    except (OSError, UnicodeDecodeError) as error:
        raise _unwritten(file, error) from error
    return file


def delete(name: str) -> None:
    """Take a prompt out of the saved ones, with the comment right above it. Raises BadInputError."""
    file = saved_file().resolve()
    _check(file)
    try:
        with held(file, _WAIT_S):
            before = file.read_text(encoding="utf-8")
            at = _position(_rows(file, before), name)
            if at is None:
                raise BadInputError(f"there is no saved prompt {one_line(name)} any more")
            replace(file, _without(file, before, at))
    except (OSError, UnicodeDecodeError) as error:
        raise _unwritten(file, error) from error


def _check(file: Path) -> None:
    """Raises BadInputError for a file that holds something else than a set: it would be lost."""
    if file.exists() and HEADER.search(_read(file)):
        read_set(file)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unwritten(file, error) from error


def _unwritten(file: Path, error: Exception) -> BadInputError:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return BadInputError(f"{one_line(str(file))} cannot be changed: {one_line(words)}")


# The text of the file ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Block:
    """A prompt's lines in the file."""

    start: int
    end: int


def appended(text: str, name: str, prompt: str) -> str:
    """The file with a prompt more at its end."""
    start = text if text.strip() else _BEGINNING
    if not start.endswith("\n"):
        start += "\n"
    return f"{start}\n[[prompt]]\nid = {toml_text(name)}\nprompt = {toml_text(prompt)}\n"


def toml_text(text: str) -> str:
    """A text as TOML has it: in one line, or as it reads where it has several."""
    several = "\n" in text
    escaped = "".join(_escaped(char, several) for char in storable(text))
    if not several:
        return '"' + escaped.replace('"', '\\"') + '"'
    escaped = re.sub(r'"(?="|\Z)', r'\\"', escaped)  # no three in a row, and none at the end
    return f'"""\n{escaped}"""'


def _escaped(char: str, several: bool) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char == "\t" or (char == "\n" and several) or (char >= " " and char != "\x7f"):
        return char
    return f"\\u{ord(char):04x}"


def _rows(file: Path, text: str) -> list[dict[str, Any]]:
    """The tables of the prompts. Raises BadInputError."""
    try:
        rows = tomllib.loads(text).get("prompt", [])
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"{one_line(str(file))}: no TOML: {one_line(str(error))}") from error
    return rows if isinstance(rows, list) else []


def _position(rows: list[dict[str, Any]], name: str) -> int | None:
    """Which of the prompts has the name; one without an id has its number."""
    names = [str(row.get("id", number)) for number, row in enumerate(rows, 1)]
    return names.index(name) if name in names else None


def _without(file: Path, text: str, at: int) -> str:
    """The file without one of its prompts."""
    rows, blocks = _rows(file, text), _blocks(text)
    if len(blocks) == len(rows):
        after = text[: blocks[at].start] + text[blocks[at].end :]
        with suppress(BadInputError):
            if _rows(file, after) == rows[:at] + rows[at + 1 :]:
                return after
    raise _not_ours(file, str(rows[at].get("id", at + 1)))


def _not_ours(file: Path, name: str) -> BadInputError:
    return BadInputError(
        f"{one_line(str(file))} is written in a way that gemtop does not change; edit {one_line(name)} there"
    )


def _blocks(text: str) -> list[_Block]:
    """From each header, with the comment right above it, to the next."""
    starts = []
    for match in HEADER.finditer(text):
        start = match.start()
        while start and (above := text.rfind("\n", 0, start - 1) + 1) < start and text[above:start].startswith("#"):
            start = above
        starts.append(start)
    return [_Block(start, end) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _with(file: Path, text: str, name: str, prompt: str) -> str:
    """The file with a prompt more. Raises BadInputError where it would not say what it is to say."""
    after = appended(text, name, prompt)
    with suppress(BadInputError):
        if _rows(file, after) == [*_rows(file, text), {"id": name, "prompt": storable(prompt)}]:
            return after
    raise _not_ours(file, name)
