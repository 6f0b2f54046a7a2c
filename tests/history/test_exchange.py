"""Out of one history and into another: export and import, and merge, give back the same rows."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemtop import config
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError, HistoryError
from gemtop.domain.records import DeviceRow, Record, RoofRow, SessionEnd, TokenRow
from gemtop.domain.telemetry import CostSample, DeviceSample, HostSample
from gemtop.folders import MANIFEST
from gemtop.history import schema
from gemtop.history.database import Database
from gemtop.history.exporting import FORMATS, export
from gemtop.history.importing import open_folder, take_all
from gemtop.history.merging import merge
from gemtop.history.reader import Reader
from gemtop.history.tables import TABLES
from tests.history.old import OLD_VERSIONS, old_history
from tests.history.rows import (
    SESSION,
    STARTED_NS,
    ask,
    dead_spool,
    ledger_row,
    put_in,
    run,
    run_end,
    session,
    tune_point,
    whole_session,
)

OTHER = "20261124-100000-bbbb0002"


def _bits(value: Any) -> Any:
    """A value as something that is equal only where it is the very same, to the bit."""
    if isinstance(value, float):
        return struct.pack("d", value)
    return [_bits(one) for one in value] if isinstance(value, list) else value


def everything(paths: Paths) -> dict[str, list[Any]]:
    """All rows of all tables, in order, to the bit."""
    rows = {}
    with Reader.open(paths) as reader:
        for table in TABLES:
            found = reader.run_sql(f"FROM store.{table}").rows()
            rows[table] = sorted(([_bits(value) for value in row] for row in found), key=repr)
    return rows


def write_out(paths: Paths, folder: Path, form: str, **more: Any) -> Path:
    with Reader.open(paths) as reader:
        ids = [row[0] for row in reader.run_sql("SELECT session_id FROM sessions ORDER BY 1").rows()]
        return export(reader, ids, folder, form, **more).folder


def take_back(folder: Path, paths: Paths) -> Any:
    return take_all(paths, [open_folder(folder)])[0]


def elsewhere(tmp_path: Path, name: str = "other") -> Paths:
    return config.paths(str(tmp_path / name / "h.duckdb"))


@cache
def _blank() -> bytes:
    """The file of a history without a session: making one takes longer than all that is done with it here."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "h.duckdb"
        database = Database(file)
        with database.open():
            pass
        database.forget()
        return file.read_bytes()


def empty(tmp_path: Path, name: str) -> Paths:
    """A history of its own that is there and has nothing in it."""
    where = elsewhere(tmp_path, name)
    where.history.parent.mkdir()
    where.history.write_bytes(_blank())
    return where


_TEXT = (
    st.none()
    | st.text(max_size=12)
    | st.sampled_from(["", "NULL", '"', "\r\n", "\n", ",", "\\N", "[]", "\0", "\ufeff"])
)
_FLOAT = st.floats().map(lambda number: math.nan if math.isnan(number) else number)
"""Of the many kinds of NaN the one that text formats know."""
_REAL = st.none() | _FLOAT
_WHOLE = st.none() | st.integers(-(2**62), 2**62)
_MOMENT = st.integers(0, 2**60).map(lambda t: STARTED_NS + t)
_LIST = st.none() | st.lists(st.text(max_size=5), max_size=3).map(tuple)


