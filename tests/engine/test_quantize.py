"""Quantising through the engine: what is in the files, what they are called, and what stops it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError, GemtopError
from gemtop.domain.quantization import FILE_TYPES, QuantizeOptions, parse_formats, parse_tensor_type, quantized_json
from gemtop.engine.binding import llama
from gemtop.engine.gguf import read_header
from gemtop.engine.imatrix import read_imatrix
from gemtop.engine.quantize import Quantizer, check_space, check_target, file_name_of
from tests.engine.ollama_layout import facts, make
from tests.gguf_bytes import ARRAY, STRING, U32, header
from tests.gguf_files import GEMMA, gemma, write_gguf
from tests.small_gemma import MATRICES, WIDTH, noise, write_small, write_small_split

AGAIN = QuantizeOptions(allow_requantize=True, n_threads=2)
PLAIN = QuantizeOptions(n_threads=2)


def quiet(_fraction: float, _tensor: str) -> None:
    pass


def quantize(source: Path, format_name: str, target: Path, options: QuantizeOptions = PLAIN) -> Any:
    quantizer = Quantizer(read_header(source), options)
    return quantizer.write(quantizer.outline(format_name), target, quiet)


def directly(source: str | Path, format_name: str, target: Path, **options: Any) -> Path:
    """What llama_model_quantize makes when it is called without gemtop."""
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = FILE_TYPES[format_name], True, 2
    for name, value in options.items():
        setattr(params, name, value)
    silent = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silent, None)
    assert llama.llama_model_quantize(os.fsencode(source), os.fsencode(target), params) == 0
    llama.llama_log_set(llama.llama_log_callback(), None)
    return target


def own_keys(path: Path) -> dict[str, Any]:
    prefix = "gemtop.quantize."
    metadata = read_header(path).metadata
    return {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}


def types_in(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_header(path).tensors}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_small(tmp_path / "gemma-3-small-F16.gguf")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder to write to, empty."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


# What is in the files


@pytest.mark.parametrize("format_name", ["Q8_0", "Q4_0", "Q4_K_M", "Q2_K", "IQ4_XS", "BF16", "TQ1_0"])
def test_tensors_are_llama_cpps(small: Path, out: Path, format_name: str) -> None:
    made = quantize(small, format_name, out / "ours.gguf")
    keys, tensors = facts(out / "ours.gguf")
    their_keys, their_tensors = facts(directly(small, format_name, out / "theirs.gguf"))
    assert tensors == their_tensors
    assert {key: value for key, value in keys.items() if not key.startswith("gemtop.quantize.")} == their_keys
    assert made.classification.quantization == format_name
    assert made.size_bytes == (out / "ours.gguf").stat().st_size
    assert 0 <= made.outline.size_bytes - made.size_bytes < 8192
    assert not made.outline.derived


def test_options_are_llama_quantizes(tmp_path: Path, out: Path) -> None:
    source = write_small(tmp_path / "small.gguf", output=True)
    options = QuantizeOptions(pure=True, token_embedding_type="q8_0", output_tensor_type="q6_K", n_threads=2)
    quantize(source, "Q4_K_M", out / "ours.gguf", options)
    theirs = directly(source, "Q4_K_M", out / "theirs.gguf", pure=True, token_embedding_type=8, output_tensor_type=14)
    assert facts(out / "ours.gguf")[1] == facts(theirs)[1]
    types = types_in(out / "ours.gguf")
    assert (types["token_embd.weight"], types["output.weight"]) == ("q8_0", "q6_K")
    assert own_keys(out / "ours.gguf")["options"] == "--pure --token-embedding-type q8_0 --output-tensor-type q6_K"
    quantize(source, "Q4_K_M", out / "left.gguf", replace(PLAIN, leave_output_tensor=True))
    assert {tensor.name: tensor.type_name for tensor in read_header(out / "left.gguf").tensors}[
        "output.weight"
    ] == "f16"


def test_the_file_says_what_it_was_made_of(small: Path, out: Path) -> None:
    made = quantize(small, "Q4_0", out / "x.gguf")
    keys = own_keys(out / "x.gguf")
    assert keys.pop("llama_build").startswith("llama.cpp ")
    assert keys.pop("by").startswith("gemtop ")
    assert keys == {
        "source_name": "gemma-3-small-F16.gguf",
        "source_fingerprint": read_header(small).fingerprint,
        "source_quantization": "F16",
        "source_training": "none",
        "format": "Q4_0",
        "options": "",
        "requantized": False,
        "derived": False,
        "imatrix_name": "",
        "imatrix_sha256": "",
    }
    assert made.fingerprint == read_header(out / "x.gguf").fingerprint
    found = quantized_json(made)
    assert json.loads(json.dumps(found)) == found
    assert found["bits_per_weight"] == round(found["tensor_bytes"] * 8 / read_header(small).parameters, 4)


def test_a_long_name_keeps_its_beginning_and_its_end(tmp_path: Path, out: Path) -> None:
    source = write_small(tmp_path / f"gemma-{'ä' * 100}-F16.gguf")
    quantize(source, "Q8_0", out / "x.gguf")
    name = own_keys(out / "x.gguf")["source_name"]
    assert name.startswith("gemma-ää") and name.endswith("ä-F16.gguf") and "…" in name
    assert len(name.encode()) <= 127


def test_progress_is_a_share_of_the_bytes(small: Path, out: Path) -> None:
    seen: list[tuple[float, str]] = []
    quantizer = Quantizer(read_header(small), PLAIN)
    quantizer.write(quantizer.outline("Q8_0"), out / "x.gguf", lambda fraction, name: seen.append((fraction, name)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions[0] == 0 and fractions[-1] == pytest.approx(1) and fractions == sorted(fractions)
    assert {name for _, name in seen} == {tensor.name for tensor in read_header(small).tensors}


def test_a_split_source(tmp_path: Path, out: Path) -> None:
    whole = write_small(tmp_path / "whole.gguf")
    first, *_ = write_small_split(tmp_path / "gemma-3-small-F16.gguf", 3)
    quantize(first, "Q4_0", out / "split.gguf")
    quantize(whole, "Q4_0", out / "whole.gguf")
    assert facts(out / "split.gguf")[1] == facts(out / "whole.gguf")[1]
    assert not [key for key in read_header(out / "split.gguf").metadata if key.startswith("split.")]


def test_real_weights_whose_rows_do_not_divide(model_path: str, out: Path) -> None:
    """Gemma 3 270M: 640 weights in a row, and blocks of 256 in a K-quant."""
    quantizer = Quantizer(read_header(model_path), AGAIN)
    outline = quantizer.outline("Q2_K")
    assert {(each.wanted, each.block, each.became, each.n_tensors) for each in outline.fallbacks} == {
        ("q2_K", 256, "q4_0", 72),
        ("q4_K", 256, "q5_0", 18),
    }
    assert outline.n_fallbacks == 90
    made = quantizer.write(outline, out / "x.gguf", quiet)
    assert facts(out / "x.gguf")[1] == facts(directly(model_path, "Q2_K", out / "theirs.gguf"))[1]
    assert made.classification.variant == "PTQ Q2_K (derived)"
    assert outline.types() == {"f32": 109, "q4_0": 72, "q3_K": 36, "q5_0": 18, "q8_0": 1}


# What they are called


def variant(path: Path) -> tuple[str, str]:
    found = classify(read_header(path))
    return found.training, found.variant


def test_derived_for_good(small: Path, out: Path) -> None:
    quantize(small, "Q4_0", out / "a.gguf")
    assert variant(out / "a.gguf") == ("ptq", "PTQ Q4_0")
    with pytest.raises(
        BadInputError, match=r"8 of 15 tensors are quantised already \(q4_0, q6_K\).*--allow-requantize"
    ):
        Quantizer(read_header(out / "a.gguf"), PLAIN).outline("Q8_0")
    quantize(out / "a.gguf", "F16", out / "b.gguf", AGAIN)
    assert variant(out / "b.gguf") == ("unknown", "FP16 (derived)")
    assert own_keys(out / "b.gguf")["requantized"] is True
    quantize(out / "b.gguf", "Q4_0", out / "c.gguf")  # floats: nothing is quantised again in this step
    assert variant(out / "c.gguf") == ("ptq", "PTQ Q4_0 (derived)")
    keys = own_keys(out / "c.gguf")
    assert (keys["requantized"], keys["derived"], keys["source_quantization"]) == (False, True, "F16")
    directly(out / "c.gguf", "Q8_0", out / "d.gguf")
    assert variant(out / "d.gguf") == ("ptq", "PTQ Q8_0 (derived)")
    directly(out / "a.gguf", "Q8_0", out / "e.gguf")  # another program did it, and copied the keys
    assert variant(out / "e.gguf") == ("ptq", "PTQ Q8_0 (derived)")


def test_qat_is_what_was_trained_for_the_format(tmp_path: Path, out: Path) -> None:
    source = write_small(tmp_path / "gemma-3-small-it-qat-unquantized-F16.gguf")
    quantize(source, "Q4_0", out / "a.gguf")
    quantize(source, "Q8_0", out / "b.gguf")
    quantize(source, "BF16", out / "c.gguf")
    quantize(out / "c.gguf", "Q4_0", out / "d.gguf")
    assert variant(out / "a.gguf") == variant(out / "d.gguf") == ("qat", "QAT Q4_0")
    assert variant(out / "b.gguf") == ("qat", "QAT+PTQ Q8_0")
    assert variant(out / "c.gguf") == ("qat", "QAT BF16")
    quantize(out / "a.gguf", "Q8_0", out / "qat-Q8_0.gguf", AGAIN)
    assert variant(out / "qat-Q8_0.gguf") == ("ptq", "PTQ Q8_0 (derived)")


def test_another_embedding_alone_is_no_requantising(tmp_path: Path, out: Path) -> None:
    """As people do to Google's QAT files, which have an F16 embedding larger than all layers."""
    source = write_small(tmp_path / "gemma-3-small-it-qat-F16.gguf")
    quantize(source, "Q4_0", out / "google.gguf", replace(PLAIN, token_embedding_type="f16"))
    quantize(out / "google.gguf", "Q4_0", out / "trimmed.gguf", replace(PLAIN, token_embedding_type="q6_K"))
    assert variant(out / "trimmed.gguf") == ("qat", "QAT Q4_0")
    google, trimmed = facts(out / "google.gguf")[1], facts(out / "trimmed.gguf")[1]
    assert google.pop("token_embd.weight") != trimmed.pop("token_embd.weight")
    assert google == trimmed


