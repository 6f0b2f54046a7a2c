"""What the measuring scripts share: medians of ratios, and the machine they were measured on."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def machine() -> str:
    """CPU, cores, memory and system, for a table's heading."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    cores = sum(line.startswith("processor") for line in lines)
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{name}, {cores} cores, {memory_kb / 2**20:.0f} GiB, Linux, Python {platform.python_version()}"


def gemtop(*arguments: str) -> str:
    """Output of a gemtop command."""
    command = [sys.executable, "-m", "gemtop", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def demo_model() -> str:
    from gemtop.config import paths
    from gemtop.engine.stores.demo import demo_model as find

    return str(find(paths()))


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, and the lowest and the highest."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n={len(values)})"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def thread_cpu_s(pid: int, main: str = "main") -> dict[str, float]:
    """CPU seconds of a process's threads so far, by the names that the kernel has of them; `main` for its first one."""
    found: dict[str, float] = defaultdict(float)
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = main if task.name == str(pid) else (task / "comm").read_text().strip()
            found[name] += int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:  # it has ended meanwhile
            continue
    return found


def as_json(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text)
    return found
