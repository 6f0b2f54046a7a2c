"""Writes the list of queries in docs/query.md, from their headers.

python -m tests.tools.query_docs           writes it
python -m tests.tools.query_docs --print   shows it
"""

from __future__ import annotations

import sys
from pathlib import Path

from gemtop.history.queries import all_queries

TARGET = Path(__file__).parents[2] / "docs" / "query.md"
BEGIN, END = "<!-- begin of the list: python -m tests.tools.query_docs -->", "<!-- end of the list -->"


def listing() -> str:
    """A row for each query that ships with gemtop."""
    rows = ["| name | shows | parameters |", "|---|---|---|"]
    for query in all_queries():
        parameters = "<br>".join(f"`{p}` {p.description}" for p in query.parameters)
        rows.append(f"| `{query.name}` | **{query.title}.** {query.sentence} | {parameters} |")
    return "\n".join(rows)


def page() -> str:
    """docs/query.md with the list as the queries have it now."""
    before, rest = TARGET.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{listing()}\n{END}{rest.split(END)[1]}"


def main() -> None:
    if "--print" in sys.argv[1:]:
        print(listing())
    else:
        TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
