"""What is written down of a session: the rows that go through the spool into the history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from gemtop.domain.events import RunStatus, StopReason
from gemtop.domain.telemetry import PowerReading, Sample, TelemetryStatus

RunKind = Literal["generate", "pp", "tg", "apply"]
"""A prompt; llama-bench's tests of prefill and decode; the conversation decoded again into changed settings."""
Phase = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class SessionBegin:
    """One sitting of the program: one row in the history."""

    session_id: str
    """Begins with the UTC time, so that it sorts by it: 20261123-221412-9f3ac1d2."""
    started_at_ms: int
    """Wall clock, milliseconds since the Unix epoch; everything after is on the monotonic clock."""
    started_ns: int
    """monotonic_ns at the same moment: t_s of the session is counted from here."""
    command: str
    """tui, run, bench or tune."""
    host: str
    pid: int
    gemtop_version: str
    python_version: str
    platform: str
    driver_version: str | None = None


@dataclass(frozen=True, slots=True)
class SessionEnd:
    t_ns: int
    reason: str | None
    """None where it was left in the ordinary way; else what ended it."""
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class RunBegin:
    """A run and everything known before it: settings and model. Written when it starts."""

    run_id: str
    """session_id, a dot, and a counter from 1."""
    started_at_ms: int
    start_ns: int
    kind: RunKind
    llama_build: str
    gpu_name: str | None
    model_name: str
    model_path: str
    model_fingerprint: str
    architecture: str
    parameters: int
    quantization: str
    training: str
    variant: str
    size_bytes: int
    n_ctx: int
    n_gpu_layers: int
    type_k: str
    type_v: str
    flash_attn: str
    n_batch: int
    n_ubatch: int
    n_threads: int
    swa_full: bool
    load_s: float
    """How long the model took to load; of kind apply: how long the change of settings took."""
    devices: tuple[str, ...]
    """NVML indices of the GPUs that hold a part of the model."""
    cached_tokens: int
    """Context depth the run began at."""
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    prompt: str | None = None
    driver_version: str | None = None
    lora: str | None = None
    """Adapters in use with their scales ("name=1.0,other=0.5"); None without one."""
    tensor_split: str | None = None
    """Share of each device, as given; None where llama.cpp chose."""
    override_tensor: str | None = None
    """Tensors placed by name, as given; None without."""
    split_mode: str | None = None
    """How the model is split over several devices; None where llama.cpp chose."""
    device_names: tuple[str, ...] = ()
    """llama.cpp's names of the devices in use: CPU, CUDA0, RPC0."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A run and everything measured of it. Written when it ends; made up from its tokens after a crash."""

    run_id: str
    end_ns: int
    status: RunStatus
    stop_reason: StopReason
    message: str | None
    prompt_tokens: int
    generated_tokens: int
    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    itl_p50_ms: float | None
    itl_p95_ms: float | None
    itl_p99_ms: float | None
    vram_peak_bytes: int | None
    ram_peak_bytes: int | None
    power_mean_w: float | None
    energy_j: float | None
    prefill_j_per_token: float | None
    decode_j_per_token: float | None
    output: str | None = None
    valid: bool | None = None
    """Whether it can be compared with others; None where that cannot be said."""
    invalid_reason: str | None = None
    power_mean_error_w: float | None = None
    energy_error_j: float | None = None
    prefill_j_per_token_error: float | None = None
    decode_j_per_token_error: float | None = None
    energy_source: str | None = None
    energy_counter_j: float | None = None
    energy_counter_error_j: float | None = None
    energy_integral_j: float | None = None
    energy_integral_error_j: float | None = None
    idle_power_w: float | None = None
    idle_power_error_w: float | None = None
    energy_net_j: float | None = None
    energy_net_error_j: float | None = None
    prefill_net_j_per_token: float | None = None
    prefill_net_j_per_token_error: float | None = None
    decode_net_j_per_token: float | None = None
    decode_net_j_per_token_error: float | None = None
    throttled_s: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    bytes_per_token: int | None = None
    roof_tokens_per_s: float | None = None
    roof_share: float | None = None


