"""The stores that keep files under the names of Hugging Face's repositories, and plain folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gemtop.engine.stores import folders, huggingface, llamacpp, lmstudio
from gemtop.engine.stores.stored import gguf_files, quant_in, split_part
from tests.gguf_files import GEMMA, gemma, write_split
from tests.stores import REVISION, Machine

QAT = "google/gemma-3-27b-it-qat-q4_0-gguf"
OTHER = "unsloth/gemma-3-27b-it-GGUF"


def test_the_hugging_face_cache(machine: Machine) -> None:
    link = machine.hub(QAT, "gemma-3-27b-it-q4_0.gguf")
    machine.hub(OTHER, "gemma-3-27b-it-Q4_K_M.gguf")
    machine.hub(OTHER, "gemma-3-27b-it-UD-Q4_K_XL.gguf")
    machine.hub(OTHER, "mmproj-F16.gguf")
    machine.hub(OTHER, "odd.gguf")
    assert huggingface.files_of(QAT) == {"gemma-3-27b-it-q4_0.gguf": link}
    assert huggingface.files_of("no/such") == {}
    assert {model.name for model in huggingface.models()} == {
        f"hf:{QAT}:Q4_0",
        f"hf:{OTHER}:Q4_K_M",
        f"hf:{OTHER}:UD-Q4_K_XL",
        f"hf:{OTHER}:mmproj-F16.gguf",
        f"hf:{OTHER}:odd.gguf",
    }


def test_files_of_older_revisions_count_where_the_newest_lacks_them(machine: Machine) -> None:
    old = machine.hub(OTHER, "gemma-3-27b-it-Q8_0.gguf", revision="a" * 40)
    machine.hub(OTHER, "gemma-3-27b-it-Q4_0.gguf", revision="a" * 40)
    new = machine.hub(OTHER, "gemma-3-27b-it-Q4_0.gguf")
    assert REVISION in str(new)
    assert huggingface.files_of(OTHER) == {new.name: new, old.name: old}


def test_a_link_whose_blob_is_gone(machine: Machine) -> None:
    machine.hub(QAT, "gemma-3-27b-it-q4_0.gguf").resolve().unlink()
    (model,) = huggingface.models()
    assert str(model.problem).endswith(f"gemtop pull hf:{QAT}:Q4_0")


def test_models_in_folders_of_a_repository_and_in_parts(machine: Machine) -> None:
    link = machine.hub(OTHER, "BF16/gemma-3-27b-it-BF16-00001-of-00002.gguf")
    machine.hub(OTHER, "BF16/gemma-3-27b-it-BF16-00002-of-00002.gguf")
    (model,) = huggingface.models()
    assert (model.name, model.path) == (f"hf:{OTHER}:BF16", str(link))


@pytest.mark.parametrize(
    "variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "HF_HOME", "XDG_CACHE_HOME"]
)
def test_the_cache_moves_with_the_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    below = {"HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}.get(variable, "")
    machine.hub(QAT, "gemma-3-27b-it-q4_0.gguf", root=machine.home / "moved" / below)
    assert list(huggingface.models()) == []
    monkeypatch.setenv(variable, "~/moved" if variable.endswith("CACHE") else str(machine.home / "moved"))
    assert [model.name for model in huggingface.models()] == [f"hf:{QAT}:Q4_0"]


def test_lm_studios_folder(machine: Machine) -> None:
    file = machine.lmstudio("lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_0.gguf")
    assert lmstudio.files_of("lmstudio-community/gemma-3-4b-it-GGUF") == {file.name: file}
    (model,) = lmstudio.models()
    assert (model.name, model.path) == ("lmstudio-community/gemma-3-4b-it-GGUF/gemma-3-4b-it-Q4_0.gguf", str(file))


def test_lm_studio_may_keep_its_models_elsewhere(machine: Machine) -> None:
    pointed, chosen = machine.home / "pointed", machine.home / "chosen"
    old = machine.gguf(machine.home / ".cache" / "lm-studio" / "models" / "a" / "b" / "old.gguf")
    one = machine.gguf(pointed / "models" / "a" / "b" / "one.gguf")
    two = machine.gguf(chosen / "a" / "b" / "two.gguf")
    (machine.home / ".lmstudio-home-pointer").write_text(f"{pointed}\n")
    (pointed / "settings.json").write_text(json.dumps({"downloadsFolder": str(chosen)}))
    assert {model.path for model in lmstudio.models()} == {str(old), str(one), str(two)}
    (pointed / "settings.json").write_text("[1")
    assert {model.path for model in lmstudio.models()} == {str(old), str(one)}


def test_llama_cpps_folder(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    file = machine.llamacpp("ggml-org_gemma-3-4b-it-GGUF_gemma-3-4b-it-Q4_0.gguf")
    file.with_name(file.name + ".etag").write_text('"x"')
    assert llamacpp.files_of("ggml-org/gemma-3-4b-it-GGUF") == {"gemma-3-4b-it-Q4_0.gguf": file}
    assert [model.name for model in llamacpp.models()] == [file.name]
    monkeypatch.setenv("LLAMA_CACHE", str(machine.home))
    assert list(llamacpp.models()) == []


def test_plain_folders(machine: Machine) -> None:
    here = machine.gguf(machine.here / "here.gguf")
    machine.gguf(machine.here / "below" / "not-this-one.gguf")
    deep = machine.gguf(machine.home / "models" / "a" / "b" / "deep.gguf")
    mine = machine.gguf(machine.home / "gguf" / "mine.gguf")
    machine.gguf(machine.home / "gguf" / ".hidden" / "no.gguf")
    adopted = machine.gguf(Path(os.environ["XDG_DATA_HOME"]) / "gemtop" / "models" / "adopted.gguf")
    found = folders.models([str(machine.home / "gguf"), str(machine.home / "missing")])
    assert [(model.name, model.path) for model in found] == [
        ("here.gguf", str(here)),
        ("adopted.gguf", str(adopted)),
        ("deep.gguf", str(deep)),
        ("mine.gguf", str(mine)),
    ]


def test_links_between_folders_end(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.gguf").write_bytes(b"")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
    assert [file.name for file in gguf_files(tmp_path, 20)] == ["gone.gguf", "x.gguf"]


def test_a_split_model_is_listed_once(machine: Machine) -> None:
    write_split(machine.here / "big.gguf", GEMMA, gemma(), 3)
    assert [model.name for model in folders.models([])] == ["big-00001-of-00003.gguf"]


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("gemma-3-27b-it-q4_0.gguf", "Q4_0"),
        ("gemma-3-27b-it-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("gemma-3-27b-it-IQ2_XXS.gguf", "IQ2_XXS"),
        ("gemma-3-27b-it-BF16-00001-of-00002.gguf", "BF16"),
        ("gemma-3-4b-it.f16.gguf", "F16"),
        ("gemma-3-27b-it-q4_0_s.gguf", "Q4_0_S"),
        ("gemma-3-27b-it.gguf", None),
        ("gemma-3-27b.gguf", None),
        ("faq4.gguf", None),
    ],
)
def test_the_format_in_a_file_name(name: str, quant: str | None) -> None:
    assert quant_in(name) == quant


def test_parts_are_named_as_gguf_split_names_them() -> None:
    assert split_part("x-00002-of-00003.gguf") == ("x", 2, 3)
    assert split_part("x-2-of-3.gguf") is None
