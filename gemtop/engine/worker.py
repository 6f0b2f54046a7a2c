"""The engine: one thread, the only one that touches llama.cpp, fed by a queue of commands."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from gemtop.config import Paths
from gemtop.domain.errors import GemtopError, LoadCancelledError
from gemtop.domain.events import (
    BenchFinished,
    EngineCrashed,
    GenerateRequest,
    LoadFailed,
    LoadProgress,
    LogLine,
    ModelLoaded,
    ModelUnloaded,
    Notice,
    RunFinished,
    SettingsRefused,
    TextScored,
    TopTokens,
)
from gemtop.domain.model import BackendDevice, ModelHeader
from gemtop.domain.settings import EngineSettings, OffloadSettings, check_context
from gemtop.engine.heap import give_back, keep_little
from gemtop.engine.planner import Planner
from gemtop.engine.protocol import BenchRequest, EventSink, ScoreRequest
from gemtop.threads import name_thread

if TYPE_CHECKING:  # loading these loads llama.cpp, which is for the engine thread to do
    from gemtop.engine.binding import StopFlag
    from gemtop.engine.decode import ContextContent, Decoder
    from gemtop.engine.model import LlamaModel
    from gemtop.engine.scoring import Scoring


@dataclass(frozen=True, slots=True)
class _Command:
    sequence: int
    run: Callable[[], None] | None
    """None ends the thread."""
    on_error: Callable[[Exception], None]


class LlamaEngine:
    """The Engine protocol over llama.cpp. `paths` has the folder where preflight results are remembered."""

    def __init__(self, emit: EventSink, paths: Paths) -> None:
        self._emit = emit
        self._paths = paths
        self._commands: SimpleQueue[_Command] = SimpleQueue()
        self._lock = threading.Lock()
        self._submitted = 0
        self._cancelled = 0
        self._stop: StopFlag | None = None
        self._model: LlamaModel | None = None
        self._decoder: Decoder | None = None
        self._settings: EngineSettings | None = None
        """Those in force."""
        self._planner = Planner(paths)
        keep_little()
        self._crashed = threading.Event()
        # A daemon, so that a thread parked by the abort guard or stuck in a driver cannot hold the process.
        self._thread = threading.Thread(target=self._main, name="gemtop-engine", daemon=True)
        self._thread.start()

    # Commands, from any thread

    def open(self, path: str, settings: EngineSettings) -> None:
        self._submit(lambda: self._open(path, settings), self._load_failed)

    def unload(self) -> None:
        self._submit(self._unload, lambda _error: self._emit(ModelUnloaded()))

    def apply(self, settings: EngineSettings) -> None:
        self._submit(lambda: self._apply(settings), lambda error: self._emit(SettingsRefused(_words(error))))

    def generate(self, request: GenerateRequest) -> None:
        self._submit(lambda: self._generate(request), self._run_failed)

    def forget(self) -> None:
        self._submit(self._forget, lambda _error: None)

    def bench(self, request: BenchRequest) -> None:
        self._submit(lambda: self._bench(request), lambda error: self._emit(BenchFinished("failed", str(error))))

    def score(self, request: ScoreRequest) -> None:
        self._submit(
            lambda: self._scoring().run(request, self._emit), lambda error: self._emit(TextScored("failed", str(error)))
        )

    def top_tokens(self, tokens: tuple[int, ...], count: int) -> None:
        self._submit(
            lambda: self._scoring().top_tokens(tokens, count, self._emit),
            lambda error: self._emit(TopTokens((), str(error))),
        )

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = self._submitted
            if self._stop is not None:
                self._stop.set()

    def close(self, timeout_s: float = 10.0) -> bool:
        self.cancel()
        self._planner.close()
        if self._crashed.is_set():
            return False
        self._commands.put(_Command(0, None, lambda _error: None))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _submit(self, run: Callable[[], None], on_error: Callable[[Exception], None]) -> None:
        with self._lock:
            self._submitted += 1
            self._commands.put(_Command(self._submitted, run, on_error))

    # The engine thread

    def _main(self) -> None:
        name_thread(self._thread.name)  # and that of the threads llama.cpp makes
        while True:
            command = self._commands.get()
            if command.run is None:
                self._free()
                return
            try:
                self._arm(command.sequence)
                command.run()
            except Exception as error:
                if not isinstance(error, GemtopError):
                    logging.getLogger(__name__).error("a command of the engine failed", exc_info=True)
                command.on_error(error)

    def _arm(self, sequence: int) -> None:
        """Set the stop flag for this command: a cancel that came while it waited in the queue counts."""
        if self._stop is None:
            self._start_llama()
        assert self._stop is not None
        with self._lock:
            if sequence <= self._cancelled:
                self._stop.set()
            else:
                self._stop.clear()

    def _start_llama(self) -> None:
        """Load llama.cpp. The registry of devices is not touched before the preflight has been passed."""
        from gemtop.engine import abort, binding
        from gemtop.engine.log import EngineLog

        abort.install(self._aborted)
        self._log = EngineLog(self._log_line)
        self._log.install()
        with self._lock:
            self._stop = binding.StopFlag()

    def _log_line(self, line: LogLine) -> None:
        """Pass a line of the log on; what llama.cpp takes for a failure when it was stopped is none, nor a warning."""
        if line.level in ("warn", "error") and self._stop is not None and self._stop.is_set():
            line = replace(line, level="info", text=f"stopped: {line.text}")
        self._emit(line)

    def _aborted(self, message: str) -> None:
        self._crashed.set()
        self._emit(EngineCrashed(time.monotonic_ns(), message))

    def _open(self, path: str, settings: EngineSettings) -> None:
        from gemtop.engine.gguf import check_language_model, read_header

        start_ns = time.monotonic_ns()
        self._decoder = None
        header = read_header(path)
        check_language_model(header)
        self._check_loadable(header)
        check_context(settings.context, header.trained_context)
        self._take_up(header, settings, start_ns)

    def _check_loadable(self, header: ModelHeader) -> None:
        """Raises BadInputError for files that llama.cpp would refuse less clearly, or load as noise."""
        from gemtop.engine.adopt_layout import check_layout
        from gemtop.engine.gguf_scan import check_has_weights

        check_has_weights(header.path, self._paths)
        check_layout(header)

    def _apply(self, settings: EngineSettings) -> None:
        """Change what is loaded; where that fails, what was there before is made again."""
        from gemtop.engine.model import check_room

        if self._decoder is None or self._model is None or self._settings is None:
            raise GemtopError("no model is loaded")
        start_ns, header, before = time.monotonic_ns(), self._model.header, self._settings
        content = self._decoder.content()
        check_context(settings.context, header.trained_context)
        check_room(settings.context, header, len(content.tokens))
        try:
            self._take_up(header, settings, start_ns)
        except GemtopError as error:
            self._take_up_again(header, before, content, _words(error))
            return
        assert self._decoder is not None
        self._decoder.refill(content, self._emit)

    def _take_up_again(self, header: ModelHeader, before: EngineSettings, content: ContextContent, why: str) -> None:
        """Go back to the settings before, with what the context held."""
        assert self._stop is not None
        self._stop.clear()  # a cancel was for the change, not for the way back
        try:
            self._take_up(header, before, time.monotonic_ns())
        except GemtopError as error:
            self._load_failed(GemtopError(f"{why}; and the settings before cannot be had again: {_words(error)}"))
            return
        assert self._decoder is not None
        self._decoder.refill(content, self._emit)
        self._emit(SettingsRefused(f"{why}; the settings before are in force again"))

    def _take_up(self, header: ModelHeader, settings: EngineSettings, start_ns: int) -> None:
        """Have this model ready with these settings, and say so. `start_ns` is when it was asked for."""
        from gemtop.engine.bandwidth import known
        from gemtop.engine.decode import Decoder
        from gemtop.engine.measured import device_memory
        from gemtop.engine.predict import predict

        assert self._stop is not None
        wanted = replace(settings, offload=self._runnable(settings.offload))
        before = self._ready_devices(settings.offload)
        start_ns += self._measure_host(header, settings, before)
        prediction = predict(header, wanted, before, self._paths, self._planner)
        self._decoder = None
        kept, cached = self._load_weights(header, wanted.offload)
        model = self._model
        assert model is not None
        model.open_context(settings.context)
        model.use_adapters(settings.lora)
        if self._stop.is_set():  # where the weights stay, nothing before this asks
            raise LoadCancelledError("loading was cancelled")
        change_s = (time.monotonic_ns() - start_ns) / 1e9
        give_back()  # of the model before, and what reading the file took
        self._decoder, self._settings = Decoder(model, self._stop), settings
        for warning in model.info.warnings:
            self._note(warning)
        memory = device_memory(model.measured_use(), before, prediction.uses, prediction.reason)
        used = {device.device: before[device.device] for device in memory if device.device in before}
        bandwidths, reasons = known(self._paths, used, model.info.n_threads)
        self._emit(ModelLoaded(model.info, settings, change_s, kept, memory, bandwidths, reasons, cached))

    def _measure_host(self, header: ModelHeader, settings: EngineSettings, devices: Mapping[str, BackendDevice]) -> int:
        """Measure the memory's bandwidth where the CPU is about to read weights; the nanoseconds that took."""
        from gemtop.engine.bandwidth import host_reads, measure_host_once
        from gemtop.engine.cpu import physical_cores

        assert self._stop is not None
        begin_ns = time.monotonic_ns()
        if host_reads(settings.offload, header.n_layers, devices):
            measure_host_once(self._paths, settings.context.n_threads or physical_cores(), self._stop.is_set)
        return time.monotonic_ns() - begin_ns

    def _runnable(self, offload: OffloadSettings) -> OffloadSettings:
        """These settings without repacked weights where they crash this machine. Comes before any other call."""
        from gemtop.engine import preflight

        extra = preflight.use_extra_bufts(self._paths, offload, self._note)
        return replace(offload, use_extra_bufts=extra and offload.use_extra_bufts)

    def _ready_devices(self, offload: OffloadSettings) -> dict[str, BackendDevice]:
        """The devices as they are now, those of RPC servers among them."""
        from gemtop.engine import devices
        from gemtop.engine.binding import llama

        llama.llama_backend_init()
        devices.add_rpc_servers(offload.rpc_servers)
        return {device.name: device for device in devices.devices()}

    def _load_weights(self, header: ModelHeader, offload: OffloadSettings) -> tuple[bool, float | None]:
        """Have these weights loaded; whether they were already, placed the same way, else how warm their file was."""
        from gemtop.engine.gguf import part_paths
        from gemtop.engine.model import LlamaModel
        from gemtop.engine.page_cache import cached_share

        assert self._stop is not None
        if self._model is not None and self._model.holds(header, offload):
            self._model.found_at(header)
            return True, None
        self._free()
        cached = cached_share(part_paths(header))
        self._model = LlamaModel(
            header, offload, self._log, self._stop, lambda fraction: self._emit(LoadProgress(fraction))
        )
        return False, cached

    def _note(self, text: str) -> None:
        self._emit(Notice(text))

    def _generate(self, request: GenerateRequest) -> None:
        if self._decoder is None:
            raise GemtopError("no model is loaded")
        self._decoder.generate(request, self._emit)

    def _forget(self) -> None:
        if self._decoder is not None:
            self._decoder.clear()

    def _bench(self, request: BenchRequest) -> None:
        from gemtop.engine.bench import Bench

        if self._decoder is None or self._model is None or self._stop is None:
            raise GemtopError("no model is loaded")
        Bench(self._model, self._decoder, self._stop).run(request, self._emit)

    def _unload(self) -> None:
        self._free()
        give_back()
        self._emit(ModelUnloaded())

    def _scoring(self) -> Scoring:
        from gemtop.engine.scoring import Scoring

        if self._decoder is None or self._model is None or self._stop is None:
            raise GemtopError("no model is loaded")
        return Scoring(self._model, self._decoder, self._stop)

    def _free(self) -> None:
        self._decoder = None
        if self._model is not None:
            self._model.close()
            self._model = None

    def _load_failed(self, error: Exception) -> None:
        self._free()
        self._emit(LoadFailed(_words(error), cancelled=isinstance(error, LoadCancelledError)))

    def _run_failed(self, error: Exception) -> None:
        n_past = self._decoder.n_past if self._decoder else 0
        self._emit(RunFinished(time.monotonic_ns(), "failed", "error", n_past, _words(error)))


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, GemtopError) else f"{type(error).__name__}: {error}"
