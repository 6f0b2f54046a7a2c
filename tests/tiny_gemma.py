"""A Gemma 3 of one layer, random weights and a vocabulary of bytes, half a megabyte: llama.cpp does all with it in no
time. What it says is noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.gguf_bytes import ARRAY, BOOL, F32, I32, STRING, U32, Key, Tensor, header, padded
from tests.small_gemma import noise

WIDTH, FF, HEADS, HEAD, CONTEXT = 256, 256, 2, 64, 32_768
_TOKENS = ["<unk>", "<bos>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256))]
_KINDS = [2, 3, 3, *[6] * 256]
_F32_ID, _F16_ID = 0, 1


def write_tiny(path: Path) -> Path:
    """Write it in F16."""
    matrices = {
        "token_embd": (WIDTH, len(_TOKENS)), "blk.0.attn_q": (WIDTH, HEADS * HEAD), "blk.0.attn_k": (WIDTH, HEAD),
        "blk.0.attn_v": (WIDTH, HEAD), "blk.0.attn_output": (HEADS * HEAD, WIDTH), "blk.0.ffn_gate": (WIDTH, FF),
        "blk.0.ffn_up": (WIDTH, FF), "blk.0.ffn_down": (FF, WIDTH),
    }  # fmt: skip
    norms = dict.fromkeys(("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"), WIDTH)
    norms |= {"attn_q_norm": HEAD, "attn_k_norm": HEAD}
    tensors: list[Tensor] = [(f"{name}.weight", shape, _F16_ID) for name, shape in matrices.items()]
    tensors += [(f"blk.0.{name}.weight", (length,), _F32_ID) for name, length in norms.items()]
    tensors.append(("output_norm.weight", (WIDTH,), _F32_ID))
    parts = [header(_keys(), tensors)]
    for name, shape, kind in tensors:
        count = int(np.prod(shape))
        data = noise(name, count) if kind == _F16_ID else np.ones(count, np.float32).tobytes()
        parts.append(data + bytes(padded(len(data)) - len(data)))
    path.write_bytes(b"".join(parts))
    return path


def _keys() -> list[Key]:
    numbers = {
        "context_length": CONTEXT, "embedding_length": WIDTH, "block_count": 1, "feed_forward_length": FF,
        "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.key_length": HEAD,
        "attention.value_length": HEAD, "attention.sliding_window": 512,
    }  # fmt: skip
    return [
        ("general.architecture", STRING, "gemma3"),
        ("general.name", STRING, "Gemma 3 tiny"),
        ("general.file_type", U32, 1),
        *((f"gemma3.{name}", U32, number) for name, number in numbers.items()),
        ("gemma3.attention.layer_norm_rms_epsilon", F32, 1e-6),
        ("gemma3.rope.freq_base", F32, 1e6),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, _TOKENS)),
        ("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * len(_TOKENS))),
        ("tokenizer.ggml.token_type", ARRAY, (I32, _KINDS)),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_space_prefix", BOOL, False),
    ]
