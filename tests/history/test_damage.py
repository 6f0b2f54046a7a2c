"""A damaged history: what records sets it aside and begins a new one, what reads names it, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from gemtop import config
from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import SessionEnd, TokenRow
from gemtop.history.damage import mend, renewing, set_aside
from gemtop.history.database import IN_THIS_PROCESS, Database
from gemtop.history.faults import DamagedHistoryError, HistoryLockedError, explain, log_of
from gemtop.history.ingest import take_in_dead
from gemtop.history.merging import merge
from gemtop.history.reader import Reader
from gemtop.history.recorder import Recorder, check_history
from gemtop.history.spool import spools_in
from tests.history.rows import FAST, STARTED_NS, S, ask, dead_spool, put_in, run, session, until, whole_session

BEFORE = "20261122-100000-aaaa0001"
DEAD = "20261123-090000-dead0001"
NOW = "20261123-100000-bbbb0001"
END = SessionEnd(STARTED_NS + 5 * S, None)
HEADER_BYTES = 12288


def _asides(paths: Paths) -> list[Path]:
    return sorted(paths.history.parent.glob("history.duckdb.damaged-*"))


def _text(whole: bytes) -> bytes:
    return b"this is no database\n" * 1000


def _truncated(whole: bytes) -> bytes:
    return whole[:5000]


def _cut_behind_the_header(whole: bytes) -> bytes:
    return whole[: HEADER_BYTES + 4096]


def _header(whole: bytes) -> bytes:
    return random.Random(1).randbytes(HEADER_BYTES) + whole[HEADER_BYTES:]


def _zeros(whole: bytes) -> bytes:
    return whole[:HEADER_BYTES] + bytes(len(whole) - HEADER_BYTES)


def _a_bit_everywhere(whole: bytes) -> bytes:
    data = bytearray(whole)
    for at in range(HEADER_BYTES, len(data), 4096):
        data[at] ^= 1
    return bytes(data)


DAMAGES = [_text, _truncated, _cut_behind_the_header, _header, _zeros, _a_bit_everywhere]


@pytest.fixture(params=DAMAGES, ids=lambda spoil: spoil.__name__.strip("_"))
def damaged(request: pytest.FixtureRequest, paths: Paths) -> bytes:
    """A history with a session in it, spoilt; its bytes."""
    put_in(paths, whole_session(BEFORE), BEFORE)
    spoilt: bytes = request.param(paths.history.read_bytes())
    paths.history.write_bytes(spoilt)
    return spoilt


def test_what_reads_names_it_and_leaves_it(paths: Paths, damaged: bytes) -> None:
    dead_spool(paths, whole_session(DEAD), DEAD)
    for use in (lambda: check_history(paths), lambda: ask(paths, "FROM runs"), lambda: take_in_dead(paths)):
        with pytest.raises(DamagedHistoryError) as caught:
            use()
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)
        assert str(caught.value).count(str(paths.history)) == 1
    assert paths.history.read_bytes() == damaged
    assert _asides(paths) == []
    assert [path.stem for path in spools_in(paths.spools)] == [DEAD]


@pytest.mark.parametrize("checked", [True, False])
def test_what_records_sets_it_aside_and_begins_a_new_one(paths: Paths, damaged: bytes, checked: bool) -> None:
    dead_spool(paths, whole_session(DEAD)[:-1], DEAD)
    recorder = Recorder(paths, FAST)
    if checked:
        recorder.check()
    recorder.open(session(NOW))
    recorder.put(run(NOW))
    recorder.put(TokenRow(f"{NOW}.1", 0, STARTED_NS, 1, "decode"))
    recorder.close(END)
    assert recorder.problem is None
    (aside,) = _asides(paths)
    assert aside.read_bytes() == damaged
    (note,) = recorder.notes
    assert "\n" not in note and str(aside) in note and "a new history is begun" in note
    take_in_dead(paths)  # a session that ends at once leaves that to the next
    assert ask(paths, "SELECT session_id, status FROM sessions ORDER BY 1") == [(DEAD, "crashed"), (NOW, "finished")]
    assert ask(paths, "SELECT count(*) FROM tokens") == [(15 + 1,)]
    assert spools_in(paths.spools) == []
    assert paths.history.stat().st_mode & 0o777 == 0o600


def test_a_live_session_is_taken_into_the_new_history_from_its_beginning(paths: Paths) -> None:
    recorder = Recorder(paths, FAST)
    recorder.open(session(NOW))
    recorder.put(run(NOW))
    for index in range(50):
        recorder.put(TokenRow(f"{NOW}.1", index, STARTED_NS + index, 1, "decode"))
    until(lambda: paths.history.exists() and ask(paths, "SELECT count(*) FROM tokens") == [(50,)], "the first rows")
    with IN_THIS_PROCESS:  # between two moves
        paths.history.write_bytes(_zeros(paths.history.read_bytes()))
    recorder.put(TokenRow(f"{NOW}.1", 50, STARTED_NS + 50, 1, "decode"))
    until(lambda: bool(recorder.notes), "the damage is found")
    recorder.close(END)
    assert recorder.problem is None
    assert ask(paths, 'SELECT count(*), count(DISTINCT "index") FROM tokens') == [(51, 51)]
    assert len(_asides(paths)) == 1


def test_damage_anywhere_in_the_file_keeps_no_session_from_being_recorded(paths: Paths, tmp_path: Path) -> None:
    """In one block after the other: some are met when the file is opened, some by what is written, some never."""
    put_in(paths, whole_session(BEFORE), BEFORE)
    whole, size = paths.history.read_bytes(), 262144
    kept = 0
    for number, at in enumerate(range(HEADER_BYTES, len(whole), size)):
        here = config.paths(str(tmp_path / f"block-{number}" / "history.duckdb"))
        here.history.parent.mkdir()
        spoilt = bytearray(whole)
        for place in range(at, min(at + size, len(whole)), 512):
            spoilt[place] ^= 1
        here.history.write_bytes(spoilt)
        recorder = Recorder(here, FAST)
        recorder.open(session(NOW))
        for record in whole_session(NOW)[1:-1]:
            recorder.put(record)
        recorder.close(END)
        assert recorder.problem is None and spools_in(here.spools) == []
        assert ask(here, "SELECT status FROM sessions WHERE session_id = $id", id=NOW) == [("finished",)]
        assert ask(here, "SELECT count(*) FROM tokens WHERE run_id = $id", id=f"{NOW}.1") == [(15,)]
        asides = [aside for aside in _asides(here) if aside.suffix != ".wal"]
        assert len(asides) == len(recorder.notes) <= 1
        assert ask(here, "SELECT count(*) FROM sessions") == [(1 if asides else 2,)]
        kept += not asides
    assert 0 < kept < number


_KILLED_IN_A_BATCH = """
import os, signal, sys
from gemtop.config import paths
from gemtop.history.database import Database
from gemtop.history.ingest import take
from gemtop.history.spool import Spool, spools_in
spools = [Spool.adopt(path) for path in spools_in(paths().spools)]
with Database(paths().history).open() as con:
    con.execute("SET wal_autocheckpoint = '1GB'")  # as if it were killed between the log and the file
    for spool in spools:
        take(con, spool)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def logged(paths: Paths) -> Paths:
    """A history whose last batch is in its write-ahead log alone, since a process was killed there."""
    put_in(paths, whole_session(BEFORE), BEFORE)
    dead_spool(paths, whole_session(DEAD), DEAD)
    assert subprocess.run([sys.executable, "-c", _KILLED_IN_A_BATCH]).returncode == -signal.SIGKILL
    assert log_of(paths.history).stat().st_size > 5000
    return paths


