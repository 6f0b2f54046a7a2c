"""Prompts of before: kept in order, once each, within bounds, whoever else writes to the file."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

from gemtop.prompts import recent
from gemtop.prompts.reading import read_set


def keep_many(file: Path, name: str, count: int) -> None:
    for number in range(count):
        recent.keep(file, f"{name} {number}")


def test_the_newest_is_last_and_each_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "state" / "prompts.jsonl"
    assert recent.load(file) == []
    for prompt in ("one", "two\nlines", "one", "one", " ", "three"):
        recent.keep(file, prompt)
    assert recent.load(file) == ["two\nlines", "one", "three"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [prompt.prompt for prompt in read_set(file).prompts] == recent.load(file), "it is a set of prompts too"


def test_escape_sequences_are_kept_and_the_file_can_be_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    recent.keep(file, "red \x1b[31m \x9b \ud800 漢")
    assert recent.load(file) == ["red \x1b[31m \x9b \\ud800 漢"]
    assert file.read_bytes().isascii() and b"\x1b" not in file.read_bytes()


def test_the_oldest_go(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    for number in range(20):
        recent.keep(file, f"{number} " + "x" * 100_000)
    assert file.stat().st_size <= recent.MOST_BYTES
    assert [prompt.split()[0] for prompt in recent.load(file)] == [str(number) for number in range(10, 20)]
    recent.keep(file, "y" * recent.MOST_BYTES)
    assert len(recent.load(file)) == 10, "one prompt does not push out all others"
    file.write_text("".join(json.dumps({"prompt": str(n)}) + "\n" for n in range(recent.MOST_PROMPTS + 50)))
    recent.keep(file, "last")
    assert len(recent.load(file)) == recent.MOST_PROMPTS and recent.load(file)[-1] == "last"


def test_what_is_damaged_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b'{"prompt": "good"}\n[1]\n\xff\n{"prompt": 3}\n{"prompt": "half')
    recent.keep(file, "next")
    assert recent.load(file) == ["good", "next"]


def test_several_gemtops_lose_nothing_of_each_other(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    others = multiprocessing.get_context("fork")
    writers = [others.Process(target=keep_many, args=(file, name, 60)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    keep_many(file, "c", 60)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    kept = recent.load(file)
    assert sorted(kept) == sorted(f"{name} {number}" for name in "abc" for number in range(60))
    assert [one for one in kept if one.startswith("a")] == [f"a {number}" for number in range(60)]


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    file = tmp_path / "state" / "prompts.jsonl"
    recent.keep(file, "one")
    assert recent.load(file) == []
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
