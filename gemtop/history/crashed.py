"""Ends what did not end: runs and sessions of a process that is gone, from the rows that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemtop.domain.energy import Window
from gemtop.domain.figures import Timing, timing
from gemtop.domain.idle import PACKAGE, IdlePower
from gemtop.domain.resources import COLUMNS, Phases, resources
from gemtop.domain.telemetry import DeviceSample, HostSample

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

REASON = "the process died"

_UPDATE = f"""
    UPDATE store.runs SET
        status = 'crashed', stop_reason = 'crashed', valid = false, invalid_reason = 'the run crashed',
        message = $message, end_ns = $end_ns,
        prompt_tokens = $prompt_tokens, generated_tokens = $generated_tokens, ttft_s = $ttft_s,
        prefill_tokens_per_s = $prefill_tokens_per_s, decode_tokens_per_s = $decode_tokens_per_s,
        itl_p50_ms = $itl_p50_ms, itl_p95_ms = $itl_p95_ms, itl_p99_ms = $itl_p99_ms,
        {", ".join(f"{name} = ${name}" for name in COLUMNS)}
    WHERE run_id = $run_id
"""
_BEFORE_NS = 60_000_000_000
_Run = tuple[str, int, list[str] | None, list[str] | None]
"""run_id, start_ns, NVML indices and llama.cpp's names of its devices."""
_READ = ("vram_used_bytes", "power_w", "power_average_w", "power_instant_w", "energy_j", "throttle_reasons")
_READ_OF_HOST = ("process_rss_bytes", "package_energy_j")


def _timing(con: DuckDBPyConnection, run_id: str, start_ns: int) -> tuple[Timing, list[int]]:
    """Timing of a run from its tokens, and when each was generated."""
    rows = con.execute('SELECT t_ns, phase FROM store.tokens WHERE run_id = ? ORDER BY "index"', [run_id]).fetchall()
    prompt = [t_ns for t_ns, phase in rows if phase == "prefill"]
    generated = [t_ns for t_ns, phase in rows if phase == "decode"]
    prefill = [(t_ns, done) for done, t_ns in enumerate(prompt, start=1)]
    return timing(start_ns, prefill, generated), generated


def _samples(con: DuckDBPyConnection, session_id: str, run: Window) -> tuple[list[DeviceSample], list[HostSample]]:
    """Readings of a run, and for each device one beyond either end of it."""
    rows = con.execute(
        f"""
        SELECT t_ns, device, {", ".join(_READ + _READ_OF_HOST)} FROM (
            SELECT *, lead(t_ns) OVER w AS next_ns, lag(t_ns) OVER w AS last_ns
            FROM store.samples WHERE session_id = $session WINDOW w AS (PARTITION BY device ORDER BY t_ns)
        ) WHERE coalesce(next_ns, t_ns) >= $start AND coalesce(last_ns, t_ns) <= $end ORDER BY t_ns
        """,
        {"session": session_id, "start": run.start_ns, "end": run.end_ns},
    ).fetchall()
    devices: list[DeviceSample] = []
    hosts: list[HostSample] = []
    for t_ns, device, *values in rows:
        known = dict(zip(_READ + _READ_OF_HOST, values, strict=True))
        if device == "host":
            hosts.append(HostSample(t_ns, **{name: known[name] for name in _READ_OF_HOST}))
        else:
            names = known["throttle_reasons"]
            known["throttle_reasons"] = None if names is None else tuple(names)
            devices.append(DeviceSample(t_ns, device, **{name: known[name] for name in _READ}))
    return devices, hosts


def _idle(con: DuckDBPyConnection, session_id: str, start_ns: int) -> IdlePower:
    """Idle power from the readings of the minute before a run, as far as no other run went on."""
    others = con.execute(
        "SELECT start_ns, coalesce(end_ns, start_ns) FROM store.runs WHERE session_id = ? AND start_ns < ?",
        [session_id, start_ns],
    ).fetchall()
    rows = con.execute(
        "SELECT t_ns, device, coalesce(power_instant_w, power_average_w, power_w), package_power_w, gpu_util_pct,"
        " host_cpu_pct FROM store.samples WHERE session_id = ? AND t_ns BETWEEN ? AND ? ORDER BY t_ns",
        [session_id, start_ns - _BEFORE_NS, start_ns],
    ).fetchall()
    idle = IdlePower()
    for t_ns, device, watts, package_w, util, load in rows:
        busy = any(began <= t_ns <= ended for began, ended in others)
        if device == "host":
            idle.add(PACKAGE, t_ns, package_w, load, busy=busy)
        else:
            idle.add(device, t_ns, watts, util, busy=busy)
    return idle


