"""Flags shared by the commands that run a model, with llama.cpp's names and meanings."""

from __future__ import annotations

import argparse
import math
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gemtop import __version__
from gemtop.config import Paths, config_if_set, load_config, places
from gemtop.domain.errors import BadInputError
from gemtop.domain.settings import (
    CACHE_TYPES,
    DEFAULT_N_CTX,
    ContextSettings,
    EngineSettings,
    FlashAttention,
    LoraAdapter,
    OffloadSettings,
    SamplingSettings,
)

if TYPE_CHECKING:
    from gemtop.domain.events import GenerateRequest
    from gemtop.keymap import Keys

_BEGUN_S = time.perf_counter()
_FLASH: dict[str, FlashAttention] = {"auto": "auto", "on": "on", "off": "off", "1": "on", "0": "off", "-1": "auto"}


def flash_attention(text: str) -> FlashAttention:
    if text not in _FLASH:
        raise argparse.ArgumentTypeError(f"{text!r} is none of on, off, auto")
    return _FLASH[text]


def cache_type(text: str) -> str:
    if text.lower() not in CACHE_TYPES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(CACHE_TYPES)}")
    return text.lower()


def number(low: float, high: float) -> Callable[[str], float]:
    """A type for argparse: a number from `low` to `high`."""

    def convert(text: str) -> float:
        value = float(text)
        if not low <= value <= high:  # nor is "nan"
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    convert.__name__ = "number"
    return convert


def not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def layers(text: str) -> int:
    """A number of layers, or llama.cpp's word for all of them."""
    return -1 if text == "all" else int(text)


def endpoints(text: str) -> tuple[str, ...]:
    """Names or addresses with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def shares(text: str) -> tuple[float, ...]:
    """3,1: what each device gets, in any unit; llama.cpp takes slashes as well."""
    values = tuple(float(part) for part in text.replace("/", ",").split(","))
    if not any(values) or not all(0 <= value < math.inf for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} are no shares; give one for each device, such as 3,1")
    return values


def overrides(text: str) -> tuple[tuple[str, str], ...]:
    """PATTERN=BUFFER,...: pairs of a regular expression and a buffer type; the last = counts."""
    pairs = tuple(part.rpartition("=")[::2] for part in text.split(","))
    if not all(pattern and buffer for pattern, buffer in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not PATTERN=BUFFER, such as blk.*ffn.*=CPU")
    for pattern, _ in pairs:
        _check_pattern(pattern)
    return pairs


_WRONG_EVERYWHERE = (
    "unterminated character set",
    "missing ), unterminated subpattern",
    "unbalanced parenthesis",
    "nothing to repeat",
    "bad escape (end of pattern)",
)
"""What Python's re says of patterns that C++'s std::regex takes no more than it does."""
_OTHER_BRACKETS = ("[]", "[^]", "[.", "[:", "[=")
"""What std::regex reads in its own way."""


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that llama.cpp cannot read; what only Python cannot is left to llama.cpp."""
    try:
        re.compile(pattern)
    except re.error as error:
        if error.msg in _WRONG_EVERYWHERE and not any(bracket in pattern for bracket in _OTHER_BRACKETS):
            raise argparse.ArgumentTypeError(f"{pattern!r} is no regular expression: {error.msg}") from None


def adapter(text: str) -> LoraAdapter:
    """PATH or PATH=SCALE; where no number follows the last =, all of it is the path."""
    path, _, scale = text.rpartition("=")
    try:
        found = LoraAdapter(path, float(scale)) if path else LoraAdapter(text)
    except ValueError:
        return LoraAdapter(text)
    if not math.isfinite(found.scale):
        raise argparse.ArgumentTypeError(f"{text!r}: a scale is a finite number")
    return found