def test_an_importance_matrix_of_a_qat_model_makes_no_qat(small: Path, tmp_path: Path, out: Path) -> None:
    matrix = write_matrix(tmp_path / "gemma-3-small-qat.imatrix.gguf", importance())
    quantize(small, "Q4_0", out / "x.gguf", replace(PLAIN, imatrix=str(matrix)))
    assert variant(out / "x.gguf") == ("ptq", "PTQ Q4_0")


@pytest.mark.parametrize(
    ("source", "format_name", "name"),
    [
        ("gemma-3-27b-it-BF16.gguf", "Q4_K_M", "gemma-3-27b-it-Q4_K_M.gguf"),
        ("gemma-3-27b-it-f16-00001-of-00002.gguf", "Q8_0", "gemma-3-27b-it-Q8_0.gguf"),
        ("gemma-3-27b-it.fp16.gguf", "Q4_0", "gemma-3-27b-it-Q4_0.gguf"),
        ("model", "Q4_0", "model-Q4_0.gguf"),
        ("sha256-0123456789abcdef", "Q4_0", "gemma3-0123456789ab-Q4_0.gguf"),
    ],
)
def test_names(small: Path, source: str, format_name: str, name: str) -> None:
    found = read_header(small)
    outline = Quantizer(found, PLAIN).outline(format_name)
    assert file_name_of(replace(found, path=f"/m/{source}"), outline) == name
    derived = replace(outline, derived=True)
    stem = name.removesuffix(f"-{format_name}.gguf")
    assert file_name_of(replace(found, path=f"/m/{source}"), derived) == f"{stem}-derived-{format_name}.gguf"
    again = file_name_of(replace(found, path=f"/m/{stem}-derived-{format_name}.gguf"), derived)
    assert again == f"{stem}-derived-{format_name}.gguf"


