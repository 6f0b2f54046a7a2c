"""Points of tunings: from the recorder to the view, over several sittings."""

from __future__ import annotations

from dataclasses import asdict

from gemtop.config import Paths
from gemtop.domain.records import SessionEnd
from gemtop.history.recorder import Recorder
from tests.history.rows import FAST, STARTED_AT_MS, STARTED_NS, S, ask, put_in, session, tune_point

FIRST, SECOND, OTHER = (f"20261123-1{hour}0000-aaaa000{hour}" for hour in range(3))


def test_a_recorded_point_comes_back_as_it_was(paths: Paths) -> None:
    point = tune_point(FIRST, prefill_sd=None, device_names=("CUDA0", "RPC0"))
    recorder = Recorder(paths, FAST)
    recorder.open(session(FIRST))
    recorder.put(point)
    recorder.close(SessionEnd(STARTED_NS + 5 * S, None))
    assert recorder.problem is None
    expected = asdict(point) | {"device_names": list(point.device_names)}
    del expected["t_ns"]
    (row,) = ask(paths, f"SELECT {', '.join(expected)} FROM tune")
    assert dict(zip(expected, row, strict=True)) == expected
    assert ask(paths, "SELECT session_id, epoch_ms(recorded_at) FROM tune") == [(FIRST, STARTED_AT_MS + 2000)]


def test_the_last_sitting_of_each_tuning_counts(paths: Paths) -> None:
    put_in(paths, [session(FIRST), tune_point(FIRST, n_ctx=4096)], FIRST)
    put_in(paths, [session(OTHER), tune_point(OTHER, n_ctx=512)], OTHER)
    later = [tune_point(FIRST, n_ctx=4096, on_front=False), tune_point(FIRST, n_ctx=16_384, measured_in=SECOND)]
    put_in(paths, [session(SECOND), *later], SECOND)
    assert ask(paths, "SELECT tuning_id, session_id, n_ctx, on_front, measured_in FROM tune ORDER BY 1, 3") == [
        (FIRST, SECOND, 4096, False, FIRST),
        (FIRST, SECOND, 16_384, True, SECOND),
        (OTHER, OTHER, 512, True, OTHER),
    ]
    assert ask(paths, "SELECT count(*) FROM store.tune_points") == [(4,)]


def test_what_could_not_be_measured_says_why(paths: Paths) -> None:
    unknown = dict.fromkeys(("measured_bytes", "flash_attn", "n_threads", "measured_in", "decode_sd", "prefill_sd"))
    failed = tune_point(
        FIRST, **unknown, decode_tokens_per_s=None, prefill_tokens_per_s=None, on_front=False, reason="no\0 room"
    )
    put_in(paths, [session(FIRST), failed], FIRST)
    assert ask(paths, "SELECT decode_tokens_per_s, measured_bytes, on_front, reason FROM tune") == [
        (None, None, False, "no␀ room")
    ]
