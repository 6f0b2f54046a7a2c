"""What this CPU can do, as the kernel says it: without llama.cpp, which may not even load here."""

from __future__ import annotations

import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


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


def physical_cores() -> int:
    """Physical cores this process may run on: llama.cpp's default number of threads.

    Counts distinct sets of sibling threads, as llama.cpp does; all CPUs where the kernel does not say.
    """
    allowed = os.sched_getaffinity(0)
    siblings = set()
    for cpu in allowed:
        try:
            siblings.add((_CPUS / f"cpu{cpu}" / "topology" / "thread_siblings").read_text().strip())
        except OSError:
            return len(allowed)
    return max(len(siblings), 1)


def last_level_cache_bytes() -> int | None:
    """The largest caches of the CPUs this process may run on, together; None where the kernel does not say."""
    found: dict[str, tuple[int, int]] = {}
    for cpu in os.sched_getaffinity(0):
        for cache in (_CPUS / f"cpu{cpu}" / "cache").glob("index*"):
            try:
                level = int((cache / "level").read_text())
                size = int((cache / "size").read_text().strip().removesuffix("K")) << 10
                sharing = (cache / "shared_cpu_map").read_text().strip()
            except (OSError, ValueError):
                continue
            found[f"{level} {sharing}"] = (level, size)
    last = max((level for level, _ in found.values()), default=0)
    return sum(size for level, size in found.values() if level == last) or None
