"""Counts tokens in a process of its own: texts as lines of JSON on stdin, numbers on stdout, until it is closed.

`python -m gemtop.engine.tokens_child PATH`. Only the file's vocabulary is read; llama.cpp may die of the file.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from gemtop.engine.binding import llama


def main(path: str) -> None:
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        sys.exit(1)
    vocab = llama.llama_model_get_vocab(model)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(f"{_count(vocab, json.loads(line))}\n")
        sys.stdout.flush()


def _count(vocab: Any, text: str) -> int:
    """Tokens of a text, without BOS."""
    data = text.encode("utf-8", "surrogateescape")
    return -int(llama.llama_tokenize(vocab, data, len(data), None, 0, False, True))


if __name__ == "__main__":
    main(sys.argv[1])
