"""A model and its context in llama.cpp: loading, freeing, tokens and text."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gemtop.domain.classify import classify
from gemtop.domain.errors import BadInputError, GemtopError, LoadCancelledError
from gemtop.domain.model import LoadedModel, ModelHeader
from gemtop.domain.plan import CONTEXT_STEP, MemoryUse
from gemtop.domain.settings import DEFAULT_N_CTX, ContextSettings, LoraAdapter, OffloadSettings, beyond_trained
from gemtop.domain.text import one_line
from gemtop.engine import binding
from gemtop.engine.adapters import Adapters
from gemtop.engine.binding import llama
from gemtop.engine.devices import bench_backend_label, devices
from gemtop.engine.log import EngineLog
from gemtop.engine.measured import measured_use
from gemtop.engine.params import ModelParams, context_params


class LlamaModel:
    """Owns one llama_model and one llama_context on it; used on the engine thread only.

    Construct it to load the weights, then `open_context`, which may be done again with other settings.
    """

    info: LoadedModel
    """What is known of the model and its context; set by `open_context`."""

    def __init__(
        self,
        header: ModelHeader,
        offload: OffloadSettings,
        log: EngineLog,
        stop: binding.StopFlag,
        on_progress: Callable[[float], None],
    ) -> None:
        """Load the weights. Raises LoadCancelledError, or GemtopError with llama.cpp's own words."""
        self._model: Any = None
        self._context: Any = None
        self._header = header
        self._offload = offload
        self._stop = stop
        self._log = log
        start_ns = time.monotonic_ns()
        log.start_capture()
        self._load_weights(on_progress)
        self._weight_buffers = log.buffers()
        self._load_s = (time.monotonic_ns() - start_ns) / 1e9
        self._adapters = Adapters(self._model, header, log)
        self.vocab = llama.llama_model_get_vocab(self._model)
        self.n_vocab = int(llama.llama_vocab_n_tokens(self.vocab))

    def holds(self, header: ModelHeader, offload: OffloadSettings) -> bool:
        """Whether these weights are loaded, placed as these settings ask: a new context is enough then."""
        return self._header.fingerprint == header.fingerprint and self._offload == offload

    def found_at(self, header: ModelHeader) -> None:
        """The same weights were opened by another path, whose name may say more of them."""
        self._header = header

    def open_context(self, settings: ContextSettings) -> None:
        """Make the context, in place of the one before. Raises GemtopError with llama.cpp's own words."""
        self._free_context()
        self._log.start_capture()
        self._create_context(settings)
        llama.llama_synchronize(self._context)
        self._context_buffers = self._log.buffers()
        self.info = self._describe(settings)

    def use_adapters(self, lora: Sequence[LoraAdapter]) -> None:
        """Put these LoRA adapters in force, in place of those before. Raises BadInputError for one that does not fit.

        What the context holds was computed without them: decode it again.
        """
        self._adapters.use(self._context, lora)

    @property
    def header(self) -> ModelHeader:
        return self._header

    def measured_use(self) -> dict[str, MemoryUse]:
        """What model and context take of each device by llama.cpp's name, as it reported when they were made."""
        return measured_use(self._weight_buffers | self._context_buffers)

    @property
    def context(self) -> Any:
        return self._context

    @property
    def n_ctx(self) -> int:
        return int(llama.llama_n_ctx(self._context))

    def _free_context(self) -> None:
        if self._context:
            llama.llama_free(self._context)
            self._context = None

    def close(self) -> None:
        """Free the context and the model; safe to call twice."""
        self._free_context()
        if self._model:
            llama.llama_model_free(self._model)
            self._model = None

    def _load_weights(self, on_progress: Callable[[float], None]) -> None:
        offload, path = self._offload, self._header.path

        def progress(fraction: float, _user_data: Any) -> bool:
            on_progress(fraction)
            return not self._stop.is_set()

        holder = ModelParams(offload)
        params = holder.struct
        callback = llama.llama_progress_callback(progress)
        params.progress_callback = callback
        self._model = llama.llama_model_load_from_file(os.fsencode(path), params)
        if self._model:
            return
        if self._stop.is_set():
            raise LoadCancelledError("loading was cancelled")
        raise GemtopError(f"llama.cpp cannot load {one_line(path)}: {self._log.last_error()}")

    def _create_context(self, wanted: ContextSettings) -> None:
        trained = int(llama.llama_model_n_ctx_train(self._model))
        params = context_params(wanted, trained)
        params.abort_callback = binding.stop_flag_callback()
        params.abort_callback_data = self._stop.data
        self._context = llama.llama_init_from_model(self._model, params)
        if not self._context:
            raise GemtopError(
                f"llama.cpp cannot make a context of {params.n_ctx:,} tokens: {self._log.last_error()}; "
                "try a smaller -c, or -ctk q8_0 -ctv q8_0"
            )

    def _describe(self, wanted: ContextSettings) -> LoadedModel:
        used = self.measured_use()
        holding = tuple(d for d in devices() if d.kind in ("gpu", "igpu") and d.name in used)
        n_layers = int(llama.llama_model_n_layer(self._model)) + 1
        asked = self._offload.n_gpu_layers
        trained = int(llama.llama_model_n_ctx_train(self._model))
        warned = beyond_trained(self.n_ctx, trained)
        return LoadedModel(
            header=self._header,
            classification=classify(self._header),
            n_ctx=self.n_ctx,
            n_ctx_train=trained,
            n_layers=n_layers,
            n_gpu_layers=(min(asked, n_layers) if asked >= 0 else n_layers) if holding else 0,
            n_threads=int(llama.llama_n_threads(self._context)),
            n_threads_batch=int(llama.llama_n_threads_batch(self._context)),
            n_batch=int(llama.llama_n_batch(self._context)),
            n_ubatch=int(llama.llama_n_ubatch(self._context)),
            flash_attn=self._log.flash_attention(wanted.flash_attn),
            type_k=wanted.type_k,
            type_v=wanted.type_v,
            swa_full=wanted.swa_full,
            chat_template=self.chat_template() is not None,
            devices=holding,
            load_s=self._load_s,
            llama_build=binding.llama_build(),
            description=self._description(),
            tensor_bytes=int(llama.llama_model_size(self._model)),
            backend_label=bench_backend_label(),
            warnings=(warned,) if warned else (),
        )

    def _description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        llama.llama_model_desc(self._model, buffer, len(buffer))
        return binding.text(buffer.value)

    # Tokens and text

    def tokenize(self, text: str, *, begin: bool, special: bool = True) -> list[int]:
        """Tokens of a text. `begin` adds BOS; `special` has special tokens that are written out count as such."""
        data = text.encode("utf-8", "surrogateescape")
        size = len(data) + 8
        while True:
            buffer = (llama.llama_token * size)()
            n = int(llama.llama_tokenize(self.vocab, data, len(data), buffer, size, begin, special))
            if n >= 0:
                return list(buffer[:n])
            size = -n

    def piece(self, token: int) -> bytes:
        """Bytes of a token; they may be part of a character. Control tokens have none."""
        buffer = ctypes.create_string_buffer(256)
        n = int(llama.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False))
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = int(llama.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False))
        return buffer.raw[:n]

    def is_end_of_generation(self, token: int) -> bool:
        return bool(llama.llama_vocab_is_eog(self.vocab, token))

    def chat_template(self) -> bytes | None:
        """The file's chat template, where llama.cpp knows how to apply it."""
        template = llama.llama_model_chat_template(self._model, None)
        if not template or self._apply_template(template, [("user", "x")]) is None:
            return None
        return bytes(template)

    def chat_text(self, turns: Sequence[tuple[str, str]]) -> str:
        """(role, text) turns in the model's own template, with the start of its answer."""
        template = self.chat_template()
        formatted = self._apply_template(template, turns) if template else None
        if formatted is None:
            raise BadInputError("this model has no chat template that llama.cpp knows; use --raw")
        return formatted

    def _apply_template(self, template: bytes, turns: Sequence[tuple[str, str]]) -> str | None:
        encoded = [(role.encode(), content.encode("utf-8", "surrogateescape")) for role, content in turns]
        messages = (llama.llama_chat_message * len(encoded))(*encoded)
        size = 256 + sum(2 * len(content) + 64 for _, content in encoded)
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = int(llama.llama_chat_apply_template(template, messages, len(encoded), True, buffer, size))
            if n < 0:
                return None
            if n <= size:
                return buffer.raw[:n].decode("utf-8", "surrogateescape")
            size = n


def check_room(context: ContextSettings, header: ModelHeader, n_tokens: int) -> None:
    """Raises BadInputError where a conversation of `n_tokens` does not go into such a context."""
    trained = header.trained_context or DEFAULT_N_CTX
    n_ctx = -(-context.tokens(trained) // CONTEXT_STEP) * CONTEXT_STEP
    if n_tokens >= n_ctx:
        raise BadInputError(
            f"a context of {n_ctx:,} tokens is too small: the conversation holds {n_tokens:,}; "
            "begin a new one first, or choose a larger context"
        )