def _another_log(logged: Paths, tmp_path: Path) -> bytes:
    """That of another history."""
    other = config.paths(str(tmp_path / "other" / "history.duckdb"))
    put_in(other, whole_session(BEFORE), BEFORE)
    dead_spool(other, whole_session(DEAD), DEAD)
    environment = os.environ | {"GEMTOP_DB": str(other.history)}
    subprocess.run([sys.executable, "-c", _KILLED_IN_A_BATCH], env=environment)
    return log_of(other.history).read_bytes()


def _records(paths: Paths) -> tuple[str, ...]:
    """A session is recorded; what was said of the history."""
    recorder = Recorder(paths, FAST)
    recorder.open(session(NOW))
    recorder.put(run(NOW))
    recorder.close(END)
    assert recorder.problem is None
    return tuple(recorder.notes)


def test_a_block_whose_write_was_broken_off_is_mended(logged: Paths) -> None:
    """As a process leaves it that is killed in the checkpoint: the checksum is of what was to be written."""
    with logged.history.open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(b"\x01" * 8)
    with pytest.raises(DamagedHistoryError, match="mends it, or sets it aside"):
        ask(logged, "FROM runs")
    (note,) = _records(logged)
    assert note.startswith(f"{logged.history}: ") and "was mended" in note
    assert _asides(logged) == []
    take_in_dead(logged)
    found = ask(logged, "SELECT split_part(run_id, '.', 1), count(*) FROM tokens GROUP BY 1 ORDER BY 1")
    assert found == [(BEFORE, 15), (DEAD, 15)]
    assert ask(logged, "SELECT session_id FROM sessions ORDER BY 1") == [(BEFORE,), (DEAD,), (NOW,)]


