"""GPUs out of a sysfs of the test's own."""

from __future__ import annotations

from pathlib import Path

from gemtop.domain.builds import Gpu
from gemtop.domain.telemetry import DeviceInfo, TelemetryStatus
from gemtop.telemetry.graphics import gpus

NO_DRIVER = TelemetryStatus((), None, "no driver")


def pci(sys: Path, address: str, kind: str, vendor: str, device: str) -> None:
    folder = sys / "bus/pci/devices" / address
    folder.mkdir(parents=True)
    for name, value in (("class", kind), ("vendor", vendor), ("device", device)):
        (folder / name).write_text(f"{value}\n", encoding="ascii")


def kfd(sys: Path, node: int, **fields: int) -> None:
    folder = sys / "class/kfd/kfd/topology/nodes" / str(node)
    folder.mkdir(parents=True)
    (folder / "properties").write_text("".join(f"{name} {value}\n" for name, value in fields.items()), encoding="ascii")


def test_cards_of_every_maker(tmp_path: Path) -> None:
    pci(tmp_path, "0000:00:02.0", "0x030000", "0x8086", "0xa780")
    pci(tmp_path, "0000:03:00.0", "0x030000", "0x1002", "0x744c")
    pci(tmp_path, "0000:04:00.0", "0x030000", "0x8086", "0xe20b")
    pci(tmp_path, "0000:1a:00.0", "0x030200", "0x10de", "0x2684")
    pci(tmp_path, "0000:83:00.0", "0x120000", "0x1002", "0x7408")
    pci(tmp_path, "0000:00:1f.3", "0x040300", "0x8086", "0x7ad0")  # sound
    pci(tmp_path, "0000:05:00.0", "0x030000", "0x1a03", "0x2000")  # a server's console
    pci(tmp_path, "0000:00:0b.0", "0x120000", "0x8086", "0x643e")  # an NPU
    kfd(tmp_path, 0, cpu_cores_count=16, gfx_target_version=0)
    kfd(tmp_path, 1, gfx_target_version=110000, location_id=0x300, domain=0)
    kfd(tmp_path, 2, gfx_target_version=90010, location_id=0x8300, domain=0)
    assert gpus(NO_DRIVER, tmp_path) == (
        Gpu("intel", "Intel GPU 8086:a780", integrated=True),
        Gpu("amd", "AMD GPU 1002:744c", gfx="gfx1100"),
        Gpu("intel", "Intel GPU 8086:e20b"),
        Gpu("nvidia", "NVIDIA GPU 10de:2684"),
        Gpu("amd", "AMD GPU 1002:7408", gfx="gfx90a"),
    )
    info = DeviceInfo("0", "RTX 4090", None, None, None, None, compute_capability="8.9")
    named = gpus(TelemetryStatus((info,), "570.86", None, "12.8"), tmp_path)
    assert named[0] == Gpu("nvidia", "RTX 4090", compute_capability="8.9")
    assert [gpu.vendor for gpu in named] == ["nvidia", "intel", "amd", "intel", "amd"], "by NVML's name and once"


def test_a_kernel_that_shows_nothing(tmp_path: Path) -> None:
    assert gpus(NO_DRIVER, tmp_path / "none") == ()
    (tmp_path / "bus/pci/devices/0000:01:00.0").mkdir(parents=True)
    assert gpus(NO_DRIVER, tmp_path) == ()
