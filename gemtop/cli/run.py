"""gemtop run: one prompt without a screen."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from gemtop.cli import options
from gemtop.cli.streams import discard_stdout
from gemtop.config import paths
from gemtop.domain.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError, GemtopError
from gemtop.domain.events import PrefillProgress, RunFinished, RunStarted, TokenGenerated
from gemtop.domain.text import plus_minus, printable

if TYPE_CHECKING:
    from gemtop.cli.headless import Headless
    from gemtop.view import RunRecorded


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="run a prompt without a screen",
        description="Run one prompt: the text on stdout as it streams, one line of figures on stderr.",
        allow_abbrev=False,
    )
    options.add_model(parser)
    parser.add_argument("-p", "--prompt", metavar="TEXT", help="the prompt; - or nothing reads it from a pipe")
    options.add_sampling(parser)
    options.add_engine(parser)
    parser.add_argument("--json", action="store_true", help="the run as one JSON object on stdout, instead of its text")
    parser.add_argument("-v", "--verbose", action="store_true", help=f"{options.VERBOSE}, and llama.cpp's to stderr")
    options.add_db(parser)
    options.add_no_text(parser)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    where = paths(args.db)
    prompt = _prompt(args.prompt)
    path, record_text = options.model_path(args, where), options.record_text(args)
    from gemtop.cli.headless import headless

    with headless("run", where, verbose=args.verbose, record_text=record_text) as run:
        run.load(path, options.engine_settings(args))
        run.session.generate(options.generate_request(args, prompt))
        recorded = _follow(run, stream=not args.json)
        if args.json:
            sys.stdout.write(json.dumps(_as_json(recorded), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            sys.stderr.write(figures_line(recorded) + "\n")
        if recorded.row["status"] == "failed":
            raise GemtopError(recorded.message or "the run failed")
        return EXIT_INTERRUPTED if run.interrupted else EXIT_OK


def _prompt(given: str | None) -> str:
    if given is None and sys.stdin.isatty():
        raise BadInputError("no prompt; give one with -p, or through a pipe")
    # The line end that a shell's echo adds is not part of the prompt, as llama.cpp's -f has it.
    text = sys.stdin.read().removesuffix("\n") if given in (None, "-") else given
    if not text or not text.strip():
        raise BadInputError("the prompt is empty; give some text with -p")
    return text


def _follow(run: Headless, *, stream: bool) -> RunRecorded:
    """Pass the text on until the run is recorded."""
    from gemtop.view import RunRecorded

    out = _Output() if stream else None
    begun, total = False, 0
    for event in run.events():
        match event:
            case RunStarted():
                begun, total = True, len(event.prompt_tokens)
            case PrefillProgress() if total > event.n_done:
                run.progress.show(f"prefill {event.n_done:,} of {total:,} tokens")
            case TokenGenerated():
                run.progress.clear()
                if out and not out.write(event.text):
                    run.session.stop()
            case RunFinished() if not begun:
                raise BadInputError(event.message or "the run was stopped before it began")
            case RunFinished():
                if out:
                    out.end(event.text)
            case RunRecorded() if event.row["status"] != "crashed":  # else what llama.cpp said comes next
                return event
    raise AssertionError("the queue has no end")


class _Output:
    """Text on stdout: harmless on a terminal, unchanged into a pipe."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._open = True
        self._last = "\n"

    def write(self, text: str) -> bool:
        """False once nobody reads any more."""
        if not text or not self._open:
            return self._open
        self._last = text[-1]
        try:
            data = printable(text) if self._terminal else text
            sys.stdout.buffer.write(data.encode("utf-8", "surrogateescape"))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._open = False
            discard_stdout()
        return self._open

    def end(self, rest: str) -> None:
        """What is left of the text, and on a terminal a line end, so that the prompt is on a line of its own."""
        self.write(rest)
        if self._terminal and self._last != "\n":
            self.write("\n")


def _as_json(recorded: RunRecorded) -> dict[str, Any]:
    """The run under the names of the view `runs`, and what it takes to run it again."""
    sampling = {name: getattr(recorded.begin, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}
    texts = {"prompt": recorded.prompt, "text": recorded.output}
    return recorded.row | sampling | texts | {"reasons": recorded.reasons}


def figures_line(recorded: RunRecorded) -> str:
    """The run in one line. What is unknown is left out; `--json` says why."""
    row = recorded.row
    parts = [
        f"{row['variant']}",
        f"prompt {row['prompt_tokens']:,} tokens",
        _number(row["prefill_tokens_per_s"], "prefill {:.1f} tokens/s"),
        f"generated {row['generated_tokens']:,} tokens",
        _number(row["decode_tokens_per_s"], "decode {:.1f} tokens/s"),
        _number(row["ttft_s"], "TTFT {:.3f} s"),
        _number(row["itl_p50_ms"], "ITL p50 {:.1f}"),
        _number(row["itl_p95_ms"], "p95 {:.1f}"),
        _number(row["itl_p99_ms"], "p99 {:.1f} ms"),
        _number(_gib(row["vram_peak_bytes"]), "VRAM {:.2f} GiB"),
        _number(_gib(row["ram_peak_bytes"]), "RAM {:.2f} GiB"),
        _with_error(row["decode_j_per_token"], row["decode_j_per_token_error"], "decode {} J/token"),
        _number(row["roof_share"] and 100 * row["roof_share"], "roof {:.0f} %"),
        f"stopped: {row['stop_reason']}",
        _verdict(row["valid"], row["invalid_reason"]),
    ]
    return "  ".join(part for part in parts if part)


def _gib(value: int | None) -> float | None:
    return None if value is None else value / 2**30


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _with_error(value: float | None, error: float | None, form: str) -> str:
    return "" if value is None or error is None else form.format(plus_minus(value, error))


def _verdict(valid: bool | None, reason: str | None) -> str:
    if valid is None:
        return reason or ""
    return "valid" if valid else f"not valid: {reason}"
