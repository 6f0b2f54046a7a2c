"""What earlier loads have taught about memory."""

from __future__ import annotations

import os

from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.history.database import IN_THIS_PROCESS, connect_reading, patiently

_WAIT_S = 0.2
"""A plan does not wait longer for a history that others have open: a batch is written in a fraction of it."""

_OVERHEAD = """
    SELECT median(overhead_bytes) FROM ledger
    WHERE NOT weights_kept AND device_description = $device AND driver_version IS NOT DISTINCT FROM $driver
"""


def learned_overhead_bytes(paths: Paths, device_description: str, driver_version: str | None) -> int | None:
    """What loads on this device with this driver took beyond the buffers that llama.cpp reported, in bytes.

    The median over the recorded loads of weights. None where none is recorded, and where the history is not
    there, in use by another process, or of a version without a ledger. Writes nothing and migrates nothing.
    """
    if not os.access(paths.history, os.R_OK) or not IN_THIS_PROCESS.acquire(timeout=_WAIT_S):
        return None
    import duckdb

    try:
        with patiently(lambda: connect_reading(paths.history), _WAIT_S) as con:
            row = con.execute(_OVERHEAD, {"device": device_description, "driver": driver_version}).fetchone()
    except (HistoryError, duckdb.Error):
        return None
    finally:
        IN_THIS_PROCESS.release()
    return round(row[0]) if row and row[0] is not None else None
