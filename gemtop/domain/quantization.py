"""Quantising a file: the formats by name, what llama.cpp would make of each tensor, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gemtop.domain.classify import FILE_TYPE_NAMES, UNQUANTIZED
from gemtop.domain.errors import BadInputError
from gemtop.domain.model import Classification
from gemtop.domain.text import one_line

FILE_TYPES: Mapping[str, int] = {name: number for number, name in FILE_TYPE_NAMES.items() if name != "NVFP4"}
"""What llama-quantize makes (QUANT_OPTIONS in llama.cpp, tools/quantize/quantize.cpp), as enum llama_ftype."""
_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
"""llama-quantize's own."""

TENSOR_TYPES = (
    "f32", "f16", "bf16", "q8_0", "q6_K", "q5_K", "q5_1", "q5_0", "q4_K", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_K",
    "iq3_s", "iq3_xxs", "q2_K", "q2_0", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s", "q1_0", "tq2_0", "tq1_0",
    "mxfp4", "nvfp4",
)  # fmt: skip
"""What a tensor can be made (ggml_quantize_chunk in ggml.c), by ggml's names."""
_UNQUANTIZED_TENSORS = frozenset({"f64", "f32", "f16", "bf16", "i8", "i16", "i32", "i64"})

EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
"""What --token-embedding-type is about."""
OUTPUT = "output.weight"
"""What --output-tensor-type and --leave-output-tensor are about. A model without it uses its embedding for it."""


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """llama-quantize's."""

    pure: bool = False
    token_embedding_type: str | None = None
    output_tensor_type: str | None = None
    leave_output_tensor: bool = False
    allow_requantize: bool = False
    imatrix: str | None = None
    """Path of an importance matrix."""
    n_threads: int | None = None
    """None is the physical cores."""

    def as_flags(self) -> str:
        """Those that change what tensors become, as they are typed; for the file's metadata."""
        flags = [
            "--pure" if self.pure else "",
            f"--token-embedding-type {self.token_embedding_type}" if self.token_embedding_type else "",
            f"--output-tensor-type {self.output_tensor_type}" if self.output_tensor_type else "",
            "--leave-output-tensor" if self.leave_output_tensor else "",
        ]
        return " ".join(filter(None, flags))


@dataclass(frozen=True, slots=True)
class TensorChange:
    """What becomes of one tensor."""

    name: str
    before: str
    after: str
    size_bytes: int
    """Of the tensor that is written."""

    @property
    def requantized(self) -> bool:
        return self.before != self.after and self.before not in _UNQUANTIZED_TENSORS


@dataclass(frozen=True, slots=True)
class Fallback:
    """Tensors that could not be what the format makes of them: their rows do not divide by its blocks."""

    wanted: str
    block: int
    """Weights in a block of the wanted type."""
    became: str
    n_tensors: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What llama.cpp would write; nothing is written yet."""

    format: str
    tensors: tuple[TensorChange, ...]
    fallbacks: tuple[Fallback, ...]
    size_bytes: int
    """Of the file, a few KiB more at most than it will have."""
    parameters: int
    derived: bool
    """Made of quantised weights, in this step or in one before."""

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """As llama-quantize has it: of the tensors, headers not counted."""
        return self.tensor_bytes * 8 / self.parameters

    @property
    def n_requantized(self) -> int:
        return sum(tensor.requantized for tensor in self.tensors)

    @property
    def changes_nothing(self) -> bool:
        return all(tensor.before == tensor.after for tensor in self.tensors)

    @property
    def n_fallbacks(self) -> int:
        return sum(fallback.n_tensors for fallback in self.fallbacks)

    def types(self) -> dict[str, int]:
        """How many tensors are of each type, the most frequent first."""
        return dict(Counter(tensor.after for tensor in self.tensors).most_common())


@dataclass(frozen=True, slots=True)
class Quantized:
    """A file that was written and read again."""

    path: str
    outline: Outline
    classification: Classification
    size_bytes: int
    fingerprint: str
    n_without_imatrix: int
    """Tensors that were quantised without an importance, though a matrix was given: it has nothing for them."""
    took_s: float


def is_quantized(format_name: str) -> bool:
    return format_name not in UNQUANTIZED


def parse_formats(text: str) -> tuple[str, ...]:
    """Formats as `Q8_0,q4_k_m`, each once, by llama-quantize's names. Raises BadInputError, with the nearest name."""
    return tuple(dict.fromkeys(_format(part.strip()) for part in text.split(",")))


def parse_tensor_type(text: str) -> str:
    """A tensor's type by ggml's name. Raises BadInputError, with the nearest name."""
    known = {name.lower(): name for name in TENSOR_TYPES}
    found = known.get(text.strip().lower())
    if found is None:
        raise BadInputError(f"{one_line(text)!r} is no type of a tensor{_nearest(text, TENSOR_TYPES)}")
    return found


def _format(text: str) -> str:
    name = text.upper()
    name = _ALIASES.get(name, name)
    if name in FILE_TYPES:
        return name
    if not text:
        raise BadInputError("a format is missing; give them as Q8_0,Q4_K_M,Q4_0")
    if text.isdecimal() and int(text) in FILE_TYPE_NAMES:
        raise BadInputError(f"give the format by its name, {FILE_TYPE_NAMES[int(text)]}, not by its number")
    raise BadInputError(f"{one_line(text)!r} is no format{_nearest(text, FILE_TYPES)}")


def _nearest(text: str, names: Collection[str]) -> str:
    import difflib

    known = {name.lower(): name for name in names}
    near = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.5)
    return f"; the nearest is {known[near[0]]}" if near else f"; there are {', '.join(names)}"


def quantized_json(made: Quantized) -> dict[str, Any]:
    """One result, as `gemtop quantize --json` has it."""
    outline, label = made.outline, made.classification
    return outline_json(outline) | {
        "path": made.path,
        "size_bytes": made.size_bytes,
        "quantization": label.quantization,
        "training": label.training,
        "variant": label.variant,
        "fingerprint": made.fingerprint,
        "n_without_imatrix": made.n_without_imatrix,
        "took_s": round(made.took_s, 3),
    }


def outline_json(outline: Outline) -> dict[str, Any]:
    """What is known of a result before it is written."""
    return {
        "format": outline.format,
        "size_bytes": outline.size_bytes,
        "tensor_bytes": outline.tensor_bytes,
        "bits_per_weight": round(outline.bits_per_weight, 4),
        "derived": outline.derived,
        "n_tensors": len(outline.tensors),
        "n_requantized": outline.n_requantized,
        "types": outline.types(),
        "fallbacks": [
            {"wanted": each.wanted, "block": each.block, "became": each.became, "n_tensors": each.n_tensors}
            for each in outline.fallbacks
        ],
    }
