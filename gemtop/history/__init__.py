"""Every session, in DuckDB."""

VIEWS = (
    "runs", "samples", "tokens", "sessions", "ledger", "tune", "devices", "roofs", "costs", "run_placement",
    "process_samples", "fidelity", "tasks",
)  # fmt: skip
"""What queries, scripts and other programs rely on; docs/history.md has their columns."""
