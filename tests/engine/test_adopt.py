"""Adoption of files laid out as Ollama's are: what the copy holds, that it works, and what stops it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemtop.config import Paths
from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.engine import probe_model
from gemtop.engine.adopt import Adoption, Stage, adopt
from gemtop.engine.adopt_check import Rope, check, own_rope, usual_mistakes
from gemtop.engine.adopt_layout import CHAT_TEMPLATE, check_layout, file_name, models_folder, needs_adoption
from gemtop.engine.adopt_text import PAGE
from gemtop.engine.binding import llama, token_array
from gemtop.engine.gguf import read_header
from gemtop.engine.log import EngineLog
from gemtop.engine.perplexity import token_nll
from tests.engine.ollama_layout import LACKING, VISION_KEYS, facts, make, pull
from tests.gemma_files import write_gemma
from tests.gguf_files import GEMMA, gemma, write_gguf
from tests.stores import Machine

EPSILON = "gemma3.attention.layer_norm_rms_epsilon"
BASE = "gemma3.rope.freq_base"


@pytest.fixture(scope="module")
def ollamas(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in Ollama's layout."""
    return make(model_path, tmp_path_factory.mktemp("ollama") / "model.gguf")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder to write to, empty."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def quiet(_stage: Stage, _fraction: float) -> None:
    pass


def say(text: str) -> None:
    raise AssertionError(text)


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


def test_what_the_file_has_is_never_changed(model_path: str, out: Path) -> None:
    odd = {EPSILON: 0.5, BASE: 7.0, "gemma3.rope.scaling.factor": 3.0, "general.source.url": "x:y"}
    source = make(model_path, out / "odd.gguf", without=(), also={**VISION_KEYS, **odd}, extra_tokens=0)
    with Adoption(source) as adoption:
        keys, tensors = facts(copied(adoption, out / "copy.gguf"))
    source_keys, source_tensors = facts(source)
    kept = {key: value for key, value in source_keys.items() if key not in VISION_KEYS}
    assert {key: keys[key] for key in kept} == kept
    assert not set(VISION_KEYS) & set(keys)
    assert tensors == {name: tensor for name, tensor in source_tensors.items() if not name.startswith(("v.", "mm."))}


def test_ollamas_own_names_for_the_rope_are_read(model_path: str, out: Path) -> None:
    ollamas_names = {"gemma3.rope.global.freq_base": 2e6, "gemma3.rope.local.freq_base": 3e4}
    source = make(
        model_path, out / "x.gguf", without=(BASE,), also=ollamas_names, vision=False, extra_tokens=0, sparse=True
    )
    assert "gemma3.rope.global.freq_base" in str(needs_adoption(read_header(source)))
    with Adoption(source) as adoption:
        found = filled(adoption)
        assert (found[BASE], found["gemma3.rope.freq_base_swa"]) == (2e6, 3e4)
        assert adoption.left_out == "nothing"


@pytest.mark.parametrize(("size", "key_length"), [("4b", 256), ("12b", 256), ("27b", 128)])
def test_large_models_by_their_headers(size: str, key_length: int, model_path: str, machine: Machine) -> None:
    lacking = (*LACKING, "gemma3.context_length", "gemma3.attention.sliding_window", "tokenizer.ggml.bos_token_id")
    whole = write_gemma(machine.home / "whole.gguf", size, model_path)
    blob = pull(machine, make(whole, machine.home / "x.gguf", without=lacking, sparse=True), "gemma3", f"{size}-it-qat")
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


def test_the_tag_says_qat_and_pt(ollamas: Path, machine: Machine, out: Path) -> None:
    with Adoption(pull(machine, ollamas, "gemma3", "270m-it-qat")) as adoption:
        target = copied(adoption, out / "anything.gguf")
    found = classify(read_header(target))
    assert found.training == "qat"
    assert found.evidence == "general.source.url: ollama://gemma3:270m-it-qat"
    with Adoption(pull(machine, ollamas, "gemma3", "270m-pt-q4_0")) as adoption:
        assert "tokenizer.chat_template" not in filled(adoption)


