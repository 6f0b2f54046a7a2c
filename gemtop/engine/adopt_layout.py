"""Ollama's own layout of Gemma 3, and what llama.cpp's gemma3 loader misses in it.

Ollama's converter (ollama/ollama, convert/convert_gemma3.go) puts the vision model into the same file and leaves out
keys for which Ollama's runner had defaults of its own. Ollama's later runner is llama.cpp, to which it hands such
files with the same keys filled in (llama/compat/llama-ollama-compat.cpp, handle_gemma3).

What llama.cpp asks for is in its src/models/gemma3.cpp, src/llama-model.cpp (load_hparams) and src/llama-vocab.cpp.
It refuses a file without the epsilon; for most of the rest it has defaults that load and are wrong for Gemma 3: a
rope base of 10,000, heads of embedding/heads elements, token 1 for the beginning, a space put before every text.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gemtop.domain.classify import why_refused
from gemtop.domain.errors import BadInputError
from gemtop.domain.model import ModelHeader
from gemtop.domain.text import one_line
from gemtop.engine.stores.adopted import outdated

VISION = ("v.", "mm.")
"""Tensors of the vision model and of the projector into the text model."""
VISION_KEYS = ("gemma3.vision.", "gemma3.mm.")
"""Keys that only these tensors need."""

_GOOGLE = "Google's configuration of Gemma 3"
_SHAPES = "the shapes of the file's tensors"
_RENAMED = {
    "gemma3.rope.freq_base": "gemma3.rope.global.freq_base",
    "gemma3.rope.freq_base_swa": "gemma3.rope.local.freq_base",
}
"""llama.cpp's key and what Ollama calls it."""


@dataclass(frozen=True, slots=True)
class Size:
    """What Google's config.json of a size says, where the file may not."""

    context_length: int
    sliding_window: int
    rope_factor: float | None
    """Linear scaling of the global layers' rope; None for sizes trained without."""


_SMALL, _LARGE = Size(32_768, 512, None), Size(131_072, 1024, 8.0)
_SIZES: Mapping[int, Size] = {18: _SMALL, 26: _SMALL, 34: _LARGE, 48: _LARGE, 62: _LARGE}
"""By number of layers: 270M, 1B, 4B, 12B, 27B."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% set ns = namespace(system='') %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] | trim + '\n\n' %}"
    "{% else %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + ns.system + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% set ns.system = '' %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""Gemma's turns; it has no system turn, what would be in one goes before the first user's words."""

_BASE_MODEL = re.compile(r"(?<![a-z])pt(?![a-z])", re.IGNORECASE)
"""Tags of models that were trained without turns."""

_LAYER = re.compile(r"blk\.(\d+)\.")

_SPECIAL_TOKENS = {"bos": "<bos>", "eos": "<eos>", "unknown": "<unk>", "padding": "<pad>"}


@dataclass(frozen=True, slots=True)
class Filled:
    """A key that the file lacks and what it is given."""

    key: str
    kind: Literal["u32", "f32", "bool", "str"]
    value: Any
    source: str
    """Where the value is from."""

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, (int, str)) else f"{self.value:g}"
        shown = one_line(str(value).lower() if isinstance(self.value, bool) else str(value))
        return f"{self.key} = {shown if len(shown) <= 60 else shown[:57] + '...'} ({self.source})"


@dataclass(frozen=True, slots=True)
class Contents:
    """What of a file decides on the keys it is given."""

    metadata: Mapping[str, Any]
    keys: frozenset[str]
    """All keys, those of arrays as well."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of the tensors, innermost dimension first."""
    token_id: Callable[[str], int | None]
    """The number of a special token in the file's vocabulary."""
    tag: str | None
    """What Ollama calls the model: "gemma3:27b-it-qat"."""


def needs_adoption(header: ModelHeader) -> str | None:
    """Why llama.cpp cannot run this file and `gemtop adopt` helps, as "it holds ..."; None for every other file."""
    names = {tensor.name for tensor in header.tensors}
    if header.architecture != "gemma3" or "token_embd.weight" not in names or "dense.0.weight" in names:
        return None
    refused = why_refused(header)
    if refused:
        return refused
    for key, ollamas in _RENAMED.items():
        if key not in header.metadata and ollamas in header.metadata:
            return f"it lacks {key} and has {ollamas} instead"
    return None


def check_layout(header: ModelHeader) -> None:
    """Raises BadInputError, naming the way out, for a Gemma 3 in Ollama's own layout."""
    if needs_adoption(header):
        name = one_line(header.known_as or header.path)
        target = models_folder() / file_name(header)
        what = "make a copy it does"
        if outdated(target, header.path):
            what = f"{one_line(str(target))} is a copy of what Ollama had under that name before; make it anew"
        raise BadInputError(
            f"{name}: this is Ollama's own layout of Gemma 3, which llama.cpp does not load; "
            f"{what} with: {adopt_command(header)}"
        )


def adopt_command(header: ModelHeader) -> str:
    """What makes a copy that llama.cpp loads, in place of one of what Ollama had under the name before."""
    force = "--force " if outdated(models_folder() / file_name(header), header.path) else ""
    return f"gemtop adopt {force}{shlex.quote(one_line(header.known_as or header.path))}"


