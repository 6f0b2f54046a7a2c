"""Ollama's own layout before and after adoption: what is planned of it, and which file its name means."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gemtop.domain.errors import BadInputError
from gemtop.domain.plan import GIB, Plan
from gemtop.domain.settings import ContextSettings, EngineSettings
from gemtop.engine.adopt import Adoption, check_target
from gemtop.engine.adopt_layout import check_layout, file_name, models_folder
from gemtop.engine.catalogue import list_models
from gemtop.engine.gguf import read_header
from gemtop.engine.names import resolve, stored_models
from gemtop.engine.planner import Planner, PlanRequest
from gemtop.engine.stores.adopted import Origin, origin
from tests.engine.ollama_layout import LACKING, make, pull
from tests.gemma_files import write_gemma
from tests.stores import Machine, ollama_layer

TAG = "gemma3:270m-it-qat"
CARD = (24 * GIB,)


@pytest.fixture(scope="module")
def ollamas(model_path: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in Ollama's layout, its weights a hole."""
    return make(model_path, tmp_path_factory.mktemp("ollama") / "model.gguf", sparse=True)


@pytest.fixture
def blob(machine: Machine, ollamas: Path) -> Path:
    """The same as `ollama pull` leaves it."""
    return pull(machine, ollamas, *TAG.split(":"))


@pytest.fixture
def planner(machine: Machine) -> Iterator[Planner]:
    with Planner(machine.paths) as found:
        yield found


def adopted(file: Path, target: Path | None = None) -> Path:
    """Adopt without the check, for which weights would be needed."""
    with Adoption(file) as adoption:
        target = target or models_folder() / file_name(adoption.header)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            adoption.write(out.fileno(), lambda _fraction: None)
    return target


def pull_again(machine: Machine, file: Path) -> Path:
    """What `ollama pull` leaves when the tag has moved on; the new blob."""
    other = machine.ollama_root / "blobs" / f"sha256-{hashlib.sha256(b'newer').hexdigest()}"
    other.hardlink_to(file)
    layer = ollama_layer("model", other.name.removeprefix("sha256-"), 5)
    machine.manifest(f"registry.ollama.ai/library/{TAG}", [layer])
    return other


def same(one: Plan, other: Plan) -> bool:
    """Weights, caches, compute and output of every device, and what was searched for."""
    uses = [[ledger.use for ledger in plan.ledgers] for plan in (one, other)]
    return uses[0] == uses[1] and one.max_n_ctx == other.max_n_ctx and one.max_n_gpu_layers == other.max_n_gpu_layers


# Planned before it is adopted