def test_what_another_process_has_mended_is_not_set_aside(logged: Paths) -> None:
    """Two find the damage at once."""
    with logged.history.open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(b"\x01" * 8)
    late: list[DamagedHistoryError] = []

    def found_by_both() -> None:
        try:
            with Database(logged.history).open():
                pass
        except DamagedHistoryError as error:
            late.append(error)
            raise

    renewing(logged.history, found_by_both, lambda _: None)
    (error,) = late
    assert mend(logged.history, error) is None
    assert set_aside(logged.history, error) is None
    assert _asides(logged) == []


@pytest.mark.parametrize("spoilt", [range(8, 262144), range(4096, 262144)])
def test_a_block_that_cannot_be_read_is_set_aside_as_it_was(logged: Paths, spoilt: range) -> None:
    whole = bytearray(logged.history.read_bytes())
    for at in spoilt:
        whole[HEADER_BYTES + at] ^= 0x5A
    logged.history.write_bytes(whole)
    log = log_of(logged.history).read_bytes()
    (note,) = _records(logged)
    assert "a new history is begun" in note
    file, beside = _asides(logged)
    assert (file.read_bytes(), beside.read_bytes()) == (bytes(whole), log)


def test_without_a_log_nothing_was_being_written_and_nothing_is_mended(paths: Paths) -> None:
    put_in(paths, whole_session(BEFORE), BEFORE)
    whole = bytearray(paths.history.read_bytes())
    whole[HEADER_BYTES] ^= 1
    paths.history.write_bytes(whole)
    (note,) = _records(paths)
    assert "a new history is begun" in note
    assert _asides(paths)[0].read_bytes() == bytes(whole)


