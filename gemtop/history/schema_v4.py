"""Migration 4, frozen: all readings of a card, errors and sources of energy, the roof of decode, gemtop's own cost."""

from __future__ import annotations

from gemtop.history import schema_v1, schema_v2

_SAMPLE_COLUMNS = {
    "mem_util_pct": "DOUBLE",
    "vram_free_bytes": "BIGINT",
    "vram_process_bytes": "BIGINT",
    "power_average_w": "DOUBLE",
    "power_instant_w": "DOUBLE",
    "throttle_reasons": "VARCHAR[]",
    "pstate": "INTEGER",
    "fan_pct": "DOUBLE",
    "pcie_gen": "INTEGER",
    "pcie_width": "INTEGER",
    "pcie_rx_bytes_per_s": "BIGINT",
    "pcie_tx_bytes_per_s": "BIGINT",
    "ecc_corrected": "BIGINT",
    "ecc_uncorrected": "BIGINT",
    "other_processes": "INTEGER",
    "ram_total_bytes": "BIGINT",
    "process_cpu_pct": "DOUBLE",
    "process_rss_bytes": "BIGINT",
    "package_energy_j": "DOUBLE",
    "package_power_w": "DOUBLE",
    "cpu_temperature_c": "DOUBLE",
    "cpu_by_core_pct": "DOUBLE[]",
    "swap_in_bytes": "BIGINT",
    "swap_out_bytes": "BIGINT",
}
"""New at the end of the view; some of them were in the table before."""
_IN_THE_TABLE = ("mem_util_pct", "ram_total_bytes", "process_cpu_pct", "process_rss_bytes")
_RUN_COLUMNS = {
    "power_mean_error_w": "DOUBLE",
    "energy_error_j": "DOUBLE",
    "prefill_j_per_token_error": "DOUBLE",
    "decode_j_per_token_error": "DOUBLE",
    "energy_source": "VARCHAR",
    "energy_counter_j": "DOUBLE",
    "energy_counter_error_j": "DOUBLE",
    "energy_integral_j": "DOUBLE",
    "energy_integral_error_j": "DOUBLE",
    "idle_power_w": "DOUBLE",
    "idle_power_error_w": "DOUBLE",
    "energy_net_j": "DOUBLE",
    "energy_net_error_j": "DOUBLE",
    "prefill_net_j_per_token": "DOUBLE",
    "prefill_net_j_per_token_error": "DOUBLE",
    "decode_net_j_per_token": "DOUBLE",
    "decode_net_j_per_token_error": "DOUBLE",
    "throttled_s": "DOUBLE",
    "throttle_reasons": "VARCHAR[]",
    "bytes_per_token": "BIGINT",
    "roof_tokens_per_s": "DOUBLE",
    "roof_share": "DOUBLE",
}
"""New at the end of the view."""


def _view(name: str, columns: tuple[str, ...], prefix: str = "") -> str:
    """The view of the first migration with more columns at its end."""
    text = next(statement for statement in schema_v1.STATEMENTS if f"CREATE VIEW {name} AS" in statement)
    before, after = text.rsplit("FROM store.", 1)
    more = ", ".join(f"{prefix}{column}" for column in columns)
    return f"{before.rstrip()}, {more}\n    FROM store.{after}"


