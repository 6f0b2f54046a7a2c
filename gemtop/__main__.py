"""The entry point of `gemtop` and of `python -m gemtop`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    try:
        from gemtop.cli.main import main as cli_main

        return cli_main(sys.argv[1:])
    except KeyboardInterrupt:  # while it was still being imported
        return 130
    finally:
        # All is done but Python's own end: a Ctrl-C that comes now must not make it look like a crash.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
