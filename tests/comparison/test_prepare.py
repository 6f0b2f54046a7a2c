"""Which variant is another's own unquantised checkpoint, and what becomes of those that do not fit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gemtop.comparison.job import Journal, TextToScore
from gemtop.comparison.prepare import _checkpoints, leave_out_what_does_not_fit
from gemtop.config import Paths
from gemtop.domain.model import ModelHeader
from gemtop.domain.plan import Plan
from gemtop.domain.provenance import SOURCE_FINGERPRINT
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings
from gemtop.engine.planner import PlanRequest
from tests.comparison.test_job import job, variant


def header(name: str, **metadata: Any) -> ModelHeader:
    return ModelHeader(f"/{name}", 1, metadata, (), 1, f"f-{name}")


class _Wish:
    def __init__(self, checkpoints: dict[int, int]) -> None:
        self.checkpoints = checkpoints


def test_it_is_unquantised_and_not_the_baseline() -> None:
    names = {"base": "F16", "published": "Q4_K_M", "of-published": "Q8_0", "own": "BF16", "of-own": "Q4_0"}
    sources = {"of-published": "f-published", "of-own": "f-own", "published": "f-base"}
    headers = [header(name, **({SOURCE_FINGERPRINT: sources[name]} if name in sources else {})) for name in names]
    variants = []
    for name, quantization in names.items():
        one = variant(name)
        variants.append(replace(one, facts=replace(one.facts, quantization=quantization)))
    assert _checkpoints(_Wish({}), headers, variants, 0) == {4: 3}  # type: ignore[arg-type]
    assert _checkpoints(_Wish({2: 3}), headers, variants, 0) == {2: 3, 4: 3}  # type: ignore[arg-type]


class _Room:
    """Has room for so many layers with the context of the runs, and with the shorter one of the text."""

    def __init__(self, runs: int, text: int, n_ctx: int) -> None:
        self._runs, self._text, self._n_ctx = runs, text, n_ctx

    def fit(self, request: PlanRequest, _fingerprint: str) -> tuple[bool, str]:
        room = self._runs if request.settings.context.n_ctx == self._n_ctx else self._text
        return request.settings.offload.n_gpu_layers in range(room + 1), "1.5 GiB too little"

    def plan(self, request: PlanRequest) -> Plan:
        assert request.search and request.settings.context.n_ctx != self._n_ctx
        return cast("Plan", SimpleNamespace(max_n_gpu_layers=self._text if self._text >= 0 else None))


@pytest.mark.parametrize(
    ("runs", "text", "failures", "text_only"),
    [
        (19, 19, {}, {}),
        (5, 19, {}, {0: (19, "only the text is put through it: 1.5 GiB too little")}),
        (5, 12, {}, {0: (12, "only the text is put through it, 12 layers offloaded: 1.5 GiB too little")}),
        (-1, -1, {0: "1.5 GiB too little"}, {}),
    ],
)
def test_what_does_not_fit_may_still_have_the_text_put_through(
    folders: Paths, runs: int, text: int, failures: dict[int, str], text_only: dict[int, tuple[int, str]]
) -> None:
    one = variant("large")
    settings = EngineSettings(OffloadSettings(n_gpu_layers=19), ContextSettings(n_ctx=8192))
    work = job(replace(one, settings=settings), text=TextToScore("novel", "words", "0", 512, 2))
    said: list[str] = []
    for _ in range(2):  # what is known is not asked again
        leave_out_what_does_not_fit(work, Journal(folders, work.key), _Room(runs, text, 8192), said.append)
    progress = Journal(folders, work.key).progress
    assert (progress.failures, progress.text_only) == (failures, text_only)
    assert len(said) == len(failures) + len(text_only)
    assert progress.can_run(0) == (not said)