@dataclass(frozen=True, slots=True)
class TokenRow:
    run_id: str
    index: int
    """Position in the run, prompt tokens first, from 0."""
    t_ns: int
    token_id: int | None
    """None where text is kept out of the history: the vocabulary would give it back."""
    phase: Phase


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Memory of one device after a load or a change of the context: predicted, reported by llama.cpp, and taken.

    One row for each device that the load touched. What is not known is None, and `reason` says why.
    """

    t_ns: int
    """When the load had ended."""
    load_number: int
    """Counts the loads of the session, from 1."""
    model_name: str
    model_fingerprint: str
    quantization: str
    variant: str
    n_ctx: int
    n_gpu_layers: int
    type_k: str
    type_v: str
    flash_attn: str
    n_ubatch: int
    swa_full: bool
    device: str
    """llama.cpp's name: CPU, CUDA0, RPC0."""
    device_description: str
    driver_version: str | None
    load_s: float
    """How long this load or change of the context took."""
    weights_kept: bool
    """The weights stayed loaded, and only the context was made anew."""
    predicted_weights_bytes: int | None
    predicted_kv_bytes: int | None
    predicted_compute_bytes: int | None
    predicted_output_bytes: int | None
    measured_weights_bytes: int | None
    measured_kv_bytes: int | None
    measured_compute_bytes: int | None
    measured_output_bytes: int | None
    device_used_bytes: int | None
    """What the device itself says was taken: memory in use after the load, less that before it."""
    reason: str | None = None
    """Why a field is None."""
    file_cached_share: float | None = None
    """Share of the model's file that was in the page cache before the load."""


@dataclass(frozen=True, slots=True)
class TunePoint:
    """A candidate of a tuning: what it was planned to take, what was measured of it, and whether it is on the front.

    Each sitting of a tuning writes all of its points down when it ends, those of the sittings before it included: the
    front is one of all of them.
    """

    t_ns: int
    """When it was written down."""
    tuning_id: str
    """The session that began the tuning."""
    model_name: str
    model_fingerprint: str
    quantization: str
    variant: str
    llama_build: str
    device_names: tuple[str, ...]
    """llama.cpp's names of the devices that were planned for; none is the CPU alone."""
    n_ctx: int
    n_gpu_layers: int
    type_k: str
    type_v: str
    n_batch: int
    n_ubatch: int
    swa_full: bool
    n_prompt: int
    """Tokens of the prefill test; 0 where there was none."""
    n_gen: int
    """Tokens of the decode test."""
    n_depth: int
    """Tokens in the context before each test."""
    repetitions: int
    planned_bytes: int
    """Of the devices; of the machine's memory where there is none."""
    on_front: bool
    measured_bytes: int | None = None
    """The same, as llama.cpp reported its buffers."""
    flash_attn: str | None = None
    """As llama.cpp decided: on or off."""
    n_threads: int | None = None
    decode_tokens_per_s: float | None = None
    """Mean of the repetitions."""
    decode_sd: float | None = None
    prefill_tokens_per_s: float | None = None
    prefill_sd: float | None = None
    measured_in: str | None = None
    """The session whose runs its repetitions are."""
    reason: str | None = None
    """Why it could not be measured."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A GPU of a session: the fields of DeviceInfo, with what the driver says of itself."""

    device: str
    """NVML index as text."""
    name: str
    uuid: str | None
    pci_bus_id: str | None
    driver_version: str | None
    cuda_version: str | None
    architecture: str | None
    compute_capability: str | None
    power_reading: PowerReading | None
    memory_total_bytes: int | None
    power_limit_w: float | None
    clock_sm_max_mhz: float | None
    clock_mem_max_mhz: float | None
    temperature_target_c: float | None
    temperature_slowdown_c: float | None
    temperature_shutdown_c: float | None
    memory_bus_bits: int | None
    pcie_gen_max: int | None
    pcie_width_max: int | None
    ecc_enabled: bool | None
    mig_enabled: bool | None
    reasons: str
    """Field: reason, a line each."""


@dataclass(frozen=True, slots=True)
class RoofRow:
    """How fast one device could decode at most in a run."""

    run_id: str
    device: str
    """llama.cpp's name: CPU, CUDA0, RPC0."""
    bytes_per_token: int | None
    bandwidth_bytes_per_s: float | None
    bandwidth_source: str | None
    """"nvml" or "measured"."""
    roof_tokens_per_s: float | None
    reason: str | None = None
    """Why something is None."""


