"""Reading memory through the real llama.cpp, here and on an RPC server, and what is remembered of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gemtop.config import Paths
from gemtop.domain.errors import GemtopError, LoadCancelledError
from gemtop.domain.events import LoadFailed, ModelLoaded
from gemtop.domain.model import BackendDevice
from gemtop.domain.roofline import Bandwidth, reads_of, roofs, together
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings
from gemtop.engine import bandwidth
from gemtop.engine.bandwidth import Identity
from gemtop.engine.cpu import last_level_cache_bytes
from gemtop.engine.gguf import read_header
from tests.domain.test_roofline import WHOLE, gemma_27b, held
from tests.engine.test_apply import apply
from tests.engines import EngineDriver
from tests.gemma_files import write_gemma
from tests.rpc_server import rpc_server

CPU = OffloadSettings(n_gpu_layers=0)
HOST = BackendDevice("CPU", "an EPYC", "cpu", "CPU", 2**34, 2**34, None)
CARD = BackendDevice("CUDA0", "a card", "gpu", "CUDA", 2**34, 2**34, "0000:65:00.0")
PLACEMENTS = ((0, True, True), (0, False, False), (1, True, True), (7, True, True), (19, True, False))
"""Layers on the server of 19, whether the CPU repacks its weights, whether the file is mapped."""


@pytest.fixture(autouse=True)
def _nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "_best", {})
    monkeypatch.setattr(bandwidth, "_failed", {})


def settings(offload: OffloadSettings, n_threads: int = 1) -> EngineSettings:
    return EngineSettings(offload, ContextSettings(n_ctx=1024, n_threads=n_threads))


def load(engine: EngineDriver, path: str, wanted: EngineSettings) -> ModelLoaded:
    engine.engine.open(path, wanted)
    event = engine.wait_for(ModelLoaded, LoadFailed)
    assert isinstance(event, ModelLoaded), event
    return event


def test_the_memory_is_read_at_a_speed_that_memory_has() -> None:
    assert all(5e8 < bandwidth.measure("CPU", n_threads) < 1e12 for n_threads in (1, 2))
    assert last_level_cache_bytes() != 0


def test_what_cannot_be_measured_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GemtopError, match="there is no device CUDA7"):
        bandwidth.measure("CUDA7", 1)
    with pytest.raises(LoadCancelledError):
        bandwidth.measure("CPU", 1, cancelled=lambda: True)
    monkeypatch.setattr(bandwidth, "memory_bytes", lambda: (2**34, 2**24))
    with pytest.raises(GemtopError, match=r"CPU cannot be measured: .* a quarter of what is free, which is 16 MiB"):
        bandwidth.measure("CPU", 1)


def test_a_device_of_a_server_is_measured_where_it_is() -> None:
    with rpc_server() as (endpoint, _):
        assert 5e8 < bandwidth.measure_in_child("RPC0", 1, (endpoint,)) < 1e12
    with pytest.raises(GemtopError, match=r"no RPC server at 127\.0\.0\.1:1"):
        bandwidth.measure_in_child("RPC0", 1, ("127.0.0.1:1",))


def test_the_best_ever_measured_stays(folders: Paths) -> None:
    here, card = Identity.host(1), Identity.card("a card", "0000:65:00.0")
    assert bandwidth.remembered(folders, here) is None
    assert [bandwidth.remember(folders, here, value) for value in (10e9, 12e9, 9e9)] == [10e9, 12e9, 12e9]
    bandwidth.remember(folders, card, 900e9)
    assert json.loads((folders.state / "bandwidth.json").read_text()) == {here.key: 12e9, card.key: 900e9}
    found, reasons = bandwidth.known(folders, {"CPU": HOST, "CUDA0": CARD}, 1)
    assert found == {"CPU": 12e9, "CUDA0": 900e9} and reasons == {}


def test_more_threads_read_no_slower_than_fewer(folders: Paths) -> None:
    bandwidth.remember(folders, Identity.host(2), 12e9)
    assert bandwidth.known(folders, {"CPU": HOST}, 1) == ({}, {"CPU": bandwidth.NOT_MEASURED})
    bandwidth.remember(folders, Identity.host(3), 11e9)  # measured beside other programs
    assert [bandwidth.remembered(folders, Identity.host(n)) for n in (1, 2, 3, 4)] == [None, 12e9, 12e9, 12e9]


def test_a_damaged_memory_of_it_is_none(folders: Paths) -> None:
    folders.state.mkdir(parents=True)
    (folders.state / "bandwidth.json").write_text(json.dumps({Identity.host(1).key: "fast"}))
    assert bandwidth.remembered(folders, Identity.host(1)) is None


def test_devices_are_known_by_where_they_are() -> None:
    listed = [
        {"kind": "gpu", "description": "a card", "pci_bus_id": "0000:65:00.0", "rpc_server": None},
        *({"kind": "gpu", "description": "box:1", "pci_bus_id": None, "rpc_server": "box:1"} for _ in range(2)),
        {"kind": "cpu", "description": "an EPYC", "pci_bus_id": None, "rpc_server": None},
    ]
    names = [identity.key for identity in bandwidth.identities(listed, 4)]
    assert names[:3] == ["a card 0000:65:00.0", "RPC box:1 0", "RPC box:1 1"] and names[3].endswith("4 threads")


@pytest.mark.parametrize(
    ("offload", "reads"),
    [
        (OffloadSettings(), False),
        (OffloadSettings(n_gpu_layers=99), False),
        (OffloadSettings(n_gpu_layers=18), True),
        (OffloadSettings(n_gpu_layers=0), True),
        (OffloadSettings(devices=("none",)), True),
    ],
)
def test_the_host_is_measured_where_it_reads_weights(offload: OffloadSettings, reads: bool) -> None:
    assert bandwidth.host_reads(offload, 18, {"CPU": HOST, "CUDA0": CARD}) == reads
    assert bandwidth.host_reads(offload, 18, {"CPU": HOST})


def test_the_first_load_measures_once_and_says_it_each_time(
    engine: EngineDriver, model_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(name: str, n_threads: int, _cancelled: object) -> float:
        measured.append((name, n_threads))
        return 1e15 * n_threads

    monkeypatch.setattr(bandwidth, "measure", measure)
    for n_threads in (1, 1, 2):
        loaded = load(engine, model_path, settings(CPU, n_threads))
        assert loaded.bandwidths == {"CPU": 1e15 * n_threads} and loaded.bandwidth_reasons == {}
    assert measured == [("CPU", 1), ("CPU", 2)]


def test_a_load_whose_memory_cannot_be_measured_says_why(
    folders: Paths, model_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemtop.engine.worker import LlamaEngine

    monkeypatch.setattr(bandwidth, "memory_bytes", lambda: (2**34, 2**24))
    driver = EngineDriver(lambda emit: LlamaEngine(emit, folders))
    loaded = load(driver, model_path, settings(CPU))
    assert driver.engine.close()
    assert loaded.bandwidths == {} and "16 MiB" in loaded.bandwidth_reasons["CPU"]


def test_measuring_is_not_loading(engine: EngineDriver, model_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = [10**18]
    monkeypatch.setattr("gemtop.engine.worker.time.monotonic_ns", lambda: clock_ns[0])

    def measure(*_: object) -> float:
        clock_ns[0] += 10**12
        return 1e10

    monkeypatch.setattr(bandwidth, "measure", measure)
    loaded = load(engine, model_path, settings(CPU, 3))
    assert (loaded.change_s, loaded.model.load_s) == (0, 0)


def test_a_cancelled_load_measures_nothing(folders: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "measure", lambda *_: pytest.fail("it was measured"))
    bandwidth.measure_host_once(folders, 1, lambda: True)
    assert bandwidth.known(folders, {"CPU": HOST}, 1)[0] == {}


def test_every_weight_is_read_once_wherever_it_lies(engine: EngineDriver, model_path: str) -> None:
    header = read_header(model_path)
    whole = sum(tensor.size_bytes for tensor in header.tensors)
    kv_layer = 1 * (256 + 256) * 2
    with rpc_server() as (endpoint, _):
        for n_layers, repack, mapped in (
            (0, True, True),
            (0, False, False),
            (1, True, True),
            (7, True, True),
            (19, True, False),
        ):
            offload = OffloadSettings(n_layers, mapped, (endpoint,), repack)
            loaded = load(engine, model_path, settings(offload))
            reads = reads_of(loaded.model, loaded.memory)
            assert sum(device.weights_bytes for device in reads) == pytest.approx(whole, abs=20_000)
            for depth, kv in ((100, 18 * 100), (1000, 3 * 1000 + 15 * 512)):
                assert sum(device.bytes_per_token(depth) for device in reads) - whole == pytest.approx(
                    kv * kv_layer, abs=20_000
                )
            bandwidths = {"CPU": Bandwidth(30e9, "measured"), "RPC0": Bandwidth(300e9, "measured")}
            parts = roofs(reads, bandwidths, 100)
            assert {part.device[:3] for part in parts} == {0: {"CPU"}, 19: {"RPC"}}.get(n_layers, {"CPU", "RPC"})
            assert set(loaded.bandwidths) | set(loaded.bandwidth_reasons) == {memory.device for memory in loaded.memory}
        apply(engine, settings(CPU))


def test_the_header_of_gemma_27b_says_what_was_counted_by_hand(model_path: str, tmp_path: Path) -> None:
    header = read_header(str(write_gemma(tmp_path / "27b.gguf", "27b", model_path)))
    memory = (held("CPU", WHOLE, kv=1),)
    (ours,) = reads_of(replace(gemma_27b(), header=header), memory)
    assert (ours,) == reads_of(gemma_27b(), memory)
    speed = together(roofs((ours,), {"CPU": Bandwidth(936e9, "nvml")}, 8192))
    assert speed is not None and speed == pytest.approx(51.06, abs=0.01)
