"""From spools to tables: every row exactly once, whatever the spool looks like."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemtop import config
from gemtop.config import Paths
from gemtop.domain.events import RunStatus, StopReason
from gemtop.domain.model import Training
from gemtop.domain.records import DeviceRow, Phase, Record, RunKind, SessionEnd, TokenRow
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.history.database import Database
from gemtop.history.ingest import take, take_in_dead
from gemtop.history.lines import Encoder
from gemtop.history.spool import FORMAT, Spool, spools_in
from tests.history.rows import (
    STARTED_NS,
    S,
    ask,
    dead_spool,
    put_in,
    run,
    run_end,
    samples,
    session,
    tokens,
    whole_session,
)

SESSION = "20261123-100000-aaaa0001"
RUN = f"{SESSION}.1"


def test_a_session_is_in_the_views_as_it_was(paths: Paths) -> None:
    found = put_in(paths, whole_session())
    assert (found.sessions, found.notes) == ((SESSION,), ())
    assert spools_in(paths.spools) == []
    assert ask(paths, "SELECT count(*), min(t_s), max(t_s) FROM tokens") == [(15, 1.5, 2.5)]
    assert ask(paths, 'SELECT "index", token_id, phase FROM tokens WHERE "index" IN (3, 4) ORDER BY ALL') == [
        (3, 103, "prefill"),
        (4, 200, "decode"),
    ]
    columns = (
        "session_id, t_s, device, gpu_util_pct, vram_used_bytes, power_w, energy_j, temperature_c, clock_sm_mhz,"
        " clock_mem_mhz, host_cpu_pct, ram_used_bytes"
    )
    assert ask(paths, f"SELECT {columns} FROM samples WHERE t_s = 0.5 ORDER BY device") == [
        (SESSION, 0.5, "0", 51.0, 300 * 2**20, 90.0, 1045.0, 60.0, 1500.0, 5000.0, None, None),
        (SESSION, 0.5, "host", None, None, None, None, None, None, None, 25.0, 2**33),
    ]
    assert ask(paths, "SELECT status, stop_reason, seed, prompt, output, devices FROM store.runs") == [
        ("finished", "length", 2**32 - 1, "Tell me", "a story", ["0"])
    ]
    assert ask(paths, "SELECT status, end_reason, duration_s, host FROM sessions") == [("finished", None, 5.0, "box")]
    assert ask(paths, "SELECT epoch_ms(started_at), driver_version, training FROM runs") == [
        (1_795_000_001_000, "580.10", "qat")
    ]


def test_of_a_card_what_was_told_last_stands(paths: Paths) -> None:
    """One that is lost when the session begins has no name until it comes back."""

    def told(device: str, name: str | None, reasons: str = "") -> DeviceRow:
        known = dict.fromkeys(DeviceRow.__dataclass_fields__) | {"device": device, "name": name, "reasons": reasons}
        return DeviceRow(**known)  # type: ignore[arg-type]

    def known() -> list[tuple[Any, ...]]:
        return ask(paths, "SELECT device, name, reasons FROM devices ORDER BY ALL")

    paths.spools.mkdir(parents=True)
    spool, encoder = Spool.create(paths.spools, SESSION), Encoder()
    spool.append(encoder.lines([session(), told("0", "T4"), told("1", None, "name: GPU is lost")]))
    with Database(paths.history).open() as con:
        take(con, spool)
    assert known() == [("0", "T4", ""), ("1", None, "name: GPU is lost")]
    spool.append(encoder.lines([told("0", "T4"), told("1", "4090"), told("1", "4090 D"), told("2", "A2")]))
    with Database(paths.history).open() as con:
        take(con, spool)
    spool.close()
    assert known() == [("0", "T4", ""), ("1", "4090 D", ""), ("2", "A2", "")]


def test_the_enums_are_the_domain(paths: Paths) -> None:
    put_in(paths, whole_session())
    for name, literal in [
        ("run_status", RunStatus),
        ("stop_reason", StopReason),
        ("run_kind", RunKind),
        ("phase", Phase),
        ("training", Training),
    ]:
        ((values,),) = ask(paths, f"SELECT enum_range(NULL::store.{name})")
        assert tuple(values) == get_args(literal)


def test_a_run_that_is_going_on_has_no_status(paths: Paths) -> None:
    paths.spools.mkdir(parents=True)
    spool = Spool.create(paths.spools, SESSION)
    spool.append(Encoder().lines([session(), run(), *tokens(RUN)]))
    with Database(paths.history).open() as con:
        assert take(con, spool).bytes > 0
        assert take(con, spool).bytes == 0
    assert ask(paths, "SELECT status, generated_tokens FROM runs") == [(None, None)]
    assert take_in_dead(paths).sessions == ()  # it is alive
    spool.close()
    assert take_in_dead(paths).sessions == (SESSION,)
    assert ask(paths, "SELECT status, generated_tokens FROM runs") == [("crashed", 11)]


def test_what_a_killed_process_left_is_ended_with_figures(paths: Paths) -> None:
    dead_spool(paths, [session(), run(), *tokens(RUN), *samples()], SESSION, torn=b'{"kind":"tokens","run')
    found = take_in_dead(paths)
    assert found.notes == (f"session {SESSION}: 1 incomplete line of its spool dropped",)
    row = ask(
        paths,
        "SELECT status, stop_reason, prompt_tokens, generated_tokens, ttft_s, prefill_tokens_per_s,"
        " decode_tokens_per_s, itl_p50_ms, vram_peak_bytes, ram_peak_bytes, power_mean_w, energy_j,"
        " prefill_j_per_token, decode_j_per_token FROM runs",
    )[0]
    assert row[:4] == ("crashed", "crashed", 4, 11)
    assert row[8:10] == (300 * 2**20, 500 * 2**20)
    expected = (0.5, 8.0, 10.0, 100.0, 90.0, 135.0, 45.0 / 4, 9.0)
    assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(row[4:8] + row[10:], expected, strict=True))
    assert ask(paths, "SELECT status, end_reason, duration_s FROM sessions") == [("crashed", "the process died", 4.0)]
    assert ask(paths, "SELECT message FROM store.runs") == [("the process died",)]


def test_a_session_that_ended_by_a_crash_keeps_its_reason(paths: Paths) -> None:
    put_in(paths, [session(), run(), *tokens(RUN), SessionEnd(STARTED_NS + 5 * S, "GGML_ASSERT", crashed=True)])
    assert ask(paths, "SELECT status, end_reason FROM sessions") == [("crashed", "GGML_ASSERT")]
    assert ask(paths, "SELECT status, message FROM store.runs") == [("crashed", "GGML_ASSERT")]


def test_a_run_killed_before_its_first_token(paths: Paths) -> None:
    put_in(paths, [session(), run(), *samples()])
    assert ask(paths, "SELECT status, generated_tokens, ttft_s, decode_tokens_per_s, ram_peak_bytes FROM runs") == [
        ("crashed", 0, None, None, 500 * 2**20)
    ]


def test_lines_that_are_no_json_are_dropped_and_counted(paths: Paths) -> None:
    dead_spool(
        paths, [session(), run(), *tokens(RUN)], SESSION, torn=b'{"kind":"tok\n\x00\x00\n{"kind":"unknown"}\n5\n'
    )
    assert take_in_dead(paths).notes == (f"session {SESSION}: 3 incomplete lines of its spool dropped",)
    assert ask(paths, "SELECT count(*) FROM tokens") == [(15,)]


def test_a_spool_without_its_session_is_set_aside(paths: Paths) -> None:
    dead_spool(paths, [run(), *tokens(RUN)], SESSION)
    (note,) = take_in_dead(paths).notes
    assert "does not say when it began" in note
    assert (paths.spools / f"{SESSION}.jsonl.damaged").exists()
    assert take_in_dead(paths).notes == ()


def test_an_empty_spool_leaves_nothing(paths: Paths) -> None:
    dead_spool(paths, [], SESSION)
    assert take_in_dead(paths).notes == ()
    assert spools_in(paths.spools) == []
    assert ask(paths, "FROM sessions") == []


def test_a_spool_of_a_newer_format_is_left(paths: Paths) -> None:
    paths.spools.mkdir(parents=True)
    path = paths.spools / "s.jsonl"
    path.write_text(f'{{"kind":"spool","format":{FORMAT + 1},"session_id":"s","base":0}}\n')
    (note,) = take_in_dead(paths).notes
    assert "newer gemtop" in note
    assert path.exists()


def test_a_spool_that_comes_back_is_not_taken_twice(paths: Paths) -> None:
    dead_spool(paths, whole_session(), SESSION)
    path = paths.spools / f"{SESSION}.jsonl"
    copy = path.read_bytes()
    take_in_dead(paths)
    before = ask(paths, "SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM samples)")
    path.write_bytes(copy)
    take_in_dead(paths)
    assert ask(paths, "SELECT (SELECT count(*) FROM tokens), (SELECT count(*) FROM samples)") == before


def test_a_failing_transaction_changes_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    dead_spool(paths, whole_session(), SESSION)

    def fail(*_: object) -> None:
        raise duckdb.IOException("IO Error: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("gemtop.history.ingest.end_unfinished", fail)
        (note,) = take_in_dead(paths).notes
    assert "no room to write" in note and "is kept" in note
    assert ask(paths, "SELECT count(*) FROM tokens") == [(0,)]
    take_in_dead(paths)
    assert ask(paths, "SELECT count(*) FROM tokens") == [(15,)]


def test_reasons_are_kept_when_they_change(paths: Paths) -> None:
    lost = {"power_w": "NOT_SUPPORTED"}
    rows: list[Record] = [session()]
    rows += [DeviceSample(STARTED_NS + i * S, "0", reasons=lost if i < 3 else {}) for i in range(5)]
    rows += [HostSample(STARTED_NS + i * S) for i in range(5)]
    put_in(paths, rows)
    assert ask(paths, "SELECT t_ns, device, field, reason FROM store.reasons ORDER BY t_ns") == [
        (0, "0", "power_w", "NOT_SUPPORTED"),
        (3 * S, "0", None, None),
    ]


def test_text_that_json_or_duckdb_cannot_hold(paths: Paths) -> None:
    awkward = 'nul \0 half \ud800 quote " back \\ line \n end \u2028 \U0001f600 \x1b[31m'
    put_in(paths, [session(), run(prompt=awkward), run_end(RUN, output=awkward, ttft_s=math.nan)])
    ((prompt, output, ttft_s),) = ask(paths, "SELECT prompt, output, ttft_s FROM store.runs")
    assert prompt == output == awkward.replace("\0", "\u2400").replace("\ud800", "?")
    assert ttft_s is None


_TEXT = st.none() | st.text(max_size=20)
_TOKEN = st.tuples(st.integers(0, 2**60), st.integers(0, 2**31 - 1), st.sampled_from(["prefill", "decode"]))
_NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)


_SAMPLE = st.tuples(st.integers(0, 2**60), st.sampled_from(["0", "1"]), _NUMBER, st.none() | st.integers(0, 2**40))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_TOKEN, max_size=30),
    st.lists(_SAMPLE, max_size=30),
    _TEXT,
    st.integers(1, 20),
    st.integers(1, 3000),
)
def test_rows_come_back_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory,
    token_rows: list[tuple[int, int, Phase]],
    sample_rows: list[tuple[int, str, float | None, int | None]],
    prompt: str | None,
    batch: int,
    limit_bytes: int,
) -> None:
    paths = config.paths(str(tmp_path_factory.mktemp("history") / "h.duckdb"))
    rows: list[Any] = [session(), run(prompt=prompt)]
    rows += [TokenRow(RUN, i, STARTED_NS + t, token, phase) for i, (t, token, phase) in enumerate(token_rows)]
    rows += [DeviceSample(STARTED_NS + t, d, power_w=w, vram_used_bytes=v) for t, d, w, v in sample_rows]
    dead_spool(paths, rows, SESSION, batch=batch)
    spool = Spool.adopt(paths.spools / f"{SESSION}.jsonl")
    assert spool is not None
    with Database(paths.history).open() as con:
        while take(con, spool, limit_bytes).bytes:
            pass
    spool.close()
    cleaned = None if prompt is None else prompt.replace("\0", "\u2400")
    assert ask(paths, "SELECT prompt FROM store.runs") == [(cleaned,)]
    assert ask(paths, 'SELECT t_ns, token_id, phase FROM store.tokens ORDER BY "index"') == token_rows
    found = ask(paths, "SELECT t_ns, device, power_w, vram_used_bytes FROM store.samples")
    assert sorted(map(repr, found)) == sorted(map(repr, sample_rows))


def test_records_of_an_unknown_word_do_not_stop_the_rest(paths: Paths) -> None:
    odd = replace(run(), kind="dream", training="other")  # type: ignore[arg-type]
    put_in(paths, [session(), odd, *tokens(RUN), run_end(RUN)])
    assert ask(paths, "SELECT kind, training, status FROM runs") == [(None, None, "finished")]


def test_a_run_that_died_has_the_energy_of_what_was_read(paths: Paths) -> None:
    """The last token comes after the last reading; a quiet second before the run is its idle power."""
    readings = [
        DeviceSample(
            STARTED_NS + i * S // 5, "0", power_w=40.0 if i < 20 else 200.0, gpu_util_pct=0.0 if i < 20 else 90.0,
            energy_j=8.0 * min(i, 20) + 40.0 * max(0, i - 20),
        ) for i in range(51)
    ]  # fmt: skip
    begin = run(SESSION, start_ns=STARTED_NS + 4 * S, devices=("0",), device_names=("CPU", "CUDA0"))
    times = [STARTED_NS + 4 * S + (k + 1) * S // 10 for k in range(63)]
    rows = [TokenRow(begin.run_id, k, t, 1, "prefill" if k < 3 else "decode") for k, t in enumerate(times)]
    dead_spool(paths, [session(SESSION), begin, *readings, *rows], SESSION)
    take_in_dead(paths)
    (found,) = ask(
        paths,
        "SELECT status, valid, invalid_reason, energy_j, energy_error_j, idle_power_w, energy_net_j,"
        " decode_j_per_token FROM runs",
    )
    assert found[:3] == ("crashed", False, "the run crashed")
    energy_j, error_j, idle_w, net_j, per_token = found[3:]
    assert energy_j == pytest.approx(200.0 * 6.0, abs=error_j) and 0 < error_j < 100
    assert idle_w == pytest.approx(40.0) and net_j == pytest.approx(energy_j - 6 * 40.0)
    assert per_token == pytest.approx(20.0, rel=0.1), "ten tokens a second at 200 W"
