"""psutil as it is, and a machine of known counters for the arithmetic."""

from __future__ import annotations

import os
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from gemtop.telemetry.host import (
    FIRST_WINDOW_NS,
    MIN_WINDOW_NS,
    SLOW_FIELDS,
    PsutilProbe,
    cpu_model_name,
    total_ram_bytes,
)
from gemtop.telemetry.probes import HOST_FIELDS
from gemtop.telemetry.rapl import Rapl, RaplError

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")
S = 1_000_000_000


def lay_out_package(powercap: Path, number: int, name: str, energy_uj: int, range_uj: int = 262_143_328_850) -> None:
    """A zone as the kernel's intel_rapl driver shows it."""
    zone = powercap / f"intel-rapl:{number}"
    zone.mkdir(parents=True)
    (zone / "name").write_text(name + "\n", encoding="ascii")
    (zone / "energy_uj").write_text(f"{energy_uj}\n", encoding="ascii")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n", encoding="ascii")


class FakeMachine:
    """psutil's part that the probe uses and the kernel's files, with counters that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.now_ns = 0
        self.times: Any = Times(100.0, 0.0, 50.0, 800.0, 20.0, 0.0, 0.0, 0.0, 40.0, 0.0)
        self.cores: list[Any] = [self.times, self.times]
        self.process_cpu_ns = 5 * S
        self.memory: Any = SimpleNamespace(total=64_000, available=50_000, used=1)
        self.chips: dict[str, list[Any]] = {"coretemp": [sensor("Package id 0", 51.0), sensor("Core 0", 54.0)]}
        self.slept_s: list[float] = []
        self.proc, self.powercap = folder / "proc", folder / "powercap"
        self.proc.mkdir()
        self.vmstat("nr_free_pages 12345\npswpin 10\npswpout 20\n")
        lay_out_package(self.powercap, 0, "package-0", 1_000_000)

    def vmstat(self, text: str) -> None:
        (self.proc / "vmstat").write_text(text, encoding="ascii")

    def energy_uj(self, number: int, value: int) -> None:
        (self.powercap / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n", encoding="ascii")

    def cpu_times(self, percpu: bool = False) -> Any:
        return list(self.cores) if percpu else self.times

    def virtual_memory(self) -> Any:
        if isinstance(self.memory, Exception):
            raise self.memory
        return self.memory

    def sensors_temperatures(self) -> Any:
        return self.chips

    def Process(self) -> Any:
        return SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=12_345))

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_ns += round(seconds * 1e9)

    def probe(self) -> PsutilProbe:
        probe = PsutilProbe(
            lambda: self,
            lambda: self.process_cpu_ns,
            rapl=Rapl(self.powercap),
            proc=self.proc,
            clock=lambda: self.now_ns,
            sleep=self.sleep,
        )
        probe.start()
        return probe


def sensor(label: str, current: float | None) -> Any:
    return SimpleNamespace(label=label, current=current, high=None, critical=None)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


NOT_READ = dict.fromkeys(SLOW_FIELDS, "not read yet")
NO_WINDOW = "needs an earlier sample to compare with"
WINDOWED = {"host_cpu_pct", "process_cpu_pct", "package_power_w"}


def test_real_readings_of_this_machine_and_process() -> None:
    probe = PsutilProbe()
    probe.start()
    first = probe.read(time.monotonic_ns())
    # Memory of our own, touched so that it is resident.
    block = bytearray(b"x" * 64_000_000)
    probe.refresh()
    second = probe.read(time.monotonic_ns())
    assert second.process_rss_bytes is not None
    assert first.process_rss_bytes is not None
    assert second.process_rss_bytes - first.process_rss_bytes > 0.9 * len(block)
    assert second.ram_total_bytes == psutil.virtual_memory().total == total_ram_bytes()
    assert second.ram_used_bytes is not None
    assert 0 < second.ram_used_bytes < second.ram_total_bytes
    assert second.process_cpu_pct is not None
    assert second.process_cpu_pct > 0
    assert second.host_cpu_pct is not None
    assert second.cpu_by_core_pct is not None
    assert len(second.cpu_by_core_pct) == psutil.cpu_count()
    assert all(0 <= share <= 100 for share in second.cpu_by_core_pct)
    # psutil counts in pages of 4 KiB, whatever the machine's are.
    swapped = psutil.swap_memory()
    assert second.swap_in_bytes is not None
    assert second.swap_in_bytes * 4096 // os.sysconf("SC_PAGE_SIZE") <= swapped.sin
    # What depends on the machine has a value or a reason.
    for name in ("package_energy_j", "package_power_w", "cpu_temperature_c"):
        assert (getattr(second, name) is None) == (name in second.reasons)
    assert set(second.reasons) <= {"package_energy_j", "package_power_w", "cpu_temperature_c"}
    probe.stop()


def test_a_one_off_reading_is_complete(machine: FakeMachine) -> None:
    probe = machine.probe()
    machine.times = machine.times._replace(user=101.0)
    machine.cores = [machine.times, machine.cores[1]._replace(idle=801.0)]
    probe.refresh()
    assert machine.slept_s == [FIRST_WINDOW_NS / 1e9]
    sample = probe.read(machine.now_ns)
    assert sample.reasons == {}
    assert not [name for name in HOST_FIELDS if getattr(sample, name) is None]


def test_cpu_load_is_busy_time_over_all_time_since_the_sample_before(machine: FakeMachine) -> None:
    probe = machine.probe()
    first = probe.read(0)
    # Four seconds of CPU time: 1 user, 0.5 system, 2 idle, 0.5 waiting for a disk. Guest time is within user.
    machine.times = machine.times._replace(user=101.0, system=50.5, idle=802.0, iowait=20.5, guest=41.0)
    machine.process_cpu_ns += 3 * S
    second = probe.read(2 * S)
    assert first.reasons == dict.fromkeys(WINDOWED, NO_WINDOW) | NOT_READ
    assert second.host_cpu_pct == pytest.approx(37.5)
    assert second.process_cpu_pct == pytest.approx(150.0)
    assert second.reasons == NOT_READ


def test_a_sample_close_to_the_one_before_keeps_its_window(machine: FakeMachine) -> None:
    probe = machine.probe()
    probe.read(0)
    close = probe.read(MIN_WINDOW_NS - 1)
    assert close.host_cpu_pct is None
    assert "host_cpu_pct" in close.reasons
    machine.times = machine.times._replace(user=101.0, idle=801.0)
    machine.process_cpu_ns += S
    regular = probe.read(S)
    machine.times = machine.times._replace(user=101.01)
    poked = probe.read(S + 1_000_000)
    assert regular.host_cpu_pct == poked.host_cpu_pct == pytest.approx(50.0)
    assert regular.process_cpu_pct == poked.process_cpu_pct == pytest.approx(100.0)
    assert poked.reasons == NOT_READ
    # The time since the regular sample is not lost to the poked one.
    machine.times = machine.times._replace(user=102.0)
    machine.process_cpu_ns += S
    later = probe.read(3 * S)
    assert later.host_cpu_pct == pytest.approx(100.0)
    assert later.process_cpu_pct == pytest.approx(50.0)


def test_counters_that_step_back_stay_within_bounds(machine: FakeMachine) -> None:
    probe = machine.probe()
    probe.read(0)
    machine.times = machine.times._replace(user=110.0, iowait=15.0)
    assert probe.read(S).host_cpu_pct == 100.0
    machine.times = machine.times._replace(user=109.0, idle=805.0)
    assert probe.read(2 * S).host_cpu_pct == 0.0


def test_memory_in_use_is_what_could_not_be_given_to_another_program(machine: FakeMachine) -> None:
    sample = machine.probe().read(0)
    assert (sample.ram_used_bytes, sample.ram_total_bytes) == (14_000, 64_000)
    assert sample.process_rss_bytes == 12_345


def test_memory_comes_from_the_kernels_file_where_it_has_the_figures(machine: FakeMachine) -> None:
    machine.memory = AssertionError("psutil was asked")
    meminfo = machine.proc / "meminfo"
    meminfo.write_text(
        "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:   12288 kB\nBuffers: 1 kB\n",
        encoding="ascii",
    )
    sample = machine.probe().read(0)
    assert (sample.ram_used_bytes, sample.ram_total_bytes) == (4096 * 1024, 16384 * 1024)
    # psutil knows what to do with an old kernel and with a container that shows a smaller total.
    machine.memory = SimpleNamespace(total=64_000, available=50_000)
    for text in (
        "MemTotal: 9 kB\nMemFree: 3 kB\nBuffers: 2 kB\n",
        "MemTotal: 9 kB\nMemFree: 3 kB\nMemAvailable: 10 kB\n",
    ):
        meminfo.write_text(text, encoding="ascii")
        assert machine.probe().read(0).ram_total_bytes == 64_000


def lay_out_counters(machine: FakeMachine) -> None:
    """The two files as the kernel has them, with the figures of FakeMachine."""
    (machine.proc / "stat").write_text(
        "cpu  10000 0 5000 80000 2000 0 0 0 4000 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 99 1\n", encoding="ascii"
    )
    (machine.proc / "self").mkdir()
    (machine.proc / "self/statm").write_text("900 7 3 1 0 200 0\n", encoding="ascii")


def test_load_and_resident_memory_come_from_the_kernels_files_where_they_are(machine: FakeMachine) -> None:
    lay_out_counters(machine)
    probe = machine.probe()
    assert probe.read(0).process_rss_bytes == 7 * os.sysconf("SC_PAGE_SIZE")
    # The same file, written anew, and psutil left as it was: 37.5 % as in the test above.
    (machine.proc / "stat").write_text("cpu  10100 0 5050 80200 2050 0 0 0 4100 0\n", encoding="ascii")
    (machine.proc / "self/statm").write_text("900 8 3 1 0 200 0\n", encoding="ascii")
    sample = probe.read(S)
    assert sample.host_cpu_pct == pytest.approx(37.5)
    assert sample.process_rss_bytes == 8 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu a b c d e\n", "cpu0 1 2 3 4 5\n"])
def test_a_file_of_the_kernel_that_is_something_else_is_left_to_psutil(machine: FakeMachine, text: str) -> None:
    lay_out_counters(machine)
    (machine.proc / "stat").write_text(text, encoding="ascii")
    (machine.proc / "self/statm").write_text(text[:4], encoding="ascii")
    probe = machine.probe()
    machine.times = machine.times._replace(user=101.0, idle=801.0)
    sample = probe.read(S)
    assert sample.host_cpu_pct == pytest.approx(50.0)
    assert sample.process_rss_bytes == 12_345


def test_a_probe_that_was_stopped_keeps_no_file_open(machine: FakeMachine) -> None:
    def open_files() -> set[str]:
        folder = Path("/proc/self/fd")
        return {str(link.readlink()) for link in folder.iterdir() if link.is_symlink()}

    lay_out_counters(machine)
    probe = machine.probe()
    kept = {str(machine.proc / "stat"), str(machine.powercap / "intel-rapl:0/energy_uj")}
    assert kept <= open_files()
    probe.stop()
    assert not kept & open_files()


def test_one_reading_that_fails_leaves_the_others(machine: FakeMachine) -> None:
    probe = machine.probe()
    probe.read(0)
    machine.memory = OSError("no /proc here")
    machine.times = machine.times._replace(user=101.0)
    sample = probe.read(S)
    reason = "cannot be read: OSError: no /proc here"
    assert sample.reasons == {"ram_used_bytes": reason, "ram_total_bytes": reason} | NOT_READ
    assert sample.host_cpu_pct == 100.0
    assert sample.process_rss_bytes == 12_345


def test_without_psutil_every_field_has_the_reason() -> None:
    def load() -> Any:
        raise ImportError("No module named 'psutil'")

    probe = PsutilProbe(load)
    probe.start()
    sample = probe.read(0)
    assert sample.reasons == dict.fromkeys(HOST_FIELDS, "psutil cannot be used: No module named 'psutil'")


def test_a_probe_that_was_stopped_begins_anew(machine: FakeMachine) -> None:
    probe = machine.probe()
    probe.read(0)
    probe.stop()
    assert set(probe.read(S).reasons) == set(HOST_FIELDS)
    machine.now_ns = 2 * S
    probe.start()
    assert set(probe.read(2 * S).reasons) == WINDOWED | NOT_READ.keys()


# --- slow readings


def test_the_load_of_each_core_is_that_since_the_slow_reading_before(machine: FakeMachine) -> None:
    probe = machine.probe()
    machine.cores = [machine.times._replace(user=101.0), machine.times._replace(user=100.5, idle=800.5)]
    probe.refresh()
    assert probe.read(S).cpu_by_core_pct == (100.0, 50.0)
    # Too close to the one before: its loads stand.
    probe.refresh()
    assert probe.read(S).cpu_by_core_pct == (100.0, 50.0)
    machine.cores = [machine.cores[0]._replace(idle=802.0), machine.cores[1]._replace(user=100.0)]
    probe.refresh()
    sample = probe.read(2 * S)
    assert sample.cpu_by_core_pct == (100.0, 50.0)
    machine.cores = [machine.cores[0]._replace(idle=804.0), machine.cores[1]._replace(user=104.5)]
    probe.refresh()
    assert probe.read(3 * S).cpu_by_core_pct == (0.0, 100.0)
    # The first refresh alone waited.
    assert len(machine.slept_s) == 1


def test_a_core_that_comes_or_goes_begins_a_new_window(machine: FakeMachine) -> None:
    probe = machine.probe()
    machine.cores = [machine.times] * 3
    probe.refresh()
    assert probe.read(S).reasons["cpu_by_core_pct"] == NO_WINDOW
    machine.cores = [machine.times._replace(idle=801.0)] * 3
    probe.refresh()
    assert probe.read(2 * S).cpu_by_core_pct == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("chips", "celsius"),
    [
        ({"coretemp": [sensor("Package id 0", 51.0), sensor("Core 0", 54.0)], "nvme": [sensor("", 80.0)]}, 54.0),
        ({"k10temp": [sensor("Tctl", 72.0), sensor("Tdie", 45.0)], "acpitz": [sensor("", 99.0)]}, 45.0),
        ({"k10temp": [sensor("Tctl", 61.5), sensor("Tccd1", 58.0)]}, 61.5),
        ({"zenpower": [sensor("Tdie", 40.0)]}, 40.0),
        ({"cpu_thermal": [sensor("", 47.0)]}, 47.0),
        ({"cpu-thermal": [sensor("", 48.0)], "gpu-thermal": [sensor("", 70.0)]}, 48.0),
        ({"soc_thermal": [sensor("", 49.0)]}, 49.0),
        ({"acpitz": [sensor("", 33.0)], "nvme": [sensor("", 50.0)]}, 33.0),
        ({"coretemp": [sensor("Core 0", None)], "acpitz": [sensor("", 33.0)]}, 33.0),
    ],
)
def test_the_processors_temperature_is_its_hottest_sensor(
    machine: FakeMachine, chips: dict[str, list[Any]], celsius: float
) -> None:
    machine.chips = chips
    probe = machine.probe()
    probe.refresh()
    assert probe.read(S).cpu_temperature_c == celsius


@pytest.mark.parametrize("chips", [{}, {"nvme": [sensor("Composite", 40.0)]}])
def test_without_a_sensor_of_the_processor_there_is_no_temperature(
    machine: FakeMachine, chips: dict[str, list[Any]]
) -> None:
    machine.chips = chips
    probe = machine.probe()
    probe.refresh()
    sample = probe.read(S)
    assert sample.cpu_temperature_c is None
    assert sample.reasons["cpu_temperature_c"] == "this machine shows no processor temperature"


def test_swapping_is_counted_in_bytes_since_boot(machine: FakeMachine) -> None:
    probe = machine.probe()
    probe.refresh()
    sample = probe.read(S)
    page = os.sysconf("SC_PAGE_SIZE")
    assert (sample.swap_in_bytes, sample.swap_out_bytes) == (10 * page, 20 * page)


def test_a_kernel_without_counters_of_swapping_gives_a_reason_and_no_zero(machine: FakeMachine) -> None:
    probe = machine.probe()
    machine.vmstat("nr_free_pages 12345\n")
    probe.refresh()
    sample = probe.read(S)
    assert sample.swap_in_bytes is sample.swap_out_bytes is None
    assert sample.reasons["swap_in_bytes"] == sample.reasons["swap_out_bytes"] == "the kernel does not count it"
    (machine.proc / "vmstat").unlink()
    probe.refresh()
    assert "FileNotFoundError" in probe.read(2 * S).reasons["swap_out_bytes"]


# --- energy of the processor packages


def test_package_energy_is_counted_from_the_start_and_power_over_the_window(machine: FakeMachine) -> None:
    lay_out_package(machine.powercap, 1, "package-1", 500)
    # Neither the whole board nor a part of a package nor a second view of the same counter.
    lay_out_package(machine.powercap, 2, "psys", 7)
    for name in ("intel-rapl:0:0", "intel-rapl-mmio:0"):
        (machine.powercap / name).mkdir()
        (machine.powercap / name / "name").write_text("package-0\n", encoding="ascii")
        (machine.powercap / name / "energy_uj").write_text("1\n", encoding="ascii")
    probe = machine.probe()
    first = probe.read(0)
    assert first.package_energy_j == 0.0
    assert first.reasons["package_power_w"] == NO_WINDOW
    machine.energy_uj(0, 31_000_000)
    machine.energy_uj(1, 10_000_500)
    second = probe.read(S // 2)
    assert second.package_energy_j == pytest.approx(40.0)
    assert second.package_power_w == pytest.approx(80.0)
    machine.energy_uj(0, 31_500_000)
    poked = probe.read(S // 2 + MIN_WINDOW_NS - 1)
    assert poked.package_energy_j == pytest.approx(40.5)
    assert poked.package_power_w == pytest.approx(80.0)
    machine.energy_uj(0, 36_000_000)
    assert probe.read(S).package_power_w == pytest.approx(10.0)


def test_a_counter_that_wraps_goes_on(machine: FakeMachine) -> None:
    lay_out_package(machine.powercap, 3, "package-1-die-0", 262_143_000_000)
    probe = machine.probe()
    machine.energy_uj(3, 671_150)
    assert probe.read(S).package_energy_j == pytest.approx(1.0)
    machine.energy_uj(3, 1_671_150)
    assert probe.read(2 * S).package_energy_j == pytest.approx(2.0)


def test_a_counter_that_begins_anew_is_not_taken_for_one_that_wraps(machine: FakeMachine) -> None:
    """After the machine slept: the rest of the range would be 262 kJ in a second."""
    probe = machine.probe()
    machine.energy_uj(0, 9_000_000)
    assert probe.read(S).package_energy_j == pytest.approx(8.0)
    machine.energy_uj(0, 500_000)
    assert probe.read(2 * S).package_energy_j == pytest.approx(8.5)
    assert probe.read(2 * S).package_power_w == pytest.approx(0.5)


def test_without_counters_the_reason_says_so(machine: FakeMachine, tmp_path: Path) -> None:
    reason = "this machine has no RAPL counters (or the kernel does not show them)"
    (machine.powercap / "intel-rapl:0" / "name").write_text("psys\n", encoding="ascii")
    sample = machine.probe().read(S)
    assert sample.reasons["package_energy_j"] == sample.reasons["package_power_w"] == reason
    for folder in (tmp_path / "missing", tmp_path):
        rapl = Rapl(folder)
        rapl.start()
        with pytest.raises(RaplError, match="no RAPL counters"):
            rapl.read()


def test_counters_that_only_root_may_read_come_with_the_line_that_opens_them(machine: FakeMachine) -> None:
    allowed = False

    def open_file(path: Path, flags: int) -> int:
        if not allowed:  # as the kernel has it since 5.10
            raise PermissionError(13, "Permission denied", str(path))
        return os.open(path, flags)

    rapl = Rapl(machine.powercap, open_file)
    rapl.start()
    with pytest.raises(RaplError) as refused:
        rapl.read()
    command = f"sudo chmod o+r {machine.powercap}/intel-rapl:*/energy_uj"
    assert str(refused.value) == f"not allowed to read it; allow it with: {command}"
    allowed = True
    assert rapl.read() == 0.0
    rapl.stop()


def test_a_counter_that_fails_once_loses_no_energy(machine: FakeMachine) -> None:
    probe = machine.probe()
    energy = machine.powercap / "intel-rapl:0" / "energy_uj"
    energy.write_text("busy\n", encoding="ascii")
    assert "ValueError" in probe.read(S).reasons["package_energy_j"]
    machine.energy_uj(0, 6_000_000)
    assert probe.read(2 * S).package_energy_j == pytest.approx(5.0)


# --- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: avx2 amx\n", "Some CPU @ 3 GHz"),
        ("cpu model\t\t: MIPS 74Kc\n", "MIPS 74Kc"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\nmodel name\t:\n", None),
    ],
)
def test_cpu_model_name(tmp_path: Path, text: str, name: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text, encoding="utf-8")
    assert cpu_model_name(cpuinfo) == name


def test_cpu_model_name_without_the_file(tmp_path: Path) -> None:
    assert cpu_model_name(tmp_path / "missing") is None
