"""The entry point of `gemtop` and of `python -m gemtop`."""

from __future__ import annotations

import sys


def main() -> int:
    from gemtop.cli.main import main as cli_main

    return cli_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
