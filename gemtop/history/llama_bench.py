"""Results of llama-bench (`-o jsonl`, `-o json`, `-o sql`) as a session with a run for each repetition."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json import JSONDecodeError, JSONDecoder
from typing import Any

from gemtop.domain.classify import FILE_TYPE_NAMES, classify
from gemtop.domain.errors import BadInputError
from gemtop.domain.model import ModelHeader
from gemtop.domain.text import one_line

INVALID_REASON = "imported: not judged"
_SQL_ROW = re.compile(r"INSERT INTO llama_bench \((?P<names>[\w, ]+)\) VALUES \('(?P<values>.*)'\);\s*\Z", re.DOTALL)
_FTYPE = re.compile(
    r"\A(?:\(guessed\) )?(?:all )?(?P<name>[A-Z0-9_]+)(?P<mix> mix| MoE)?(?: - (?P<size>Small|Medium|Large))?"
)
_SIZES = {"Small": "_S", "Medium": "_M", "Large": "_L", None: ""}
_GEMMA3_LAYERS = {"270M": 18, "1B": 26, "4B": 34, "12B": 48, "27B": 62}
"""Repeating layers; the output layer is one more to offload."""
_HOST_BACKENDS = {"CPU", "BLAS", "ACCELERATE", "OPENBLAS"}
_FLASH = {-1: "auto", 0: "off", 1: "on"}
_MOST = 2**62


@dataclass(frozen=True, slots=True)
class Results:
    """What a file of llama-bench's holds, as rows of the history."""

    session: dict[str, Any]
    runs: list[dict[str, Any]]
    notes: tuple[str, ...] = ()


