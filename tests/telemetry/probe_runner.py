"""Run in a process of its own with the stub library: reads the real probe and prints what it gives as JSON.

Arguments are the stub's times in seconds at which samples are wanted; `now` reads by the real clock.
"""

import dataclasses
import json
import os
import sys
import time

from gemtop.telemetry.nvml import NvmlProbe


def main(times: list[str]) -> None:
    probe = NvmlProbe()
    status = probe.start()
    rounds = []
    for moment in times:
        if moment == "now":
            t_ns = time.monotonic_ns()
        else:
            t_ns = round(float(moment) * 1e9)
            os.environ["NVML_STUB_NOW_NS"] = str(t_ns)
        rounds.append([dataclasses.asdict(sample) for sample in probe.read(t_ns)])
    probe.stop()
    probe.stop()
    print(json.dumps({"status": dataclasses.asdict(status), "rounds": rounds}))


if __name__ == "__main__":
    main(sys.argv[1:])
