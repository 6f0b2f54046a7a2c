"""What is remembered of a comparison that was stopped."""

from __future__ import annotations

from typing import Any

import pytest

from gemtop.comparison.job import Asked, Job, Journal, Progress, Variant, plain, predictions_file
from gemtop.config import Paths
from gemtop.domain.comparison import Scores, Seen, VariantFacts
from gemtop.domain.fidelity import Divergences, Likelihoods, fidelity, perplexity
from gemtop.domain.settings import ContextSettings, EngineSettings


def variant(name: str, type_k: str = "f16") -> Variant:
    facts = VariantFacts(name, name, f"/{name}", f"f-{name}", name, "Q4_0", "ptq", "name", 1)
    return Variant(facts, EngineSettings(context=ContextSettings(n_ctx=512, type_k=type_k)))


def job(*variants: Variant, **changes: Any) -> Job:
    fields: dict[str, Any] = {
        "variants": variants or (variant("a"), variant("b")), "baseline": 0,
        "prompts": (Asked("p", "code", "x", 9, None),),
        "prompts_name": "set", "prompts_fingerprint": "1", "left_out": {}, "text": None, "repeat": 1, "run_code": False,
        "checkpoints": {}, "cool_down_s": 1.0,
    }  # fmt: skip
    return Job(**(fields | changes))


def seen(variant: int, *tokens: int) -> Seen:
    return Seen(variant, 0, "p", {"status": "finished", "valid": True}, "out", (1, 2), tokens, True, "")


def test_what_was_done_is_there_again(folders: Paths) -> None:
    text = Likelihoods(512, 1, [1.0, 2.0])
    far = fidelity(text, Divergences([1.0, 1.5], [0.1, 0.2], [0.0, 0.0], [True, False]))
    scores = Scores(perplexity(text), far, "why", far)
    journal = Journal(folders, "k")
    journal.write("began", "20261127-000000-aaaa0001")
    journal.write("seen", plain(seen(0, 5, 6)))
    journal.write("seen", plain(seen(1, 5, 7)))
    journal.write("scores", {"variant": 1, "scores": plain(scores), "along": {"nll": [1.0]}})
    journal.write("top", {"variant": 1, "partner": 1, "prompt_id": "p", "at": 1, "top": [[7, " x", 0.5]]})
    journal.write("load", {"variant": 0, "load_s": 1.5})
    journal.write("note", "said")
    again = Journal(folders, "k").progress
    assert again == journal.progress
    assert again.scores[1] == scores
    assert again.seen[1].tokens == (5, 7)
    (apart,) = again.apart(0, 1)
    assert (apart.at, apart.variant_top, apart.baseline_top) == (1, ((7, " x", 0.5),), ())
    journal.forget()
    assert Journal(folders, "k").progress == Progress()


def test_a_torn_last_line_is_dropped(folders: Paths) -> None:
    journal = Journal(folders, "k")
    journal.write("note", "whole")
    path = folders.state / "compare-k.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": "note", "da')
    again = Journal(folders, "k")
    assert again.progress.notes == ["whole"]
    again.write("note", "next")
    assert Journal(folders, "k").progress.notes == ["whole", "next"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("line", ['{"step": "unknown", "data": 1}\n', '{"step": "seen", "data": {}}\n', "[]\n", "no\n"])
def test_lines_of_another_version_begin_anew(folders: Paths, line: str) -> None:
    folders.state.mkdir(parents=True)
    (folders.state / "compare-k.jsonl").write_text(line)
    assert Journal(folders, "k").progress == Progress()


def test_the_key_stands_for_what_is_measured() -> None:
    assert job().key == job().key
    others = [
        job(variant("a"), variant("c")), job(variant("a"), variant("b", "q8_0")), job(baseline=1), job(repeat=2),
        job(run_code=True), job(prompts_fingerprint="2"), job(checkpoints={1: 0}),
    ]  # fmt: skip
    assert len({one.key for one in (job(), *others)}) == len(others) + 1


def test_predictions_are_of_a_model_with_its_cache(folders: Paths) -> None:
    from gemtop.comparison.prepare import default_text

    one = job(variant("a"), variant("a", "q8_0"), variant("b"), text=default_text(512, 2))
    files = {predictions_file(folders, one, number) for number in range(3)}
    assert len(files) == 3
