"""Run in a process of its own with the stub library: reads the real probe and prints what it gives as JSON.

Arguments are the stub's times in seconds at which samples are wanted; `now` reads by the real clock. Before each
sample the slow readings are taken, but not where its time ends in `!`. `--proc=FOLDER` stands in for /proc.
`calls` counts the calls into NVML by name, between one sample and the next; `took_ns` is how long each round's
readings took.
"""

import collections
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from gemtop.telemetry.nvml import NvmlLibrary, NvmlProbe
from gemtop.telemetry.nvml_queries import Answer


class CountedLibrary(NvmlLibrary):
    def __init__(self) -> None:
        super().__init__()
        self.counts: collections.Counter[str] = collections.Counter()

    def call(self, name: str, *args: object) -> Answer:
        self.counts[name] += 1
        return super().call(name, *args)


def main(arguments: list[str]) -> None:
    folders = [argument.removeprefix("--proc=") for argument in arguments if argument.startswith("--proc=")]
    library = CountedLibrary()
    probe = NvmlProbe(library, proc=Path(folders[0] if folders else "/proc"))
    status = probe.start()
    rounds, calls, took_ns = [], [], []
    for moment in (argument for argument in arguments if not argument.startswith("--")):
        library.counts.clear()
        if moment.startswith("now"):
            t_ns = time.monotonic_ns()
        else:
            t_ns = round(float(moment.rstrip("!")) * 1e9)
            os.environ["NVML_STUB_NOW_NS"] = str(t_ns)
        if not moment.endswith("!"):
            probe.refresh()
        began_ns = time.monotonic_ns()
        rounds.append([dataclasses.asdict(sample) for sample in probe.read(t_ns)])
        took_ns.append(time.monotonic_ns() - began_ns)
        calls.append(dict(library.counts))
    spent_ns, at_the_end = probe.spent_ns, probe.status
    probe.stop()
    probe.stop()
    found = {
        "status": dataclasses.asdict(status),
        "status_at_the_end": at_the_end and dataclasses.asdict(at_the_end),
        "rounds": rounds,
        "calls": calls,
        "took_ns": took_ns,
        "spent_ns": spent_ns,
    }
    print(json.dumps(found | {"pid": os.getpid()}))


if __name__ == "__main__":
    main(sys.argv[1:])
