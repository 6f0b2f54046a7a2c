"""llama-bench's protocol: warm-up, then repetitions of a prompt test or a generation test at a depth."""

from __future__ import annotations

import ctypes
import random
import time
from typing import Any

from gemtop.domain.errors import GemtopError
from gemtop.domain.events import BenchFinished, BenchRepetition
from gemtop.engine.binding import StopFlag, c, lib, llama
from gemtop.engine.decode import Decoder, DecodeStopped
from gemtop.engine.model import LlamaModel
from gemtop.engine.protocol import BenchRequest, EventSink


class Bench:
    """One test on one context, which holds n_depth + n_prompt + n_gen tokens or more."""

    def __init__(self, model: LlamaModel, decoder: Decoder, stop: StopFlag) -> None:
        self._model, self._decoder, self._stop = model, decoder, stop
        self._random = random.Random(0)
        self._depth_state: bytes | None = None

    def run(self, request: BenchRequest, emit: EventSink) -> None:
        """Emit a BenchRepetition for each repetition and BenchFinished at the end."""
        try:
            with _ThreadPool(self._model):
                self._warm_up(request)
                for _ in range(request.repetitions):
                    emit(self._repetition(request))
            emit(BenchFinished("finished"))
        except DecodeStopped as stopped:
            emit(BenchFinished("cancelled", f"stopped: {stopped.reason}"))
        except GemtopError as error:
            emit(BenchFinished("failed", str(error)))
        finally:
            self._decoder.clear()

    def _warm_up(self, request: BenchRequest) -> None:
        self._decoder.clear()
        if request.n_prompt:
            self._prompt(request.n_prompt)
        if request.n_gen:
            self._generate(1)

    def _repetition(self, request: BenchRequest) -> BenchRepetition:
        self._decoder.clear()
        self._go_to_depth(request.n_depth)
        start_ns = time.monotonic_ns()
        if request.n_prompt:
            self._prompt(request.n_prompt)
        token_t_ns = self._generate(request.n_gen)
        return BenchRepetition(start_ns, time.monotonic_ns(), request.n_prompt, request.n_gen, tuple(token_t_ns))

    def _go_to_depth(self, n_depth: int) -> None:
        """Fill the context up to the depth: decoded once, restored from its state afterwards."""
        if not n_depth:
            return
        context = self._model.context
        if self._depth_state is not None:
            buffer = (ctypes.c_uint8 * len(self._depth_state)).from_buffer_copy(self._depth_state)
            if llama.llama_state_seq_set_data(context, buffer, len(buffer), 0):
                return
        self._prompt(n_depth)
        size = llama.llama_state_seq_get_size(context, 0)
        state = (ctypes.c_uint8 * size)()
        llama.llama_state_seq_get_data(context, state, size, 0)
        self._depth_state = bytes(state)

    def _random_tokens(self, n: int) -> list[int]:
        n_vocab = self._model.n_vocab
        return [self._random.randrange(n_vocab) for _ in range(n)]

    def _first_token(self) -> int:
        vocab = self._model.vocab
        if llama.llama_vocab_get_add_bos(vocab):
            return int(llama.llama_vocab_bos(vocab))
        return self._random.randrange(self._model.n_vocab)

    def _prompt(self, n: int) -> None:
        tokens = [self._first_token(), *self._random_tokens(n - 1)]
        self._decoder.prefill(tokens, self._model.info.n_batch, self._check_stop, logits=True)

    def _generate(self, n: int) -> list[int]:
        if not n:
            return []
        step, synchronize, context = self._decoder.step, llama.llama_synchronize, self._model.context
        clock, stamps = time.monotonic_ns, []
        for token in [self._first_token(), *self._random_tokens(n - 1)]:
            step(token)
            synchronize(context)
            stamps.append(clock())
        return stamps

    def _check_stop(self, _done: int) -> None:
        if self._stop.is_set():
            raise DecodeStopped("cancelled")


class _ThreadPool:
    """ggml's own thread pool for the length of a test, as llama-bench attaches one.

    Without it a build without OpenMP makes and ends its threads for every token.
    """

    def __init__(self, model: LlamaModel) -> None:
        self._context = model.context
        self._n_threads = model.info.n_threads
        self._pool: Any = None

    def __enter__(self) -> None:
        new, attach = self._functions()
        if new is None:
            return
        params = (ctypes.c_uint8 * 1024)()
        lib.ggml_threadpool_params_init.restype = None
        lib.ggml_threadpool_params_init.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.ggml_threadpool_params_init(params, self._n_threads)
        self._pool = new(params)
        if self._pool:
            attach(self._context, self._pool, None)

    def _functions(self) -> tuple[Any, Any]:
        attach = lib.llama_attach_threadpool
        attach.restype, attach.argtypes = None, [ctypes.c_void_p] * 3
        address = _cpu_function("ggml_threadpool_new")
        if not address:
            return None, None
        return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(address), attach

    def __exit__(self, *_: object) -> None:
        if not self._pool:
            return
        lib.llama_detach_threadpool.restype, lib.llama_detach_threadpool.argtypes = None, [ctypes.c_void_p]
        lib.llama_detach_threadpool(self._context)
        free = _cpu_function("ggml_threadpool_free")
        if free:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(free)(self._pool)
        self._pool = None


def _cpu_function(name: str) -> int | None:
    """Address of a function of the CPU backend, which may be a library of its own."""
    for i in range(c("ggml_backend_reg_count")()):
        registry = c("ggml_backend_reg_get")(i)
        if c("ggml_backend_reg_name")(registry) == b"CPU":
            address: int | None = c("ggml_backend_reg_get_proc_address")(registry, name.encode())
            return address
    return None
