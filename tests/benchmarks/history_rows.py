"""A large history made by SQL: sessions of a year on four machines, as gemtop would have written them.

Rows go straight into the tables of `store`, in the order in which sessions write them. Numbers come from hashes of
their row, so that each time the same history is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Scale:
    """How large: ten runs a session, a prompt of 20 tokens in each."""

    sessions: int = 1000
    tokens_per_run: int = 100
    samples: int = 10_000_000

    @property
    def runs(self) -> int:
        return self.sessions * 10

    @property
    def tokens(self) -> int:
        return self.runs * self.tokens_per_run

    @property
    def ticks(self) -> int:
        """Readings of each of three devices in a session, five a second."""
        return round(self.samples / 3 / self.sessions)


def fill(con: DuckDBPyConnection, scale: Scale) -> None:
    """Put the rows into an empty history that is in use as the default database."""
    con.execute("SET TimeZone = 'UTC'")
    for statement in _MACROS + _SESSIONS + _RUNS + _TOKENS:
        con.execute(statement.format(sessions=scale.sessions, tokens=scale.tokens_per_run))
    # In parts: a session's rows lie together in the file, whatever the threads do.
    step = max(1, scale.sessions // 20)
    for first in range(0, scale.sessions, step):
        for statement in (_CARDS, _HOSTS):
            con.execute(statement.format(first=first, last=min(first + step, scale.sessions), ticks=scale.ticks))
        con.execute("CHECKPOINT")  # as after each move: what it frees, the next rows take
    for name in ("chance", "normal", "session_of", "session_rows", "run_rows"):
        kind = "TABLE" if name.endswith("rows") else "MACRO"
        con.execute(f"DROP {kind} memory.{name}")


_MACROS = [
    "CREATE MACRO memory.chance(i, salt) AS (hash(i, salt) % 1000000)::DOUBLE / 1e6",
    "CREATE MACRO memory.normal(i, salt) AS"
    " memory.chance(i, salt || 'a') + memory.chance(i, salt || 'b') + memory.chance(i, salt || 'c') - 1.5",
    """
    CREATE MACRO memory.session_of(s) AS
        strftime(epoch_ms(1735700000000 + s * 31000000), '%Y%m%d-%H%M%S') || '-' || right(printf('%016x', hash(s)), 8)
    """,
]
_SESSIONS = [
    """
    CREATE TABLE memory.session_rows AS
    SELECT s, memory.session_of(s) AS session_id, epoch_ms(1735700000000 + s * 31000000)::TIMESTAMPTZ AS started_at,
        ['workshop', 'desk', 'server', 'laptop'][1 + s % 4] AS host,
        ['NVIDIA GeForce RTX 4090', 'NVIDIA GeForce RTX 3090', 'NVIDIA A100-SXM4-80GB', NULL][1 + s % 4] AS gpu,
        ['560.35', '565.77', '570.86', '580.10'][1 + s * 4 // {sessions}] AS driver,
        '0.' || (s * 6 // {sessions}) || '.0' AS gemtop, 'b' || (5000 + s * 12 // {sessions} * 100) AS build
    FROM range({sessions}) AS t(s)
    """,
    """
    INSERT INTO store.sessions BY NAME
    SELECT session_id, started_at, 1000000000::BIGINT * s AS started_ns, 667000000000 AS end_ns,
        CASE WHEN s % 50 = 7 THEN 'crashed' ELSE 'finished' END AS status,
        ['tui', 'run', 'bench'][1 + s % 3] AS command,
        host, 1000 + s AS pid, gemtop AS gemtop_version, CASE WHEN gpu IS NOT NULL THEN driver END AS driver_version,
        '3.11.9' AS python_version, 'Linux-6.1.0-x86_64-with-glibc2.36' AS platform
    FROM memory.session_rows ORDER BY s
    """,
]
_RUNS = [
    """
    CREATE TABLE memory.run_rows AS
    WITH models(m, model_name, parameters) AS (
        VALUES (0, 'Gemma 3 1B It', 1e9), (1, 'Gemma 3 4B It', 4e9), (2, 'Gemma 3 12B It', 12e9),
            (3, 'Gemma 3 27B It', 27e9)
    ),
    variants(v, variant, quantization, training, bits) AS (
        VALUES (0, 'QAT Q4_0', 'Q4_0', 'qat', 4.6), (1, 'PTQ Q4_0', 'Q4_0', 'ptq', 4.6),
            (2, 'PTQ Q4_K_M', 'Q4_K_M', 'ptq', 4.9), (3, 'PTQ Q5_K_M', 'Q5_K_M', 'ptq', 5.7),
            (4, 'PTQ Q8_0', 'Q8_0', 'ptq', 8.5), (5, 'FP16', 'F16', 'none', 16.0)
    ),
    chosen AS (
        SELECT s * 10 + j AS i, s, j, r.* EXCLUDE (s), (memory.chance(s * 10 + j, 'm') * 4)::INTEGER % 4 AS m,
            (memory.chance(s * 10 + j, 'v') * 6)::INTEGER % 6 AS v,
            ['generate', 'generate', 'generate', 'tg', 'pp'][1 + j % 5] AS kind,
            [2048, 8192, 8192, 32768, 131072][1 + (memory.chance(s * 10 + j, 'c') * 5)::INTEGER % 5]::BIGINT AS n_ctx,
            CASE WHEN gpu IS NULL THEN 0 WHEN memory.chance(s * 10 + j, 'l') < 0.8 THEN 49
                ELSE 8 * (1 + (memory.chance(s * 10 + j, 'L') * 5)::INTEGER) END AS layers,
            [900.0, 800.0, 1900.0, 60.0][1 + s % 4] * 1e9 AS bandwidth
        FROM memory.session_rows AS r, range(10) AS t(j)
    )
    SELECT c.*, models.* EXCLUDE (m), variants.* EXCLUDE (v), (parameters * bits / 8)::BIGINT AS bytes,
        bandwidth * 0.7 / (parameters * bits / 8) * (0.2 + 0.8 * layers / 49) * (1 + 0.04 * memory.normal(i, 's'))
            * CASE WHEN gpu IS NULL THEN 5 ELSE 1 END AS speed
    FROM chosen AS c JOIN models USING (m) JOIN variants USING (v) ORDER BY i
    """,
    """
    INSERT INTO store.runs BY NAME
    SELECT session_id || '.' || (j + 1) AS run_id, session_id, started_at + to_seconds(30 + 60 * j) AS started_at,
        (30 + 60 * j) * 1000000000::BIGINT AS start_ns, ((32 + 60 * j) * 1e9 + 79e9 / speed)::BIGINT AS end_ns, kind,
        CASE WHEN i % 97 = 5 THEN 'cancelled' ELSE 'finished' END AS status, 'length' AS stop_reason,
        build AS llama_build, gpu AS gpu_name, CASE WHEN gpu IS NOT NULL THEN driver END AS driver_version, model_name,
        '/models/' || model_name || '-' || quantization || '.gguf' AS model_path,
        printf('%016x', hash(model_name, variant)) AS model_fingerprint, 'gemma3' AS architecture,
        parameters::BIGINT AS parameters, quantization, training, variant, bytes AS size_bytes, n_ctx,
        layers AS n_gpu_layers, 'f16' AS type_k, 'f16' AS type_v, 'on' AS flash_attn, 2048 AS n_batch, 512 AS n_ubatch,
        8 AS n_threads, false AS swa_full, bytes / 2e9 AS load_s,
        CASE WHEN gpu IS NULL THEN [] ELSE ['0'] END AS devices,
        CASE WHEN kind <> 'pp' THEN (memory.chance(i, 'd') * memory.chance(i, 'e') * n_ctx / 2)::BIGINT ELSE 0 END
            AS cached_tokens,
        'What is the ' || i || 'th thing to say of it?' AS prompt,
        repeat('Of this ' || hash(i) || ' much can be said. ', 8) AS output, 20 AS prompt_tokens,
        80 AS generated_tokens, CASE WHEN kind = 'generate' THEN 0.02 + 10 / speed END AS ttft_s,
        speed * 20 AS prefill_tokens_per_s, CASE WHEN kind <> 'pp' THEN speed END AS decode_tokens_per_s,
        1000 / speed AS itl_p50_ms, 1100 / speed AS itl_p95_ms, 1500 / speed AS itl_p99_ms,
        CASE WHEN gpu IS NOT NULL THEN bytes + n_ctx::BIGINT * 100000 END AS vram_peak_bytes,
        800000000 + i AS ram_peak_bytes,
        250 + 20 * memory.normal(i, 'p') AS power_mean_w, 250 * 80 / speed AS energy_j,
        0.5 * 250 / speed AS prefill_j_per_token, 250 / speed AS decode_j_per_token, i % 23 <> 4 AS valid,
        CASE WHEN i % 23 = 4 THEN 'power throttling of GPU 0 (SwPowerCap) for 2.1 of 4.0 s' END AS invalid_reason,
        25.0 AS energy_error_j, 0.02 * 250 / speed AS decode_j_per_token_error, 'counter' AS energy_source,
        60.0 AS idle_power_w, 190 * 80 / speed AS energy_net_j, 30.0 AS energy_net_error_j,
        190 / speed AS decode_net_j_per_token, 0.03 * 250 / speed AS decode_net_j_per_token_error,
        CASE WHEN i % 23 = 4 THEN 2.1 ELSE 0 END AS throttled_s, bytes AS bytes_per_token,
        speed / 0.7 AS roof_tokens_per_s, 0.7 AS roof_share, ['CUDA0', 'CPU'] AS device_names
    FROM memory.run_rows ORDER BY i
    """,
    """
    INSERT INTO store.ledger BY NAME
    SELECT session_id, (20 + 60 * j) * 1000000000::BIGINT AS t_ns, j + 1 AS load_number, model_name,
        printf('%016x', hash(model_name, variant)) AS model_fingerprint, quantization, variant, n_ctx,
        layers AS n_gpu_layers, 'f16' AS type_k, 'f16' AS type_v, 'on' AS flash_attn, 512 AS n_ubatch,
        false AS swa_full, d AS device, gpu AS device_description, driver AS driver_version,
        bytes / 5e8 * (1.1 - memory.chance(i, 'w')) AS load_s, j % 3 = 2 AS weights_kept,
        bytes // 2 AS predicted_weights_bytes, n_ctx::BIGINT * 50000 AS predicted_kv_bytes,
        300000000 AS predicted_compute_bytes,
        1000000 AS predicted_output_bytes, bytes // 2 AS measured_weights_bytes,
        n_ctx::BIGINT * 50000 AS measured_kv_bytes,
        300000000 + i AS measured_compute_bytes, 1000000 AS measured_output_bytes,
        bytes // 2 + n_ctx::BIGINT * 50000 + 700000000 AS device_used_bytes,
        CASE WHEN j % 3 <> 2 THEN memory.chance(i, 'w') END AS file_cached_share
    FROM memory.run_rows, (VALUES ('CPU'), ('CUDA0')) AS t(d) ORDER BY i, d
    """,
]
_TOKENS = [
    """
    INSERT INTO store.tokens
    SELECT session_id || '.' || (j + 1), k::INTEGER,
        ((32 + 60 * j) * 1e9 + greatest(0, k - 20) * 1e9 / speed
            + CASE WHEN k > 20 THEN 1e8 / speed * memory.normal(i * 1000 + k, 't') ELSE 0 END)::BIGINT,
        (hash(i, k) % 262144)::INTEGER, CASE WHEN k < 20 THEN 'prefill' ELSE 'decode' END::store.phase
    FROM memory.run_rows, range({tokens}) AS t(k) ORDER BY i, k
    """,
]
# What comes in of a session is moved into the file every 4.5 s, one card after the other.
_TICKS = """
    WITH ticks AS (
        SELECT s, session_id, k, s * 100000 + k AS i, 200000000 * k + (memory.chance(s * 100000 + k, 't') * 3e5)::BIGINT
            AS t_ns, k % 300 BETWEEN 150 AND 220 AS busy, (s * 100000 + k) // 10 AS slow
        FROM memory.session_rows, range({ticks}) AS t(k) WHERE s >= {first} AND s < {last}
    )
"""
_CARDS = f"""
    INSERT INTO store.device_samples BY NAME {_TICKS},
    cards AS (
        SELECT *, round(CASE WHEN busy AND d = 0 THEN 280 + 30 * memory.normal(i, 'p') ELSE 28 + d END
            + memory.normal(i, 'q' || d), 3) AS watts,
            (CASE WHEN busy AND d = 0 THEN 18 ELSE 1 END::BIGINT * 1073741824 + slow % 7 * 2097152)::BIGINT AS used
        FROM ticks, range(2) AS t(d)
    )
    SELECT session_id, t_ns, d::VARCHAR AS device,
        CASE WHEN busy AND d = 0 THEN 90 + i % 10 ELSE 0 END::DOUBLE AS gpu_util_pct,
        CASE WHEN busy AND d = 0 THEN 70 + i % 9 ELSE 0 END::DOUBLE AS mem_util_pct, used AS vram_used_bytes,
        25769803776 - used AS vram_free_bytes, used - 500000000 AS vram_process_bytes, watts AS power_w,
        round(1e6 + 90 * t_ns / 1e9 + watts / 10, 3) AS energy_j, 40 + (slow % 30)::DOUBLE AS temperature_c,
        CASE WHEN busy AND d = 0 THEN 2520 - 15 * (i % 6) ELSE 210 END::DOUBLE AS clock_sm_mhz,
        CASE WHEN busy AND d = 0 THEN 10501 ELSE 405 END::DOUBLE AS clock_mem_mhz, watts AS power_average_w,
        round(watts + memory.normal(i, 'r' || d), 3) AS power_instant_w,
        CASE WHEN NOT busy OR d = 1 THEN ['GpuIdle'] WHEN s % 20 = 3 AND i % 5 = 0 THEN ['SwPowerCap'] ELSE [] END
            AS throttle_reasons,
        CASE WHEN busy AND d = 0 THEN 2 ELSE 8 END AS pstate, 30 + (slow % 20)::DOUBLE AS fan_pct, 4 AS pcie_gen,
        16 AS pcie_width, (1000 * (slow::BIGINT * 7919 % 5000))::BIGINT AS pcie_rx_bytes_per_s,
        (1000 * (slow * 6101 % 3000))::BIGINT AS pcie_tx_bytes_per_s, 0 AS other_processes
    FROM cards ORDER BY s, k // 22, d, k
"""
_HOSTS = f"""
    INSERT INTO store.host_samples BY NAME {_TICKS}
    SELECT session_id, t_ns + 100000 AS t_ns,
        round(CASE WHEN busy THEN 60 ELSE 3 END + 3 * memory.normal(i, 'h'), 1) AS host_cpu_pct,
        round(CASE WHEN busy THEN 400 ELSE 5 END + 5 * memory.normal(i, 'H'), 1) AS process_cpu_pct,
        (8000000000 // 4096 + hash(i) % 5000)::BIGINT * 4096 AS ram_used_bytes, 67108864000 AS ram_total_bytes,
        (900000000 // 4096 + slow % 900)::BIGINT * 4096 AS process_rss_bytes,
        round(45 * t_ns / 1e9 + memory.normal(i, 'e'), 6) AS package_energy_j,
        round(45 + 5 * memory.normal(i, 'w'), 3) AS package_power_w, 50 + (slow % 20)::DOUBLE AS cpu_temperature_c,
        [round(100 * memory.chance(slow, 'a'), 1), round(100 * memory.chance(slow, 'b'), 1),
            round(100 * memory.chance(slow, 'c'), 1), round(100 * memory.chance(slow, 'd'), 1)] AS cpu_by_core_pct,
        409600 AS swap_in_bytes, 819200 AS swap_out_bytes
    FROM ticks ORDER BY s, k
"""
