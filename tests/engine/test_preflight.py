"""The preflight: a real child on the probe model, and one that dies as on a CPU that llama.cpp does not suit."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from gemtop.config import Paths, read_state, write_state
from gemtop.domain.errors import BadInputError
from gemtop.domain.events import GenerateRequest, LoadFailed, LogLine, Notice
from gemtop.domain.settings import ContextSettings, EngineSettings, OffloadSettings, SamplingSettings
from gemtop.engine import preflight
from gemtop.engine.cpu import cpu_flags, cpuinfo
from gemtop.engine.worker import LlamaEngine
from tests.engines import EngineDriver

SOURCE = Path(__file__).with_name("preflight_fault.c")
ON_CPU = OffloadSettings(n_gpu_layers=0)
SMALL = EngineSettings(ON_CPU, ContextSettings(n_ctx=256, n_threads=1))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the tests need a C compiler"
    built = tmp_path_factory.mktemp("fault") / "fault.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(built), str(SOURCE), "-ldl"], check=True)
    return built


class Children:
    """Puts the fault into the children of this process, and counts them."""

    def __init__(self, library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = folder / "children.log"
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("FAULT_LOG", str(self._log))

    def die(self, when: str, number: signal.Signals = signal.SIGILL) -> None:
        self._monkeypatch.setenv("FAULT_WHEN", when)
        self._monkeypatch.setenv("FAULT_SIGNAL", str(int(number)))

    @property
    def started(self) -> list[str]:
        """Each child that came to decode, and with which weights."""
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def children(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Children:
    return Children(library, tmp_path, monkeypatch)


def examine(where: Paths) -> tuple[bool, list[str]]:
    """The verdict, and what the user is told."""
    notes: list[str] = []
    return preflight.use_extra_bufts(where, ON_CPU, notes.append), notes


def test_this_machine_passes_and_is_remembered(folders: Paths, children: Children) -> None:
    first = examine(folders)
    assert len(children.started) in (1, 2)
    assert first[0] is (children.started == ["repacked"]), "a second child only where the first one died"
    (verdict,) = read_state(folders, "preflight").values()
    assert verdict is first[0]
    before = children.started
    assert examine(folders) == (first[0], [])
    assert children.started == before, "the second load starts no child"


def test_another_build_or_cpu_is_tried_anew(folders: Paths, children: Children) -> None:
    write_state(folders, "preflight", {"of another build": False})
    examine(folders)
    remembered = read_state(folders, "preflight")
    assert len(remembered) == 2
    assert remembered["of another build"] is False
    assert children.started


@pytest.mark.parametrize("number", [signal.SIGILL, signal.SIGSEGV])
def test_repacked_weights_that_kill_are_switched_off(
    folders: Paths, children: Children, number: signal.Signals
) -> None:
    children.die("repacked", number)
    verdict, notes = examine(folders)
    assert verdict is False
    assert children.started == ["repacked", "plain"]
    (note,) = notes
    assert number.name in note
    assert "switched off" in note
    assert list(read_state(folders, "preflight").values()) == [False]
    assert examine(folders) == (False, []), "remembered, and said once"
    assert children.started == ["repacked", "plain"]


def test_a_build_that_does_not_run_here_at_all(folders: Paths, children: Children) -> None:
    children.die("always")
    with pytest.raises(BadInputError) as error:
        examine(folders)
    words = str(error.value)
    assert "\n" not in words
    assert "died of SIGILL" in words
    assert "compiled for SSE3" in words or "compiled for" in words
    assert cpu_flags() in words
    assert words.endswith(preflight.REBUILD)
    assert children.started == ["repacked", "plain"]
    assert read_state(folders, "preflight") == {}, "after a rebuild it is tried again"


def test_the_engine_loads_without_repacked_weights(folders: Paths, children: Children, model_path: str) -> None:
    children.die("repacked")
    driver = EngineDriver(lambda emit: LlamaEngine(emit, folders))
    try:
        driver.load(model_path, SMALL)
        assert [e.text for e in driver.events if isinstance(e, Notice)]
        assert not [e.text for e in driver.events if isinstance(e, LogLine) and "CPU_REPACK model buffer" in e.text]
        text, _ = driver.run(GenerateRequest("The capital of France is", 8, SamplingSettings(temperature=0)))
        assert text.startswith(" the capital of the ")  # what follows is near enough for other kernels to decide
        driver.events.clear()
        driver.load(model_path, SMALL)
        assert not [e for e in driver.events if isinstance(e, Notice)]
        assert len(children.started) == 2
    finally:
        assert driver.engine.close()


def test_the_engine_says_that_the_build_does_not_run(folders: Paths, children: Children, model_path: str) -> None:
    children.die("always", signal.SIGSEGV)
    driver = EngineDriver(lambda emit: LlamaEngine(emit, folders))
    try:
        driver.engine.open(model_path, SMALL)
        assert "died of SIGSEGV" in driver.wait_for(LoadFailed).message
    finally:
        assert driver.engine.close()


def test_a_bad_file_needs_no_preflight(folders: Paths, children: Children) -> None:
    driver = EngineDriver(lambda emit: LlamaEngine(emit, folders))
    try:
        driver.engine.open("/nowhere/x.gguf", SMALL)
        driver.wait_for(LoadFailed)
    finally:
        assert driver.engine.close()
    assert children.started == []


def test_without_room_for_the_probe_it_goes_on_and_says_so(
    folders: Paths, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    verdict, notes = examine(folders)
    assert verdict is True
    (note,) = notes
    assert "could not tell" in note
    assert read_state(folders, "preflight") == {}, "it is tried again next time"


def test_a_state_folder_that_cannot_be_written_is_no_failure(
    folders: Paths, tmp_path: Path, children: Children
) -> None:
    (tmp_path / "file").write_text("")
    where = Paths(folders.history, tmp_path / "file" / "state", folders.cache)
    assert examine(where) == examine(where)
    assert len(children.started) >= 2, "nothing is remembered"


def test_what_the_kernel_says_of_the_cpu() -> None:
    flags = cpu_flags().split()
    assert flags
    assert set(flags) <= set((cpuinfo("flags") or cpuinfo("Features")).split()) | {
        "none",
        "that",
        "the",
        "kernel",
        "names",
    }
    assert cpuinfo("no such field") == ""
