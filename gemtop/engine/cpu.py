"""What this CPU can do, as the kernel says it: without llama.cpp, which may not even load here."""

from __future__ import annotations

from pathlib import Path


def cpu_flags() -> str:
    """The vector instruction sets of this CPU, as the kernel names them."""
    known = [
        "sse3",
        "ssse3",
        "sse4_1",
        "sse4_2",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "bmi2",
        "avx512f",
        "avx512bw",
        "avx512_vnni",
        "avx512_bf16",
        "avx_vnni",
        "amx_tile",
        "amx_int8",
        "asimd",
        "asimddp",
        "i8mm",
        "sve",
    ]
    flags = cpuinfo("flags") or cpuinfo("Features")
    return " ".join(name for name in known if name in flags.split()) or "none that the kernel names"


def cpuinfo(field: str) -> str:
    """A field of /proc/cpuinfo, of the first CPU that has it; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == field), "")


def memory_bytes() -> tuple[int, int]:
    """(total, available) memory of this machine, or of the control group it is confined to where that is less.

    Available is the kernel's own estimate of what a new program may take without swapping.
    """
    fields = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) * 1024
    total, available = fields["MemTotal"], fields["MemAvailable"]
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # none, or "max"
        return total, available
    return (limit, min(available, max(0, limit - used))) if limit < total else (total, available)
