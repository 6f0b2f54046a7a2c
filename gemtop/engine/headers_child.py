"""Reads headers in a process of its own: paths as lines of JSON on stdin, what they hold as lines on stdout.

`python -m gemtop.engine.headers_child`. llama.cpp's library may die of a file, or on this CPU of being loaded.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> None:
    from gemtop.domain.errors import BadInputError
    from gemtop.engine.gguf import read_header

    _answer({})  # the library is loaded
    for line in sys.stdin:
        try:
            facts = _facts(read_header(json.loads(line)))
        except (BadInputError, OSError) as error:
            facts = {"problem": str(error)}
        _answer(facts)


def _answer(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _facts(header: Any) -> dict[str, Any]:
    """Fields of a ModelEntry."""
    from gemtop.domain.classify import classify, kind_of
    from gemtop.engine.adopt_layout import needs_adoption

    label = classify(header)
    return {
        "problem": None,
        "kind": kind_of(header),
        "refused": needs_adoption(header),
        "architecture": header.architecture,
        "parameters": header.parameters,
        "quantization": label.quantization,
        "training": label.training,
        "variant": label.variant,
        "derived": label.derived,
        "evidence": label.evidence,
        "format_evidence": label.format_evidence,
        "trained_context": header.trained_context,
        "fingerprint": header.fingerprint,
    }


if __name__ == "__main__":
    main()
