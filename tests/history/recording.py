"""A process that records tokens until it is killed: `python -m tests.history.recording SESSION [N]`.

Each token's index goes to stdout after it was put, with the time, so that the killer knows what was older than
a second. With N it stops after N tokens and ends the session in the ordinary way.
"""

from __future__ import annotations

import os
import sys
import time

from gemtop.config import paths
from gemtop.domain.records import SessionEnd, TokenRow
from gemtop.domain.telemetry import HostSample
from gemtop.history.recorder import Recorder
from tests.history.rows import FAST, run, run_end, session


def main() -> None:
    session_id = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else sys.maxsize
    recorder = Recorder(paths(), FAST)
    started_ns = time.monotonic_ns()
    recorder.open(session(session_id, started_ns=started_ns, pid=os.getpid()))
    begin = run(session_id, start_ns=started_ns)
    recorder.put(begin)
    for index in range(count):
        now = time.monotonic_ns()
        recorder.put(TokenRow(begin.run_id, index, now, index % 1000, "decode"))
        recorder.put(HostSample(now, ram_used_bytes=index))
        os.write(1, b"%d %d\n" % (index, now))
        time.sleep(0.001)
    recorder.put(run_end(begin.run_id, end_ns=time.monotonic_ns(), generated_tokens=count))
    recorder.close(SessionEnd(time.monotonic_ns(), None))
    assert recorder.problem is None, recorder.problem


if __name__ == "__main__":
    main()