def missing_keys(contents: Contents) -> tuple[Filled, ...]:
    """What the file is to be given. A key that it has is never among them.

    Raises BadInputError where a value cannot be known.
    """
    wanted = [*_from_shapes(contents), *_from_google(contents), *_tokenizer(contents), *_origin(contents)]
    return tuple(filled for filled in wanted if filled.key not in contents.keys)


def models_folder() -> Path:
    """Where models that gemtop makes are kept: gemtop/models in the XDG data folder."""
    given = os.environ.get("XDG_DATA_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".local/share") / "gemtop" / "models"


def file_name(header: ModelHeader) -> str:
    """A file name after the model's tag, its QAT mark included: gemma3-27b-it-qat.gguf; else after the file's own."""
    own = header.path.rpartition("/")[2].removesuffix(".gguf")
    if not header.known_as and own.startswith("sha256-"):
        own = f"{header.architecture}-{own[7:19]}"
    return re.sub(r"[^\w.-]+", "-", header.known_as or own, flags=re.ASCII).strip("-.") + ".gguf"


def _from_shapes(contents: Contents) -> list[Filled]:
    """Sizes that the tensors themselves show. Raises BadInputError where those of a language model are not there."""
    shapes = contents.shapes
    try:
        n_embd = shapes["token_embd.weight"][0]
        head_k = shapes["blk.0.attn_q_norm.weight"][0]
        q, k, v = (shapes[f"blk.0.attn_{which}.weight"][1] for which in "qkv")
        n_ff = shapes["blk.0.ffn_up.weight"][1]
    except LookupError as error:
        raise BadInputError(f"the file lacks the tensor {error.args[0]}, so it holds no Gemma 3 for text") from None
    n_head_kv = _integer(contents, "attention.head_count_kv") or k // max(head_k, 1)
    values = {
        "block_count": _layers(contents),
        "embedding_length": n_embd,
        "feed_forward_length": n_ff,
        "attention.head_count": q // max(head_k, 1),
        "attention.head_count_kv": n_head_kv,
        "attention.key_length": head_k,
        "attention.value_length": v // max(n_head_kv, 1),
    }
    return [Filled(f"gemma3.{key}", "u32", value, _SHAPES) for key, value in values.items()]


def _from_google(contents: Contents) -> list[Filled]:
    """What is the same in every Gemma 3, or in all of one size."""
    filled = [Filled("gemma3.attention.layer_norm_rms_epsilon", "f32", 1e-6, _GOOGLE)]
    for key, usual in (("gemma3.rope.freq_base", 1e6), ("gemma3.rope.freq_base_swa", 1e4)):
        own = contents.metadata.get(_RENAMED[key])
        if isinstance(own, float):
            filled.append(Filled(key, "f32", own, f"the file's {_RENAMED[key]}"))
        else:
            filled.append(Filled(key, "f32", usual, _GOOGLE))
    n_layers = _integer(contents, "block_count") or _layers(contents)
    size = _SIZES.get(n_layers)
    for name in ("context_length", "attention.sliding_window"):
        if size:
            value = size.context_length if name == "context_length" else size.sliding_window
            filled.append(Filled(f"gemma3.{name}", "u32", value, _GOOGLE))
        elif f"gemma3.{name}" not in contents.keys:
            raise BadInputError(f"the file lacks gemma3.{name}, and no Gemma 3 has {n_layers} layers to know it from")
    if size and size.rope_factor and _unscaled(contents):
        filled.append(Filled("gemma3.rope.scaling.type", "str", "linear", _GOOGLE))
        filled.append(Filled("gemma3.rope.scaling.factor", "f32", size.rope_factor, _GOOGLE))
    return filled


def _unscaled(contents: Contents) -> bool:
    """Whether the file says nothing of rope scaling but, at most, that it is linear."""
    factors = {"gemma3.rope.scaling.factor", "gemma3.rope.scale_linear"}
    return contents.metadata.get("gemma3.rope.scaling.type", "linear") == "linear" and not factors & contents.keys


def _tokenizer(contents: Contents) -> list[Filled]:
    vocabulary = "the file's vocabulary"
    filled = []
    if "tokenizer.ggml.scores" in contents.keys:
        filled.append(Filled("tokenizer.ggml.model", "str", "llama", "the scores of its vocabulary: SentencePiece"))
    for name, token in _SPECIAL_TOKENS.items():
        number = contents.token_id(token)
        if number is not None:
            filled.append(Filled(f"tokenizer.ggml.{name}_token_id", "u32", number, vocabulary))
    filled.append(Filled("tokenizer.ggml.add_space_prefix", "bool", False, _GOOGLE))
    if not (contents.tag and _BASE_MODEL.search(contents.tag)):
        filled.append(Filled("tokenizer.chat_template", "str", CHAT_TEMPLATE, "Gemma's turns"))
    return filled


def _origin(contents: Contents) -> list[Filled]:
    """The tag, where a reader of the file finds it: nothing else says that weights are QAT."""
    if not contents.tag:
        return []
    return [Filled("general.source.url", "str", f"ollama://{contents.tag}", "the name in Ollama's store")]


def _layers(contents: Contents) -> int:
    return 1 + max((int(match[1]) for match in map(_LAYER.match, contents.shapes) if match), default=0)


def _integer(contents: Contents, key: str) -> int | None:
    value = contents.metadata.get(f"gemma3.{key}")
    return value if isinstance(value, int) else None
