"""The named queries on a history whose answers are known, and their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from gemtop.domain.records import Record, SessionEnd, TaskRow
from gemtop.domain.telemetry import DeviceSample, HostSample
from gemtop.history import queries
from tests.history.named import ask_named
from tests.history.rows import (
    STARTED_AT_MS,
    STARTED_NS,
    S,
    fidelity_row,
    ledger_row,
    put_in,
    run,
    run_end,
    session,
    tokens,
    tune_point,
)

GAPS = (0.1, 0.1, 0.4, 0.1, 0.2)


def _seed(paths: Paths) -> None:
    """Two sessions: three finished QAT runs, two PTQ, one that is cancelled and one that is not valid."""
    first, second = "20261123-100000-aaaa0001", "20261123-120000-bbbb0001"
    rows: list[Record] = [session(first)]
    for number, speed in enumerate((10.0, 12.0, 14.0), start=1):
        begin = run(first, number)
        rows += [begin, run_end(begin.run_id, decode_tokens_per_s=speed)]
    put_in(paths, [*rows, SessionEnd(STARTED_NS + 60 * S, None)], first)
    rows = [session(second, started_at_ms=STARTED_AT_MS + 7_200_000, command="tui")]
    ptq: dict[str, Any] = {"variant": "PTQ Q4_K_M", "training": "ptq", "size_bytes": 250 * 2**20}
    for number, (speed, status) in enumerate(((8.0, "finished"), (9.0, "finished"), (99.0, "cancelled")), start=1):
        begin = run(second, number, started_at_ms=STARTED_AT_MS + 7_200_000 + number, **ptq)
        rows += [begin, run_end(begin.run_id, decode_tokens_per_s=speed, status=status, generated_tokens=6)]
    rows += tokens(f"{second}.3", gaps_s=GAPS)
    for i in range(9):  # the slow token is there at 2.1 s
        t_ns = STARTED_NS + i * S // 4
        rows.append(DeviceSample(t_ns, "0", 10.0 * i, power_w=100.0 + i, temperature_c=50.0, clock_sm_mhz=2000.0 - i))
        rows.append(DeviceSample(t_ns, "1", 1.0, power_w=10.0, temperature_c=40.0 + i, clock_sm_mhz=3000.0))
        rows.append(HostSample(t_ns, host_cpu_pct=float(i), ram_used_bytes=2**30))
    put_in(paths, [*rows, SessionEnd(STARTED_NS + 30 * S, "closed")], second)


def test_sessions(paths: Paths) -> None:
    _seed(paths)
    rows = ask_named(paths, "sessions")
    assert [r["session_id"][-8:] for r in rows] == ["bbbb0001", "aaaa0001"]
    assert (rows[0]["runs"], rows[0]["generated_tokens"], rows[0]["best_decode_tokens_per_s"]) == (3, 18, 99.0)
    assert (rows[0]["command"], rows[0]["duration_s"], rows[0]["status"]) == ("tui", 30.0, "finished")
    assert rows[1]["models"] == "Gemma 3 270M QAT Q4_0"
    assert len(ask_named(paths, "sessions", n="1")) == 1


def test_variants(paths: Paths) -> None:
    _seed(paths)
    qat, ptq = ask_named(paths, "variants")
    assert (qat["variant"], qat["n"], qat["decode_tokens_per_s"], qat["decode_sd"]) == ("QAT Q4_0", 3, 12.0, 2.0)
    assert (qat["decode_min"], qat["decode_max"], qat["machine"]) == (10.0, 14.0, "NVIDIA Test")
    assert (qat["file_mib"], qat["vram_peak_mib"], qat["ram_peak_mib"]) == (200.0, 300.0, 500.0)
    assert (ptq["variant"], ptq["n"], ptq["decode_tokens_per_s"]) == ("PTQ Q4_K_M", 2, 8.5)
    assert len(ask_named(paths, "variants", model="gemma")) == 2
    assert ask_named(paths, "variants", model="llama") == []


def test_quality_is_beside_speed_where_it_is_known(paths: Paths) -> None:
    _seed(paths)
    for name, kl in (("20261124-090000-eeee0001", 0.5), ("20261125-090000-eeee0001", 0.02)):
        rows = [
            session(name), run(name), fidelity_row(name, kl_mean=kl),
            fidelity_row(name, reference="checkpoint", reference_label="QAT BF16", kl_mean=0.9),
            *(TaskRow(f"{name}.1", name, "QAT Q4_0", prompt, "code", 0, passed, None)
              for prompt, passed in (("a", True), ("b", False), ("c", None))),
        ]  # fmt: skip
        put_in(paths, rows, name)
    qat, ptq = ask_named(paths, "variants")
    assert (qat["perplexity"], qat["kl_mean"], ptq["perplexity"]) == (20.5, 0.02, None)
    found = ask_named(paths, "quality")
    assert [(row["reference"], row["kl_mean"]) for row in found] == [
        ("FP16", 0.02), ("QAT BF16", 0.9), ("FP16", 0.5), ("QAT BF16", 0.9),
    ]  # fmt: skip
    assert (found[0]["same_top_pct"], found[0]["tasks_right_pct"], found[0]["tasks_checked"]) == (95.0, 50.0, 2)
    assert ask_named(paths, "quality", model="llama") == []


def test_runs_that_were_not_valid_stand_apart(paths: Paths) -> None:
    _seed(paths)
    why = "GPU 0 throttled (SwPowerCap) for 4.1 of 31.0 s"
    bad = "20261124-090000-dddd0001"
    spoilt: dict[str, Any] = {"valid": False, "invalid_reason": why, "throttled_s": 4.1, "roof_share": 0.5}
    put_in(paths, [session(bad), run(bad), run_end(f"{bad}.1", decode_j_per_token=2.0, **spoilt)], bad)
    rows = [row for row in ask_named(paths, "variants") if row["variant"] == "QAT Q4_0"]
    assert [(row["valid"], row["n"]) for row in rows] == [(None, 3), (False, 1)]
    assert (rows[1]["roof_pct"], rows[1]["decode_j_per_token"]) == (50.0, 2.0)
    (found,) = ask_named(paths, "invalid")
    assert (found["run_id"], found["invalid_reason"], found["throttled_s"]) == (f"{bad}.1", why, 4.1)
    assert ask_named(paths, "invalid", model="llama") == []


def test_slowest_tokens(paths: Paths) -> None:
    _seed(paths)
    rows = ask_named(paths, "slowest_tokens", n="2")
    slow, second = rows
    assert slow["run_id"] == "20261123-120000-bbbb0001.3"
    assert (slow["index"], round(slow["gap_ms"]), slow["t_s"]) == (7, 400, 2.1)
    # The readings of 2.0 s: both cards, the machine.
    assert (slow["gpu_util_pct"], slow["power_w"], slow["temperature_c"]) == (80.0, 118.0, 50.0)
    assert (slow["clock_sm_mhz"], slow["host_cpu_pct"], slow["ram_used_mib"]) == (1992.0, 8.0, 1024.0)
    assert (second["index"], round(second["gap_ms"])) == (9, 200)
    assert ask_named(paths, "slowest_tokens", run_id="20261123-100000-aaaa0001.1") == []


def test_ledger(paths: Paths) -> None:
    mib = 2**20
    ptq: dict[str, Any] = {"variant": "PTQ Q4_K_M", "quantization": "Q4_K_M", "load_number": 4}
    rows: list[Record] = [
        session(),
        ledger_row(),
        ledger_row("CPU", device_description="A CPU", driver_version=None, device_used_bytes=None),
        ledger_row(load_number=2, measured_kv_bytes=101 * mib, device_used_bytes=425 * mib),
        ledger_row(load_number=3, measured_compute_bytes=40 * mib, weights_kept=True, device_used_bytes=mib),
        ledger_row(measured_kv_bytes=None, reason="llama.cpp did not say", **ptq),
    ]
    put_in(paths, [*rows, SessionEnd(STARTED_NS + 60 * S, None)])
    cpu, ptq_row, qat = ask_named(paths, "ledger")
    assert (cpu["device"], cpu["variant"], cpu["loads"], cpu["overhead_mib"]) == ("CPU", "QAT Q4_0", 1, None)
    assert (cpu["predicted_mib"], cpu["measured_mib"], cpu["error_mib"], cpu["error_pct"]) == (350.0, 350.0, 0.0, 0.0)
    assert (qat["device_description"], qat["driver_version"]) == ("NVIDIA Test", "580.10")
    assert (qat["loads"], qat["compared"], qat["predicted_mib"], qat["measured_mib"]) == (3, 3, 350.0, 347.0)
    assert (qat["error_mib"], qat["worst_error_mib"], qat["overhead_mib"]) == (-3.0, -10.0, 69.0)
    assert round(qat["error_pct"], 6) == round((100 / 351 - 1000 / 340) / 3, 6)
    assert (ptq_row["loads"], ptq_row["compared"], ptq_row["measured_mib"], ptq_row["error_mib"]) == (1, 0, None, None)
    assert [r["device"] for r in ask_named(paths, "ledger", device="CPU")] == ["CPU"]
    assert len(ask_named(paths, "ledger", model="GEMMA")) == 3
    assert ask_named(paths, "ledger", model="llama") == []


def test_tune(paths: Paths) -> None:
    first, second = "20261123-100000-aaaa0001", "20261123-120000-bbbb0001"
    lean = tune_point(first, type_k="q8_0", type_v="q8_0", measured_bytes=300 * 2**20, on_front=False)
    put_in(paths, [session(first), tune_point(first, n_ctx=4096), lean], first)
    failed = tune_point(
        second, n_ctx=65_536, on_front=False, measured_bytes=None, decode_tokens_per_s=None, reason="no room"
    )
    later = session(second, started_at_ms=STARTED_AT_MS + 7_200_000)
    put_in(paths, [later, tune_point(second, model_name="Gemma 3 27B"), failed], second)
    rows = ask_named(paths, "tune")
    assert [(r["n_ctx"], r["on_front"], r["reason"]) for r in rows] == [(65_536, False, "no room"), (8192, True, None)]
    assert (rows[1]["planned_mib"], rows[1]["measured_mib"], rows[1]["decode_tokens_per_s"]) == (350.0, 351.0, 100.0)
    assert [r["n_ctx"] for r in ask_named(paths, "tune", front="true")] == [8192]
    assert [r["type_k"] for r in ask_named(paths, "tune", tuning_id=first)] == ["q8_0", "f16"]
    assert [r["tuning_id"] for r in ask_named(paths, "tune", model="27b")] == [second]
    assert ask_named(paths, "tune", model="llama") == []


def test_the_shipped_queries_run_on_an_empty_history_and_have_whole_headers(paths: Paths) -> None:
    found = queries.all_queries()
    assert [q.name for q in found][:5] == ["sessions", "variants", "slowest_tokens", "ledger", "tune"]
    for query in found:
        assert query.title[0].isupper() and not query.title.endswith(".")
        assert query.sentence.endswith(".")
        assert all(p.description for p in query.parameters)
        assert ask_named(paths, query.name) == []


def test_headers_and_values() -> None:
    text = "-- Title\n-- A sentence\n-- in two lines.\n-- param: n integer = 3  how many\n"
    text += "-- param: on boolean = true\nSELECT 1"
    query = queries.parse("x", text, Path("x.sql"))
    assert (query.title, query.sentence) == ("Title", "A sentence in two lines.")
    assert [str(p) for p in query.parameters] == ["n=3", "on=true"]
    assert query.bind({}) == {"n": 3, "on": True}
    assert query.bind({"n": "7", "on": "no"}) == {"n": 7, "on": False}
    assert query.bind({"n": "null"}) == {"n": None, "on": True}
    for given, said in (({"n": "many"}, "integer"), ({"on": "maybe"}, "true or false"), ({"m": "1"}, "it has n, on")):
        with pytest.raises(BadInputError, match=said):
            query.bind(given)
    for broken in ("SELECT 1", "-- Title\nSELECT 1", "-- T\n-- S.\n-- param: n number\nSELECT 1"):
        with pytest.raises(ValueError):
            queries.parse("x", broken, Path("x.sql"))


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(BadInputError, match="did you mean sessions"):
        queries.find("sesions", queries.all_queries())
    with pytest.raises(BadInputError, match="--list"):
        queries.find("zzz", queries.all_queries())