@st.composite
def sessions(draw: st.DrawFn, session_id: str) -> list[Record]:
    """A session with rows of every table, of whatever values their columns can hold."""
    run_id = f"{session_id}.1"
    rows: list[Record] = [
        session(session_id, host=draw(st.text(max_size=8)), driver_version=draw(_TEXT)),
        run(
            session_id,
            prompt=draw(_TEXT),
            temperature=draw(_REAL),
            seed=draw(_WHOLE),
            lora=draw(_TEXT),
            device_names=draw(st.lists(st.text(max_size=5), max_size=3).map(tuple)),
        ),
    ]
    for index in range(draw(st.integers(0, 4))):
        phase = draw(st.sampled_from(["prefill", "decode"]))
        rows.append(TokenRow(run_id, index, draw(_MOMENT), draw(st.integers(0, 2**31 - 1)), phase))
    for _ in range(draw(st.integers(0, 3))):
        lost = draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
        rows.append(
            DeviceSample(draw(_MOMENT), draw(st.text(max_size=3)), power_w=draw(_REAL), energy_j=draw(_REAL),
                         vram_used_bytes=draw(_WHOLE), throttle_reasons=draw(_LIST), reasons=lost)
        )  # fmt: skip
        rows.append(
            HostSample(draw(_MOMENT), host_cpu_pct=draw(_REAL),
                       cpu_by_core_pct=draw(st.none() | st.lists(st.floats(0, 100), max_size=3).map(tuple)))
        )  # fmt: skip
        rows.append(CostSample(draw(_MOMENT), nvml_pct=draw(_REAL)))
    rows.append(ledger_row(t_ns=draw(_MOMENT), reason=draw(_TEXT), load_s=draw(_FLOAT)))
    rows.append(tune_point(session_id, decode_sd=draw(_REAL), reason=draw(_TEXT)))
    if draw(st.booleans()):
        device = dict.fromkeys(DeviceRow.__dataclass_fields__) | {"device": "0", "name": draw(_TEXT), "reasons": ""}
        rows.append(DeviceRow(**device))  # type: ignore[arg-type]
        rows.append(RoofRow(run_id, "CUDA0", draw(_WHOLE), draw(_REAL), draw(_TEXT), draw(_REAL)))
    if draw(st.booleans()):
        rows.append(run_end(run_id, output=draw(_TEXT), ttft_s=draw(_REAL), throttle_reasons=draw(_LIST)))
    rows.append(SessionEnd(draw(_MOMENT), draw(_TEXT), draw(st.booleans())))
    return rows


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sessions(SESSION), sessions(OTHER), st.text(max_size=20), _FLOAT)
def test_every_form_gives_back_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, one: list[Record], two: list[Record], note: str, number: float
) -> None:
    tmp_path = tmp_path_factory.mktemp("exchange")
    here = empty(tmp_path, "here")
    put_in(here, one)
    put_in(here, two, OTHER)
    with Database(here.history).open() as con:  # what the recorder never writes, and SQL may
        con.execute("UPDATE store.sessions SET note = ?, tags = ['', ?]", [note, note])
        con.execute("UPDATE store.sessions SET tags = [] WHERE session_id = ?", [OTHER])
        con.execute("UPDATE store.runs SET ttft_s = ?, message = chr(0) || 'x'", [number])
        con.execute("UPDATE store.device_samples SET power_w = 'nan', energy_j = '-inf', temperature_c = '-0.0'")
    expected = everything(here)
    for form in FORMATS:
        there = empty(tmp_path, form)
        brought = take_back(write_out(here, tmp_path / f"out-{form}", form), there)
        assert brought.new == (SESSION, OTHER)
        assert everything(there) == expected, form
    there = empty(tmp_path, "merged")
    assert merge(there, here.history).new == (SESSION, OTHER)
    assert everything(there) == expected


@pytest.fixture
def full(paths: Paths) -> Paths:
    """A history of two sessions."""
    put_in(paths, whole_session())
    put_in(paths, whole_session(OTHER, prompt="line 1\nline 2"), OTHER)
    return paths


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_already_is_left_out(full: Paths, tmp_path: Path, form: str) -> None:
    before = everything(full)
    folder = write_out(full, tmp_path / "out", form)
    again = take_back(folder, full)
    assert (again.new, again.there, again.rows) == ((), (SESSION, OTHER), 0)
    there = elsewhere(tmp_path)
    put_in(there, whole_session())
    found = take_back(folder, there)
    assert (found.new, found.there) == ((OTHER,), (SESSION,))
    assert take_back(folder, there).new == ()
    assert everything(there) == everything(full) == before


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_of_a_version_with_all_readings_in_one_table(full: Paths, tmp_path: Path, form: str) -> None:
    folder = write_out(full, tmp_path / "out", form)
    _manifest(schema_version=5)(folder)
    there = elsewhere(tmp_path)
    assert take_back(folder, there).new == (SESSION, OTHER)
    assert everything(there) == everything(full)