def test_a_tag_of_ollamas_names_the_file(small: Path) -> None:
    found = replace(read_header(small), path="/blobs/sha256-01", known_as="gemma3:27b-it-fp16")
    assert file_name_of(found, Quantizer(read_header(small), PLAIN).outline("Q8_0")) == "gemma3-27b-it-Q8_0.gguf"


# Importance matrices


def importance() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Of the small model's matrices, the embedding left out, as llama-imatrix does."""
    random = np.random.default_rng(7)
    shapes = {f"{name}.weight": shape[0] for name, shape in MATRICES.items() if name != "token_embd"}
    return {name: random.random(width, np.float32) + np.float32(0.1) for name, width in shapes.items()}


def write_matrix(path: Path, values: Mapping[str, Any], count: float = 4.0, without: str = "") -> Path:
    """As llama-imatrix writes it now: sums and counts."""
    keys = {
        "general.type": (STRING, "imatrix"),
        "imatrix.datasets": (ARRAY, (STRING, ["wiki.train.raw"])),
        "imatrix.chunk_count": (U32, 17),
        "imatrix.chunk_size": (U32, 512),
    }
    kept = [(key, *value) for key, value in keys.items() if key != without]
    tensors, data = [], []
    for name, each in values.items():
        tensors += [(f"{name}.in_sum2", (each.size, 1), 0), (f"{name}.counts", (1, 1), 0)]
        data += [(each * np.float32(count)).tobytes(), struct.pack("<f", count) + bytes(28)]
    path.write_bytes(header(kept, tensors) + b"".join(data))
    return path


