"""What a file that `gemtop quantize` wrote says of its making, in keys of its metadata.

Quantising leaves no trace in the numbers of a file, and names are lost when files are renamed. llama.cpp's quantiser
copies the keys it does not know, so a file that is made of such a file has them still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "gemtop.quantize."
SOURCE_NAME = f"{PREFIX}source_name"
SOURCE_FINGERPRINT = f"{PREFIX}source_fingerprint"
SOURCE_QUANTIZATION = f"{PREFIX}source_quantization"
SOURCE_TRAINING = f"{PREFIX}source_training"
FORMAT = f"{PREFIX}format"
OPTIONS = f"{PREFIX}options"
REQUANTIZED = f"{PREFIX}requantized"
DERIVED = f"{PREFIX}derived"
IMATRIX_NAME = f"{PREFIX}imatrix_name"
IMATRIX_SHA256 = f"{PREFIX}imatrix_sha256"
LLAMA_BUILD = f"{PREFIX}llama_build"
BY = f"{PREFIX}by"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was made of what."""

    source_name: str
    source_quantization: str
    source_training: str
    """As Classification.training."""
    format: str
    """What it was made as; another program may have quantised it since."""
    derived: bool
    """Quantised weights were quantised again, or made floats of, in this step or in one before."""


def provenance(metadata: Mapping[str, Any]) -> Provenance | None:
    """What a file says of its making; None where `gemtop quantize` had no part in it."""
    if DERIVED not in metadata:
        return None
    source, quantization, training, made = (
        str(metadata.get(key, "unknown")) for key in (SOURCE_NAME, SOURCE_QUANTIZATION, SOURCE_TRAINING, FORMAT)
    )
    return Provenance(source, quantization, training, made, metadata[DERIVED] is not False)