def test_names_of_files(ollamas: Path, tmp_path: Path) -> None:
    header = read_header(ollamas)
    assert file_name(header) == "model.gguf"
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
    with pytest.raises(BadInputError, match="262,143 entries in tokenizer.ggml.tokens for 262,144 rows"):
        Adoption(source)


def test_a_size_nobody_knows(model_path: str, out: Path) -> None:
    lacking = (*LACKING, "gemma3.attention.sliding_window")
    source = make(model_path, out / "x.gguf", without=lacking, also={"gemma3.block_count": 19}, sparse=True)
    with pytest.raises(BadInputError, match=r"lacks gemma3.attention.sliding_window, and no Gemma 3 has 19 layers"):
        Adoption(source)


# That it works


def test_the_copy_says_and_weighs_the_same(ollamas: Path, model_path: str, out: Path) -> None:
    with Adoption(ollamas) as adoption:
        target = copied(adoption, out / "copy.gguf")
    tokens, nll, text = _run(model_path)
    assert len(text) == 8
    found = _run(str(target))
    assert (found[0], found[2]) == (tokens, text)
    assert np.array_equal(found[1], nll)


def test_a_wrong_rope_base_is_found_and_nothing_stays(
    model_path: str, out: Path, tmp_path: Path, preflight_paths: Paths
) -> None:
    source = make(model_path, tmp_path / "wrong.gguf", also={**VISION_KEYS, BASE: 1e4})
    with Adoption(source) as adoption, pytest.raises(GemtopError) as error:
        adopt(adoption, out / "x.gguf", preflight_paths, force=False, on_progress=quiet, note=say)
    words = str(error.value)
    assert words.startswith("the adopted file does not work and was removed: it reads better with another rope base")
    assert "1e+06" in words
    assert "\n" not in words
    assert files(out) == []


def test_a_child_that_llama_cpp_ends_is_an_answer(tmp_path: Path) -> None:
    probe_model.write(tmp_path / "probe.gguf")  # it has no tokenizer, which llama.cpp asserts
    found = check(read_header(tmp_path / "probe.gguf"), extra_bufts=False, on_progress=lambda _fraction: None)
    assert found.perplexity is None
    assert "llama.cpp gave up: llama-vocab.cpp" in str(found.problem)
    assert "\n" not in str(found.problem)


def test_a_file_llama_cpp_does_not_load_is_an_answer(ollamas: Path) -> None:
    found = check(read_header(ollamas), extra_bufts=False, on_progress=lambda _fraction: None)
    assert f"key not found in model: {EPSILON}" in str(found.problem)


def test_the_usual_mistakes(ollamas: Path) -> None:
    header = read_header(ollamas)
    assert own_rope(header) == Rope(1e4, 1.0)  # llama.cpp's own default, as the key is not there
    right = replace(header, metadata={BASE: 1e6, "gemma3.rope.scaling.factor": 8.0})
    assert usual_mistakes(own_rope(right)) == (Rope(1e4, 8.0), Rope(1e6, 1.0))
    assert usual_mistakes(Rope(5e5, 2.0)) == (Rope(1e6, 2.0), Rope(1e4, 2.0), Rope(5e5, 1.0), Rope(5e5, 8.0))


# What stops it


@pytest.fixture
def preflight_paths(folders: Paths, preflight_state: Path) -> Paths:
    return replace(folders, state=preflight_state)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_is_seen_before(ollamas: Path, out: Path, preflight_paths: Paths) -> None:
    with Adoption(ollamas) as adoption, pytest.raises(BadInputError, match=r"takes 0\.25 GB, and .* has 0\.20 GB free"):
        adopt(
            adoption,
            out / "x.gguf",
            preflight_paths,
            force=False,
            on_progress=quiet,
            note=say,
            free=lambda _folder: 200_000_000,
        )
    assert files(out) == []


