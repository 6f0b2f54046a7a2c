"""Sessions come into the fleet whole, once, and as they are now."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.history import syncing
from gemtop.history.annotating import Annotation, write
from gemtop.history.database import Database
from gemtop.history.tables import TABLES
from tests.fleet.boxes import Fleet, fill, gemtop, session_name, start
from tests.history.rows import ask, dead_spool, put_in, run, session

_COUNTS = " UNION ALL ".join(f"SELECT '{t}', count(*) FROM store.{t}" for t in TABLES)


def _same(fleet: Fleet, *boxes: Paths) -> None:
    """The fleet has the rows of these histories, each once."""
    wanted = {table: sum(dict(ask(box, _COUNTS))[table] for box in boxes) for table in TABLES}
    assert dict(fleet.ask(_COUNTS)) == wanted
    for table, key in (("sessions", "session_id"), ("runs", "run_id"), ("tokens", "run_id || '/' || \"index\"")):
        (row,) = fleet.ask(f"SELECT count(*), count(DISTINCT {key}) FROM store.{table}")
        assert row[0] == row[1] == wanted[table], table
    (row,) = fleet.ask("SELECT count(*), count(DISTINCT session_id) FROM store.synced")
    assert row == (wanted["sessions"], wanted["sessions"])


def test_what_was_sent_is_sent_once(fleet: Fleet, box: Paths) -> None:
    fill(box, range(3))
    first = fleet.send(box)
    assert (first.sent, first.there, first.changed, first.live) == (3, 0, 0, 0)
    assert first.rows == sum(count for _, count in ask(box, _COUNTS))
    again = fleet.send(box)
    assert (again.sent, again.there, again.rows) == (0, 3, 0)
    fill(box, [7])
    more = fleet.send(box)
    assert (more.sent, more.there) == (1, 3)
    _same(fleet, box)


def test_values_are_those_of_the_history(fleet: Fleet, box: Paths) -> None:
    fill(box, range(2))
    write(box, Annotation(session_name(0), "it's a note", ("driver-580", "night")))
    fleet.send(box)
    for view in ("sessions", "runs", "tokens", "samples", "ledger", "devices", "roofs", "costs", "run_placement"):
        sql = f"FROM {view} ORDER BY ALL"
        assert fleet.ask(sql) == ask(box, sql), view


def test_a_note_that_changed_is_sent_and_nothing_doubled(fleet: Fleet, box: Paths) -> None:
    fill(box, range(3))
    fleet.send(box)
    write(box, Annotation(session_name(1), "looked at again", ("kept",)))
    done = fleet.send(box)
    assert (done.sent, done.changed, done.there) == (1, 1, 2)
    assert fleet.ask("SELECT session_id, tags FROM sessions WHERE note IS NOT NULL") == [(session_name(1), ["kept"])]
    _same(fleet, box)


def test_a_session_that_goes_on_waits_for_its_end(fleet: Fleet, box: Paths) -> None:
    fill(box, [1])
    with Database(box.history).open() as con:
        con.execute("UPDATE store.sessions SET status = NULL")
    assert fleet.send(box).live == 1
    assert fleet.ask("SELECT count(*) FROM sessions") == [(0,)]
    with Database(box.history).open() as con:
        con.execute("UPDATE store.sessions SET status = 'finished'")
    assert fleet.send(box).sent == 1


def test_a_crashed_session_is_sent_by_the_command(fleet: Fleet, box: Paths) -> None:
    fill(box, [1])
    dead_spool(box, [session(session_name(2)), run(session_name(2))], session_name(2))
    done = gemtop("sync", "--to", fleet.url, "--data", str(fleet.data), "--db", str(box.history))
    assert done.returncode == 0, done.stderr
    assert "2 sessions sent" in done.stdout
    assert fleet.ask("SELECT status FROM sessions ORDER BY session_id") == [("finished",), ("crashed",)]


def test_text_is_left_out_on_request_and_taken_out_again(fleet: Fleet, box: Paths) -> None:
    fill(box, range(2))
    texts = "SELECT count(prompt), count(output), (SELECT count(token_id) FROM store.tokens) FROM store.runs"
    fleet.send(box)
    assert fleet.ask(texts)[0][:2] == (4, 4)
    done = fleet.send(box, text=False)
    assert (done.sent, done.changed) == (2, 2)
    assert fleet.ask(texts) == [(0, 0, 0)]
    assert fleet.send(box, text=False).sent == 0
    _same(fleet, box)


def test_two_boxes_and_two_of_one_box_at_once(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    other = Paths(tmp_path / "other" / "history.duckdb", tmp_path / "other", tmp_path / "other")
    fill(box, range(4))
    fill(other, range(100, 104), host="other")
    arguments = ("sync", "--to", fleet.url, "--data", str(fleet.data), "--db")
    senders = [start(*arguments, str(where.history)) for where in (box, other, box, other, box)]
    for sender in senders:
        _, talk = sender.communicate(timeout=120)
        assert sender.returncode == 0, talk
    _same(fleet, box, other)


def test_the_same_session_from_two_histories_comes_once(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    copy = Paths(tmp_path / "copy" / "history.duckdb", tmp_path / "copy", tmp_path / "copy")
    for where in (box, copy):
        fill(where, [5])
    fleet.send(box)
    assert fleet.send(copy).there == 1
    _same(fleet, box)


def test_another_session_of_the_same_name_is_told_of(fleet: Fleet, box: Paths, tmp_path: Path) -> None:
    other = Paths(tmp_path / "other" / "history.duckdb", tmp_path / "other", tmp_path / "other")
    fill(box, [5])
    fill(other, [5, 6], host="other")
    fleet.send(box)
    done = fleet.send(other)
    assert done.sent == 1
    assert done.notes == (f"{session_name(5)} was left out: the fleet has another session of that name, of host box",)


def test_a_catalogue_that_goes_away_in_the_middle(fleet: Fleet, box: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "BATCH_SESSIONS", 2)
    fill(box, range(5))
    down = []

    def go_away(what: str) -> None:
        if what.startswith("2 of 5 sessions sent; sending") and not down:
            fleet.postgres.vanish()
            down.append(what)

    try:
        with pytest.raises(HistoryError) as caught:
            fleet.send(box, progress=go_away)
    finally:
        assert down
        fleet.postgres.start()
    assert str(caught.value).startswith("2 of 5 sessions are in the fleet; the same command goes on: the fleet's catal")
    assert fleet.ask("SELECT count(*) FROM sessions") == [(2,)]
    done = fleet.send(box)
    assert (done.sent, done.there) == (3, 2)
    _same(fleet, box)


def test_a_catalogue_that_goes_away_in_the_middle_of_a_commit(fleet: Fleet, box: Paths) -> None:
    """At random moments: whatever was answered, a session is there whole or not at all, and once."""
    fill(box, range(3))
    fleet.send(box)
    chance = random.Random(20261127)
    for number in range(10, 16):
        fill(box, [number])
        sender = start("sync", "--to", fleet.url, "--db", str(box.history))
        time.sleep(chance.uniform(0.2, 1.2))  # the moment is what is tried
        fleet.postgres.vanish()
        fleet.postgres.start()
        _, talk = sender.communicate(timeout=120)
        assert sender.returncode in (0, 2), talk
        assert talk.count("\n") <= 1, talk
    fleet.send(box)
    _same(fleet, box)


def test_a_sender_that_is_killed_leaves_nothing_half_done(fleet: Fleet, box: Paths) -> None:
    fill(box, [0])
    fleet.send(box)
    chance = random.Random(20261128)
    for number in range(10, 22):
        fill(box, [number])
        sender = start("sync", "--to", fleet.url, "--db", str(box.history))
        time.sleep(chance.uniform(0.1, 1.0))  # the moment is what is tried
        sender.send_signal(signal.SIGKILL)
        sender.communicate()
    fleet.send(box)
    _same(fleet, box)


def test_compaction_keeps_every_row(fleet: Fleet, box: Paths) -> None:
    for number in range(4):
        fill(box, [number])
        fleet.send(box)
    before = fleet.ask("FROM samples ORDER BY ALL")
    done = fleet.send(box, compact=True).compacted
    assert done is not None
    assert done.files < done.files_before
    assert fleet.ask("FROM samples ORDER BY ALL") == before
    _same(fleet, box)


def test_a_fleet_of_an_older_gemtop_gets_the_new_columns(
    fleet: Fleet, box: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemtop.history import lake, schema

    fill(box, [1])
    with monkeypatch.context() as old:
        old.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:4])
        import duckdb

        with duckdb.connect() as con:
            lake.prepare(con, s3=False)
            lake.ensure(con, fleet.address, "fleet")
    assert "note" not in [row[0] for row in fleet.ask("DESCRIBE sessions")]
    assert fleet.send(box).sent == 1
    assert "note" in [row[0] for row in fleet.ask("DESCRIBE sessions")]
    _same(fleet, box)


def test_an_older_gemtop_sends_to_a_newer_fleet(fleet: Fleet, box: Paths) -> None:
    """A column that this gemtop does not know stays NULL."""
    import duckdb

    from gemtop.history import lake

    fill(box, [1])
    fleet.send(box)
    with duckdb.connect() as con:
        lake.prepare(con, s3=False)
        lake.attach(con, fleet.address, "fleet", writing=True)
        con.execute("ALTER TABLE store.runs ADD COLUMN later DOUBLE")
        con.execute("INSERT INTO store.fleet VALUES (1, 99, '9.0', now())")
    fill(box, [2])
    assert fleet.send(box).sent == 1
    assert fleet.ask("SELECT count(*), count(later) FROM store.runs") == [(4, 0)]
    _same(fleet, box)


def test_rows_of_a_session_deleted_here_stay_in_the_fleet(fleet: Fleet, box: Paths) -> None:
    from gemtop.history.tables import delete_rows

    fill(box, range(2))
    fleet.send(box)
    with Database(box.history).open() as con:
        delete_rows(con, [session_name(0)])
    fleet.send(box)
    assert fleet.ask("SELECT count(*) FROM sessions") == [(2,)]


def test_a_session_is_taken_out_by_its_id(fleet: Fleet, box: Paths) -> None:
    fill(box, range(3))
    fleet.send(box)
    done = gemtop("sync", "--to", fleet.url, "--forget", session_name(1), "20260101-000000-00000000")
    assert (done.returncode, done.stdout) == (0, f"{fleet.url}: 1 session deleted\n")
    assert done.stderr == "gemtop sync: the fleet has no session 20260101-000000-00000000\n"
    assert fleet.ask("SELECT session_id FROM sessions ORDER BY 1") == [(session_name(0),), (session_name(2),)]
    assert fleet.ask(f"SELECT count(*) FROM tokens WHERE run_id LIKE '{session_name(1)}%'") == [(0,)]
    assert fleet.send(box).sent == 1
    _same(fleet, box)


def test_an_imported_session_without_a_host(fleet: Fleet, box: Paths) -> None:
    from gemtop.domain.records import SessionEnd
    from tests.history.rows import STARTED_NS, S

    put_in(box, [session(session_name(3), host=None), SessionEnd(STARTED_NS + S, None)], session_name(3))
    assert fleet.send(box).sent == 1
    assert fleet.send(box).there == 1