def write_old_matrix(path: Path, values: Mapping[str, Any], n_calls: int = 4) -> Path:
    """As llama-imatrix wrote it before."""
    out = [struct.pack("<i", len(values))]
    for name, each in values.items():
        out += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", n_calls, each.size)]
        out.append((each * np.float32(n_calls)).tobytes())
    dataset = b"wiki.train.raw"
    path.write_bytes(b"".join([*out, struct.pack("<ii", 17, len(dataset)), dataset]))
    return path


def as_argument(values: Mapping[str, Any]) -> Any:
    array = (llama.llama_model_imatrix_data * (len(values) + 1))()
    for entry, (name, each) in zip(array, values.items(), strict=False):
        entry.name, entry.size = name.encode(), each.size
        entry.data = each.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return array


@pytest.mark.parametrize(
    ("format_name", "write"), [("IQ2_XXS", write_matrix), ("Q4_0", write_old_matrix), ("Q2_K_S", write_matrix)]
)
def test_an_importance_matrix(small: Path, tmp_path: Path, out: Path, format_name: str, write: Any) -> None:
    values = importance()
    matrix = write(tmp_path / "m.imatrix", values)
    made = quantize(small, format_name, out / "ours.gguf", replace(PLAIN, imatrix=str(matrix)))
    theirs = directly(small, format_name, out / "theirs.gguf", imatrix=as_argument(values))
    assert facts(out / "ours.gguf")[1] == facts(theirs)[1]
    assert made.n_without_imatrix == 1  # the embedding
    metadata = read_header(out / "ours.gguf").metadata
    assert {key: value for key, value in metadata.items() if key.startswith("quantize.")} == {
        "quantize.imatrix.file": "m.imatrix",
        "quantize.imatrix.dataset": "wiki.train.raw",
        "quantize.imatrix.entries_count": 7,
        "quantize.imatrix.chunks_count": 17,
    }
    assert own_keys(out / "ours.gguf")["imatrix_name"] == "m.imatrix"
    assert len(own_keys(out / "ours.gguf")["imatrix_sha256"]) == 64


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    values = importance()
    new = read_imatrix(str(write_matrix(tmp_path / "new", values)))
    old = read_imatrix(str(write_old_matrix(tmp_path / "old", values)))
    assert (new.dataset, new.n_chunks) == (old.dataset, old.n_chunks) == ("wiki.train.raw", 17)
    for name, each in values.items():
        assert np.array_equal(new.values[name], each)
        assert np.array_equal(old.values[name], each)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "empty|no importance matrix"),
        (b"\x01\0\0\0\xff\xff\xff\x7f", "is no importance matrix, or it is cut short"),
        (b"some text that somebody took for one", "is no importance matrix"),
        (b"\0\0\0\0", "is no importance matrix"),
        (b"GGUF" + bytes(20), "version|damaged"),
    ],
)
def test_what_is_no_importance_matrix(small: Path, tmp_path: Path, data: bytes, hint: str) -> None:
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(BadInputError, match=hint) as error:
        Quantizer(read_header(small), replace(PLAIN, imatrix=str(tmp_path / "m"))).outline("Q4_0")
    assert "\n" not in str(error.value)


