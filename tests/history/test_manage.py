"""Finding, labelling and deleting sessions."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any

import duckdb
import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.records import SessionEnd
from gemtop.history import manage
from gemtop.history.database import Database
from gemtop.history.ingest import take, take_in_dead
from gemtop.history.lines import Encoder
from gemtop.history.manage import Session, Sessions
from gemtop.history.spool import Spool, spools_in
from gemtop.history.tables import OF_RUNS, TABLES
from tests.history.rows import (
    SESSION,
    STARTED_AT_MS,
    STARTED_NS,
    S,
    ask,
    dead_spool,
    ledger_row,
    put_in,
    run,
    run_end,
    session,
    tokens,
    tune_point,
    whole_session,
)

OTHER = "20261124-100000-bbbb0002"
LIVE = "20261125-100000-cccc0003"


@pytest.fixture
def two(paths: Paths) -> Paths:
    """A history of two sessions, the second a day later."""
    put_in(paths, whole_session())
    later = session(OTHER, started_at_ms=STARTED_AT_MS + 86_400_000, command="bench")
    put_in(
        paths,
        [later, *whole_session(OTHER)[1:-1], ledger_row(), tune_point(OTHER), SessionEnd(STARTED_NS, None)],
        OTHER,
    )
    return paths


@pytest.fixture
def live(two: Paths) -> Any:
    """The same with a session that goes on, of which nothing is in the history yet: its spool."""
    two.spools.mkdir(exist_ok=True)
    spool = Spool.create(two.spools, LIVE)
    begin = session(LIVE, started_at_ms=STARTED_AT_MS + 2 * 86_400_000, pid=os.getpid(), command="bench")
    spool.append(Encoder().lines([begin, run(LIVE), *tokens(f"{LIVE}.1"), run_end(f"{LIVE}.1"), run(LIVE, 2)]))
    yield spool
    spool.close()


def listed(paths: Paths, tag: str | None = None) -> list[Session]:
    with Sessions(paths) as sessions:
        return sessions.all(tag)


def found(paths: Paths, name: str) -> Session:
    with Sessions(paths) as sessions:
        return sessions.find(name)


def label(paths: Paths, name: str, *tags: str, note: str | None = None) -> None:
    with Sessions(paths) as sessions:
        one = sessions.find(name)
        early = sessions.row_in_spool(one.session_id)
    if note is not None:
        manage.set_note(Database(paths.history), one, early, note)
    if tags:
        manage.set_tags(Database(paths.history), one, early, tags)


def test_the_newest_is_first(two: Paths) -> None:
    first, second = listed(two)
    assert (first.session_id, first.command, first.status, first.runs) == (OTHER, "bench", "finished", 1)
    assert (second.session_id, second.models, second.tags, second.note) == (
        SESSION,
        ("Gemma 3 270M QAT Q4_0",),
        (),
        None,
    )


def test_without_a_history_there_are_none(paths: Paths) -> None:
    assert listed(paths) == []
    with pytest.raises(BadInputError, match="holds no session yet"):
        found(paths, "last")
    assert not paths.history.exists()


@pytest.mark.parametrize("name", [OTHER, "20261124", "bbbb0002", "0002", "last"])
def test_names_of_a_session(two: Paths, name: str) -> None:
    assert found(two, name).session_id == OTHER


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2026", "stands for 2 sessions: .*give more"),
        ("", "no session ''"),
        ("x\x1b[31m", "no session 'x␛"),
        ("%", "no session"),
    ],
)
def test_names_of_none_or_several(two: Paths, name: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        found(two, name)


def test_an_id_that_begins_another_is_exact(two: Paths) -> None:
    put_in(two, whole_session(f"{OTHER}9"), f"{OTHER}9")
    assert found(two, OTHER).session_id == OTHER


def test_tags_and_notes(two: Paths) -> None:
    label(two, SESSION, "night", "cold", note="two\nlines ")
    assert ask(two, "SELECT tags, note FROM sessions WHERE tags IS NOT NULL") == [(["cold", "night"], "two\nlines")]
    assert [one.session_id for one in listed(two, "cold")] == [SESSION]
    assert listed(two, "col") == []
    label(two, SESSION, "cold", note="  ")
    assert ask(two, "SELECT tags, note FROM sessions WHERE tags IS NOT NULL") == [(["cold"], None)]
    manage.set_tags(Database(two.history), found(two, SESSION), None, [])
    assert ask(two, "SELECT count(tags) FROM sessions") == [(0,)]
    assert ask(two, "SELECT count(*) FROM runs") == [(2,)]


@pytest.mark.parametrize("word", ["", "two words", "a,b", "x\x1b", "\u202e", "x" * 65, "a\n"])
def test_words_that_are_no_tags(word: str) -> None:
    with pytest.raises(BadInputError, match="is no tag"):
        manage.checked_tags([word])


def test_tags_are_kept_once_and_in_order() -> None:
    assert manage.checked_tags(["b", "ä", "a", "b"]) == ("a", "b", "ä")


def test_a_note_that_is_too_long(two: Paths) -> None:
    with pytest.raises(BadInputError, match="100,001 characters"):
        label(two, SESSION, note="x" * 100_001)


def test_a_live_session_that_is_only_in_its_spool(two: Paths, live: Spool) -> None:
    newest = listed(two)[0]
    assert (newest.session_id, newest.status, newest.command, newest.runs) == (LIVE, "live", "bench", 2)
    with Sessions(two) as sessions:
        rows = sessions.view("runs", LIVE)
    assert [row["status"] for row in rows] == ["finished", None]
    assert ask(two, f"SELECT count(*) FROM store.runs WHERE session_id = '{LIVE}'") == [(0,)]


def test_a_label_of_a_live_session_stays(two: Paths, live: Spool) -> None:
    label(two, "last", "warm", note="still going on")
    with Database(two.history).open() as con:
        while take(con, live).bytes:
            pass
    live.append(Encoder().lines([SessionEnd(STARTED_NS + 9 * S, None)]))
    with Database(two.history).open() as con:
        take(con, live)
    live.remove()
    (newest, *_) = listed(two)
    assert (newest.status, newest.tags, newest.note, newest.runs) == ("finished", ("warm",), "still going on", 2)
    assert ask(two, f"SELECT count(*) FROM tokens WHERE run_id = '{LIVE}.1'") == [(15,)]


def test_a_live_session_is_not_deleted(two: Paths, live: Spool) -> None:
    with pytest.raises(BadInputError, match=rf"gemtop bench \(PID {os.getpid()}\) is recording it"):
        manage.refuse_live([found(two, LIVE)], "delete")
    with pytest.raises(BadInputError, match="is live"):
        manage.delete(two, Database(two.history), [LIVE])
    assert len(listed(two)) == 3


def test_deleting_leaves_nothing_of_it(two: Paths) -> None:
    expected = {}
    for table in TABLES:
        key = "run_id LIKE ? || '.%'" if table in OF_RUNS else "session_id = ?"
        with duckdb.connect(str(two.history), read_only=True) as con:
            expected[table] = con.execute(f"SELECT count(*) FROM store.{table} WHERE {key}", [SESSION]).fetchone()
    rows = manage.delete(two, Database(two.history), [OTHER])
    assert rows == 2 + 15 + 18 + 2 + 0  # session and run, tokens, samples, ledger and tuning
    for table in TABLES:
        assert ask(two, f"SELECT count(*) FROM store.{table}") == [expected[table]]
    assert ask(two, "SELECT session_id FROM store.spools") == [(SESSION,)]
    put_in(two, whole_session(OTHER), OTHER)  # an id is as good as new
    assert ask(two, "SELECT count(*) FROM tokens") == [(30,)]


def test_a_spool_that_is_left_does_not_bring_it_back(two: Paths) -> None:
    dead_spool(two, whole_session(OTHER), OTHER)
    manage.delete(two, Database(two.history), [OTHER])
    assert spools_in(two.spools) == []
    assert take_in_dead(two).sessions == ()
    assert ask(two, "SELECT session_id FROM sessions") == [(SESSION,)]
    assert ask(two, "SELECT session_id FROM store.spools") == [(SESSION,)]


def test_a_kill_before_the_spool_is_gone_does_not_bring_it_back(two: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_spool(two, whole_session(OTHER), OTHER)

    def killed(_: Spool) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Spool, "remove", killed)
        manage.delete(two, Database(two.history), [OTHER])
    assert len(spools_in(two.spools)) == 1
    take_in_dead(two)
    assert spools_in(two.spools) == []
    assert ask(two, "SELECT session_id FROM sessions") == [(SESSION,)]
    assert ask(two, "SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM samples)") == [(15, 18)]


def test_a_deletion_that_fails_changes_nothing(two: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise duckdb.IOException("IO Error: No space left on device")

    monkeypatch.setattr(manage, "delete_rows", fail)
    with pytest.raises(Exception, match="no room to write"):
        manage.delete(two, Database(two.history), [OTHER])
    assert len(listed(two)) == 2


def test_it_waits_for_others_and_says_for_whom(two: Paths) -> None:
    import subprocess
    import sys

    code = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print(1, flush=True); time.sleep(1.0)"
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", code, str(two.history)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        one = Session(SESSION, *[None] * 2, None, "finished", None, None, (), 1, (), None, None)  # type: ignore[arg-type]
        manage.set_note(Database(two.history), one, None, "patient", said.append)
    assert len(said) == 1 and f"PID {other.pid}" in said[0]
    assert ask(two, "SELECT count(*) FROM sessions WHERE note = 'patient'") == [(1,)]


@pytest.mark.parametrize(
    ("text", "hours"), [("12h", 12), ("90d", 90 * 24), ("4w", 4 * 7 * 24), ("0h", 0), ("999999w", 999999 * 7 * 24)]
)
def test_ages(text: str, hours: int) -> None:
    assert manage.age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "9999999d", "3m", "1d ", "٣d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(BadInputError, match="is no age"):
        manage.age(text)


def test_what_goes_when_old(two: Paths, live: Spool) -> None:
    label(two, SESSION, "keep")
    everything = listed(two)
    assert [one.session_id for one in manage.to_prune(everything, timedelta(0))] == [OTHER]
    assert [one.session_id for one in manage.to_prune(everything, timedelta(0), tagged_too=True)] == [OTHER, SESSION]
    assert manage.to_prune(everything, timedelta(weeks=999999)) == []


def test_labels_from_several_threads(two: Paths) -> None:
    threads = [threading.Thread(target=label, args=(two, name), kwargs={"note": name}) for name in (SESSION, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(two, "SELECT note FROM sessions ORDER BY 1") == [(SESSION,), (OTHER,)]