STATEMENTS: tuple[str, ...] = (
    "DROP VIEW runs",
    "DROP VIEW samples",
    *(
        f"ALTER TABLE store.samples ADD COLUMN {name} {kind}"
        for name, kind in _SAMPLE_COLUMNS.items()
        if name not in _IN_THE_TABLE
    ),
    *(f"ALTER TABLE store.runs ADD COLUMN {name} {kind}" for name, kind in _RUN_COLUMNS.items()),
    _view("runs", tuple(_RUN_COLUMNS), "r."),
    _view("samples", tuple(_SAMPLE_COLUMNS)),
    """
    CREATE TABLE store.devices (
        session_id VARCHAR NOT NULL,
        device VARCHAR NOT NULL,
        name VARCHAR,
        uuid VARCHAR,
        pci_bus_id VARCHAR,
        driver_version VARCHAR,
        cuda_version VARCHAR,
        architecture VARCHAR,
        compute_capability VARCHAR,
        power_reading VARCHAR,
        memory_total_bytes BIGINT,
        power_limit_w DOUBLE,
        clock_sm_max_mhz DOUBLE,
        clock_mem_max_mhz DOUBLE,
        temperature_target_c DOUBLE,
        temperature_slowdown_c DOUBLE,
        temperature_shutdown_c DOUBLE,
        memory_bus_bits INTEGER,
        pcie_gen_max INTEGER,
        pcie_width_max INTEGER,
        ecc_enabled BOOLEAN,
        mig_enabled BOOLEAN,
        reasons VARCHAR
    )
    """,
    """
    CREATE VIEW devices AS
    SELECT session_id, device, name, uuid, pci_bus_id, driver_version, cuda_version, architecture, compute_capability,
        power_reading, memory_total_bytes, power_limit_w, clock_sm_max_mhz, clock_mem_max_mhz, temperature_target_c,
        temperature_slowdown_c, temperature_shutdown_c, memory_bus_bits,
        memory_bus_bits / 8 * clock_mem_max_mhz * 2e6 AS memory_bandwidth_bytes_per_s,
        pcie_gen_max, pcie_width_max, ecc_enabled, mig_enabled, reasons
    FROM store.devices
    """,
    """
    CREATE TABLE store.roofs (
        run_id VARCHAR NOT NULL,
        device VARCHAR NOT NULL,
        bytes_per_token BIGINT,
        bandwidth_bytes_per_s DOUBLE,
        bandwidth_source VARCHAR,
        roof_tokens_per_s DOUBLE,
        reason VARCHAR
    )
    """,
    """
    CREATE VIEW roofs AS
    SELECT run_id, device, bytes_per_token, bandwidth_bytes_per_s, bandwidth_source, roof_tokens_per_s, reason
    FROM store.roofs
    """,
    """
    CREATE TABLE store.costs (
        session_id VARCHAR NOT NULL,
        t_ns BIGINT NOT NULL,
        engine_cpu_pct DOUBLE,
        observer_cpu_pct DOUBLE,
        nvml_pct DOUBLE,
        terminal_bytes_per_s DOUBLE,
        samples_late BIGINT
    )
    """,
    """
    CREATE VIEW costs AS
    SELECT session_id, t_ns / 1e9 AS t_s, engine_cpu_pct, observer_cpu_pct, nvml_pct, terminal_bytes_per_s,
        samples_late
    FROM store.costs
    """,
)