@pytest.mark.parametrize("cards", [(), CARD, (GIB // 8, GIB)])
def test_the_plan_is_that_of_the_copy(blob: Path, planner: Planner, cards: tuple[int, ...]) -> None:
    settings = EngineSettings(context=ContextSettings(n_ctx=4096))
    before = planner.plan(PlanRequest(str(blob), settings, cards))
    copy = adopted(blob)
    after = planner.plan(PlanRequest(str(copy), settings, cards))
    assert same(before, after)
    assert before.model["path"] == str(blob)
    assert before.model["adopt"] == f"gemtop adopt {TAG}"
    assert before.model["name"].endswith(", as adopted")
    assert "adopt" not in after.model
    assert abs(before.model["size_bytes"] - after.model["size_bytes"]) <= 32
    known = ("parameters", "quantization", "training", "variant", "n_layers", "n_ctx_train")
    assert {key: before.model[key] for key in known} == {key: after.model[key] for key in known}


def test_the_27b_is_planned_as_ollama_pulls_it(model_path: str, machine: Machine, planner: Planner) -> None:
    whole = write_gemma(machine.home / "whole.gguf", "27b", model_path)
    lacking = (*LACKING, "gemma3.context_length", "gemma3.attention.sliding_window")
    file = make(whole, machine.home / "x.gguf", without=lacking, sparse=True)
    pull(machine, file, "gemma3", "27b-it-qat")
    request = PlanRequest(resolve("gemma3:27b-it-qat", machine.paths), EngineSettings(), CARD)
    found = planner.plan(request)
    assert same(found, planner.plan(replace(request, path=str(whole))))
    assert found.fits and found.model["n_ctx_train"] == 131_072
    assert planner.fit(request, "x") == (True, planner.fit(replace(request, path=str(whole)), "y")[1])


def test_what_cannot_be_adopted_cannot_be_planned(machine: Machine, planner: Planner) -> None:
    file = machine.ollama(
        "registry.ollama.ai/library/gemma3:4b",
        tensors=[("token_embd.weight", "f16", 256, 1024)] * 1 + [("v.x", "f16", 256, 256)],
    )
    with pytest.raises(BadInputError, match=r"lacks the tensor blk.0.attn_q_norm.weight"):
        planner.plan(PlanRequest(str(file), EngineSettings()))


# Found by the name afterwards


def test_the_first_keys_tell(blob: Path, tmp_path: Path, model_path: str) -> None:
    copy = adopted(blob)
    assert origin(copy) == Origin(TAG, blob.name.removeprefix("sha256-"))
    assert read_header(copy).metadata["gemtop.adopted.digest"] == blob.name.removeprefix("sha256-")
    for other in (model_path, blob, tmp_path, tmp_path / "none"):
        assert origin(other) is None
    data = copy.read_bytes()
    for cut in (0, 3, 30, 60, 100):
        (tmp_path / "cut.gguf").write_bytes(data[:cut])
        assert origin(tmp_path / "cut.gguf") is None
    (tmp_path / "odd.gguf").write_bytes(data[:24] + b"\xff" * 200)
    assert origin(tmp_path / "odd.gguf") is None


def test_the_name_means_the_copy(blob: Path, machine: Machine) -> None:
    assert resolve(TAG, machine.paths) == str(blob)
    copy = adopted(blob)
    for name in (TAG, copy.name):
        assert resolve(name, machine.paths) == str(copy)
    assert resolve(TAG, machine.paths, adopted=False) == str(blob)
    (row,) = (entry for entry in list_models(machine.paths) if entry.store != "demo")
    assert (row.name, row.path, row.store, row.also) == (TAG, str(copy), "ollama", (copy.name,))
    assert (row.adopted_from, row.refused, row.training) == (str(blob), None, "qat")
    blob.unlink()
    assert resolve(TAG, machine.paths) == str(copy), "the copy works without its blob"


def test_a_copy_elsewhere_and_under_another_name(blob: Path, machine: Machine) -> None:
    machine.gguf(models_folder() / "gemma3-270m-it-qat.gguf")
    machine.manifest("registry.ollama.ai/library/mine:latest", [ollama_layer("model", blob.name[7:], 5)])
    folder = machine.home / "models"
    folder.mkdir()
    copy = adopted(blob, folder / "anything.gguf")
    for name in (TAG, "mine"):
        assert resolve(name, machine.paths) == str(copy), "what is in the file counts, not its name"
    copy.unlink()
    assert resolve(TAG, machine.paths) == str(blob)


def test_a_tag_that_was_pulled_again(blob: Path, ollamas: Path, machine: Machine) -> None:
    copy = adopted(blob)
    other = pull_again(machine, ollamas)
    assert resolve(TAG, machine.paths) == str(other), "the copy is of another model"
    rows = {entry.name: entry for entry in list_models(machine.paths) if entry.store != "demo"}
    assert set(rows) == {TAG, copy.name}
    assert (rows[TAG].path, rows[TAG].outdated_copy) == (str(other), str(copy))
    assert rows[TAG].adopt_command == f"gemtop adopt --force {TAG}"
    header = read_header(other)
    with pytest.raises(
        BadInputError, match=r"is a copy of what Ollama had .* gemtop adopt --force gemma3:270m-it-qat$"
    ):
        check_layout(header)
    with pytest.raises(BadInputError, match=r"is a copy of what Ollama had as gemma3:270m-it-qat before; .* --force"):
        check_target(header, copy, force=False)
    adopted(other)
    assert resolve(TAG, machine.paths) == str(copy)
    assert [model.path for model in stored_models() if model.store != "demo"] == [str(copy)]


def test_keys_that_the_file_brings_are_not_believed(model_path: str, machine: Machine) -> None:
    also = {"gemma3.vision.block_count": 27, "gemtop.adopted.from": "x", "gemtop.adopted.digest": "y"}
    file = make(model_path, machine.home / "x.gguf", also=also, sparse=True)
    blob = pull(machine, file, "gemma3", "4b")
    assert origin(adopted(blob)) == Origin("gemma3:4b", blob.name[7:])


def test_copies_of_other_files_have_no_digest(ollamas: Path, machine: Machine) -> None:
    plain = machine.home / "plain.gguf"
    shutil.copy(ollamas, plain)
    assert origin(adopted(plain)) == Origin("plain.gguf", None)
