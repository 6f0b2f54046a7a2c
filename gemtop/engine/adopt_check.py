"""Does an adopted file work? Asked in a child process, since llama.cpp may die of a file.

The child reads a page of text, and reads it again far behind the first time; what counts is the perplexity of the
second reading. Any Gemma 3 recites the page. Only the global layers reach back so far, and their rope is what a file
can have wrong without a word: ordinary text is hardly worse with it, and the page is lost. The distance costs nothing:
what follows the page is moved there in the context's memory.

That finds a base or a scaling that turns the rope too fast. Scaling that a model was not trained with makes it too
slow, which shows nearby: so the page is read twice in a row as well, once with and once without scaling.

`python -m gemtop.engine.adopt_check` is the child.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from gemtop.domain.model import ModelHeader
from gemtop.engine.adopt_text import BETWEEN, PAGE
from gemtop.engine.child import answer, answers, asked, gave_up

LIMIT = 3.0
"""The most the far reading may have. At 8,192 tokens Gemma 3 270M has 1.17, in Q8_0 1.15, in Q2_K 1.40, in Q4_0 made
of Q4_K_M 1.79; with llama.cpp's default rope base 380 and more, with a rope 8 times too fast 15 and more (at 4,096
tokens 4.4 and more)."""
MARGIN = 1.03
"""How much better the near reading must be with other scaling to say that the file's is wrong. With a wrong one of 8
it was better by 1.38 to 1.81 in those four formats; with the right one it was worse by 1.04 and more."""

_DEFAULT_BASE = 1e4
"""llama.cpp's, where a file has none."""
_SCALINGS = (1.0, 8.0)
"""What sizes of Gemma 3 were trained with."""
_DISTANCE_SHARE = 4
"""The far reading is a quarter of the trained context away."""
_SHORTEST_CONTEXT, _LONGEST_CONTEXT = 32_768, 131_072
"""Of the sizes of Gemma 3."""
_N_CTX = 256
"""Enough for both readings."""
_N_BATCH = 128
"""Tokens at once: 128 MiB of logits."""
_LEAD_IN = 8
"""Tokens of the second reading that are not counted: the model has yet to see that it is one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the page is read again."""

    distance: int
    """Tokens between the readings, those of the paragraph between not counted."""
    scaling: float | None = None
    """Linear scaling of the global layers' rope; None is what llama.cpp read from the file."""


@dataclass(frozen=True, slots=True)
class Check:
    """What the child found."""

    far: float | None
    """Perplexity of the far reading; None where the child did not get that far."""
    distance: int
    """Of the far reading, in tokens."""
    problem: str | None
    """Why the file does not work, in one line."""


def own_scaling(header: ModelHeader) -> float:
    """The scaling of the global layers' rope as llama.cpp reads it from the file."""
    old_name = _number(header, "rope.scale_linear", 1.0)
    return _number(header, "rope.scaling.factor", old_name) or 1.0


