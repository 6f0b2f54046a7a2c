from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemtop.config import Paths
from tests.fleet.boxes import Fleet
from tests.fleet.servers import Postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def fleet(postgres: Postgres, tmp_path: Path) -> Fleet:
    """An empty database, and a folder for the data."""
    name = f"fleet{os.getpid()}_{next(_numbers)}"
    return Fleet(postgres, name, postgres.new_database(name), tmp_path / "lake")


@pytest.fixture
def box(tmp_path: Path) -> Paths:
    """A machine's folders."""
    return Paths(tmp_path / "box" / "history.duckdb", tmp_path / "box" / "state", tmp_path / "box" / "cache")