def add_db(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--db", metavar="FILE", help="history file (default: $GEMTOP_DB, else the XDG data folder)")


def add_no_text(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--no-text", action="store_true", help="keep prompts and outputs out of the history")


VERBOSE = "write what gemtop does to the log, gemtop/log/gemtop.log in the XDG state folder"


def add_verbose(parser: argparse.ArgumentParser, *, top: bool = True) -> None:
    """-v on a command, and on each thing that it can do."""
    if not any("-v" in action.option_strings for action in parser._actions):
        parser.add_argument(
            "-v",
            "--verbose",
            action="store_true",
            default=False if top else argparse.SUPPRESS,  # what was said before that word holds
            help=VERBOSE,
        )
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                add_verbose(below, top=False)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command has."""
    add_verbose(parser)
    for name, usual in (("draws", False), ("reads_config", False)):
        if parser.get_default(name) is None:
            parser.set_defaults(**{name: usual})


def start_log(args: argparse.Namespace) -> None:
    """Start the log of this process; with -v it says what gemtop does."""
    from gemtop import logs

    logs.start_log(places(None), args.verbose)  # whatever is wrong with the configuration
    if args.verbose:
        _log_command(args)


def log_end(code: int) -> None:
    """The end of a command in the log."""
    import logging

    logging.getLogger("gemtop.cli").info("ends with %d after %.2f s", code, time.perf_counter() - _BEGUN_S)


_TOLD = ("path", "paths", "model", "demo", "devices", "type_k", "type_v", "flash_attn", "session", "format", "action")


def _log_command(args: argparse.Namespace) -> None:
    """The command in the log, with its numbers and switches; prompts, SQL and addresses are kept out of it."""
    import logging
    import platform
    import sys

    log = logging.getLogger("gemtop.cli")
    log.info("gemtop %s, Python %s, %s", __version__, platform.python_version(), sys.executable)
    told = [
        f"{name}={value!r}"
        for name, value in vars(args).items()
        if value not in (None, False, []) and (isinstance(value, int | float) or name in _TOLD)
    ]
    log.info("command %s: %s", args.func.__module__.rpartition(".")[2].strip("_"), " ".join(told))


def screen_keys() -> Keys:
    """The keys of the screens, with the user's own."""
    from gemtop.keymap import Keys

    config = config_if_set()
    return Keys(config.keys) if config else Keys()


def record_text(args: argparse.Namespace) -> bool:
    """Whether prompts and outputs go into the history: not with --no-text, nor where the configuration says so."""
    return not args.no_text and load_config().history_text


def add_model(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("path", nargs="?", metavar="MODEL", help="path of a GGUF file, or a name gemtop models shows")
    parser.add_argument("-m", "--model", metavar="MODEL", help="the same, as llama.cpp has it")
    parser.add_argument("--demo", action="store_true", help="the demo model, Gemma 3 270M")


def add_engine(
    parser: argparse._ActionsContainer, cache: Callable[[str], Any] | None = None, *, mapped: bool = True
) -> None:
    """Flags that end in EngineSettings. `cache` reads -ctk and -ctv where they may be lists, without a default.

    `mapped` is whether a model's file is mapped where nothing is said.
    """
    add = parser.add_argument
    kind, usual = (cache, None) if cache else (cache_type, "f16")
    add(
        "-c",
        "--ctx-size",
        dest="n_ctx",
        type=int,
        metavar="N",
        help=f"context in tokens; 0 is the trained context (default: {DEFAULT_N_CTX}, or less if trained for less)",
    )
    add(
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        dest="n_gpu_layers",
        type=layers,
        default=-1,
        metavar="N",
        help="layers on the GPU, a number or all (default: all)",
    )
    add("-b", "--batch-size", dest="n_batch", type=int, default=2048, metavar="N", help="batch (default: 2048)")
    add("-ub", "--ubatch-size", dest="n_ubatch", type=int, default=512, metavar="N", help="micro-batch (default: 512)")
    add("-t", "--threads", dest="n_threads", type=int, metavar="N", help="CPU threads (default: physical cores)")
    add("-tb", "--threads-batch", dest="n_threads_batch", type=int, metavar="N", help="in prefill (default: as -t)")
    add(
        "-fa",
        "--flash-attn",
        dest="flash_attn",
        type=flash_attention,
        default="auto",
        metavar="on|off|auto",
        help="flash attention (default: auto)",
    )
    add(
        "-ctk",
        "--cache-type-k",
        dest="type_k",
        type=kind,
        default=usual,
        metavar="TYPE",
        help=f"K cache: {', '.join(CACHE_TYPES)} (default: f16)",
    )
    add("-ctv", "--cache-type-v", dest="type_v", type=kind, default=usual, metavar="TYPE", help="V cache")
    add("--swa-full", action="store_true", help="keep the whole context for sliding-window layers too")
    usually = "map the file (default) or read it" if mapped else "map the file or read it (default)"
    add("--mmap", action=argparse.BooleanOptionalAction, default=mapped, help=usually)
    add("--repack", action=argparse.BooleanOptionalAction, default=True, help="repacked CPU weights (default)")
    add_placement(parser)


def add_placement(parser: argparse._ActionsContainer) -> None:
    """Flags that say which devices are used and how they share the model, and its adapters."""
    add = parser.add_argument
    add("--rpc", type=endpoints, default=(), metavar="HOST:PORT,...", help="add devices of RPC servers")
    add(
        "-dev",
        "--device",
        dest="devices",
        type=endpoints,
        default=(),
        metavar="NAME,...",
        help="devices to offload to, as gemtop devices names them; none for none (default: all)",
    )
    add(
        "-sm",
        "--split-mode",
        choices=("none", "layer", "row"),
        default="layer",
        help="how several devices share the model: not, by layers (default) or by rows",
    )
    add(
        "-ts",
        "--tensor-split",
        type=shares,
        default=(),
        metavar="N0,N1,...",
        help="each device's share, in any unit (default: by free memory)",
    )
    add(
        "-mg",
        "--main-gpu",
        type=not_negative,
        default=0,
        metavar="N",
        help="the device to use with -sm none, counted from 0 (default: 0)",
    )
    add(
        "-ot",
        "--override-tensor",
        type=overrides,
        action="extend",
        default=[],
        metavar="PATTERN=BUFFER,...",
        help="where tensors go whose names match this regular expression, such as blk.*ffn.*=CPU; may be repeated",
    )
    add(
        "--lora",
        type=adapter,
        action="append",
        default=[],
        metavar="PATH[=SCALE]",
        help="a LoRA adapter as GGUF (default scale: 1); may be repeated",
    )


def add_sampling(parser: argparse._ActionsContainer) -> None:
    """Flags that end in a GenerateRequest, the prompt not counted."""
    default = SamplingSettings()
    add = parser.add_argument
    add(
        "-n",
        "--predict",
        "--n-predict",
        dest="n_predict",
        type=int,
        default=-1,
        metavar="N",
        help="tokens to generate; -1 is until the end of the text or of the context (default)",
    )
    add("-s", "--seed", type=int, default=-1, metavar="N", help="seed of the sampler (default: -1, a new one each run)")
    add(
        "--temp",
        type=number(-1, 100),
        default=default.temperature,
        metavar="T",
        help=f"temperature; 0 is greedy (default: {default.temperature})",
    )
    add("--top-k", type=not_negative, default=default.top_k, metavar="N", help=f"default: {default.top_k}; 0 is off")
    add("--top-p", type=number(0, 1), default=default.top_p, metavar="P", help=f"default: {default.top_p}; 1 is off")
    add("--min-p", type=number(0, 1), default=default.min_p, metavar="P", help=f"default: {default.min_p}; 0 is off")
    add("--raw", action="store_true", help="plain completion even where the model has a chat template")  # fmt: skip


def engine_settings(args: argparse.Namespace) -> EngineSettings:
    return EngineSettings(
        offload_settings(args, args.n_gpu_layers),
        ContextSettings(
            n_ctx=args.n_ctx,
            n_batch=args.n_batch,
            n_ubatch=args.n_ubatch,
            n_threads=args.n_threads,
            n_threads_batch=args.n_threads_batch,
            flash_attn=args.flash_attn,
            type_k=args.type_k,
            type_v=args.type_v,
            swa_full=args.swa_full,
        ),
        tuple(args.lora),
    )


def offload_settings(args: argparse.Namespace, n_gpu_layers: int) -> OffloadSettings:
    """From the flags of add_placement, and those for how weights are kept."""
    return OffloadSettings(
        n_gpu_layers=n_gpu_layers,
        use_mmap=args.mmap,
        rpc_servers=args.rpc,
        use_extra_bufts=args.repack,
        devices=args.devices,
        split_mode=args.split_mode,
        tensor_split=args.tensor_split,
        main_gpu=args.main_gpu,
        override_tensor=tuple(args.override_tensor),
    )


def sampling(args: argparse.Namespace) -> SamplingSettings:
    return SamplingSettings(
        temperature=args.temp,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        seed=None if args.seed < 0 else args.seed,
    )


def generate_request(args: argparse.Namespace, prompt: str) -> GenerateRequest:
    from gemtop.domain.events import GenerateRequest

    return GenerateRequest(prompt, args.n_predict, sampling(args), args.raw)


def named_model(args: argparse.Namespace) -> str | None:
    """The model as it was named, by a path or a store's name; `demo` becomes --demo. BadInputError where two are."""
    if args.path and args.model and args.path != args.model:
        raise BadInputError(f"two models are named, {args.path} and {args.model}; name one")
    name = args.path or args.model
    if name == "demo" and not os.path.exists(name):  # noqa: PTH110  (one stat, no object)
        args.demo = True
        return None
    return name or None


def model_path(args: argparse.Namespace, paths: Paths) -> str:
    """The model a headless command is to run. Raises BadInputError where none is named."""
    from gemtop.engine.names import resolve
    from gemtop.engine.stores.demo import demo_model

    name = named_model(args)
    if args.demo:
        return str(demo_model(paths))
    if not name:
        raise BadInputError("no model is named; give the path of a GGUF file, a name gemtop models shows, or --demo")
    return resolve(name, paths)
