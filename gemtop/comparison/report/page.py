"""A report as one page of HTML that needs nothing else: no script, no network, its style and pictures inside.

Whatever models, files and prompts say is text: all of it goes through `escaped`. The policy in the page lets a browser
use this very style sheet and nothing else, should anything ever slip through.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from gemtop.charts import svg
from gemtop.charts.svg import escaped
from gemtop.comparison.report.document import (
    Block,
    Code,
    Figure,
    Items,
    Outputs,
    Report,
    Section,
    Side,
    Table,
    Words,
)
from gemtop.domain.word_diff import Piece

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--quiet:#59636e;--ground:#fff;--soft:#f3f5f7;--line:#d6dce2;--mark:#ffe2b8;
--accent:#0072b2;--warn:#fff4d6}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--quiet:#9da7b3;--ground:#0f141a;--soft:#1a2129;--line:#2f3742;
--mark:#5a4106;--accent:#58b0ea;--warn:#3d3209}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:2.5rem 1.25rem 4rem;background:var(--ground);color:var(--ink);
font:16px/1.55 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.75rem;line-height:1.25;margin:0}h2{font-size:1.25rem;margin:3rem 0 .8rem;padding-bottom:.3rem;
border-bottom:1px solid var(--line)}h3{font-size:1.02rem;margin:2.2rem 0 .2rem}
p{margin:.6rem 0;max-width:48rem}.quiet,figcaption,.sub{color:var(--quiet);font-size:.9rem}
.verdict{font-size:1.12rem;border-left:4px solid var(--accent);background:var(--soft);padding:1rem 1.25rem;
margin:1.5rem 0;border-radius:0 6px 6px 0;max-width:none}
.warning{background:var(--warn);padding:.8rem 1.25rem;border-radius:6px;max-width:none}
nav{font-size:.9rem}nav a{margin-right:1.1rem;white-space:nowrap}a{color:var(--accent)}
.wide{overflow-x:auto;margin:1rem 0;width:max-content;min-width:100%;max-width:min(100vw - 2.5rem,100rem);
position:relative;left:50%;transform:translateX(-50%);border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;font-size:.86rem;min-width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .7rem;text-align:left;vertical-align:top;overflow-wrap:normal;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}thead th{background:var(--soft);vertical-align:bottom;overflow-wrap:anywhere;
min-width:6.5rem}tbody th{font-weight:500;color:var(--quiet);position:sticky;left:0;background:var(--ground);
min-width:9rem}table.figures td,table.figures thead th{text-align:right}table.figures td{white-space:nowrap}
table.texts td{overflow-wrap:anywhere}
.chip{width:14px;height:14px;vertical-align:-1px;margin-right:.35rem}
figure{margin:1.2rem 0 2.2rem}figure>svg{display:block;max-width:100%;height:auto;border:1px solid var(--line);
border-radius:6px}figcaption{max-width:48rem;margin:.5rem 0}
details{margin:.4rem 0}summary{cursor:pointer;color:var(--accent);font-size:.9rem}
pre{background:var(--soft);border-radius:6px;padding:.8rem 1rem;font:13px/1.5 ui-monospace,"DejaVu Sans Mono",monospace;
white-space:pre-wrap;margin:.5rem 0}
.sides{display:grid;grid-template-columns:1fr 1fr;gap:0 1rem}.sides pre{margin:.3rem 0;max-height:32rem;overflow:auto}
.sides p{margin:.1rem 0;font-size:.86rem}mark{background:var(--mark);color:inherit;border-radius:2px}
@media (max-width:640px){.sides{grid-template-columns:1fr}}
@media print{body{max-width:none;padding:0;font-size:11pt}nav{display:none}
.wide{overflow:visible;border:0;width:auto;max-width:none;left:0;transform:none}
table{font-size:7.5pt}th,td{padding:.2rem .35rem}table.figures td{white-space:normal}thead th,tbody th{min-width:0}
figure,tr{break-inside:avoid}h2,h3{break-after:avoid}pre,.sides pre{max-height:none;overflow:visible}
details::details-content{content-visibility:visible;height:auto}}
"""


