"""The spool file: its lock, its lines, its offsets, and what a full disk does to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.history.spool import Spool, spools_in


def test_a_live_spool_cannot_be_adopted_and_a_closed_one_can(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, "s1")
    assert spools_in(tmp_path) == [spool.path]
    assert Spool.adopt(spool.path) is None
    spool.append(b'{"kind":"x"}\n')
    spool.close()
    adopted = Spool.adopt(spool.path)
    assert adopted is not None
    assert adopted.header.session_id == "s1"
    assert Spool.adopt(spool.path) is None
    adopted.remove()
    assert spools_in(tmp_path) == []
    assert Spool.adopt(spool.path) is None


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom gemtop.history.spool import Spool\n"
        "spool = Spool.create(Path(sys.argv[1]), 's1')\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        path = tmp_path / "s1.jsonl"
        assert Spool.adopt(path) is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    spool = Spool.adopt(path)
    assert spool is not None
    spool.close()


@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda b: b.replace(b"\n", b"_") + b"\n"), max_size=20),
       st.integers(1, 50), st.binary(max_size=5).map(lambda b: b.replace(b"\n", b"_")))  # fmt: skip
def test_tails_are_whole_lines_and_together_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], limit: int, torn: bytes
) -> None:
    spool = Spool.create(tmp_path_factory.mktemp("spool"), "s1")
    spool.append(b"".join(lines))
    spool.append(torn)
    taken, parts = 0, []
    while part := spool.tail(taken, limit):
        assert part.endswith(b"\n")
        parts.append(part)
        taken += len(part)
    assert b"".join(parts) == spool.header.line() + b"".join(lines)
    assert spool.torn_bytes() == len(torn)
    spool.remove()


def test_a_spool_begun_anew_goes_on_counting(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, "s1")
    spool.append(b"one\n")
    end = spool.end
    spool.begin_anew(b"again\n", end)
    assert spool.header.base == end
    assert spool.tail(end, 1000) == spool.header.line() + b"again\n"
    spool.append(b"two\n")
    assert spool.tail(end, 1000).endswith(b"again\ntwo\n")
    assert Spool.adopt(spool.path) is None
    spool.close()
    adopted = Spool.adopt(tmp_path / "s1.jsonl")
    assert adopted is not None
    assert adopted.header.base == end
    adopted.remove()


def test_what_was_not_taken_in_yet_goes_along(tmp_path: Path) -> None:
    """The mover has come as far as the first line; the second was appended meanwhile."""
    spool = Spool.create(tmp_path, "s1")
    spool.append(b"one\n")
    taken = spool.end
    spool.append(b"two\n")
    spool.begin_anew(b"again\n", taken)
    assert spool.tail(taken, 1000) == spool.header.line() + b"again\ntwo\n"
    spool.remove()


def test_no_room_neither_tears_nor_doubles_a_line(tmp_path: Path) -> None:
    """In a process that may write no file beyond 4,096 bytes, until it may."""
    code = """
import resource, sys
from pathlib import Path
from gemtop.history.spool import Spool
spool = Spool.create(Path(sys.argv[1]), "s1")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
failed = 0
for i in range(100):
    try:
        spool.append(b"%d " % i + b"x" * 95 + b"\\n")
    except OSError:
        failed += 1
assert failed > 50 and spool.unwritten_bytes > 5000
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
spool.append()
assert spool.unwritten_bytes == 0
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    lines = (tmp_path / "s1.jsonl").read_bytes().splitlines()[1:]
    assert [int(line.split()[0]) for line in lines] == list(range(100))
    assert {len(line.split()[1]) for line in lines} == {95}


def test_a_header_that_cannot_be_read_is_made_up_from_the_name(tmp_path: Path) -> None:
    (tmp_path / "s9.jsonl").write_bytes(b'{"kind":"spoo')
    spool = Spool.adopt(tmp_path / "s9.jsonl")
    assert spool is not None
    assert (spool.header.session_id, spool.header.base) == ("s9", 0)
    spool.close()
