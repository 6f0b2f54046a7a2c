"""As much of DuckDB's shell as the documentation uses: `duckdb [-readonly FILE] [-c SQL]`, SQL from stdin else."""

from __future__ import annotations

import argparse
import sys

import duckdb


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-readonly", action="store_true")
    parser.add_argument("-c", dest="sql")
    parser.add_argument("file", nargs="?", default=":memory:")
    args = parser.parse_args()
    with duckdb.connect(args.file, read_only=args.readonly) as connection:
        if sql := args.sql or sys.stdin.read():
            print(connection.sql(sql))


if __name__ == "__main__":
    main()
