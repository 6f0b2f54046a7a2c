"""The child of the preflight: decodes 32 tokens of the probe model, or dies of what would kill the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(path: str, extra_bufts: bool) -> None:
    from gemtop.engine import binding, probe_model
    from gemtop.engine.binding import llama

    probe_model.write(Path(path))
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    params.use_extra_bufts = extra_bufts
    params.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise SystemExit("the probe model does not load")
    settings = llama.llama_context_default_params()
    settings.n_ctx = 64
    settings.n_threads = settings.n_threads_batch = 1
    context = llama.llama_init_from_model(model, settings)
    if not context:
        raise SystemExit("the probe model has no context")
    tokens = binding.token_array([i % 64 for i in range(31)])
    one = binding.token_array([5])
    for array, n in ((tokens, 31), (one, 1)):  # a batch and a single token take different kernels
        if llama.llama_decode(context, llama.llama_batch_get_one(array, n)):
            raise SystemExit("the probe model does not decode")
        llama.llama_synchronize(context)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "1")
