"""The code of an output.

It is looked for by the shape of its lines and not by Python's parser, which a hostile text can crash; that it is
Python shows where it runs.
"""

from __future__ import annotations

import re

from gemtop.prompts.fences import blocks

_LANGUAGES = ("", "python", "python3", "py")
_LONGEST_LINE = 300
"""Of a line this much is looked at."""
_BEGINS = re.compile(r"(?:async +)?def |class |import |from \w|@\w")
_ASSIGNS = r"[\w.]+(?:\[.*\])?(?: *, *\w+)* *(?::[^=]*)?=[^=]"
_GOES_ON = re.compile(rf"\s|$|#|[)\]}}]|(?:async +)?def |class |import |from |@\w|if __name__|{_ASSIGNS}")
"""Lines that belong to code without a fence: indented, empty, and what stands at the edge of a module."""


def find(output: str, defines: str) -> str | None:
    """The last fenced block of Python that defines the name at its edge, or else the code without a fence that does.

    Code without a fence goes from its first line to the first that looks like prose. None where there is neither.
    """
    defined = re.compile(
        rf"^(?:(?:async +)?def +{defines}\b|class +{defines}\b|{defines}\b *(?::[^=\n]*)?=)", re.MULTILINE
    )
    fenced = [block for language, block in blocks(output) if language in _LANGUAGES]
    candidates = [*reversed(fenced)] or [_unfenced(output)]
    return next((code for code in candidates if defined.search(code)), None)


def _unfenced(output: str) -> str:
    lines = output.replace("\r\n", "\n").split("\n")
    start = next((at for at, line in enumerate(lines) if _BEGINS.match(line)), len(lines))
    end = next((at for at in range(start, len(lines)) if not _GOES_ON.match(lines[at][:_LONGEST_LINE])), len(lines))
    return "\n".join(lines[start:end])