def _covered_ns(devices: list[DeviceSample], host: list[HostSample], used: list[str], end_ns: int) -> int:
    """The last moment up to which all sensors were read: the last token mostly comes after it."""
    last = [max((s.t_ns for s in devices if s.device == d), default=0) for d in used]
    return min([end_ns, *last]) if used else min(end_ns, max((s.t_ns for s in host), default=end_ns))


def _end_run(con: DuckDBPyConnection, session_id: str, run: _Run, message: str) -> None:
    run_id, start_ns, used_devices, device_names = run
    timed, generated = _timing(con, run_id, start_ns)
    last = con.execute(
        "SELECT max(t_ns) FROM (SELECT t_ns FROM store.tokens WHERE run_id = $run"
        " UNION ALL SELECT if($tokens > 0, NULL, max(t_ns)) FROM store.samples WHERE session_id = $session)",
        {"run": run_id, "session": session_id, "tokens": len(generated)},
    ).fetchone()
    end_ns = max(start_ns, last[0] if last and last[0] is not None else start_ns)
    used = used_devices or []
    devices, host = _samples(con, session_id, Window(start_ns, end_ns))
    covered_ns = max(start_ns, _covered_ns(devices, host, used, end_ns))
    first_ns = generated[0] if generated else None
    if first_ns is not None and covered_ns <= first_ns:
        covered_ns = end_ns  # of the decode nothing was read
    phases = Phases(
        Window(start_ns, covered_ns), first_ns, timed.prompt_tokens, sum(t_ns <= covered_ns for t_ns in generated)
    )
    elsewhere = [name for name in device_names or [] if name != "CPU"]
    unread = elsewhere if len(elsewhere) > len(used) else []
    idle = None if unread else _idle(con, session_id, start_ns).of(used or (PACKAGE,))
    taken = resources(devices, host, used, phases, idle, unread)
    con.execute(
        _UPDATE,
        {
            "run_id": run_id,
            "message": message,
            "end_ns": end_ns,
            "prompt_tokens": timed.prompt_tokens,
            "generated_tokens": timed.generated_tokens,
            "ttft_s": timed.ttft_s,
            "prefill_tokens_per_s": timed.prefill_tokens_per_s,
            "decode_tokens_per_s": timed.decode_tokens_per_s,
            "itl_p50_ms": timed.latency.p50_ms,
            "itl_p95_ms": timed.latency.p95_ms,
            "itl_p99_ms": timed.latency.p99_ms,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in taken.columns().items()},
        },
    )


def end_unfinished(con: DuckDBPyConnection, session_id: str) -> None:
    """Mark what has no end of this session as crashed, with the figures of what is there.

    Runs take the session's recorded reason as their message. Does nothing where all has ended, so it may be
    called again. To be called inside a transaction.
    """
    found = con.execute("SELECT status, end_reason FROM store.sessions WHERE session_id = ?", [session_id]).fetchone()
    status, reason = found or (None, None)
    runs = con.execute(
        "SELECT run_id, start_ns, devices, device_names FROM store.runs WHERE session_id = ? AND status IS NULL",
        [session_id],
    ).fetchall()
    for run in runs:
        _end_run(con, session_id, run, reason or REASON)
    if status is None:
        con.execute(
            """
            UPDATE store.sessions SET status = 'crashed', end_reason = coalesce(end_reason, $reason),
                end_ns = (SELECT max(t_ns) FROM (
                    SELECT max(t_ns) AS t_ns FROM store.samples WHERE session_id = $session
                    UNION ALL SELECT max(end_ns) FROM store.runs WHERE session_id = $session
                    UNION ALL SELECT max(t_ns) FROM store.ledger WHERE session_id = $session
                    UNION ALL SELECT 0))
            WHERE session_id = $session
            """,
            {"session": session_id, "reason": REASON},
        )