def page(report: Report) -> str:
    """The whole page."""
    style = _STYLE + svg.STYLE
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    links = "".join(f'<a href="#{section.name}">{escaped(section.title)}</a>' for section in report.sections)
    warning = f'<p class="warning">{escaped(report.warning)}</p>' if report.warning else ""
    verdict = ";<br>".join(map(escaped, report.verdict.split("; ")))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escaped(report.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{escaped(report.title)}</h1>\n<p class="sub">{escaped(report.subtitle)}</p>\n{warning}'
        f'<p class="verdict">{verdict}</p>\n<nav aria-label="Contents">{links}</nav>\n'
        "</header>\n<main>\n" + "".join(map(_section, report.sections)) + "</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    blocks = "".join(map(_block, section.blocks))
    return (
        f'<section aria-labelledby="{section.name}">\n<h2 id="{section.name}">{escaped(section.title)}</h2>\n'
        f"{blocks}</section>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Words():
            return f"<p>{escaped(block.text)}</p>\n"
        case Items():
            return "<ul>\n" + "".join(f"<li>{escaped(text)}</li>\n" for text in block.texts) + "</ul>\n"
        case Code():
            return f"<pre><code>{escaped(block.text)}</code></pre>\n"
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Outputs():
            return _outputs(block)


def _table(table: Table) -> str:
    heads = "".join(_head(table, column, head) for column, head in enumerate(table.heads))
    body = "".join(
        f'<tr><th scope="row">{escaped(row[0])}</th>'
        + "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in table.rows
    )
    head = f"<thead><tr>{heads}</tr></thead>\n" if any(table.heads) else ""
    kind = "figures" if table.numbers else "texts"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Table"><table class="{kind}">\n'
        f"{head}<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def _head(table: Table, column: int, head: str) -> str:
    if not head:
        return "<td></td>"
    of_variants = table.of_variants is not None and column >= table.of_variants
    chip = _chip(table.marks[column - (table.of_variants or 0)]) if of_variants else ""
    return f'<th scope="col">{chip}{escaped(head)}</th>'


def _chip(mark: int) -> str:
    """A variant's mark beside its name."""
    return (
        f'<svg class="chip {svg.colour_class(mark)}" viewBox="0 0 14 14" aria-hidden="true">'
        f"{svg.shape(mark, 7, 7, 5.5)}</svg>"
    )


def _figure(figure: Figure) -> str:
    shown = figure.picture or f"<p>Not drawn: {escaped(figure.reason)}.</p>\n"
    return (
        f'<h3 id="figure-{figure.name}">{escaped(figure.title)}</h3>\n<figure>\n{shown}\n'
        f"<figcaption>{escaped(figure.caption)}</figcaption>\n"
        f"<details><summary>SQL</summary><pre><code>{escaped(figure.sql)}</code></pre></details>\n</figure>\n"
    )


def _outputs(outputs: Outputs) -> str:
    sides = _side(outputs.left, _marked(outputs.pieces, left=True)) + _side(
        outputs.right, _marked(outputs.pieces, left=False)
    )
    return (
        f'<details class="outputs"><summary>{escaped(outputs.title)}</summary>\n'
        f'<div class="sides">{sides}</div></details>\n'
    )


def _side(side: Side, marked: str) -> str:
    return (
        f"<div><p>{_chip(side.mark)}<strong>{escaped(side.label)}</strong>, {escaped(side.verdict)}</p>\n"
        f'<pre>{marked}</pre>\n<p class="quiet">{escaped(side.top)}</p></div>\n'
    )


def _marked(pieces: Sequence[Piece], *, left: bool) -> str:
    """One of two texts; what is not in the other is marked."""
    parts = []
    for piece in pieces:
        if piece.kind == "same":
            parts.append(escaped(piece.text))
        elif (piece.kind == "removed") == left:
            parts.append(f"<mark>{escaped(piece.text)}</mark>")
    return "".join(parts)
