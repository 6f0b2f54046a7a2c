"""Migration 6, frozen: readings of cards and of the machine in a table each.

In one table each row left the columns of the other kind empty, which took a third of the file all the same: DuckDB
packs columns by runs of 1,024 rows, and the two kinds take turns in them.
"""

from __future__ import annotations

from gemtop.history import schema_v1, schema_v4

_KEYS = {"session_id": "VARCHAR NOT NULL", "t_ns": "BIGINT NOT NULL"}
_CARD = {
    "gpu_util_pct": "DOUBLE",
    "mem_util_pct": "DOUBLE",
    "vram_used_bytes": "BIGINT",
    "power_w": "DOUBLE",
    "energy_j": "DOUBLE",
    "temperature_c": "DOUBLE",
    "clock_sm_mhz": "DOUBLE",
    "clock_mem_mhz": "DOUBLE",
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
}
_HOST = {
    "host_cpu_pct": "DOUBLE",
    "process_cpu_pct": "DOUBLE",
    "ram_used_bytes": "BIGINT",
    "ram_total_bytes": "BIGINT",
    "process_rss_bytes": "BIGINT",
    "package_energy_j": "DOUBLE",
    "package_power_w": "DOUBLE",
    "cpu_temperature_c": "DOUBLE",
    "cpu_by_core_pct": "DOUBLE[]",
    "swap_in_bytes": "BIGINT",
    "swap_out_bytes": "BIGINT",
}
_TABLES = {
    "device_samples": _KEYS | {"device": "VARCHAR NOT NULL"} | _CARD,
    "host_samples": _KEYS | _HOST,
}


def _create(table: str) -> str:
    columns = ", ".join(f"{name} {kind}" for name, kind in _TABLES[table].items())
    return f"CREATE TABLE store.{table} ({columns})"


def _move(table: str, condition: str) -> str:
    return f"INSERT INTO store.{table} SELECT {', '.join(_TABLES[table])} FROM store.samples WHERE {condition}"


STATEMENTS: tuple[str, ...] = (
    _create("device_samples"),
    _create("host_samples"),
    _move("device_samples", "device <> 'host'"),
    _move("host_samples", "device = 'host'"),
    "DROP TABLE store.samples",
    f"""
    CREATE VIEW store.samples AS
    SELECT session_id, t_ns, device, {", ".join(_CARD)}, {", ".join(_HOST)} FROM (
        FROM store.device_samples UNION ALL BY NAME SELECT *, 'host' AS device FROM store.host_samples
    )
    """,
)

_EARLIER = schema_v1.COMMENTS | schema_v4.COMMENTS


def _comments(target: str, columns: dict[str, str]) -> dict[str, str]:
    """The columns mean what they meant in the one table."""
    return {f"COLUMN {target}.{name}": _EARLIER[f"COLUMN store.samples.{name}"] for name in columns}


COMMENTS: dict[str, str] = {
    "TABLE store.device_samples": "One row for each reading of a GPU",
    **_comments("store.device_samples", _TABLES["device_samples"]),
    "COLUMN store.device_samples.device": "NVML index as text",
    "TABLE store.host_samples": "One row for each reading of the machine and of gemtop's process",
    **{
        target: text.removesuffix("; host rows only")
        for target, text in _comments("store.host_samples", _TABLES["host_samples"]).items()
    },
    "VIEW store.samples": "The readings of both kinds, with device host for those of the machine",
    **_comments("store.samples", _TABLES["device_samples"] | _HOST),
}
