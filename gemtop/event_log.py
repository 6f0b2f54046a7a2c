"""What the engine says happened, in the log. No prompt and no output is written there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from gemtop.domain.events import (
    BenchFinished,
    BenchRepetition,
    EngineCrashed,
    EngineEvent,
    LoadFailed,
    LogLine,
    ModelLoaded,
    ModelUnloaded,
    Notice,
    RunFinished,
    RunStarted,
    SettingsRefused,
    TextScored,
)
from gemtop.domain.settings import settings_to_dict

_log = logging.getLogger(__name__)
_llama = logging.getLogger("gemtop.llama_cpp")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def log_event(event: EngineEvent) -> None:
    """Write down what an event says; those that come for each token are left out."""
    writer = _WRITERS.get(type(event))
    if writer is not None:
        writer(event)


def _line(event: LogLine) -> None:
    _llama.log(_LEVELS[event.level], "%s", event.text)


def _loaded(event: ModelLoaded) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    model = event.model
    _log.info("%s %s", "new context for" if event.weights_kept else "loaded", model.header.path)
    _log.info("ready after %.3f s: %s", event.change_s, settings_to_dict(event.settings))
    for part in event.memory:
        _log.info("memory of %s: measured %s, predicted %s", part.device, part.measured, part.predicted)


def _load_failed(event: LoadFailed) -> None:
    if event.cancelled:
        _log.info("loading was stopped")
    else:
        _log.warning("not loaded: %s", event.message)


def _unloaded(_event: ModelUnloaded) -> None:
    _log.info("the model was freed")


def _refused(event: SettingsRefused) -> None:
    _log.warning("settings were refused: %s", event.message)


def _notice(event: Notice) -> None:
    _log.warning("%s", event.text)


def _run_started(event: RunStarted) -> None:
    _log.info("%s of %d tokens, %d in the cache", event.kind, len(event.prompt_tokens), event.cached_tokens)


def _run_finished(event: RunFinished) -> None:
    level = logging.WARNING if event.status in ("failed", "crashed") else logging.INFO
    words = f": {event.message}" if event.message else ""
    _log.log(level, "run %s (%s), context %d%s", event.status, event.stop_reason, event.context_used, words)


def _repetition(event: BenchRepetition) -> None:
    tokens, seconds = event.n_prompt + event.n_gen, (event.end_ns - event.start_ns) / 1e9
    _log.info("test of %d prompt and %d generated tokens: %.3f s for %d", event.n_prompt, event.n_gen, seconds, tokens)


def _finished(event: BenchFinished | TextScored) -> None:
    level = logging.WARNING if event.status in ("failed", "crashed") else logging.INFO
    what = "test" if isinstance(event, BenchFinished) else "scoring"
    _log.log(level, "%s %s%s", what, event.status, f": {event.message}" if event.message else "")


def _crashed(event: EngineCrashed) -> None:
    _log.error("llama.cpp gave up: %s", event.message)


def log_run(row: Mapping[str, Any]) -> None:
    """The figures of a run that was recorded, out of its row of the view `runs`."""
    names = ("run_id", "kind", "variant", "prefill_tokens_per_s", "decode_tokens_per_s", "ttft_s", "valid")
    _log.info("%s", " ".join(f"{name}={row[name]}" for name in names))


_WRITERS: dict[type, Callable[[Any], None]] = {
    LogLine: _line,
    ModelLoaded: _loaded,
    LoadFailed: _load_failed,
    ModelUnloaded: _unloaded,
    SettingsRefused: _refused,
    Notice: _notice,
    RunStarted: _run_started,
    RunFinished: _run_finished,
    BenchRepetition: _repetition,
    BenchFinished: _finished,
    TextScored: _finished,
    EngineCrashed: _crashed,
}
