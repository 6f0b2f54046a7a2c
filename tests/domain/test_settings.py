"""Settings as they are given, kept and read back."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.settings import (
    CACHE_TYPES,
    ContextSettings,
    EngineSettings,
    OffloadSettings,
    SamplingSettings,
    settings_from_dict,
    settings_to_dict,
)

offloads = st.builds(
    OffloadSettings,
    n_gpu_layers=st.integers(-1, 999),
    use_mmap=st.booleans(),
    rpc_servers=st.lists(st.sampled_from(["127.0.0.1:50052", "box:1"]), max_size=2).map(tuple),
    use_extra_bufts=st.booleans(),
)
contexts = st.builds(
    ContextSettings,
    n_ctx=st.none() | st.integers(0, 131_072),
    n_batch=st.integers(1, 4096),
    n_ubatch=st.integers(1, 4096),
    n_threads=st.none() | st.integers(1, 64),
    n_threads_batch=st.none() | st.integers(1, 64),
    flash_attn=st.sampled_from(["auto", "on", "off"]),
    type_k=st.sampled_from(CACHE_TYPES),
    type_v=st.sampled_from(CACHE_TYPES),
    swa_full=st.booleans(),
)


@given(st.builds(EngineSettings, offloads, contexts))
def test_settings_come_back_from_a_file_as_they_were(settings: EngineSettings) -> None:
    assert settings_from_dict(json.loads(json.dumps(settings_to_dict(settings)))) == settings


def test_defaults_are_llama_cpps() -> None:
    offload, context, sampling = OffloadSettings(), ContextSettings(), SamplingSettings()
    assert offload.n_gpu_layers < 0, "all layers"
    assert (offload.use_mmap, context.swa_full, context.flash_attn) == (True, False, "auto")
    assert (context.n_batch, context.n_ubatch, context.type_k, context.type_v) == (2048, 512, "f16", "f16")
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.95, 0.05)
    assert sampling.seed is None


@pytest.mark.parametrize(("temperature", "greedy"), [(0, True), (-1, True), (0.01, False), (0.8, False)])
def test_no_temperature_is_greedy(temperature: float, greedy: bool) -> None:
    assert SamplingSettings(temperature=temperature).greedy is greedy


def test_every_cache_type_has_its_number_in_ggml() -> None:
    from gemtop.engine.binding import CACHE_TYPE_IDS, FLASH_ATTN_IDS, c, text

    assert set(CACHE_TYPE_IDS) == set(CACHE_TYPES)
    assert {name: text(c("ggml_type_name")(number)) for name, number in CACHE_TYPE_IDS.items()} == {
        name: name for name in CACHE_TYPES
    }
    assert set(FLASH_ATTN_IDS) == {"auto", "on", "off"}


def test_settings_cannot_be_changed_behind_a_run() -> None:
    for settings in (OffloadSettings(), ContextSettings(), EngineSettings(), SamplingSettings()):
        with pytest.raises(AttributeError):
            setattr(settings, fields(settings)[0].name, 1)
