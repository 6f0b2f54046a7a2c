from __future__ import annotations

import pytest

from gemtop.config import Paths


@pytest.fixture
def paths(folders: Paths) -> Paths:
    """A history of the test's own; nothing is there yet."""
    return folders
