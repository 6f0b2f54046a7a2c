"""Queries that compare runs, loads and hours, on histories whose answers are known."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import pytest

from gemtop.config import Paths
from gemtop.domain.records import Record, SessionEnd
from gemtop.domain.telemetry import DeviceSample
from tests.history.named import ask_named
from tests.history.rows import SESSION, STARTED_AT_MS, STARTED_NS, S, ledger_row, put_in, run, run_end, session

MIB = 2**20
HOUR_MS = 3_600_000
QAT: dict[str, Any] = {}
PTQ: dict[str, Any] = {"variant": "PTQ Q4_K_M", "training": "ptq", "quantization": "Q4_K_M"}
FP16: dict[str, Any] = {
    "variant": "FP16",
    "training": "none",
    "quantization": "F16",
    "size_bytes": 800 * MIB,
    "model_name": "Gemma 3 270M It",
    "parameters": 268_098_176 + 640,
}
NOT_VALID: dict[str, Any] = {"valid": False, "invalid_reason": "power throttling of GPU 0"}


class Seed:
    """A session whose runs are added one by one."""

    def __init__(self, session_id: str = SESSION, **changes: Any) -> None:
        self.session_id = session_id
        self.rows: list[Record] = [session(session_id, **changes)]
        self.runs = 0

    def add(self, begin: dict[str, Any] | None = None, **end: Any) -> str:
        self.runs += 1
        record = run(self.session_id, self.runs, **(begin or {}))
        self.rows += [record, run_end(record.run_id, **end)]
        return record.run_id

    def put_in(self, paths: Paths) -> None:
        put_in(paths, [*self.rows, SessionEnd(STARTED_NS + 60 * S, None)], self.session_id)


def test_what_qat_saves(paths: Paths) -> None:
    seed = Seed()
    for speed in (38.0, 42.0):
        seed.add(QAT, decode_tokens_per_s=speed, vram_peak_bytes=300 * MIB, decode_j_per_token=5.0, ttft_s=0.25)
    for speed in (9.0, 11.0):
        seed.add(FP16, decode_tokens_per_s=speed, vram_peak_bytes=900 * MIB, decode_j_per_token=20.0, ttft_s=0.5)
    seed.add(FP16, decode_tokens_per_s=1.0, **NOT_VALID)
    seed.add(FP16 | {"n_ctx": 4096}, decode_tokens_per_s=1.0)  # nothing of QAT to compare it with
    seed.add(FP16 | {"variant": "FP16 + pirate", "n_ctx": 8192}, decode_tokens_per_s=1.0)
    seed.add(PTQ, decode_tokens_per_s=1.0)
    seed.add({"variant": "QAT+PTQ Q4_K_M", "quantization": "Q4_K_M"}, decode_tokens_per_s=20.0)
    seed.put_in(paths)
    row, other = ask_named(paths, "qat_saves")
    assert (row["variant"], row["beside"], other["variant"], other["decode_ratio"]) == (
        "QAT Q4_0", "FP16", "QAT+PTQ Q4_K_M", 2.0)  # fmt: skip
    assert (row["n_qat"], row["n_fp16"], row["billions"]) == (2, 2, 0.27)
    assert (row["file_ratio"], row["file_saved_mib"]) == (0.25, 600.0)
    assert (row["memory_ratio"], row["memory_saved_mib"]) == (pytest.approx(1 / 3), 600.0)
    assert (row["decode_ratio"], row["ttft_ratio"], row["j_per_token_ratio"]) == (4.0, 0.5, 0.25)
    assert row["decode_ratio_se"] == pytest.approx(4 * math.sqrt((2 / 40) ** 2 + (1 / 10) ** 2))
    assert ask_named(paths, "qat_saves", model="llama") == []


def test_what_qat_saves_without_a_gpu_is_of_the_machines_memory(paths: Paths) -> None:
    seed, cpu = Seed(), {"gpu_name": None, "driver_version": None, "devices": (), "n_gpu_layers": 0}
    seed.add(QAT | cpu, ram_peak_bytes=250 * MIB, vram_peak_bytes=None)
    seed.add(FP16 | cpu, ram_peak_bytes=1000 * MIB, vram_peak_bytes=None)
    seed.put_in(paths)
    (row,) = ask_named(paths, "qat_saves")
    assert (row["machine"], row["memory_ratio"], row["decode_ratio_se"]) == ("box", 0.25, None)


def test_depth(paths: Paths) -> None:
    seed = Seed()
    # Decode half-way through: 4 + 10 // 2 = 9, and as many more as the context held.
    shallow: dict[str, Any] = {"generated_tokens": 10, "prefill_tokens_per_s": 1000.0}
    seed.add(decode_tokens_per_s=100.0, **shallow)
    seed.add(decode_tokens_per_s=110.0, **shallow)
    seed.add({"cached_tokens": 4096}, decode_tokens_per_s=84.0, **shallow)
    seed.add({"cached_tokens": 1900}, prompt_tokens=300, generated_tokens=10, decode_tokens_per_s=63.0,
             prefill_tokens_per_s=500.0)  # fmt: skip
    seed.add({"kind": "apply"}, decode_tokens_per_s=1.0)
    seed.add(decode_tokens_per_s=1.0, **NOT_VALID)
    seed.put_in(paths)
    rows = ask_named(paths, "depth")
    assert [(r["phase"], r["from_depth"], r["n"], r["tokens_per_s"]) for r in rows] == [
        ("prefill", 2048, 1, 500.0),
        ("decode", 0, 2, 105.0),
        ("decode", 2048, 1, 63.0),
        ("decode", 4096, 1, 84.0),
    ]
    assert [r["of_shallowest"] for r in rows] == [1.0, 1.0, pytest.approx(0.6), pytest.approx(0.8)]
    assert (rows[1]["slowest"], rows[1]["fastest"]) == (100.0, 110.0)
    wide = ask_named(paths, "depth", step="10000", min_prompt="1")
    assert [(r["phase"], r["from_depth"], r["n"]) for r in wide] == [("prefill", 0, 4), ("decode", 0, 4)]


def test_offload(paths: Paths) -> None:
    seed = Seed()
    seed.add({"n_gpu_layers": 0, "gpu_name": None}, decode_tokens_per_s=5.0, vram_peak_bytes=None)
    for speed in (19.0, 21.0):
        seed.add({"n_gpu_layers": 19}, decode_tokens_per_s=speed)
    seed.add({"n_gpu_layers": 10}, decode_tokens_per_s=10.0, vram_peak_bytes=150 * MIB)
    seed.add({"n_gpu_layers": 10}, decode_tokens_per_s=1.0, **NOT_VALID)
    seed.put_in(paths)
    rows = ask_named(paths, "offload")
    assert [(r["n_gpu_layers"], r["n"], r["times_fewest"]) for r in rows] == [(0, 1, 1.0), (10, 1, 2.0), (19, 2, 4.0)]
    assert [r["vram_peak_mib"] for r in rows] == [None, 150.0, 300.0]
    assert (rows[2]["decode_sd"], rows[0]["gpu_name"]) == (pytest.approx(math.sqrt(2)), None)


def test_front(paths: Paths) -> None:
    seed = Seed()
    seed.add(QAT, decode_tokens_per_s=40.0, vram_peak_bytes=300 * MIB)
    seed.add(PTQ, decode_tokens_per_s=38.0, vram_peak_bytes=320 * MIB)  # slower and larger than QAT
    seed.add(QAT | {"n_ctx": 2048}, decode_tokens_per_s=39.0, vram_peak_bytes=250 * MIB)
    seed.add(QAT | {"n_ubatch": 1024}, decode_tokens_per_s=45.0, vram_peak_bytes=400 * MIB)
    seed.add(FP16, decode_tokens_per_s=99.0, vram_peak_bytes=1 * MIB, **NOT_VALID)
    seed.put_in(paths)
    rows = ask_named(paths, "front")
    assert [(r["n_ctx"], r["memory_mib"], r["decode_tokens_per_s"]) for r in rows] == [
        (2048, 250.0, 39.0),
        (8192, 300.0, 40.0),
        (8192, 400.0, 45.0),
    ]
    assert [r["memory_mib"] for r in ask_named(paths, "front", n_ctx="8192")] == [300.0, 400.0]
    whole = ask_named(paths, "front", all="true")
    assert [(r["variant"], r["on_front"]) for r in whole][2] == ("PTQ Q4_K_M", False)


def test_energy(paths: Paths) -> None:
    seed = Seed()
    more: dict[str, Any] = {"energy_source": "counter", "decode_net_j_per_token": 2.0, "idle_power_w": 20.0}
    more |= {"decode_net_j_per_token_error": 0.5, "prefill_j_per_token_error": 0.25}
    seed.add(decode_j_per_token=3.0, decode_j_per_token_error=0.25, **more)
    seed.add(decode_j_per_token=5.0, decode_j_per_token_error=0.75, **more)
    seed.add(decode_j_per_token=50.0, **(more | NOT_VALID))
    seed.add(decode_j_per_token=None, prefill_j_per_token=None, energy_j=None)
    seed.put_in(paths)
    (row,) = ask_named(paths, "energy")
    assert (row["n"], row["decode_j"], row["decode_error_j"]) == (2, 4000.0, 500.0)
    assert (row["decode_net_j"], row["decode_net_error_j"]) == (2000.0, 500.0)
    assert (row["prefill_j"], row["prefill_error_j"], row["prefill_net_j"]) == (1000.0, 250.0, None)
    assert (row["power_w"], row["idle_power_w"]) == (90.0, 20.0)
    assert row["decode_sd_j"] == pytest.approx(1000 * math.sqrt(2))


def test_regressions(paths: Paths) -> None:
    later: dict[str, Any] = {"started_at_ms": STARTED_AT_MS + HOUR_MS}
    seed = Seed()
    for speed in (99.0, 101.0):
        seed.add(decode_tokens_per_s=speed)
    for speed in (89.0, 91.0):
        seed.add(later | {"llama_build": "b6100"}, decode_tokens_per_s=speed)
    seed.add(later | {"llama_build": "b6100"}, decode_tokens_per_s=1.0, **NOT_VALID)
    seed.add(PTQ, decode_tokens_per_s=50.0)  # one set of versions: nothing to compare
    seed.add({"kind": "pp", "n_ctx": 512}, prefill_tokens_per_s=1000.0, decode_tokens_per_s=None)
    seed.put_in(paths)
    new = Seed("20261124-100000-bbbb0001", started_at_ms=STARTED_AT_MS + 24 * HOUR_MS, gemtop_version="0.2.0",
               driver_version="590.1")  # fmt: skip
    next_day = {"llama_build": "b6100", "started_at_ms": STARTED_AT_MS + 25 * HOUR_MS}
    new.add(next_day, decode_tokens_per_s=99.0)
    new.add({"kind": "pp", "n_ctx": 512} | next_day, prefill_tokens_per_s=1100.0, decode_tokens_per_s=None)
    new.put_in(paths)
    rows = ask_named(paths, "regressions")
    assert [(r["kind"], r["n"], r["tokens_per_s"], r["changed"]) for r in rows] == [
        ("generate", 2, 100.0, None),
        ("generate", 2, 90.0, "llama.cpp"),
        ("generate", 1, 99.0, "driver, gemtop"),
        ("pp", 1, 1000.0, None),
        ("pp", 1, 1100.0, "driver, llama.cpp, gemtop"),
    ]
    assert [r["change_pct"] for r in rows] == [None, *map(pytest.approx, (-10.0, 10.0)), None, pytest.approx(10.0)]
    # Both have a standard deviation of √2 and two runs: a standard error of 1 each, √2 of the difference.
    assert rows[1]["standard_errors"] == pytest.approx(-10 / math.sqrt(2))
    assert rows[2]["standard_errors"] is None  # a single run has no spread
    (slower,) = ask_named(paths, "regressions", slower_pct="5")
    assert (slower["llama_build"], slower["gemtop_version"]) == ("b6100", "0.1.0")


def test_longest_context(paths: Paths) -> None:
    seed = Seed()
    seed.add({"n_ctx": 4096, "cached_tokens": 4000})
    longest = seed.add({"n_ctx": 32768, "cached_tokens": 100}, decode_tokens_per_s=7.0, **NOT_VALID)
    seed.add({"n_ctx": 32768})
    seed.add({"n_ctx": 131072}, status="failed")
    lean = seed.add({"n_ctx": 65536, "type_k": "q8_0"})
    seed.put_in(paths)
    first, second = ask_named(paths, "longest_context")
    assert (first["type_k"], first["n_ctx"], first["run_id"]) == ("q8_0", 65536, lean)
    assert (second["type_k"], second["n_ctx"], second["run_id"]) == ("f16", 32768, longest)
    assert (second["most_tokens_used"], second["runs"], second["decode_tokens_per_s"]) == (4015, 3, 7.0)


def test_throttling(paths: Paths) -> None:
    hour = datetime.fromtimestamp(STARTED_AT_MS / 1000).hour
    rows: list[Record] = [session()]

    def sample(at_s: float, device: str, util: float, celsius: float, *reasons: str) -> None:
        t_ns = STARTED_NS + round(at_s * S)
        rows.append(DeviceSample(t_ns, device, util, power_w=100.0, temperature_c=celsius, throttle_reasons=reasons))

    sample(0, "0", 90.0, 60.0)
    sample(1, "0", 90.0, 70.0, "SwPowerCap")
    sample(2, "0", 90.0, 80.0, "SwPowerCap", "HwThermalSlowdown")
    sample(3, "0", 90.0, 90.0, "ApplicationsClocksSetting")
    sample(4, "0", 0.0, 99.0, "GpuIdle")
    sample(3600, "0", 50.0, 50.0)
    sample(1, "1", 10.0, 40.0, "HwSlowdown")
    put_in(paths, [*rows, SessionEnd(STARTED_NS + 4000 * S, None)])
    found = ask_named(paths, "throttling")
    assert {(r["hour"], r["device"]): (r["readings"], r["throttled_pct"], r["power_pct"], r["thermal_pct"])
            for r in found} == {
        (hour, "0"): (4, 50.0, 50.0, 25.0),
        (hour, "1"): (1, 100.0, 0.0, 0.0),
        ((hour + 1) % 24, "0"): (1, 0.0, 0.0, 0.0),
    }  # fmt: skip
    first = next(r for r in found if (r["hour"], r["device"]) == (hour, "0"))
    assert (first["host"], first["temperature_c"], first["hottest_c"], first["power_w"]) == ("box", 75.0, 90.0, 100.0)
    later = "20270118-100000-bbbb0001"
    put_in(paths, [session(later, started_at_ms=STARTED_AT_MS + 61 * 24 * HOUR_MS, host="other")], later)
    assert ask_named(paths, "throttling") == []
    assert len(ask_named(paths, "throttling", days="null")) == 3
    assert len(ask_named(paths, "throttling", days="61", host="box")) == 3


def test_warm_loads(paths: Paths) -> None:
    rows: list[Record] = [session()]
    loads = ((0.0, 8.0), (0.02, 10.0), (0.5, 5.0), (1.0, 2.0), (1.0, 4.0), (None, 3.0))
    for number, (share, seconds) in enumerate(loads, start=1):
        both: dict[str, Any] = {"load_number": number, "load_s": seconds, "file_cached_share": share}
        rows += [ledger_row(**both), ledger_row("CPU", **(both | {"measured_weights_bytes": 40 * MIB}))]
    rows.append(ledger_row(load_number=9, weights_kept=True, load_s=0.1))
    put_in(paths, [*rows, SessionEnd(STARTED_NS + 60 * S, None)])
    found = ask_named(paths, "warm_loads")
    assert [(r["file_was"], r["n"], r["load_s_median"], r["times_warm"]) for r in found] == [
        ("cold", 2, 9.0, 3.0),
        ("partly", 1, 5.0, pytest.approx(5 / 3)),
        ("warm", 2, 3.0, 1.0),
        ("unknown", 1, 3.0, 1.0),
    ]
    assert (found[0]["cached_pct"], found[0]["weights_mib"], found[2]["mib_per_s"]) == (pytest.approx(1), 240.0, 80.0)
    assert (found[2]["load_s_min"], found[2]["load_s_max"], found[3]["cached_pct"]) == (2.0, 4.0, None)


def test_cost(paths: Paths) -> None:
    seed = Seed()
    seed.add(energy_j=1.8e6, decode_j_per_token=3.6, decode_j_per_token_error=0.36, decode_net_j_per_token=1.8)
    seed.add(energy_j=1.8e6, decode_j_per_token=99.0, **NOT_VALID)
    seed.add(PTQ, energy_j=None)
    seed.put_in(paths)
    (row,) = ask_named(paths, "cost")
    assert (row["runs"], row["n"], row["generated_tokens"], row["prompt_tokens"]) == (2, 1, 22, 8)
    assert (row["energy_kwh"], row["spent"]) == (1.0, 0.3)
    assert (row["per_million_tokens"], row["per_million_error"]) == (pytest.approx(0.3), pytest.approx(0.03))
    assert row["per_million_net"] == pytest.approx(0.15)
    assert ask_named(paths, "cost", price="2")[0]["spent"] == 2.0


def test_day(paths: Paths) -> None:
    seed = Seed()
    seed.add(decode_tokens_per_s=30.0, energy_j=3600.0)
    seed.add(PTQ, decode_tokens_per_s=40.0, energy_j=1800.0, **NOT_VALID)
    seed.put_in(paths)
    for number, more_ms in ((1, 1), (2, 48 * HOUR_MS)):
        other = f"20261125-10000{number}-bbbb0001"
        put_in(paths, [session(other, started_at_ms=STARTED_AT_MS + more_ms)], other)
    (last,) = ask_named(paths, "day")
    assert (last["session_id"], last["runs"], last["models"], last["status"]) == (
        "20261125-100002-bbbb0001", 0, None, "crashed")  # fmt: skip
    day = datetime.fromtimestamp(STARTED_AT_MS / 1000).date().isoformat()
    first, second = ask_named(paths, "day", day=day)
    assert (first["session_id"], first["runs"], first["not_valid"]) == (SESSION, 2, 1)
    assert first["models"] == "Gemma 3 270M PTQ Q4_K_M, Gemma 3 270M QAT Q4_0"
    assert (first["generated_tokens"], first["best_decode_tokens_per_s"], first["energy_wh"]) == (22, 40.0, 1.5)
    assert (second["runs"], second["generated_tokens"], second["note"], second["tags"]) == (0, 0, None, None)
    assert ask_named(paths, "day", day="2001-01-01") == []
