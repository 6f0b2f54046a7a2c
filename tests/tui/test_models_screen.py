"""What a line of the list of models says."""

from __future__ import annotations

from dataclasses import replace

from gemtop.domain.model import ModelEntry
from gemtop.tui.screens.models import _line

ENTRY = ModelEntry("gemma3:4b", "/blobs/sha256-1", "ollama", (), 3 << 30, None, variant="QAT Q4_0")


def test_what_stands_in_the_way_and_what_was_done_about_it() -> None:
    assert "adopt" not in _line(ENTRY, 9)
    refused = replace(ENTRY, refused="it holds the vision tensors as well")
    assert _line(refused, 9).endswith("  needs gemtop adopt gemma3:4b")
    assert _line(replace(refused, outdated_copy="/x.gguf"), 9).endswith("  needs gemtop adopt --force gemma3:4b")
    assert _line(replace(ENTRY, path="/x.gguf", adopted_from=ENTRY.path), 9).endswith("  adopted copy")
