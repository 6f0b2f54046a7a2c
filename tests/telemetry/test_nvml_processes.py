"""Who holds a part of a card, seen from a machine, a container and WSL2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import nvml_stub

from .conftest import lay_out_proc

Probe = Callable[..., dict[str, Any]]


# --- processes


def test_own_and_other_processes_with_their_names(probe: Probe, tmp_path: Path) -> None:
    proc = lay_out_proc(tmp_path / "proc", comm={701: "ollama", 702: "Xorg"})
    scenario = "process=0:self:300:C,0:701:2000:C,0:702:40:G,0:703:10:C+G,1:702:5:G"
    result = probe(scenario, 1, proc=proc)
    first, second = result["rounds"][0]
    mib = nvml_stub.MIB
    expected = [
        {"pid": 701, "kind": "C", "memory_bytes": 2000 * mib, "name": "ollama", "own": False},
        {"pid": 702, "kind": "G", "memory_bytes": 40 * mib, "name": "Xorg", "own": False},
        {"pid": 703, "kind": "C+G", "memory_bytes": 10 * mib, "name": None, "own": False},
        {"pid": result["pid"], "kind": "C", "memory_bytes": 300 * mib, "name": None, "own": True},
    ]
    assert first["processes"] == sorted(expected, key=lambda entry: int(str(entry["pid"])))
    assert (first["vram_process_bytes"], first["other_processes"]) == (300 * mib, 2)
    # Not listed: it holds nothing there. Graphics are no compute processes.
    assert (second["vram_process_bytes"], second["other_processes"]) == (0, 0)
    assert first["reasons"] == second["reasons"] == {}


def test_in_a_container_the_drivers_process_ids_say_nothing_of_ours(probe: Probe, tmp_path: Path) -> None:
    proc = lay_out_proc(tmp_path / "proc", container=True, comm={701: "somebody else"})
    first, second = probe("process=0:701:2000:C,0:self:5:C", 1, proc=proc)["rounds"][0]
    reason = (
        "the driver gives process ids of the host, and gemtop runs in a container: its own cannot be told from others"
    )
    assert first["reasons"] == {"vram_process_bytes": reason, "other_processes": reason}
    assert [(entry["name"], entry["own"]) for entry in first["processes"]] == [(None, False)] * 2
    assert second["reasons"] == {"vram_process_bytes": reason}
    assert second["other_processes"] == 0


def test_wsl2_does_not_say_how_much_a_process_holds(probe: Probe, tmp_path: Path) -> None:
    proc = lay_out_proc(tmp_path / "proc", wsl2=True)
    first, second = probe("process=0:701:2000:C,0:self:5:C na=processes", 1, proc=proc)["rounds"][0]
    for sample in (first, second):
        assert sample["reasons"] == {"vram_process_bytes": "WSL2 does not say how much a process holds"}
    assert [entry["memory_bytes"] for entry in first["processes"]] == [None, None]
    assert first["other_processes"] == 1


def test_a_driver_may_not_say_how_much_we_hold(probe: Probe) -> None:
    ((first, _),) = probe("process=0:self:na:C+G,0:701:3:C", 1)["rounds"]
    assert first["reasons"] == {"vram_process_bytes": "the driver does not say how much a process holds"}
    assert first["other_processes"] == 1


def test_processes_of_an_older_driver_come_from_its_own_call(probe: Probe) -> None:
    ((first, _),) = probe("process=0:self:7:C,0:701:3:G absent=processes_v3", 1)["rounds"]
    assert first["vram_process_bytes"] == 7 * nvml_stub.MIB
    assert len(first["processes"]) == 2
    assert first["reasons"] == {}


def test_a_list_of_graphics_that_is_refused_leaves_what_computes(probe: Probe) -> None:
    ((first, _),) = probe("process=0:self:7:C denied=graphics_processes", 1)["rounds"]
    assert first["reasons"] == {"processes": "no permission"}
    assert first["vram_process_bytes"] == 7 * nvml_stub.MIB
