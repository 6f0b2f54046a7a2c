"""A report in Markdown, as GitHub and most others read it.

Whatever models, files and prompts say is shown as it is: signs that Markdown gives a meaning are escaped, long text
stands in fences that it cannot close, and no address in it becomes a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gemtop.comparison.report.document import Block, Code, Figure, Items, Outputs, Report, Table, Words
from gemtop.domain.text import one_line, printable, storable
from gemtop.domain.word_diff import Piece

FIGURES = "figures"
MOST_OUTPUTS = 3
"""Outputs of each variant that are shown here; the page has more."""
_SIGNS = re.compile(r"[\\`*\[\]<|~&$]|(?<![^\W_])_|_(?![^\W_])")
_FIRST = re.compile(r"\A(?:[-+#>=]|\d+[.)](?=\s|\Z))")
"""What has a meaning only where a line begins."""
_LINKED = re.compile(r"(?i)(?<=www)(\.)|(://)|(@)|(?<=mailto)(:)|(?<=xmpp)(:)")
"""What makes a link of an address that nobody marked as one."""


def escaped(text: str) -> str:
    """A line of text of anyone's, with nothing in it that Markdown or HTML would take for its own."""
    line = _SIGNS.sub(r"\\\g<0>", one_line(storable(text)))
    line = _FIRST.sub(lambda match: f"{match.group()[:-1]}\\{match.group()[-1]}", line)
    return _LINKED.sub(lambda match: f"`{match.group()}`", line)


def fenced(text: str, language: str = "") -> str:
    """Text as it stands, in a fence longer than any in it."""
    shown = printable(storable(text))
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}\n"


def markdown(report: Report) -> str:
    """The whole of it."""
    parts = [f"# {escaped(report.title)}\n", f"{escaped(report.subtitle)}\n"]
    if report.warning:
        parts.append(f"**{escaped(report.warning)}**\n")
    parts.append(f"> {escaped(report.verdict)}\n")
    parts.append("[The same as a page](report.html), with all outputs side by side.\n")
    for section in report.sections:
        parts.append(f"## {escaped(section.title)}\n")
        parts += _blocks(section.blocks)
    return "\n".join(parts)


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    shown: dict[int, int] = {}
    for block in blocks:
        match block:
            case Words():
                yield f"{escaped(block.text)}\n"
            case Items():
                yield "".join(f"- {escaped(text)}\n" for text in block.texts)
            case Code():
                yield fenced(block.text, block.language)
            case Table():
                yield _table(block)
            case Figure():
                yield _figure(block)
            case Outputs():
                number = block.right.mark
                shown[number] = shown.get(number, 0) + 1
                if shown[number] <= MOST_OUTPUTS:
                    yield _outputs(block)


def _table(table: Table) -> str:
    align = "---:" if table.numbers else "---"
    lines = [table.heads, *table.rows]
    written = ["| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines]
    written.insert(1, "| " + " | ".join(["---", *[align] * (len(table.heads) - 1)]) + " |")
    return "\n".join(written) + "\n"


def _figure(figure: Figure) -> str:
    title = escaped(figure.title)
    shown = f"![{title}]({FIGURES}/{figure.name}.svg)" if figure.picture else f"Not drawn: {escaped(figure.reason)}."
    return f"### {title}\n\n{shown}\n\n{escaped(figure.caption)}\n\n{fenced(figure.sql, 'sql')}"


def _outputs(outputs: Outputs) -> str:
    left, right = outputs.left, outputs.right
    told = [
        f"- \\- {escaped(left.label)}, {escaped(left.verdict)}. {escaped(left.top)}",
        f"- \\+ {escaped(right.label)}, {escaped(right.verdict)}. {escaped(right.top)}",
    ]
    return f"### {escaped(outputs.title)}\n\n" + "\n".join(told) + "\n\n" + fenced(_diff(outputs.pieces), "diff")


def _diff(pieces: Sequence[Piece]) -> str:
    """Pieces as lines: with two spaces what is in both, with - and + what is in one."""
    signs = {"same": "  ", "removed": "- ", "added": "+ "}
    return "\n".join(signs[piece.kind] + line for piece in pieces for line in piece.text.strip("\n").split("\n"))