_SAMPLE = {
    "mem_util_pct": "Share of the time the device's memory was read or written, in percent",
    "vram_free_bytes": "Memory of the device that is free",
    "vram_process_bytes": "Memory of the device that gemtop's process holds, as the driver counts it",
    "power_average_w": "Power of the device in watts, mean of the second before",
    "power_instant_w": "Power of the device in watts at that moment",
    "throttle_reasons": "Why clocks were not higher, by NVML's names; a bit without a name is a number",
    "pstate": "Performance state: 0 is the fastest",
    "fan_pct": "Fan speed in percent of its fastest",
    "pcie_gen": "PCIe generation in use",
    "pcie_width": "PCIe lanes in use",
    "pcie_rx_bytes_per_s": "PCIe throughput into the card",
    "pcie_tx_bytes_per_s": "PCIe throughput out of the card",
    "ecc_corrected": "Memory errors corrected since the driver was loaded",
    "ecc_uncorrected": "Memory errors that could not be corrected since the driver was loaded",
    "other_processes": "Compute processes of others on the card",
    "ram_total_bytes": "Memory of the machine; host rows only",
    "process_cpu_pct": "CPU of gemtop's process, 100 with one core busy; host rows only",
    "process_rss_bytes": "Resident memory of gemtop's process, mapped model files included; host rows only",
    "package_energy_j": "Energy of the processor packages since the session began, in joules; host rows only",
    "package_power_w": "Power of the processor packages in watts; host rows only",
    "cpu_temperature_c": "Hottest sensor of the processor in degrees Celsius; host rows only",
    "cpu_by_core_pct": "Load of each logical CPU in percent; host rows only",
    "swap_in_bytes": "Read back from swap since boot; host rows only",
    "swap_out_bytes": "Written to swap since boot; host rows only",
}
_RUN = {
    "power_mean_error_w": "How far off power_mean_w may be",
    "energy_error_j": "How far off energy_j may be",
    "prefill_j_per_token_error": "How far off prefill_j_per_token may be",
    "decode_j_per_token_error": "How far off decode_j_per_token may be",
    "energy_source": "What energy_j is taken from: counter, power, or package for the processor's own counter",
    "energy_counter_j": "Energy by the counters of the devices",
    "energy_counter_error_j": "How far off it may be",
    "energy_integral_j": "Energy by integrating the power of the devices",
    "energy_integral_error_j": "How far off it may be",
    "idle_power_w": "Power of the same devices in the quietest second of the session without a run",
    "idle_power_error_w": "How far off it may be",
    "energy_net_j": "energy_j with idle power taken off",
    "energy_net_error_j": "How far off it may be",
    "prefill_net_j_per_token": "prefill_j_per_token with idle power taken off",
    "prefill_net_j_per_token_error": "How far off it may be",
    "decode_net_j_per_token": "decode_j_per_token with idle power taken off",
    "decode_net_j_per_token_error": "How far off it may be",
    "throttled_s": "Seconds of the run in which a device that holds a part of the model was throttled",
    "throttle_reasons": "By what, by NVML's names",
    "bytes_per_token": "Bytes that one token must read: weights, and KV at the mean depth of the decode",
    "roof_tokens_per_s": "Decode speed at which the memories would be read without a pause",
    "roof_share": "decode_tokens_per_s over roof_tokens_per_s",
}
_DEVICE = {
    "session_id": "The session it belongs to",
    "device": "NVML index as text",
    "name": "Name of the card",
    "uuid": "NVIDIA's UUID of the card",
    "pci_bus_id": "PCI bus id, as llama.cpp writes it",
    "driver_version": "Version of the NVIDIA driver",
    "cuda_version": "The newest CUDA that the driver knows",
    "architecture": "NVIDIA's name of the generation",
    "compute_capability": "CUDA's version of the card",
    "power_reading": "What power_w of its samples is: average over a second, or instant",
    "memory_total_bytes": "Memory of the card",
    "power_limit_w": "Power limit in force when the session began",
    "clock_sm_max_mhz": "Highest clock of the multiprocessors",
    "clock_mem_max_mhz": "Highest clock of the memory",
    "temperature_target_c": "The driver slows the card down to keep below it",
    "temperature_slowdown_c": "The card slows itself down here",
    "temperature_shutdown_c": "The card shuts itself down here",
    "memory_bus_bits": "Width of the memory bus",
    "pcie_gen_max": "PCIe generation that card and slot can do",
    "pcie_width_max": "PCIe lanes that card and slot have",
    "ecc_enabled": "Whether memory errors are corrected",
    "mig_enabled": "Whether the card is cut into instances",
    "reasons": "Why columns are NULL, as column: reason, a line each",
}
_ROOF = {
    "run_id": "The run it belongs to",
    "device": "llama.cpp's name of the device: CPU, CUDA0, RPC0",
    "bytes_per_token": "Bytes one token must read from its memory: weights, and KV at the mean depth of the decode",
    "bandwidth_bytes_per_s": "What its memory can deliver",
    "bandwidth_source": "nvml for bus width x clock, measured for gemtop's own test",
    "roof_tokens_per_s": "Tokens a second if this device were the only one and its memory were read without a pause",
    "reason": "Why something is NULL",
}
_COST = {
    "session_id": "The session it belongs to",
    "engine_cpu_pct": "CPU of llama.cpp's threads since the row before, 100 with one core busy",
    "observer_cpu_pct": "CPU of all other threads of gemtop, 100 with one core busy",
    "nvml_pct": "Share of the time that was spent inside NVML",
    "terminal_bytes_per_s": "Bytes sent to the terminal",
    "samples_late": "Ticks of the sampling that were skipped, since the session began",
}
_T_NS = {"t_ns": "Nanoseconds since the session began, on the monotonic clock"}


def _columns(table: str, columns: dict[str, str]) -> dict[str, str]:
    return {f"COLUMN {table}.{name}": text for name, text in columns.items()}


_VIEWS = ("VIEW runs", "COLUMN runs.", "VIEW samples", "COLUMN samples.")
_COMMENTS_OF_VIEWS = {
    target: text for target, text in (schema_v1.COMMENTS | schema_v2.COMMENTS).items() if target.startswith(_VIEWS)
}

COMMENTS: dict[str, str] = {
    **_COMMENTS_OF_VIEWS,
    **_columns("runs", _RUN),
    **_columns("store.runs", _RUN),
    **_columns("samples", _SAMPLE),
    **_columns("store.samples", {name: text for name, text in _SAMPLE.items() if name not in _IN_THE_TABLE}),
    "TABLE store.devices": "One row for each GPU of a session: what does not change while it lasts",
    **_columns("store.devices", _DEVICE),
    "VIEW devices": "Every GPU of each session: what does not change while it lasts",
    **_columns(
        "devices",
        _DEVICE | {"memory_bandwidth_bytes_per_s": "Bus width x highest clock x two transfers a cycle"},
    ),
    "TABLE store.roofs": "One row for each device that held a part of the model in a run with a decode",
    **_columns("store.roofs", _ROOF),
    "VIEW roofs": "How fast each device could decode at most, in each run",
    **_columns("roofs", _ROOF),
    "TABLE store.costs": "What gemtop itself took: one row every two seconds",
    **_columns("store.costs", _COST | _T_NS),
    "VIEW costs": "What gemtop itself took",
    **_columns("costs", _COST | {"t_s": "Seconds since the session began"}),
}