class _Test:
    """One test of llama-bench's, with where it was read."""

    def __init__(self, source: str, line: int, fields: Mapping[str, Any]) -> None:
        self.source = source
        self.line = line
        self.fields = fields

    def wrong(self, words: str) -> BadInputError:
        return _wrong(self.source, self.line, words)

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self.fields.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str) or (required and not value):
            raise self.wrong(f"{name} is missing" if not value else f"{name} is no text")
        return value.replace("\0", "\u2400").encode("utf-8", "replace").decode() or None

    def whole(self, name: str, *, required: bool = False, least: int = 0) -> int | None:
        value = self.fields.get(name)
        if value is None or value == "":
            if required:
                raise self.wrong(f"{name} is missing")
            return None
        try:
            number = int(value) if isinstance(value, (str, int)) else None
        except ValueError:
            number = None
        if number is None or not least <= number <= _MOST:
            raise self.wrong(f"{name} cannot be {one_line(str(value))[:40]}")
        return number

    def real(self, name: str) -> float | None:
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        return self._real(name, value)

    def reals(self, name: str) -> list[float]:
        values = self.fields.get(name) or []
        if not isinstance(values, list):
            raise self.wrong(f"{name} is no list of numbers")
        return [self._real(name, value) for value in values]

    def _real(self, name: str, value: object) -> float:
        try:
            number = float(value) if isinstance(value, (int, float, str)) else -1.0
        except (ValueError, OverflowError):
            number = -1.0
        if not 0 <= number < float("inf"):
            raise self.wrong(f"{name} cannot be {one_line(str(value))[:40]}")
        return number

    @property
    def time(self) -> datetime:
        text = self.text("test_time", required=True) or ""
        try:
            found = datetime.fromisoformat(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.wrong(f"test_time is no moment: '{one_line(text)[:40]}'") from None


def parse(data: bytes, name: str, host: str = "unknown") -> Results:
    """The rows of a file. Raises BadInputError with the line where something is missing or wrong."""
    source = one_line(name)
    text = data.decode("utf-8-sig", "replace")
    start = text.lstrip()[:12].upper()
    if start.startswith(("CREATE TABLE", "INSERT INTO")):
        tests = list(_sql(text, source))
    elif start.startswith(("{", "[")):
        tests = list(_json(text, source))
    else:
        printed = "what llama-bench -o jsonl, json or sql prints"
        raise BadInputError(f"{source} is neither an export of gemtop's nor {printed}; nothing was imported")
    if not tests:
        raise BadInputError(f"{source} holds no test of llama-bench's; nothing was imported")
    return _results(tests, name, host)


def _wrong(source: str, line: int, words: str) -> BadInputError:
    return BadInputError(f"{source}, line {line}: {words}; nothing was imported")


def _json(text: str, source: str) -> Iterator[_Test]:
    """Objects of a list, or one a line."""
    decoder = JSONDecoder()
    position = 0
    gap = re.compile(r"[\s,\[\]]*")
    while True:
        match = gap.match(text, position)
        position = match.end() if match else position
        if position >= len(text):
            return
        line = text.count("\n", 0, position) + 1
        try:
            found, position = decoder.raw_decode(text, position)
        except JSONDecodeError as error:
            raise _wrong(source, error.lineno, f"this is no JSON ({error.msg})") from None
        except RecursionError:
            raise _wrong(source, line, "this is nested too deeply") from None
        if not isinstance(found, dict):
            raise _wrong(source, line, "this is no test of llama-bench's")
        yield _Test(source, line, found)


def _sql(text: str, source: str) -> Iterator[_Test]:
    """Lines as llama-bench writes them: every value in quotes, and quotes inside of it as they are."""
    in_table = False
    for line, row in enumerate(text.split("\n"), 1):
        row = row.strip()
        if row.upper().startswith("CREATE TABLE"):
            in_table = True
        if in_table or not row:
            in_table = in_table and not row.endswith(");")
            continue
        match = _SQL_ROW.match(row)
        names = match["names"].split(", ") if match else []
        values = match["values"].split("', '") if match else []
        if not match or len(names) != len(values):
            raise _wrong(source, line, "this is not what llama-bench -o sql writes")
        yield _Test(source, line, dict(zip(names, values, strict=True)))


def _results(tests: list[_Test], name: str, host: str) -> Results:
    started = min(test.time for test in tests)
    content = json.dumps([test.fields for test in tests], sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
    session_id = f"{started:%Y%m%d-%H%M%S}-{digest[:8]}"
    runs: list[dict[str, Any]] = []
    mixed = 0
    for test in tests:
        n_prompt, n_gen = _lengths(test)
        if n_prompt and n_gen:
            mixed += 1
            continue
        shared = _shared(test, session_id)
        start_ns = round((test.time - started).total_seconds()) * 1_000_000_000
        for duration_ns, speed, message in _repetitions(test, n_prompt or n_gen):
            run = {"run_id": f"{session_id}.{len(runs) + 1}", "start_ns": start_ns, "end_ns": start_ns + duration_ns}
            run |= {"started_at": started + timedelta(microseconds=start_ns // 1000), "message": message}
            run["prefill_tokens_per_s"], run["decode_tokens_per_s"] = (speed, None) if n_prompt else (None, speed)
            runs.append(run | shared)
            start_ns += duration_ns
    notes: tuple[str, ...] = ()
    if mixed:
        what = "1 test" if mixed == 1 else f"{mixed} tests"
        notes = (f"{one_line(name)}: {what} of prompt and generation together (-pg) left out, a speed of neither",)
    if not runs:
        raise BadInputError(f"{notes[0] if notes else one_line(name)}; nothing was imported")
    session = {
        "session_id": session_id,
        "started_at": started,
        "started_ns": 0,
        "end_ns": max(run["end_ns"] for run in runs),
        "status": "finished",
        "command": "import",
        "host": host,
        "platform": tests[0].text("cpu_info"),
        "imported_from": name.encode("utf-8", "replace").decode(),
    }
    return Results(session, runs, notes)


def _lengths(test: _Test) -> tuple[int, int]:
    n_prompt, n_gen = test.whole("n_prompt", required=True) or 0, test.whole("n_gen", required=True) or 0
    if not n_prompt and not n_gen:
        raise test.wrong("n_prompt and n_gen are both 0")
    return n_prompt, n_gen


def _repetitions(test: _Test, tokens: int) -> Iterator[tuple[int, float, str | None]]:
    """Duration, speed and a remark of each repetition: of their mean where no more is known, as in SQL."""
    durations, speeds = test.reals("samples_ns"), test.reals("samples_ts")
    remark = None
    if not durations and not speeds:
        mean_ns, mean = test.real("avg_ns"), test.real("avg_ts")
        if not mean_ns and not mean:
            raise test.wrong("there is no speed in it: samples_ns, samples_ts, avg_ns and avg_ts are missing")
        durations = [mean_ns] if mean_ns else []
        speeds = [mean] if mean else []
        spread = test.real("stddev_ts")
        sd = "" if spread is None else f"; their standard deviation was {spread:.6g} tokens/s"
        remark = f"mean of llama-bench's repetitions{sd}"
        if mean_ns and mean:  # the mean of the speeds is not the speed of the mean
            yield round(mean_ns), mean, remark
            return
    for duration in durations:
        if duration <= 0:
            raise test.wrong("a repetition took no time")
        yield round(duration), tokens * 1e9 / duration, remark
    if not durations:
        for speed in speeds:
            if speed <= 0:
                raise test.wrong("a repetition has no speed")
            yield round(tokens * 1e9 / speed), speed, remark


def quantization_of(model_type: str) -> str:
    """llama-quantize's name of the format in llama.cpp's description: Q4_K_M for "gemma3 27B Q4_K - Medium"."""
    words = model_type.split(" ", 2)
    match = _FTYPE.match(words[2]) if len(words) == 3 else None
    if match is None:
        return "unknown"
    if match["mix"]:
        return {"IQ3_S mix": "IQ3_M", "MXFP4 MoE": "MXFP4_MOE"}.get(match["name"] + match["mix"], match["name"])
    # Q2_K - Medium is what llama-quantize calls Q2_K.
    return "Q2_K" if (match["name"], match["size"]) == ("Q2_K", "Medium") else match["name"] + _SIZES[match["size"]]


def _variant(path: str, quantization: str, architecture: str) -> tuple[str, str]:
    """Training and variant, as far as names tell: without the file itself, what is not said to be QAT is unknown."""
    types = {name: number for number, name in FILE_TYPE_NAMES.items()}
    metadata: dict[str, Any] = {"general.architecture": architecture}
    if quantization in types:
        metadata["general.file_type"] = types[quantization]
    found = classify(ModelHeader(path, 0, metadata, (), 0, ""))
    if found.training == "qat":
        first = found.variant.split(" ", 1)[0]
        kept = quantization in ("Q4_0", "F32", "F16", "BF16", "unknown")
        return "qat", f"{'QAT' if kept else first if first == 'QAT+PTQ' else 'QAT+PTQ'} {quantization}"
    if found.training == "none" and quantization in ("F32", "F16", "BF16"):
        return "none", found.variant
    return (found.training, found.variant) if found.derived else ("unknown", quantization)


def _backends(test: _Test) -> set[str]:
    """Names of the backends; old versions had a field for each."""
    named = test.text("backends") or test.text("backend")
    if named:
        return {part.strip().upper() for part in named.split(",")}
    old = {"cuda", "vulkan", "kompute", "metal", "sycl", "opencl", "gpu_blas", "rpc"}
    return {name.upper() for name in old if test.fields.get(name) in (True, 1, "1")} or {"CPU"}


def _layers(test: _Test, on_gpu: bool) -> int | None:
    """Layers on a device, as gemtop counts them; llama-bench writes what was asked for."""
    if not on_gpu:
        return 0
    asked = test.whole("n_gpu_layers", least=-1)
    words = (test.text("model_type") or "").split(" ")
    most = _GEMMA3_LAYERS.get(words[1]) if len(words) > 1 and words[0] == "gemma3" else None
    if most is not None:
        return most + 1 if asked in (None, -1) else min(asked or 0, most + 1)
    return None if asked == -1 else asked


def _flash(test: _Test) -> str | None:
    value = test.fields.get("flash_attn")
    if isinstance(value, str) and value in ("on", "off", "auto"):
        return value
    number = test.whole("flash_attn", least=-1)
    return None if number is None else _FLASH.get(number)


def _shared(test: _Test, session_id: str) -> dict[str, Any]:
    """What all repetitions of a test have in common, under the names of store.runs."""
    n_prompt, n_gen = _lengths(test)
    path = test.text("model_filename", required=True) or ""
    described = test.text("model_type") or ""
    architecture = described.split(" ")[0] or None
    quantization = quantization_of(described)
    training, variant = _variant(path, quantization, architecture or "unknown")
    depth = test.whole("n_depth") or 0
    on_gpu = not _backends(test) <= _HOST_BACKENDS
    commit, number = test.text("build_commit"), test.whole("build_number")
    return {
        "session_id": session_id,
        "kind": "pp" if n_prompt else "tg",
        "status": "finished",
        "stop_reason": "length",
        "llama_build": f"{commit} ({number})" if commit and number else commit,
        "gpu_name": test.text("gpu_info") if on_gpu else None,
        "model_name": path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".gguf"),
        "model_path": path,
        "architecture": architecture,
        "parameters": test.whole("model_n_params"),
        "quantization": quantization,
        "training": training,
        "variant": variant,
        "size_bytes": test.whole("model_size"),
        "n_ctx": depth + n_prompt + n_gen,
        "n_gpu_layers": _layers(test, on_gpu),
        "type_k": test.text("type_k"),
        "type_v": test.text("type_v"),
        "flash_attn": _flash(test),
        "n_batch": test.whole("n_batch"),
        "n_ubatch": test.whole("n_ubatch"),
        "n_threads": test.whole("n_threads"),
        "swa_full": False,
        "cached_tokens": depth,
        "prompt_tokens": n_prompt,
        "generated_tokens": n_gen,
        "invalid_reason": INVALID_REASON,
        **_placement(test, on_gpu),
    }


def _placement(test: _Test, on_gpu: bool) -> dict[str, Any]:
    """How the model was spread; None where llama.cpp chose."""
    split = test.text("tensor_split") or ""
    given = on_gpu and any(part.strip("0. ") for part in split.split("/"))
    override = test.text("tensor_buft_overrides")
    return {
        "split_mode": test.text("split_mode") if on_gpu else None,
        "tensor_split": split if given else None,
        "override_tensor": None if override in (None, "none") else override,
    }