@pytest.mark.parametrize("how", ["a bit", "zeros at the end", "that of another history"])
def test_a_damaged_log_is_set_aside_alone(logged: Paths, tmp_path: Path, how: str) -> None:
    log = log_of(logged.history)
    spoilt = bytearray(log.read_bytes())
    if how == "a bit":
        spoilt[len(spoilt) // 2] ^= 1
    elif how == "zeros at the end":
        spoilt[-3000:] = bytes(3000)
    else:
        spoilt = bytearray(_another_log(logged, tmp_path))
    log.write_bytes(spoilt)
    with pytest.raises(DamagedHistoryError, match=r"history\.duckdb\.wal is damaged"):
        ask(logged, "FROM runs")
    recorder = Recorder(logged, FAST)
    recorder.check()
    recorder.open(session(NOW))
    recorder.close(END)
    (aside,) = _asides(logged)
    assert aside.suffix == ".wal" and aside.read_bytes() == spoilt
    (note,) = recorder.notes
    assert str(aside) in note and "goes on without it" in note
    take_in_dead(logged)  # the spool of the one that was killed is there yet
    assert ask(logged, "SELECT session_id[-8:], status FROM sessions ORDER BY 1") == [
        ("aaaa0001", "finished"),
        ("bbbb0001", "finished"),
        ("dead0001", "finished"),
    ]
    assert ask(logged, 'SELECT run_id, count(*), count(DISTINCT "index") FROM tokens GROUP BY 1 ORDER BY 1') == [
        (f"{BEFORE}.1", 15, 15),
        (f"{DEAD}.1", 15, 15),
    ]


def test_a_damaged_file_takes_its_log_along(logged: Paths) -> None:
    log = log_of(logged.history).read_bytes()
    whole = logged.history.read_bytes()
    logged.history.write_bytes(_zeros(whole))
    recorder = Recorder(logged, FAST)
    recorder.check()
    aside, beside = _asides(logged)
    assert beside == log_of(aside) and beside.read_bytes() == log
    assert ask(logged, "FROM runs") == []
    aside.write_bytes(whole)  # as it would be if the disk came to its senses: the two belong together
    assert merge(logged, aside).new == (BEFORE, DEAD)


def test_what_is_set_aside_can_be_merged_where_the_file_is_whole(logged: Paths) -> None:
    log_of(logged.history).write_bytes(b"\1" * 5000)
    Recorder(logged, FAST).check()
    assert ask(logged, "SELECT session_id FROM sessions") == [(BEFORE,)]


def test_a_query_that_meets_damage_says_so(paths: Paths) -> None:
    """Other queries work, and sessions are recorded: it is left where it is."""
    put_in(paths, whole_session(BEFORE), BEFORE)
    whole = paths.history.read_bytes()
    said = set()
    for at in range(HEADER_BYTES, len(whole), 262144):
        spoilt = bytearray(whole)
        for place in range(at, min(at + 262144, len(whole)), 512):
            spoilt[place] ^= 1
        paths.history.write_bytes(spoilt)
        try:
            reader = Reader.open(paths)
        except DamagedHistoryError:
            continue
        with reader:
            for table in ("tokens", "samples", "runs"):
                try:
                    list(reader.run_sql(f"FROM store.{table}").rows())
                except HistoryError as error:
                    said.add(table)
                    assert "the history is damaged where this query reads" in str(error) and error.exit_code == 2
    assert said
    assert _asides(paths) == []


def test_a_link_stays_a_link(paths: Paths, tmp_path: Path) -> None:
    big = tmp_path / "big disk" / "gemtop.duckdb"
    big.parent.mkdir()
    big.write_bytes(_text(b""))
    paths.history.parent.mkdir()
    paths.history.symlink_to(big)
    Recorder(paths, FAST).check()
    put_in(paths, whole_session(NOW), NOW)
    assert paths.history.is_symlink() and big.stat().st_size > HEADER_BYTES
    assert [path.name for path in sorted(big.parent.iterdir())][1].startswith("gemtop.duckdb.damaged-")


# What is never set aside ------------------------------------------------------------------------------------------

_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_holds_is_waited_for(paths: Paths) -> None:
    put_in(paths, whole_session(BEFORE), BEFORE)
    paths.history.write_bytes(_zeros(paths.history.read_bytes()))
    with pytest.raises(DamagedHistoryError) as caught:
        check_history(paths)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(paths.history)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(HistoryLockedError):
            set_aside(paths.history, caught.value)
        Recorder(paths, FAST).check()  # one that is in use counts as good
        holder.communicate()
    assert _asides(paths) == []
    assert set_aside(paths.history, caught.value)


def test_a_file_that_has_taken_its_place_is_left(paths: Paths) -> None:
    put_in(paths, whole_session(BEFORE), BEFORE)
    whole = paths.history.read_bytes()
    paths.history.write_bytes(_zeros(whole))
    with pytest.raises(DamagedHistoryError) as caught:
        check_history(paths)
    paths.history.rename(paths.history.with_name("mine.duckdb"))
    assert set_aside(paths.history, caught.value) is None
    paths.history.write_bytes(whole)
    assert set_aside(paths.history, caught.value) is None
    assert paths.history.read_bytes() == whole and _asides(paths) == []


NEWER_DUCKDB = """IO Error: Trying to read a database file with version number 999, but we can only read versions between 64 and 68.
The database file was created with an newer version of DuckDB."""  # noqa: E501


def test_a_file_of_a_newer_duckdb_is_refused(paths: Paths) -> None:
    """`duckdb_2_empty.duckdb` was made by DuckDB 2.0.1 in its own format."""
    assert not isinstance(explain(paths.history, duckdb.IOException(NEWER_DUCKDB)), DamagedHistoryError)
    paths.history.parent.mkdir()
    theirs = (Path(__file__).parent / "data" / "duckdb_2_empty.duckdb").read_bytes()
    paths.history.write_bytes(theirs)
    if duckdb.__version__.startswith("1."):
        with pytest.raises(HistoryError, match="was written by a newer DuckDB: pip install -U duckdb"):
            Recorder(paths, FAST).check()
        assert paths.history.read_bytes() == theirs
    else:
        Recorder(paths, FAST).check()
    assert _asides(paths) == []


@pytest.mark.parametrize(
    "text",
    [
        "IO Error: No space left on device",
        'IO Error: Could not read from file "x": Input/output error',
        'IO Error: Cannot open file "x": Permission denied',
        'Failure while replaying WAL file "x.wal": Catalog Error: Schema with name store does not exist!',
        "Binder Error: column corrupt does not exist",
        "INTERNAL Error: Attempted to dereference unique_ptr that is NULL!",
    ],
)
def test_errors_that_are_no_damage(paths: Paths, text: str) -> None:
    assert not isinstance(explain(paths.history, duckdb.Error(text)), DamagedHistoryError)


# Several at once --------------------------------------------------------------------------------------------------

_RECORD = """
import sys
from gemtop.config import paths
from gemtop.domain.records import SessionEnd
from gemtop.history.recorder import Recorder
from tests.history.rows import FAST, STARTED_NS, S, whole_session
first, *rest = whole_session(sys.argv[1])
recorder = Recorder(paths(), FAST)
sys.stdin.readline()
recorder.check()
recorder.open(first)
for record in rest[:-1]:
    recorder.put(record)
recorder.close(SessionEnd(STARTED_NS + 5 * S, None))
print("\\n".join(recorder.notes))
"""


@pytest.mark.parametrize("spoil", [_zeros, _text])
def test_several_find_it_at_once(paths: Paths, spoil: Callable[[bytes], bytes]) -> None:
    put_in(paths, whole_session(BEFORE), BEFORE)
    spoilt = spoil(paths.history.read_bytes())
    paths.history.write_bytes(spoilt)
    ids = [f"20261123-10000{number}-aaaa0001" for number in range(4)]
    children = [
        subprocess.Popen([sys.executable, "-c", _RECORD, one], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for one in ids
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    notes = "".join(child.communicate(timeout=60)[0] for child in children)
    assert [child.returncode for child in children] == [0] * len(ids)
    (aside,) = _asides(paths)
    assert aside.read_bytes() == spoilt
    assert notes.count("a new history is begun") == 1
    take_in_dead(paths, wait_s=10)  # of one that met another when it closed
    assert ask(paths, "SELECT session_id, status FROM sessions ORDER BY 1") == [(one, "finished") for one in ids]
    assert ask(paths, "SELECT count(*) FROM tokens") == [(15 * len(ids),)]


def test_killed_between_the_log_and_the_file(logged: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    log, spoilt = log_of(logged.history).read_bytes(), _zeros(logged.history.read_bytes())
    logged.history.write_bytes(spoilt)
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.suffix == ".wal":
            return rename(self, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        renewing(logged.history, lambda: check_history(logged), print)
    Recorder(logged, FAST).check()
    assert sorted(aside.read_bytes() for aside in _asides(logged)) == sorted([log, spoilt])
    take_in_dead(logged)
    assert ask(logged, "SELECT session_id, status FROM sessions") == [(DEAD, "finished")]