def test_importance_matrices_that_do_not_fit(small: Path, tmp_path: Path, out: Path) -> None:
    def refused(matrix: Path, format_name: str = "Q4_0") -> str:
        quantizer = Quantizer(read_header(small), replace(PLAIN, imatrix=str(matrix)))
        with pytest.raises(GemtopError) as error:
            quantizer.write(quantizer.outline(format_name), out / "x.gguf", quiet)
        assert files(out) == []
        return str(error.value)

    values = importance()
    cut = write_old_matrix(tmp_path / "cut", values)
    cut.write_bytes(cut.read_bytes()[:4000])
    assert "cut short" in refused(cut)
    assert "is of another model" in refused(
        write_matrix(tmp_path / "a", {"blk.9.x.weight": values["blk.0.attn_q.weight"]})
    )
    wrong = values | {"blk.0.attn_k.weight": values["blk.0.ffn_down.weight"]}
    assert "imatrix size 512 is different from tensor size 256" in refused(write_matrix(tmp_path / "b", wrong))
    holes = {name: each for name, each in values.items() if name != "blk.0.ffn_up.weight"}
    assert "Missing importance matrix for tensor blk.0.ffn_up" in refused(
        write_matrix(tmp_path / "c", holes), "IQ2_XXS"
    )
    endless = values | {"blk.0.attn_k.weight": np.full(WIDTH, np.nan, np.float32)}
    assert "non-finite" in refused(write_matrix(tmp_path / "d", endless))
    mute = write_matrix(tmp_path / "e", values, without="imatrix.datasets")
    assert "does not say what text it was measured on" in refused(mute)
    assert "holds no importance matrix" in refused(small)
    with pytest.raises(BadInputError, match="does not exist"):
        Quantizer(read_header(small), replace(PLAIN, imatrix=str(tmp_path / "none")))


def test_formats_that_need_one(small: Path) -> None:
    with pytest.raises(BadInputError, match="IQ2_XXS needs an importance matrix; give one with"):
        Quantizer(read_header(small), PLAIN).outline("IQ2_XXS")
    with pytest.raises(BadInputError, match=r"token_embd\.weight can be iq1_s only with an importance matrix"):
        Quantizer(read_header(small), replace(PLAIN, token_embedding_type="iq1_s")).outline("Q4_0")


# What is refused


