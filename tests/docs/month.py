"""A month of nightly benchmarks, made up: from the twentieth night on another llama.cpp decodes 6 % slower."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from gemtop.config import Paths
from gemtop.domain.records import Record, SessionEnd
from gemtop.history.ingest import take_in_dead
from tests.history import rows

_FIRST = datetime(2026, 11, 1, 2, 17, tzinfo=UTC)
_NIGHTS, _CHANGED, _REPETITIONS, _SD = 30, 19, 5, 0.012
_SPEEDS = {"pp": (512, 1180.0, 1.0), "tg": (256, 34.6, 0.94)}
"""Of each test the context, the speed, and what becomes of that."""


def write_month(where: Paths) -> None:
    """Put the thirty sessions into an empty history."""
    chance = random.Random(3)
    for night in range(_NIGHTS):
        begun = _FIRST + timedelta(days=night)
        session_id = f"{begun:%Y%m%d-%H%M%S}-{night:08x}"
        rows.dead_spool(where, _night(session_id, begun, night >= _CHANGED, chance), session_id)
    take_in_dead(where)


def _night(session_id: str, begun: datetime, changed: bool, chance: random.Random) -> list[Record]:
    begun_ms = round(begun.timestamp() * 1000)
    found: list[Record] = [rows.session(session_id, command="bench", started_at_ms=begun_ms)]
    for kind, (n_ctx, speed, after) in _SPEEDS.items():
        for _ in range(_REPETITIONS):
            number = len(found)
            run = rows.run(
                session_id, number, kind=kind, n_ctx=n_ctx, started_at_ms=begun_ms + 20_000 * number, prompt=None,
                model_name="Gemma 3 27B It", n_gpu_layers=63,
                llama_build="llama.cpp b7020" if changed else "llama.cpp b6900",
            )  # fmt: skip
            measured = speed * (after if changed else 1.0) * (1 + chance.gauss(0, _SD))
            speeds = {"prefill_tokens_per_s": None, "decode_tokens_per_s": None}
            speeds["prefill_tokens_per_s" if kind == "pp" else "decode_tokens_per_s"] = measured
            found += [run, rows.run_end(run.run_id, output=None, valid=True, **speeds)]
    return [*found, SessionEnd(rows.STARTED_NS + 300 * rows.S, None)]
