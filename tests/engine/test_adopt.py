"""Adoption of files laid out as Ollama's are: what the copy holds, that it works, and what stops it."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.settings import OffloadSettings
from gemtop.engine import probe_model
from gemtop.engine.adopt import Adoption, Stage, adopt
from gemtop.engine.adopt_check import Reading, check, read_twice, readings
from gemtop.engine.adopt_layout import CHAT_TEMPLATE, check_layout, file_name, models_folder, needs_adoption
from gemtop.engine.adopt_text import PAGE
from gemtop.engine.binding import llama, token_array
from gemtop.engine.gguf import read_header
from gemtop.engine.log import EngineLog
from gemtop.engine.params import ModelParams
from gemtop.engine.perplexity import token_nll
from tests.engine.ollama_layout import LACKING, VISION_KEYS, facts, make, pull
from tests.gemma_files import write_gemma
from tests.gguf_files import GEMMA, gemma, write_gguf
from tests.stores import Machine

EPSILON = "gemma3.attention.layer_norm_rms_epsilon"
BASE = "gemma3.rope.freq_base"

LAYOUT: dict[str, Any] = {key: value for key, value in GEMMA.items() if key != EPSILON}
LAYOUT["gemma3.attention.sliding_window"] = 1024
TEXT = [
    *gemma(),
    ("blk.0.attn_q_norm.weight", "f32", 64, 0),
    ("blk.0.attn_k.weight", "q4_0", 256, 128),
    ("blk.0.attn_v.weight", "q4_0", 256, 128),
]
"""Tensors that show every size: 8 heads of 64 elements, 2 of keys and values."""


@pytest.fixture(scope="module")
def ollamas(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in Ollama's layout."""
    return make(model_path, tmp_path_factory.mktemp("ollama") / "model.gguf")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A file in Ollama's layout that takes some KB and whose weights are zeros."""
    return write_gguf(
        tmp_path / "tiny.gguf", {**LAYOUT, **VISION_KEYS}, [*TEXT, ("v.blk.0.attn_q.weight", "f32", 64, 64)]
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder to write to, empty."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def quiet(_stage: Stage, _fraction: float) -> None:
    pass


def copied(adoption: Adoption, target: Path) -> Path:
    """Write the copy without a check."""
    with target.open("wb") as file:
        adoption.write(file.fileno(), lambda _fraction: None)
    return target


def filled(adoption: Adoption) -> dict[str, Any]:
    return {item.key: item.value for item in adoption.filled}


# What the copy holds


def test_the_text_model_is_the_same_byte_for_byte(ollamas: Path, model_path: str, out: Path) -> None:
    with Adoption(ollamas) as adoption:
        assert adoption.left_out.startswith("5 vision tensors")
        assert "1 of 262,145 tokens" in adoption.left_out
        target = copied(adoption, out / "copy.gguf")
        assert target.stat().st_size == adoption.size_bytes
        assert set(filled(adoption)) == {*LACKING, "gemma3.rope.freq_base_swa", "tokenizer.chat_template"}
    keys, tensors = facts(target)
    original_keys, original_tensors = facts(model_path)
    assert tensors == original_tensors
    own = {key for key in keys if key.startswith("gemtop.adopted.")}
    assert {key: keys[key] for key in keys if key in original_keys} == original_keys
    assert set(keys) - set(original_keys) - own == {"gemma3.rope.freq_base_swa", "tokenizer.chat_template"}
    metadata = read_header(target).metadata
    assert metadata["gemtop.adopted.from"] == "model.gguf"
    assert metadata["gemtop.adopted.by"].startswith("gemtop ")
    assert f"{BASE} = 1e+06 (Google's configuration of Gemma 3)" in metadata["gemtop.adopted.filled"]
    assert needs_adoption(read_header(target)) is None


def test_what_the_file_has_is_never_changed(tmp_path: Path, out: Path) -> None:
    odd = {EPSILON: 0.5, BASE: 7.0, "gemma3.rope.scaling.factor": 3.0, "general.source.url": "x:y"}
    heads = {"gemma3.attention.key_length": 5, "gemma3.attention.head_count": 3, "tokenizer.ggml.bos_token_id": 9}
    source = write_gguf(tmp_path / "x.gguf", {**LAYOUT, **VISION_KEYS, **odd, **heads}, [*TEXT, ("mm.x", "f32", 64, 0)])
    with Adoption(source) as adoption:
        keys, tensors = facts(copied(adoption, out / "copy.gguf"))
        assert not {"gemma3.rope.scaling.type", *odd, *heads} & set(filled(adoption))
    source_keys, source_tensors = facts(source)
    kept = {key: value for key, value in source_keys.items() if key not in VISION_KEYS}
    assert {key: keys[key] for key in kept} == kept
    assert not set(VISION_KEYS) & set(keys)
    del source_tensors["mm.x"]
    assert tensors == source_tensors


def test_sizes_are_read_from_the_tensors(tiny: Path) -> None:
    with Adoption(tiny) as adoption:
        found = filled(adoption)
    sizes = {"embedding_length": 256, "feed_forward_length": 512}
    heads = {"head_count": 8, "head_count_kv": 2, "key_length": 64, "value_length": 64}
    expected = sizes | {f"attention.{key}": value for key, value in heads.items()}
    assert {key: found[f"gemma3.{key}"] for key in expected} == expected


def test_ollamas_own_names_for_the_rope_are_read(tmp_path: Path) -> None:
    names = {EPSILON: 1e-6, "gemma3.rope.global.freq_base": 2e6, "gemma3.rope.local.freq_base": 3e4}
    source = write_gguf(tmp_path / "x.gguf", {**LAYOUT, **names}, TEXT)
    assert "has gemma3.rope.global.freq_base instead" in str(needs_adoption(read_header(source)))
    with Adoption(source) as adoption:
        found = filled(adoption)
        assert (found[BASE], found["gemma3.rope.freq_base_swa"]) == (2e6, 3e4)
        assert adoption.left_out == "nothing"


@pytest.mark.parametrize(("size", "key_length"), [("4b", 256), ("12b", 256), ("27b", 128)])
def test_large_models_by_their_headers(size: str, key_length: int, model_path: str, machine: Machine) -> None:
    lacking = (*LACKING, "gemma3.context_length", "gemma3.attention.sliding_window", "tokenizer.ggml.bos_token_id")
    whole = write_gemma(machine.home / "whole.gguf", size, model_path)
    laid_out = make(whole, machine.home / "x.gguf", without=lacking, extra_tokens=size == "27b", sparse=True)
    blob = pull(machine, laid_out, "gemma3", f"{size}-it-qat")
    with Adoption(blob) as adoption:
        found = filled(adoption)
        assert found.pop("tokenizer.chat_template") == CHAT_TEMPLATE
        assert found == {
            EPSILON: 1e-6,
            BASE: 1e6,
            "gemma3.rope.freq_base_swa": 1e4,
            "gemma3.rope.scaling.type": "linear",
            "gemma3.rope.scaling.factor": 8.0,
            "gemma3.context_length": 131_072,
            "gemma3.attention.sliding_window": 1024,
            "gemma3.attention.key_length": key_length,
            "gemma3.attention.value_length": key_length,
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.add_space_prefix": False,
            "general.source.url": f"ollama://gemma3:{size}-it-qat",
        }
        assert abs(adoption.size_bytes - whole.stat().st_size) < 100_000
        assert file_name(adoption.header) == f"gemma3-{size}-it-qat.gguf"
    with pytest.raises(BadInputError, match=f"llama.cpp does not load; .* gemtop adopt gemma3:{size}-it-qat$"):
        check_layout(read_header(blob))


def test_the_tag_says_qat_and_pt(tiny: Path, machine: Machine, out: Path) -> None:
    with Adoption(pull(machine, tiny, "gemma3", "270m-it-qat")) as adoption:
        target = copied(adoption, out / "anything.gguf")
    found = classify(read_header(target))
    assert found.training == "qat"
    assert found.evidence == "general.source.url: ollama://gemma3:270m-it-qat"
    with Adoption(pull(machine, tiny, "gemma3", "270m-pt-q4_0")) as adoption:
        assert "tokenizer.chat_template" not in filled(adoption)


def test_names_of_files(tiny: Path, tmp_path: Path) -> None:
    header = read_header(tiny)
    assert file_name(header) == "tiny.gguf"
    assert file_name(replace(header, path=f"/x/sha256-{'0123456789ab' * 5}ffff")) == "gemma3-0123456789ab.gguf"
    assert file_name(replace(header, known_as="hf.co/some/gemma3:Q4 \x1b[1m")) == "hf.co-some-gemma3-Q4-1m.gguf"
    assert models_folder() == tmp_path / "share" / "gemtop" / "models"


# Which files


def test_which_files_need_it(ollamas: Path, model_path: str, tmp_path: Path) -> None:
    assert needs_adoption(read_header(model_path)) is None
    assert needs_adoption(read_header(ollamas)) == "it holds the vision tensors as well"
    no_epsilon = {key: value for key, value in GEMMA.items() if key != EPSILON}
    lacking = read_header(write_gguf(tmp_path / "a.gguf", no_epsilon, gemma()))
    assert needs_adoption(lacking) == f"it lacks {EPSILON}"
    embedding = [*gemma(), ("dense.0.weight", "f32", 64, 64)]
    for keys, weights in (
        (no_epsilon, embedding),  # Ollama's embeddinggemma calls itself gemma3
        ({**no_epsilon, "general.architecture": "llama"}, gemma()),
        (no_epsilon, [("some.weight", "f32", 64, 0)]),
    ):
        header = read_header(write_gguf(tmp_path / "b.gguf", keys, weights))
        assert needs_adoption(header) is None
        check_layout(header)


@pytest.mark.parametrize(
    ("keys", "weights", "hint"),
    [
        ({}, gemma(), "needs no adoption"),
        ({"general.architecture": "qwen3"}, gemma(), "is qwen3; adopt is for"),
        ({"general.type": "adapter"}, gemma(), "LoRA adapter"),
        ({}, [("v.x", "f32", 64, 0), ("token_embd.weight", "f32", 64, 8)], r"lacks the tensor blk.0.attn_q_norm"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, keys: dict[str, Any], weights: Any, hint: str) -> None:
    with pytest.raises(BadInputError, match=hint) as error:
        Adoption(write_gguf(tmp_path / "x.gguf", {**GEMMA, **keys}, weights))
    assert "\n" not in str(error.value)


def test_a_vocabulary_shorter_than_the_embedding(model_path: str, out: Path) -> None:
    source = make(model_path, out / "x.gguf", extra_tokens=-1, sparse=True)
    with pytest.raises(BadInputError, match=r"262,143 entries in tokenizer.ggml.tokens for the 262,144 rows"):
        Adoption(source)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("tokenizer.ggml.tokens", 5, r"no list in tokenizer.ggml.tokens"),
        ("tokenizer.ggml.scores", "x", r"no list in tokenizer.ggml.scores"),
        ("split.count", 2, r"lacks part|split"),
    ],
)
def test_keys_of_other_types(tmp_path: Path, key: str, value: Any, hint: str) -> None:
    with pytest.raises(BadInputError, match=hint):
        Adoption(write_gguf(tmp_path / "x.gguf", {**LAYOUT, key: value}, TEXT))


def test_values_of_other_types_are_left_alone(tmp_path: Path, out: Path) -> None:
    odd = {f"gemma3.{key}": "much" for key in ("block_count", "attention.head_count_kv", "rope.scaling.factor")}
    more = {"gemma3.rope.freq_base": "x", "gemma3.rope.global.freq_base": "y", "gemma3.context_length": 4_000_000_000}
    with Adoption(write_gguf(tmp_path / "x.gguf", {**LAYOUT, **odd, **more}, TEXT)) as adoption:
        header = read_header(copied(adoption, out / "copy.gguf"))
    assert readings(header)[0] == Reading(32_768)
    found = check(header, lambda _fraction: None)
    assert "llama.cpp does not load it" in str(found.problem)


def test_a_size_nobody_knows(tmp_path: Path) -> None:
    lacking = {key: value for key, value in LAYOUT.items() if key != "gemma3.attention.sliding_window"}
    with pytest.raises(BadInputError, match=r"lacks gemma3.attention.sliding_window, and no Gemma 3 has 2 layers"):
        Adoption(write_gguf(tmp_path / "x.gguf", lacking, TEXT))


# That it works


def test_the_copy_says_and_weighs_the_same(ollamas: Path, model_path: str, out: Path) -> None:
    with Adoption(ollamas) as adoption:
        target = copied(adoption, out / "copy.gguf")
    tokens, nll, text = _run(model_path)
    assert len(text) == 8
    found = _run(str(target))
    assert (found[0], found[2]) == (tokens, text)
    assert np.array_equal(found[1], nll)


def test_a_wrong_rope_base_is_found(model_path: str, tmp_path: Path) -> None:
    data = bytearray(Path(model_path).read_bytes())
    at = data.index(BASE.encode()) + len(BASE) + 4  # behind the name and the type
    assert struct.unpack_from("<f", data, at) == (1e6,)
    struct.pack_into("<f", data, at, 1e4)
    (tmp_path / "x.gguf").write_bytes(data)
    found = check(read_header(tmp_path / "x.gguf"), lambda _fraction: None)
    assert found.far is not None
    assert found.far > 50
    assert "does not recite a page it has read 8,192 tokens before" in str(found.problem)
    assert str(found.problem).endswith("(rope base 10000, scaling 1)")


def test_scaling_it_was_not_trained_with_reads_worse(model_path: str) -> None:
    model = _load(model_path)
    assert read_twice(model, Reading(0)) * 1.2 < read_twice(model, Reading(0, 8.0))
    llama.llama_model_free(model)


def test_a_copy_that_does_not_work_is_removed(tiny: Path, out: Path) -> None:
    with Adoption(tiny) as adoption, pytest.raises(GemtopError) as error:
        adopt(adoption, out / "x.gguf", force=False, on_progress=quiet)
    assert str(error.value).startswith("the adopted file does not work and was removed: llama.cpp does not load it: ")
    assert "\n" not in str(error.value)
    assert files(out) == []


def test_a_child_that_llama_cpp_ends_is_an_answer(tmp_path: Path) -> None:
    probe_model.write(tmp_path / "probe.gguf")  # it has no tokenizer, which llama.cpp asserts
    found = check(read_header(tmp_path / "probe.gguf"), lambda _fraction: None)
    assert found.far is None
    assert "llama.cpp gave up: llama-vocab.cpp" in str(found.problem)
    assert "\n" not in str(found.problem)


def test_what_is_read(tiny: Path) -> None:
    header = read_header(tiny)
    assert readings(header) == (Reading(32_768), Reading(0), Reading(0, 8.0))
    scaled = replace(header, metadata={"gemma3.rope.scaling.factor": 8.0})
    assert readings(scaled) == (Reading(8_192), Reading(0), Reading(0, 1.0))


# What stops it


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_is_seen_before(tiny: Path, out: Path) -> None:
    with Adoption(tiny) as adoption, pytest.raises(BadInputError, match=r"takes 0\.00 GB, and .* has 0\.00 GB free"):
        adopt(
            adoption,
            out / "x.gguf",
            force=False,
            on_progress=quiet,
            free=lambda _folder: adoption.size_bytes - 1,
        )
    assert files(out) == []


def test_interrupted_in_the_middle(ollamas: Path, out: Path) -> None:
    seen: list[list[str]] = []

    def interrupt(_stage: Stage, fraction: float) -> None:
        if fraction > 0.5:
            seen.append(files(out))
            raise KeyboardInterrupt

    (out / "x.gguf").write_text("what was there")
    with Adoption(ollamas) as adoption, pytest.raises(KeyboardInterrupt):
        adopt(adoption, out / "x.gguf", force=True, on_progress=interrupt)
    assert seen == [["x.gguf", "x.gguf.part"]]
    assert files(out) == ["x.gguf"]
    assert (out / "x.gguf").read_text() == "what was there"


def test_a_disk_that_fills_up(tiny: Path, out: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with Adoption(tiny) as adoption, pytest.raises(BadInputError, match="cannot be written: File too large"):
            adopt(adoption, out / "x.gguf", force=False, on_progress=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(out) == []


def test_targets_that_cannot_be(tiny: Path, out: Path) -> None:
    (out / "there.gguf").write_text("x")
    (out / "self.gguf").symlink_to(tiny)
    cases = [
        (out, True, "is a folder"),
        (out / "there.gguf", False, "is there already; use it, or write it again with --force"),
        (out / "self.gguf", True, "is the file that is to be adopted"),
        (out / "no" / "x.gguf", False, "cannot be written: No such file or directory"),
    ]
    with Adoption(tiny) as adoption:
        for target, force, hint in cases:
            with pytest.raises(BadInputError, match=hint):
                adopt(
                    adoption,
                    target,
                    force=force,
                    on_progress=quiet,
                )
    assert files(out) == ["self.gguf", "there.gguf"]


def test_a_folder_that_may_not_be_written(tiny: Path, out: Path) -> None:
    out.chmod(0o555)
    with Adoption(tiny) as adoption, _as_a_user(), pytest.raises(BadInputError, match="Permission denied"):
        adopt(adoption, out / "x.gguf", force=False, on_progress=quiet)
    assert files(out) == []


def test_two_at_once(tiny: Path, out: Path) -> None:
    def second(stage: Stage, _fraction: float) -> None:
        with Adoption(tiny) as other, pytest.raises(BadInputError, match="being written by another gemtop"):
            adopt(other, out / "x.gguf", force=False, on_progress=quiet)
        assert files(out) == ["x.gguf.part"]
        raise KeyboardInterrupt

    (out / "x.gguf.part").write_text("left by a program that was killed")
    with Adoption(tiny) as adoption, pytest.raises(KeyboardInterrupt):
        adopt(adoption, out / "x.gguf", force=False, on_progress=second)
    assert files(out) == []


@contextmanager
def _as_a_user() -> Iterator[None]:
    """Permissions hold: root, as which tests may run in a container, is bound by none."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def _load(path: str) -> Any:
    EngineLog(lambda _line: None).install()
    llama.llama_backend_init()
    # By name: the registry of this process may hold devices of RPC servers that have gone.
    params = ModelParams(OffloadSettings(n_gpu_layers=0, devices=("none",)))
    return llama.llama_model_load_from_file(path.encode(), params.struct)


def _run(path: str) -> tuple[list[int], Any, list[int]]:
    """Tokens of a text, their negative log-likelihoods, and what the model goes on with, greedily."""
    model = _load(path)
    vocab, data = llama.llama_model_get_vocab(model), PAGE.encode()
    buffer = (llama.llama_token * 512)()
    tokens = list(buffer[: llama.llama_tokenize(vocab, data, len(data), buffer, 512, True, True)])
    params = llama.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    context = llama.llama_init_from_model(model, params)
    nll = token_nll(context, tokens[:32], 16)
    n_vocab = llama.llama_vocab_n_tokens(vocab)
    text = [tokens[32]]
    for _ in range(8):
        assert llama.llama_decode(context, llama.llama_batch_get_one(token_array(text[-1:]), 1)) == 0
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(n_vocab,))
        text.append(int(logits.argmax()))
    llama.llama_free(context)
    llama.llama_model_free(model)
    return tokens, nll, text[1:]