@pytest.mark.parametrize("where", ["copying", "checking"])
def test_interrupted_in_the_middle(where: Stage, ollamas: Path, out: Path, preflight_paths: Paths) -> None:
    seen: list[list[str]] = []

    def interrupt(stage: Stage, fraction: float) -> None:
        if stage == where and fraction > 0.1:
            seen.append(files(out))
            raise KeyboardInterrupt

    (out / "x.gguf").write_text("what was there")
    with Adoption(ollamas) as adoption, pytest.raises(KeyboardInterrupt):
        adopt(adoption, out / "x.gguf", preflight_paths, force=True, on_progress=interrupt, note=say)
    assert seen == [["x.gguf", "x.gguf.part"]]
    assert files(out) == ["x.gguf"]
    assert (out / "x.gguf").read_text() == "what was there"


def test_targets_that_cannot_be(ollamas: Path, out: Path, preflight_paths: Paths) -> None:
    (out / "there.gguf").write_text("x")
    (out / "self.gguf").symlink_to(ollamas)
    cases = [
        (out, True, "is a folder"),
        (out / "there.gguf", False, "is there already; use it, or write it again with --force"),
        (out / "self.gguf", True, "is the file that is to be adopted"),
        (out / "no" / "x.gguf", False, "cannot be written: No such file or directory"),
    ]
    with Adoption(ollamas) as adoption:
        for target, force, hint in cases:
            with pytest.raises(BadInputError, match=hint):
                adopt(
                    adoption,
                    target,
                    preflight_paths,
                    force=force,
                    on_progress=quiet,
                    note=say,
                    free=lambda _folder: 1 << 40,
                )
    assert files(out) == ["self.gguf", "there.gguf"]


def test_a_folder_that_may_not_be_written(ollamas: Path, out: Path, preflight_paths: Paths) -> None:
    out.chmod(0o555)
    with Adoption(ollamas) as adoption, _as_a_user(), pytest.raises(BadInputError, match="Permission denied"):
        adopt(adoption, out / "x.gguf", preflight_paths, force=False, on_progress=quiet, note=say)
    assert files(out) == []


def test_two_at_once(ollamas: Path, out: Path, preflight_paths: Paths) -> None:
    def second(stage: Stage, _fraction: float) -> None:
        with Adoption(ollamas) as other, pytest.raises(BadInputError, match="being written by another gemtop"):
            adopt(other, out / "x.gguf", preflight_paths, force=False, on_progress=quiet, note=say)
        assert files(out) == ["x.gguf.part"]
        raise KeyboardInterrupt

    (out / "x.gguf.part").write_text("left by a program that was killed")
    with Adoption(ollamas) as adoption, pytest.raises(KeyboardInterrupt):
        adopt(adoption, out / "x.gguf", preflight_paths, force=False, on_progress=second, note=say)
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


def _run(path: str) -> tuple[list[int], Any, list[int]]:
    """Tokens of a text, their negative log-likelihoods, and what the model goes on with, greedily."""
    EngineLog(lambda _line: None).install()
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    vocab, data = llama.llama_model_get_vocab(model), PAGE.encode()
    buffer = (llama.llama_token * 512)()
    tokens = list(buffer[: llama.llama_tokenize(vocab, data, len(data), buffer, 512, True, True)])
    params = llama.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    context = llama.llama_init_from_model(model, params)
    nll = token_nll(context, tokens, 20)
    n_vocab = llama.llama_vocab_n_tokens(vocab)
    text = [tokens[-1]]
    for _ in range(8):
        assert llama.llama_decode(context, llama.llama_batch_get_one(token_array(text[-1:]), 1)) == 0
        logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), shape=(n_vocab,))
        text.append(int(logits.argmax()))
    llama.llama_free(context)
    llama.llama_model_free(model)
    return tokens, nll, text[1:]