def test_a_reading_of_no_device_is_told_of(full: Paths, tmp_path: Path) -> None:
    folder = write_out(full, tmp_path / "out", "csv")
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["tables"]["samples"]["sha256"], manifest["tables"]["samples"]["rows"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    _edit("samples.csv", ',"0",', ",,")(folder)
    with pytest.raises(BadInputError, match=r"samples\.csv, row 1: device is missing"):
        take_back(folder, elsewhere(tmp_path))


def test_a_long_prompt_and_odd_names(paths: Paths, tmp_path: Path) -> None:
    put_in(paths, whole_session(prompt='word, "and"\n' * 250_000))
    for form in FORMATS:
        folder = write_out(paths, tmp_path / f"a [1] *?{form} é'", form)
        there = elsewhere(tmp_path, form)
        take_back(folder, there)
        assert everything(there) == everything(paths)


def test_an_export_is_whole_or_not_there(full: Paths, tmp_path: Path) -> None:
    seen = []

    def fail(what: str) -> None:
        seen.append(sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))))
        if what.startswith("ledger"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_out(full, tmp_path / "out", "csv", progress=fail)
    assert all(names and all(name.endswith(".part") for name in names) for names in seen)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_an_export_replaces_nothing_but_an_export(full: Paths, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o755)
    write_out(full, out, "json")  # an empty folder is as good as none
    assert (out.stat().st_mode & 0o777) == 0o700
    with pytest.raises(BadInputError, match="is not empty"):
        write_out(full, out, "csv")
    write_out(full, out, "csv", force=True)
    assert (out / "runs.csv").exists() and not (out / "runs.json").exists()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInputError, match="other things"):
        write_out(full, out, "csv", force=True)
    assert (out / "thesis.tex").exists()
    with pytest.raises(BadInputError, match="is a file"):
        write_out(full, out / "runs.csv", "csv")
    with pytest.raises(BadInputError, match="there is no folder"):
        write_out(full, tmp_path / "no" / "out", "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def _cut_column(folder: Path) -> None:
    rows = list(csv.reader((folder / "runs.csv").open(newline="")))
    at = rows[0].index("variant")
    with (folder / "runs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([row[:at] + row[at + 1 :] for row in rows])


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


def _manifest(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        data = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(data | changes))

    return edit


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (_cut_column, r"runs\.csv, line 1: column variant is missing"),
    (_edit("runs.csv", '"variant"', '"varianz"'), r"runs\.csv, line 1: column variant is missing"),
    (_edit("sessions.csv", '"note"', '"note","mood"'), r"sessions\.csv, line 1: column mood is not of this schema"),
    (lambda folder: (folder / "roofs.csv").unlink(), r"roofs\.csv: this file of the export is missing"),
    (lambda folder: (folder / MANIFEST).unlink(), "has no manifest.json"),
    (_edit(MANIFEST, '"gemtop_export": 1', '"gemtop_export": one'), r"manifest\.json, line 2: this is no JSON"),
    (_manifest(schema_version=99), "newer gemtop"),
    (_manifest(gemtop_export=2), "newer gemtop"),
    (_manifest(sessions="all"), "sessions is missing or of another kind"),
    (_manifest(tables={}), "the table sessions is missing"),
    (_edit("runs.csv", '"finished"', '"perfect"'), r"runs\.csv, row 1: status cannot be 'perfect'"),
    (_edit("runs.csv", ",268098176,", ",many,"), r"runs\.csv, line 2: .*many"),
    (_edit("tokens.csv", ",100,", ",100,7,"), r"tokens\.csv, line 2: "),
    (_edit("sessions.csv", '+00"', "+00 o'clock\""), r"sessions\.csv, row 1: started_at cannot be"),
    (_edit("samples.csv", ",60.0,", ",61.0,"), r"samples\.csv: it is not what was exported"),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_what_is_wrong_with_a_folder(full: Paths, tmp_path: Path, spoil: Any, words: str) -> None:
    folder = write_out(full, tmp_path / "out", "csv")
    spoil(folder)
    there = elsewhere(tmp_path)
    with pytest.raises((BadInputError, HistoryError), match=words) as raised:
        take_back(folder, there)
    assert "\n" not in str(raised.value)
    assert not there.history.exists()


@pytest.mark.parametrize("form", ["csv", "json"])
def test_nothing_is_half_imported_where_hashes_are_not_stated(full: Paths, tmp_path: Path, form: str) -> None:
    folder = write_out(full, tmp_path / "out", form)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["tables"]["samples"]["sha256"] = None
    (folder / MANIFEST).write_text(json.dumps(manifest))
    name = f"samples.{form}"
    _edit(name, "60.0", '"hot"')(folder)
    there = elsewhere(tmp_path)
    with pytest.raises(BadInputError, match=rf"samples\.{form}, line {2 if form == 'csv' else 1}: "):
        take_back(folder, there)
    assert all(not rows for rows in everything(there).values())
    _edit(name, '"hot"', "60.0")(folder)
    assert take_back(folder, there).new == (SESSION, OTHER)


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("form", ["json", "parquet"])
def test_columns_that_are_missing(full: Paths, tmp_path: Path, form: str, stated: bool) -> None:
    """Of JSON in one line alone."""
    folder = write_out(full, tmp_path / "out", form)
    file = folder / f"runs.{form}"
    if form == "json":
        first, second = file.read_text().splitlines()
        cut = {key: value for key, value in json.loads(second).items() if key not in ("variant", "status")}
        file.write_text(f"{first}\n{json.dumps(cut)}\n")
    else:
        cut_file = tmp_path / "cut.parquet"
        duckdb.execute(f"COPY (SELECT * EXCLUDE (status, variant) FROM '{file}') TO '{cut_file}' (FORMAT parquet)")
        cut_file.rename(file)
    if not stated:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["tables"]["runs"]["sha256"] = None
        (folder / MANIFEST).write_text(json.dumps(manifest))
    there = elsewhere(tmp_path)
    where = r"runs\.json, line 2" if form == "json" else r"runs\.parquet"
    with pytest.raises(BadInputError, match=rf"{where}: column status, variant is missing; nothing was imported"):
        take_back(folder, there)
    assert not there.history.exists()


def test_rows_of_no_session_are_told_of(full: Paths, tmp_path: Path) -> None:
    folder = write_out(full, tmp_path / "out", "json")
    _edit("tokens.json", f"{SESSION}.1", "nobody.1")(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    data = (folder / "tokens.json").read_bytes()
    manifest["tables"]["tokens"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadInputError, match="29 of its rows belong to the sessions"):
        take_back(folder, elsewhere(tmp_path))


def test_a_damaged_parquet_file(full: Paths, tmp_path: Path) -> None:
    folder = write_out(full, tmp_path / "out", "parquet")
    data = (folder / "samples.parquet").read_bytes()
    (folder / "samples.parquet").write_bytes(data[:-40])
    with pytest.raises(BadInputError, match=r"samples\.parquet: it is no Parquet"):
        take_back(folder, elsewhere(tmp_path))
    (folder / "samples.parquet").write_bytes(data[:200] + bytes(8) + data[208:])
    with pytest.raises(BadInputError, match=r"samples\.parquet: "):
        take_back(folder, elsewhere(tmp_path))


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_of_an_older_schema(full: Paths, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made as a gemtop of schema 4 would have made it, which had neither notes nor tags."""
    older = SimpleNamespace(MIGRATIONS=schema.MIGRATIONS[:4])
    monkeypatch.setattr("gemtop.history.exporting.schema", older)
    with Reader.open(full) as reader:
        folder = export(reader, [SESSION], tmp_path / "out", form).folder
    assert json.loads((folder / MANIFEST).read_text())["schema_version"] == 4
    there = elsewhere(tmp_path)
    assert take_back(folder, there).new == (SESSION,)
    assert ask(there, "SELECT session_id, note, tags FROM sessions") == [(SESSION, None, None)]


def test_merge_is_idempotent_and_leaves_the_other_file_alone(full: Paths, tmp_path: Path) -> None:
    there = elsewhere(tmp_path)
    put_in(there, whole_session())
    before = full.history.read_bytes()
    found = merge(there, full.history)
    assert (found.new, found.there) == ((OTHER,), (SESSION,))
    assert merge(there, full.history).new == ()
    assert everything(there) == everything(full)
    assert full.history.read_bytes() == before
    assert not [path.name for path in there.history.parent.iterdir() if "merge" in path.name]


@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_merge_takes_histories_of_any_older_schema(paths: Paths, tmp_path: Path, version: int) -> None:
    old = tmp_path / "old.duckdb"
    old.write_bytes(old_history(version))
    found = merge(paths, old)
    assert found.new and ask(paths, "SELECT count(*) FROM sessions") == [(len(found.new),)]
    assert old.read_bytes() == old_history(version)
    assert sorted(path.name for path in tmp_path.iterdir() if "old" in path.name) == ["old.duckdb"]


def test_merge_takes_what_a_dead_process_left_in_a_spool(paths: Paths, tmp_path: Path) -> None:
    there = elsewhere(tmp_path)
    put_in(there, whole_session())
    dead_spool(there, whole_session(OTHER)[:-2], OTHER)
    assert merge(paths, there.history).new == (SESSION, OTHER)
    assert ask(paths, "SELECT status FROM sessions ORDER BY session_id") == [("finished",), ("crashed",)]
    assert list(there.spools.iterdir())  # it is theirs


def test_merge_leaves_what_has_no_end(paths: Paths, tmp_path: Path) -> None:
    there = elsewhere(tmp_path)
    put_in(there, whole_session())
    with Database(there.history).open() as con:
        con.execute("UPDATE store.sessions SET status = NULL; UPDATE store.runs SET status = NULL")
    found = merge(paths, there.history)
    assert (found.new, found.left) == ((), (SESSION,))
    assert merge(paths, there.history, unfinished=True).new == (SESSION,)
    assert ask(paths, "SELECT s.status, r.status FROM sessions AS s, runs AS r") == [("crashed", "crashed")]


def test_what_cannot_be_merged(full: Paths, tmp_path: Path) -> None:
    foreign, text, newer = tmp_path / "foreign.duckdb", tmp_path / "text.duckdb", elsewhere(tmp_path, "newer")
    with duckdb.connect(str(foreign)) as con:
        con.execute("CREATE TABLE t (i INTEGER)")
    text.write_text("no database at all " * 1000)
    put_in(newer, whole_session())
    with Database(newer.history).open() as con:
        con.execute("INSERT INTO store.migrations VALUES (99, 'later', now(), '9')")
    for file, words in (
        (foreign, "no history of gemtop's"),
        (text, "nothing was merged"),
        (newer.history, "newer gemtop"),
        (full.history, "is the history itself"),
        (tmp_path / "none", "there is no file"),
        (tmp_path, "is no file"),
    ):
        with pytest.raises((BadInputError, HistoryError), match=words) as raised:
            merge(full, file)
        assert "\n" not in str(raised.value) and "--db" not in str(raised.value)


def test_merge_is_all_or_nothing(full: Paths, tmp_path: Path) -> None:
    there = elsewhere(tmp_path)
    put_in(there, whole_session("20261125-100000-cccc0003"), "20261125-100000-cccc0003")
    with Database(there.history).open() as con:  # a run that is of another session here
        con.execute("UPDATE store.runs SET run_id = ?", [f"{SESSION}.1"])
    before = everything(full)
    with pytest.raises(HistoryError, match="nothing was merged"):
        merge(full, there.history)
    assert everything(full) == before