def test_formats_by_name() -> None:
    assert parse_formats("q8_0, Q4_k,q4_K_M,f16") == ("Q8_0", "Q4_K_M", "F16")
    assert parse_tensor_type("Q6_k") == "q6_K"
    for text, hint in {
        "Q4KM": "'Q4KM' is no format; the nearest is Q4_K_M",
        "Q8_0,": "a format is missing",
        "15": "by its name, Q4_K_M",
        "NVFP4": "is no format",
        "\x1b[1m": "is no format; there are F32",
    }.items():
        with pytest.raises(BadInputError) as error:
            parse_formats(text)
        assert hint in str(error.value) and "\x1b" not in str(error.value)
    with pytest.raises(BadInputError, match="'q6k' is no type of a tensor; the nearest is q6_K"):
        parse_tensor_type("q6k")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (
            QuantizeOptions(leave_output_tensor=True),
            "--leave-output-tensor does nothing here: this model has no",
        ),
        (QuantizeOptions(leave_output_tensor=True, output_tensor_type="q8_0"), "contradict each other"),
        (QuantizeOptions(output_tensor_type="q8_0", pure=True), "does nothing with --pure"),
        (QuantizeOptions(output_tensor_type="q8_0", token_embedding_type="q8_0"), "does nothing with --token-emb"),
    ],
)
def test_options_that_would_do_nothing(small: Path, options: QuantizeOptions, hint: str) -> None:
    with pytest.raises(BadInputError, match=hint):
        Quantizer(read_header(small), options).outline("Q4_0")


def test_types_that_rows_do_not_divide_into(model_path: str) -> None:
    options = replace(AGAIN, token_embedding_type="q6_K")
    with pytest.raises(BadInputError, match=r"token_embd\.weight cannot be q6_K: .* 640 weights .* blocks of 256"):
        Quantizer(read_header(model_path), options).outline("Q4_0")


def test_output_type_of_a_tied_embedding(small: Path, out: Path) -> None:
    options = replace(PLAIN, output_tensor_type="q5_K")
    with pytest.raises(BadInputError, match="does nothing for F16"):
        Quantizer(read_header(small), options).outline("F16")
    made = quantize(small, "Q4_0", out / "x.gguf", options)
    assert {t.name: t.after for t in made.outline.tensors}["token_embd.weight"] == "q5_K"


def test_what_it_is_already(small: Path, out: Path, model_path: str) -> None:
    demo = Quantizer(read_header(model_path), PLAIN)
    assert str(demo.why_skip(demo.outline("Q4_K_M"))).endswith("is Q4_K_M already")
    floats = Quantizer(read_header(small), PLAIN)
    assert str(floats.why_skip(floats.outline("F16"))).endswith("is F16 already")
    assert floats.why_skip(floats.outline("BF16")) is None
    quantize(small, "Q4_0", out / "pure.gguf", replace(PLAIN, pure=True))
    pure = Quantizer(read_header(out / "pure.gguf"), replace(PLAIN, pure=True))
    assert "every tensor" in str(pure.why_skip(pure.outline("Q4_0")))


@pytest.mark.parametrize(
    ("keys", "weights", "hint"),
    [
        ({"general.type": "mmproj"}, gemma(), "vision projector"),
        ({}, [], "a vocabulary without weights"),
        ({"general.type": "adapter"}, gemma(), "LoRA adapter"),
    ],
)
def test_what_is_no_language_model(tmp_path: Path, keys: dict[str, Any], weights: Any, hint: str) -> None:
    file = write_gguf(tmp_path / "x.gguf", {**GEMMA, **keys}, weights)
    with pytest.raises(BadInputError, match=hint):
        Quantizer(read_header(file), PLAIN)


def test_ollamas_layout_is_adopted_first(model_path: str, out: Path) -> None:
    laid_out = make(model_path, out / "x.gguf", sparse=True)
    with pytest.raises(BadInputError, match="gemtop adopt"):
        Quantizer(read_header(laid_out), AGAIN)


