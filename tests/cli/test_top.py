"""gemtop top without a screen: real processes, the real nvidia-ml-py on the stub, a real HTTP client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gemtop.config import Paths
from gemtop.telemetry.probes import DEVICE_FIELDS, HOST_FIELDS
from tests import nvml_stub
from tests.cli.commands import command, gemtop, rows

LIMIT_S = 60


@pytest.fixture(scope="session")
def stub_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml_stub.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def cards(stub_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cards of the stub for every process of the test."""
    for name in ("LD_LIBRARY_PATH", "NVML_STUB_SCENARIO"):
        monkeypatch.setenv(name, nvml_stub.environment(stub_dir)[name])


@pytest.fixture
def no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", nvml_stub.environment_without_driver(tmp_path)["LD_LIBRARY_PATH"])


class Running:
    """A gemtop that goes on until it is told to end."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command("top", *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def said(self) -> str:
        """The next line on stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def once() -> dict[str, Any]:
    done = gemtop("top", "--once", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_explained(row: dict[str, Any]) -> None:
    """Every null has a reason, and nothing else has."""
    assert set(row["reasons"]) == {name for name, value in row.items() if value is None}
    assert all(row["reasons"].values())


def test_one_reading_as_json_has_the_names_of_the_history(cards: None) -> None:
    found = once()
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["time"])).total_seconds()) < LIMIT_S
    assert (found["driver_version"], found["gpu_reason"], found["reasons"]) == (nvml_stub.DRIVER_VERSION, None, {})
    assert [card["name"] for card in found["devices"]] == ["Stub RTX 24G", "Stub T4 16G"]
    for number, card in enumerate(found["devices"]):
        assert {"device", "uuid", "pci_bus_id", "power_limit_w", *DEVICE_FIELDS} <= set(card)
        assert (card["device"], card["uuid"]) == (str(number), nvml_stub.uuid(number))
        assert 0 < card["power_w"] <= nvml_stub.MODELS[number].power_limit_w
        assert_explained(card)
    assert set(found["host"]) == {*HOST_FIELDS, "reasons"}
    assert 0 <= found["host"]["host_cpu_pct"] <= 100
    assert found["host"]["ram_total_bytes"] == psutil.virtual_memory().total
    assert_explained(found["host"])


