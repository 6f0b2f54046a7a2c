"""Every session, in DuckDB."""