@dataclass(frozen=True, slots=True)
class FidelityRow:
    """A variant of a comparison on a text, alone or against a reference. Names are those of the view `fidelity`."""

    t_ns: int
    comparison_id: str
    label: str
    model_name: str
    model_fingerprint: str
    quantization: str
    training: str
    variant: str
    llama_build: str
    type_k: str
    type_v: str
    lora: str | None
    corpus: str
    corpus_sha256: str
    n_ctx: int
    n_chunks: int
    n_tokens: int
    perplexity: float
    perplexity_error: float | None
    reference: str | None = None
    reference_label: str | None = None
    reference_fingerprint: str | None = None
    ln_perplexity_ratio: float | None = None
    ln_perplexity_ratio_error: float | None = None
    kl_mean: float | None = None
    kl_mean_error: float | None = None
    kl_median: float | None = None
    kl_p90: float | None = None
    kl_p99: float | None = None
    kl_max: float | None = None
    top1_agreement: float | None = None
    top1_agreement_error: float | None = None
    probability_rms: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The answer of a run to a prompt of a comparison."""

    run_id: str
    comparison_id: str
    label: str
    prompt_id: str
    prompt_kind: str
    repeat: int
    passed: bool | None
    reason: str | None


Record = (
    SessionBegin
    | SessionEnd
    | RunBegin
    | RunEnd
    | TokenRow
    | LedgerRow
    | TunePoint
    | DeviceRow
    | RoofRow
    | FidelityRow
    | TaskRow
    | Sample
)


RUN_FIELDS = (
    "session_id", "run_id", "started_at", "kind", "status", "stop_reason", "host", "gemtop_version", "llama_build",
    "gpu_name", "driver_version", "model_name", "model_path", "model_fingerprint", "architecture", "parameters",
    "quantization", "training", "variant", "size_bytes", "n_ctx", "n_gpu_layers", "type_k", "type_v", "flash_attn",
    "n_batch", "n_ubatch", "n_threads", "swa_full", "prompt_tokens", "generated_tokens", "load_s", "ttft_s",
    "prefill_tokens_per_s", "decode_tokens_per_s", "itl_p50_ms", "itl_p95_ms", "itl_p99_ms", "vram_peak_bytes",
    "ram_peak_bytes", "power_mean_w", "energy_j", "prefill_j_per_token", "decode_j_per_token", "valid",
    "invalid_reason", "power_mean_error_w", "energy_error_j", "prefill_j_per_token_error", "decode_j_per_token_error",
    "energy_source", "energy_counter_j", "energy_counter_error_j", "energy_integral_j", "energy_integral_error_j",
    "idle_power_w", "idle_power_error_w", "energy_net_j", "energy_net_error_j", "prefill_net_j_per_token",
    "prefill_net_j_per_token_error", "decode_net_j_per_token", "decode_net_j_per_token_error", "throttled_s",
    "throttle_reasons", "bytes_per_token", "roof_tokens_per_s", "roof_share",
)  # fmt: skip
"""Columns of the view `runs`, and the names of `run --json`, in order."""


def run_row(session: SessionBegin, begin: RunBegin, end: RunEnd) -> dict[str, Any]:
    """A run under the names of the view `runs`; what is not known is None."""
    known: dict[str, Any] = {**asdict(session), **asdict(begin), **asdict(end)}
    started = datetime.fromtimestamp(begin.started_at_ms / 1000, tz=UTC)
    known["started_at"] = started.isoformat(timespec="milliseconds")
    return {name: known.get(name) for name in RUN_FIELDS}


def device_rows(status: TelemetryStatus) -> list[DeviceRow]:
    """What the driver said of each GPU, for the history."""
    rows = []
    for info in status.devices:
        known: dict[str, Any] = asdict(info)
        reasons = "\n".join(f"{name}: {why}" for name, why in known.pop("reasons").items())
        known |= {"device": known.pop("index"), "driver_version": status.driver_version}
        rows.append(DeviceRow(reasons=reasons, cuda_version=status.cuda_version, **known))
    return rows
