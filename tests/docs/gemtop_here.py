"""`gemtop` as the commands of the documentation find it: with smaller numbers, and somebody who leaves the screen.

python -m tests.docs.gemtop_here ARGUMENTS
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from gemtop.cli.main import COMMANDS
from tests.docs.table import fewer

OUT = "DOCS_OUT"
"""The file that stands for the terminal's output."""
RPC = "127.0.0.1:50052"
"""Where the pages have an RPC server; DOCS_RPC is where one is."""
LIMIT_S = 90.0


def main(given: Sequence[str]) -> int:
    command = given[0] if given and given[0] in COMMANDS else ""
    arguments = [os.environ.get("DOCS_RPC", one) if one == RPC else one for one in fewer(given, command)]
    if _is_endless(command, given):
        return _on_screen(arguments) if _to_terminal() else _until_it_speaks(arguments)
    if command == "replay" or (not command and "--help" not in given and "--version" not in given):
        return _on_screen(arguments)
    from gemtop.__main__ import main as gemtop

    sys.argv[1:] = arguments
    return gemtop()


def _is_endless(command: str, given: Sequence[str]) -> bool:
    return command == "top" and "--once" not in given


def _to_terminal() -> bool:
    """Whether its output was not sent elsewhere."""
    return os.path.samestat(os.fstat(1), os.stat(os.environ[OUT]))  # noqa: PTH116


def _on_screen(arguments: Sequence[str]) -> int:
    """Run it on a terminal, look, and press q; it leaves by itself where it was told to."""
    from tests.tui.program import GemtopTerminal

    with GemtopTerminal(arguments) as terminal:
        terminal.wait_until(lambda: "gemtop" in terminal.text, "it shows its first line")
        asked = 0.0
        while terminal.poll() is None:
            if "--quit-when-done" not in arguments and time.monotonic() > asked:
                terminal.type("q")  # one that came while the program was starting may be lost
                asked = time.monotonic() + 1.0
            terminal.read()
        return terminal.wait()


def _until_it_speaks(arguments: Sequence[str]) -> int:
    """Run it until there is a line on its output, then Ctrl-C; that it ends by it, is right."""
    process = subprocess.Popen([sys.executable, "-m", "gemtop", *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=LIMIT_S)
    sys.stdout.buffer.write(line + rest)
    return 0 if line and process.returncode == 130 else process.returncode or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
