"""Named queries, asked by tests."""

from __future__ import annotations

from typing import Any

from gemtop.config import Paths
from gemtop.history import queries
from gemtop.history.reader import Reader


def ask_named(paths: Paths, name: str, **given: str) -> list[dict[str, Any]]:
    """What a query that ships with gemtop answers, a row each."""
    query = queries.find(name, queries.all_queries())
    with Reader.open(paths) as reader:
        result = reader.run_sql(query.sql, query.bind(given))
        names = [c.name for c in result.columns]
        return [dict(zip(names, row, strict=True)) for row in result.rows()]