def test_targets(small: Path, out: Path) -> None:
    source = read_header(small)
    (out / "there.gguf").write_bytes(b"kept")
    with pytest.raises(BadInputError, match="is there already; use it, or write it again with --force"):
        check_target(source, out / "there.gguf", force=False)
    check_target(source, out / "there.gguf", force=True)
    (out / "link.gguf").symlink_to(small)
    for target in (small, out / "link.gguf"):
        with pytest.raises(BadInputError, match="is the source itself"):
            check_target(source, target, force=True)
    with pytest.raises(BadInputError, match="is a folder"):
        check_target(source, out, force=True)
    with pytest.raises(BadInputError, match="is no folder; make it first"):
        check_target(source, out / "no" / "x.gguf", force=False)


def test_the_space_for_all_is_looked_up_before(small: Path, out: Path) -> None:
    quantizer = Quantizer(read_header(small), PLAIN)
    outlines = [quantizer.outline("Q8_0"), quantizer.outline("Q4_0")]
    needed = sum(outline.size_bytes for outline in outlines)
    check_space(out, outlines, lambda _folder: needed)
    with pytest.raises(BadInputError, match=r"2 files take 1 MiB, and .* has 1 MiB free; make room"):
        check_space(out, outlines, lambda _folder: needed - 1)


# What goes wrong in the middle


def test_damaged_weights(tmp_path: Path, out: Path) -> None:
    def broken(name: str, count: int) -> bytes:
        data = noise(name, count)
        return b"\x00\x7e" + data[2:] if name == "blk.0.ffn_up.weight" else data

    source = write_small(tmp_path / "x-F16.gguf", weights=broken)
    with pytest.raises(GemtopError, match=r"llama\.cpp cannot quantise it: .*blk\.0\.ffn_up\.weight") as error:
        quantize(source, "Q8_0", out / "x.gguf")
    assert "\n" not in str(error.value)
    assert files(out) == []


def test_an_interruption_ends_the_child(small: Path, out: Path) -> None:
    children: list[int] = []

    def interrupt(fraction: float, _name: str) -> None:
        if fraction > 0:
            children.extend(_children())
            raise KeyboardInterrupt

    quantizer = Quantizer(read_header(small), PLAIN)
    outline = quantizer.outline("Q8_0")
    with pytest.raises(KeyboardInterrupt):
        quantizer.write(outline, out / "x.gguf", interrupt)
    assert files(out) == []
    assert len(children) == 1
    assert not set(children) & set(_children())


@pytest.mark.parametrize(
    ("number", "hint"),
    [(signal.SIGKILL, "the quantiser was killed, as the system does"), (signal.SIGABRT, "llama.cpp died of SIGABRT")],
)
def test_a_child_that_dies(model_path: str, out: Path, number: signal.Signals, hint: str) -> None:
    quantizer = Quantizer(read_header(model_path), AGAIN)
    outline = quantizer.outline("Q8_0")
    sent = threading.Event()

    def kill(fraction: float, _name: str) -> None:
        if fraction > 0 and not sent.is_set():
            sent.set()
            for child in _children():
                os.kill(child, number)

    with pytest.raises(GemtopError, match=hint):
        quantizer.write(outline, out / "x.gguf", kill)
    assert files(out) == []


def test_a_file_that_is_written_over_stays_until_the_other_is_whole(small: Path, out: Path) -> None:
    (out / "x.gguf").write_bytes(b"kept")

    def interrupt(_fraction: float, _name: str) -> None:
        raise KeyboardInterrupt

    quantizer = Quantizer(read_header(small), PLAIN)
    with pytest.raises(KeyboardInterrupt):
        quantizer.write(quantizer.outline("Q8_0"), out / "x.gguf", interrupt)
    assert (out / "x.gguf").read_bytes() == b"kept"
    assert files(out) == ["x.gguf"]


def _children() -> list[int]:
    """Processes that this one has started and that run."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