def readings(header: ModelHeader) -> tuple[Reading, ...]:
    """Far, near, and near with the scalings that the file might have meant."""
    others = (Reading(0, scaling) for scaling in _SCALINGS if scaling != own_scaling(header))
    context = min(header.trained_context or _SHORTEST_CONTEXT, _LONGEST_CONTEXT)
    return Reading(context // _DISTANCE_SHARE), Reading(0), *others


def _number(header: ModelHeader, key: str, default: float) -> float:
    value = header.metadata.get(f"gemma3.{key}")
    return float(value) if isinstance(value, (int, float)) else default


def check(header: ModelHeader, on_progress: Callable[[float], None]) -> Check:
    """Have a child read with the model of this header, all layers on the GPU, or none where that does not work.

    Raises nothing but what interrupts it: the child ends with the caller.
    """
    found = _attempt(header, -1, on_progress)
    return found if found.far is not None else _attempt(header, 0, on_progress)


def _attempt(header: ModelHeader, n_gpu_layers: int, on_progress: Callable[[float], None]) -> Check:
    wanted = readings(header)
    request = {
        "path": header.path,
        "n_gpu_layers": n_gpu_layers,
        "readings": [asdict(reading) for reading in wanted],
    }
    found: list[float] = []
    problem: str | None = None
    with closing(answers("gemtop.engine.adopt_check", request, "the check")) as said:
        while not problem and len(found) < len(wanted):
            word: dict[str, Any] = next(said, {"error": "the check ended without an answer"})
            if "progress" in word:
                on_progress((len(found) + word["progress"]) / len(wanted))
            elif "error" in word:
                problem = word["error"]
            else:
                found.append(word["perplexity"])
                problem = _problem(header, wanted, found)
    return Check(found[0] if found else None, wanted[0].distance, problem)


def _problem(header: ModelHeader, wanted: Sequence[Reading], found: Sequence[float]) -> str | None:
    """What the newest reading says against the file."""
    if not found[0] <= LIMIT:  # nor is NaN
        base = _number(header, "rope.freq_base", _DEFAULT_BASE)
        return (
            f"it does not recite a page it has read {wanted[0].distance:,} tokens before: perplexity {found[0]:.3g}, "
            f"where a sound model has below {LIMIT:g} (rope base {base:g}, scaling {own_scaling(header):g})"
        )
    if len(found) > 2 and found[-1] * MARGIN < found[1]:
        return (
            f"it reads better with a rope scaling of {wanted[len(found) - 1].scaling:g} (perplexity {found[-1]:.3f}) "
            f"than with its own of {own_scaling(header):g} ({found[1]:.3f})"
        )
    return None


# The child


def main() -> None:
    from gemtop.domain.errors import GemtopError
    from gemtop.engine import abort
    from gemtop.engine.binding import llama
    from gemtop.engine.log import EngineLog

    request = asked()
    abort.install(gave_up)
    log = EngineLog(lambda _line: None)
    log.install()
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = request["n_gpu_layers"]
    params.use_extra_bufts = False  # repacked weights would be a second copy in memory, for two hundred tokens
    model = llama.llama_model_load_from_file(os.fsencode(request["path"]), params)
    if not model:
        answer(error=f"llama.cpp does not load it: {log.last_error()}")
        return
    answer(progress=0.0)
    try:
        for reading in request["readings"]:
            answer(perplexity=read_twice(model, Reading(**reading)))
    except GemtopError as error:
        answer(error=f"{error} ({log.last_error()})")


def read_twice(model: Any, reading: Reading) -> float:
    """Perplexity of the second reading of the page by a llama_model. Raises GemtopError where it cannot be read."""
    from gemtop.domain.errors import GemtopError
    from gemtop.domain.fidelity import perplexity_of
    from gemtop.engine.binding import llama
    from gemtop.engine.cpu import physical_cores
    from gemtop.engine.perplexity import token_nll

    params = llama.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = _N_CTX, _N_BATCH, _N_BATCH
    params.n_threads = params.n_threads_batch = physical_cores()
    params.swa_full = False
    if reading.scaling is not None:
        params.rope_freq_scale = 1 / reading.scaling
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise GemtopError("llama.cpp cannot make a context for it")
    page, again = _tokens(model, PAGE, begin=True), _tokens(model, PAGE, begin=False)
    before = page + _tokens(model, BETWEEN, begin=False)
    total = len(before) + len(again)
    try:
        token_nll(context, before, len(before), lambda part: answer(progress=part * len(before) / total))
        memory = llama.llama_get_memory(context)
        if reading.distance:
            if not llama.llama_memory_can_shift(memory):
                raise GemtopError("llama.cpp cannot move what it has read")
            llama.llama_memory_seq_add(memory, 0, len(page), -1, reading.distance)
        return perplexity_of(token_nll(context, again, _LEAD_IN - 1).tolist()).value
    finally:
        llama.llama_free(context)


def _tokens(model: Any, text: str, *, begin: bool) -> list[int]:
    from gemtop.engine.binding import llama

    data = text.encode()
    buffer = (llama.llama_token * (len(data) + 2))()
    n = int(
        llama.llama_tokenize(llama.llama_model_get_vocab(model), data, len(data), buffer, len(buffer), begin, False)
    )
    return list(buffer[:n])


if __name__ == "__main__":
    main()
