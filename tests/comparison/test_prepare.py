"""Which variant is another's own unquantised checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gemtop.comparison.prepare import _checkpoints
from gemtop.domain.model import ModelHeader
from gemtop.domain.provenance import SOURCE_FINGERPRINT
from tests.comparison.test_job import variant


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