def test_what_a_card_cannot_give_has_its_reason(cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVML_STUB_SCENARIO", "unsupported=0.energy denied=1.power")
    first, second = once()["devices"]
    assert (first["energy_j"], first["reasons"]["energy_j"]) == (None, "not supported by this card")
    assert (second["power_w"], second["reasons"]["power_w"]) == (None, "no permission")
    assert second["energy_j"] is not None


def test_a_card_lost_at_the_start_is_known_by_name_once_it_is_back(
    cards: None, monkeypatch: pytest.MonkeyPatch, folders: Paths
) -> None:
    monkeypatch.setenv("NVML_STUB_SCENARIO", "lost=1@0-3")
    monkeypatch.setenv("NVML_STUB_EPOCH_NS", str(time.monotonic_ns()))
    with Running("--json", "--record", "--interval", "0.1") as running:
        card = json.loads(running.line())["devices"][1]
        assert (card["name"], card["reasons"]["power_limit_w"]) == ("unknown GPU", "GPU is lost")
        while card["power_limit_w"] is None:
            card = json.loads(running.line())["devices"][1]
        assert running.end(signal.SIGTERM) == 0
    model = nvml_stub.MODELS[1]
    assert (card["name"], card["power_limit_w"]) == (model.name, model.power_limit_w)
    assert "power_limit_w" not in card["reasons"]
    # In the history each card has one row.
    assert rows(folders, "SELECT device, name FROM devices ORDER BY 1") == [
        ("0", nvml_stub.MODELS[0].name),
        ("1", model.name),
    ]


def test_without_a_driver_the_machine_is_read_and_the_reason_told(no_driver: None) -> None:
    found = once()
    assert found["devices"] == []
    assert found["driver_version"] is found["cuda_version"] is None
    assert found["reasons"] == dict.fromkeys(("driver_version", "cuda_version"), found["gpu_reason"])
    assert found["gpu_reason"] == "no driver: libnvidia-ml.so.1 not found"
    assert found["host"]["ram_used_bytes"] > 0


def test_one_reading_needs_no_textual_no_duckdb_and_no_llama_cpp(cards: None) -> None:
    code = (
        "import sys; from gemtop.cli.main import main; main(['top', '--once', '--json']);"
        "print([m for m in ('textual', 'duckdb', 'llama_cpp', 'numpy', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([command()[0], "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_one_reading_as_text(cards: None) -> None:
    done = gemtop("top", "--once")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\x1b" not in text
    for words in (nvml_stub.DRIVER_VERSION, "GPU 0 Stub RTX 24G", "GPU 1 Stub T4 16G", "util", "VRAM", "450 W", "RAM"):
        assert words in text


def test_as_text_without_a_driver_it_says_what_would_help(no_driver: None) -> None:
    text = gemtop("top", "--once").stdout.decode()
    assert "libnvidia-ml.so.1 not found" in text and "--gpus all" in text


def test_json_goes_on_until_ctrl_c(cards: None) -> None:
    with Running("--json", "--interval", "0.1") as running:
        found = [json.loads(running.line()) for _ in range(4)]
        assert running.end(signal.SIGINT) == 130
    assert [len(reading["devices"]) for reading in found] == [2] * 4
    assert [reading["time"] for reading in found] == sorted({reading["time"] for reading in found})
    assert found[-1]["host"]["host_cpu_pct"] is not None


def test_a_reader_that_has_enough_ends_it(cards: None) -> None:
    with Running("--json", "--interval", "0.1") as running:
        assert json.loads(running.line())
        assert running.process.stdout is not None and running.process.stderr is not None
        running.process.stdout.close()
        assert running.process.wait(LIMIT_S) == 0
        assert running.process.stderr.read() == ""
        running.process.stdout = None


def test_what_is_recorded_is_a_session_of_its_own(cards: None, folders: Paths) -> None:
    with Running("--json", "--record", "--interval", "0.1") as running:
        for _ in range(5):
            running.line()
        assert running.end(signal.SIGTERM) == 0
    assert rows(folders, "SELECT command, status, end_reason FROM sessions") == [("top", "finished", None)]
    sql = "SELECT device, count(*) >= 5 FROM samples WHERE power_w > 0 GROUP BY 1 ORDER BY 1"
    assert rows(folders, sql) == [("0", True), ("1", True)]


def test_a_damaged_history_is_set_aside_and_named_once(cards: None, folders: Paths) -> None:
    folders.history.parent.mkdir()
    folders.history.write_text("this is no database\n" * 1000)
    with Running("--json", "--record", "--interval", "0.1") as running:
        assert "a new history is begun" in running.said()
        for _ in range(5):
            running.line()
        running.process.send_signal(signal.SIGTERM)
        _, talk = running.process.communicate(timeout=LIMIT_S)
        assert (running.process.returncode, talk) == (0, "")
    assert rows(folders, "SELECT command, status FROM sessions") == [("top", "finished")]
    (aside,) = folders.history.parent.glob("history.duckdb.damaged-*")
    assert aside.read_text().startswith("this is no database")


def test_nothing_is_recorded_unless_asked_for(cards: None, folders: Paths) -> None:
    once()
    with Running("--json") as running:
        running.line()
        running.end(signal.SIGTERM)
    assert not folders.history.parent.exists()


def scrape(address: str) -> dict[str, list[Any]]:
    with urllib.request.urlopen(address, timeout=LIMIT_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, list[Any]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def served(port: int, *arguments: object) -> Running:
    """Serving, once it says so and has read everything twice."""
    running = Running("--prometheus", port, "--json", "--interval", "0.2", *arguments)
    assert f"http://127.0.0.1:{port}/metrics" in running.said()
    running.line()
    running.line()
    return running


def test_prometheus_reads_the_same_readings_in_base_units(cards: None) -> None:
    port = free_port()
    with served(port) as running:
        found = scrape(f"http://127.0.0.1:{port}/metrics")
        assert running.end(signal.SIGTERM) == 0
    energy = found["gemtop_gpu_energy_joules_total"]
    assert [(s.labels["gpu"], s.labels["name"], s.labels["uuid"]) for s in energy] == [
        (str(number), nvml_stub.MODELS[number].name, nvml_stub.uuid(number)) for number in (0, 1)
    ]
    limits = [s.value for s in found["gemtop_gpu_power_limit_watts"]]
    assert limits == [model.power_limit_w for model in nvml_stub.MODELS]
    for sample, model in zip(found["gemtop_gpu_memory_used_bytes"], nvml_stub.MODELS, strict=True):
        assert model.memory_base_bytes <= sample.value <= model.memory_total_bytes
    clocks = {(s.labels["gpu"], s.labels["clock"]): s.value for s in found["gemtop_gpu_clock_hertz"]}
    assert clocks["0", "memory"] == nvml_stub.MODELS[0].clock_mem_mhz * 1e6
    assert all(0 <= s.value <= 1 for s in found["gemtop_gpu_utilization_ratio"] + found["gemtop_host_cpu_ratio"])
    assert {s.labels["gpu"] for s in found["gemtop_gpu_power_watts"]} == {"0", "1"}
    assert found["gemtop_host_memory_total_bytes"][0].value == psutil.virtual_memory().total
    assert not [name for name in found if name.startswith(("python_", "process_"))]


def test_what_is_not_known_is_no_metric(cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVML_STUB_SCENARIO", "unsupported=0.energy,0.temperature")
    port = free_port()
    with served(port) as running:
        found = scrape(f"http://127.0.0.1:{port}/metrics")
        running.end(signal.SIGTERM)
    assert [s.labels["gpu"] for s in found["gemtop_gpu_energy_joules_total"]] == ["1"]
    assert [s.labels["gpu"] for s in found["gemtop_gpu_temperature_celsius"]] == ["1"]


def test_it_listens_on_loopback_alone_and_only_when_asked(cards: None) -> None:
    port = free_port()
    with served(port) as running:
        listening = [c for c in psutil.Process(running.process.pid).net_connections() if c.status == "LISTEN"]
        assert [tuple(c.laddr) for c in listening] == [("127.0.0.1", port)]
        for other in ("127.0.0.2", *_other_addresses()):
            with pytest.raises(OSError), socket.create_connection((other, port), timeout=5):
                pass
        running.end(signal.SIGTERM)
    with Running("--json") as running:
        running.line()
        assert not [c for c in psutil.Process(running.process.pid).net_connections() if c.status == "LISTEN"]
        running.end(signal.SIGTERM)


def _other_addresses() -> list[str]:
    every = (address for addresses in psutil.net_if_addrs().values() for address in addresses)
    return [a.address for a in every if a.family == socket.AF_INET and a.address != "127.0.0.1"]


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = gemtop("top", "--json", "--prometheus", port)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"gemtop: port {port} cannot be had (Address already in use); choose another with --prometheus PORT\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interval", "0"], "between 0.1 and 60"),
        (["--interval", "fast"], "invalid number value"),
        (["--interval", "nan"], "between 0.1 and 60"),
        (["--prometheus", "70000"], "between 1 and 65535"),
        (["--prometheus", "0"], "between 1 and 65535"),
        (["--prometheus", "x"], "invalid port value"),
        (["--once", "--record"], "--once reads once"),
        ([], "gemtop top --once"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = gemtop("top", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert words in line


def test_a_history_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    done = gemtop("top", "--json", "--record", "--db", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "--db PATH" in done.stderr.decode()


def test_the_stub_of_this_test_is_closed_at_once_where_it_is_lost(cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVML_STUB_SCENARIO", "lost=1@0")
    first, second = once()["devices"]
    assert first["power_w"] is not None
    assert second["reasons"]["power_w"] == "GPU is lost"
    assert_explained(second)
