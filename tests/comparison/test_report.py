"""The report of a comparison: its figures are those of its SQL and of the outcome, and all markup in it is ours."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from markdown_it import MarkdownIt

from gemtop.charts import svg
from gemtop.cli.main import main
from gemtop.comparison.outcome import Outcome
from gemtop.comparison.report.write import check_report, write_report
from gemtop.config import Paths
from gemtop.domain.errors import BadInputError
from tests.comparison.synthetic import LABELS, Made, as_arguments, comparison, job_of

HOSTILE = (
    "</title></pre><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[31m\x9b| ` ``` ~~~ *a* _b_ $x$"
    " [x](http://e.com) ![y](http://e.com/y.png) http://e.com www.e.com a@b.com mailto:a@b.com <http://e.com>"
    " &lt; &#60;"
    " \u202e\u2028 \ud800 \ufffe \0 --> ]]> \"'\n\n# head\n\n```\n<b>fence</b>\n"
)
_VOID = {"meta", "br", "link", "img", "hr", "input"}
_TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "br", "nav", "a", "main",
    "section", "div", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "figure", "figcaption", "details",
    "summary", "pre", "code", "mark", "strong", "svg", "desc", "g", "rect", "line", "path", "circle", "polygon", "text",
}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart; an end tag that ends nothing is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.texts: list[tuple[str, str]] = []
        """The innermost tag and its text."""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def sql(self) -> dict[str, str]:
        """The SQL under each figure, by the figure's name."""
        names = [value.removeprefix("figure-") for value in self.ids if value.startswith("figure-")]
        code = [data for tag, data in self.texts if tag == "code" and "FROM 'data/" in data]
        return dict(zip(names, code, strict=True))


def write(folders: Paths, tmp_path: Path, made: Made, *, finished: bool = True) -> tuple[Outcome, Path]:
    found = comparison(made, folders)
    return found, write_report(found, tmp_path / "out", folders, as_arguments(made), finished=finished)


def answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """What a plain DuckDB in the folder says to the SQL that the page shows, which is that of the Markdown."""
    shown = Page((folder / "report.html").read_text(encoding="utf-8")).sql()
    fenced = re.findall(r"^```sql\n(.*?)\n```$", (folder / "report.md").read_text(encoding="utf-8"), re.M | re.S)
    assert list(shown.values()) == fenced
    monkeypatch.chdir(folder)
    found = {}
    with duckdb.connect() as con:
        for name, sql in shown.items():
            done = con.execute(sql)
            names = [column[0] for column in done.description or []]
            found[name] = [dict(zip(names, row, strict=True)) for row in done.fetchall()]
    return found


def test_the_sql_under_each_figure_gives_the_figures(
    folders: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(checkpoints={1: 2})
    found, folder = write(folders, tmp_path, made)
    rows = answers(folder, monkeypatch)
    for row in rows["memory-perplexity"]:
        one = found.variants[row["number"]]
        assert row["memory_bytes"] == one.vram_peak_bytes
        if row["number"]:
            assert one.scores and one.scores.fidelity
            ratio = one.scores.fidelity.ln_perplexity_ratio
            assert row["change_pct"] == pytest.approx(100 * math.expm1(ratio.value))
            assert ratio.standard_error is not None
            assert row["high_pct"] == pytest.approx(100 * math.expm1(ratio.value + 1.959964 * ratio.standard_error))
    assert len(rows["memory-perplexity"]) == len(LABELS)
    kl = {(row["number"], row["of_checkpoint"]): row["kl_mean"] for row in rows["memory-kl"]}
    second = found.variants[1].scores
    assert second and second.fidelity and second.own
    assert (kl[1, False], kl[1, True]) == (second.fidelity.kl_mean.value, second.own.kl_mean.value)
    assert len(kl) == len(LABELS)  # the baseline has none, and one has two
    for name, figure in (("speed", "decode_tokens_per_s"), ("energy", "decode_j_per_token")):
        for row in rows[name]:
            mean = found.variants[row["number"]].speeds[figure]
            assert mean and (row[figure], row[f"{figure}_ci95"], row[f"{figure}_n"]) == (mean.mean, mean.ci95, mean.n)
    with duckdb.connect() as con:
        gaps = con.execute("SELECT number, itl_ms FROM 'data/latencies.parquet'").fetchall()
    for row in rows["latency"]:
        mine = [ms for number, ms in gaps if number == row["number"]]
        assert len(mine) == row["tokens"] == made.prompts * made.repeat * (made.tokens - 1)
        assert row["quantiles_ms"] == pytest.approx(list(np.percentile(mine, [5, 25, 50, 75, 95, 99])))
        shares = next(r for r in rows["latency-shares"] if r["number"] == row["number"])
        assert shares["quantiles_ms"] == pytest.approx(list(np.percentile(mine, range(1, 100))))
    for row in rows["throttling"]:
        mine = [one.row for one in found.runs if one.variant == row["number"]]
        assert row["throttled_s"] == pytest.approx(sum(one["throttled_s"] for one in mine))
        assert row["reasons"] == sorted({reason for one in mine for reason in one["throttle_reasons"]})
    assert any(row["throttled_s"] for row in rows["throttling"])
    for number in range(1, len(LABELS)):
        assert tuple(r["kl"] for r in rows["along"] if r["number"] == number) == found.along[number]["kl"]


def test_the_latencies_are_those_of_the_runs(folders: Paths, tmp_path: Path) -> None:
    found, folder = write(folders, tmp_path, Made(labels=LABELS[:2], prompts=2, repeat=2))
    with duckdb.connect() as con:
        sql = f"SELECT run_id, quantile_cont(itl_ms, 0.99) FROM '{folder}/data/latencies.parquet' GROUP BY run_id"
        p99 = dict(con.execute(sql).fetchall())
    assert p99 == {one.row["run_id"]: pytest.approx(one.row["itl_p99_ms"], rel=1e-9) for one in found.runs}


def test_all_data_are_there(folders: Paths, tmp_path: Path) -> None:
    found, folder = write(folders, tmp_path, Made(labels=LABELS[:3], hostile="\0\x1b'\";\ud800"))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    with duckdb.connect() as con:
        for name, rows in manifest["rows"].items():
            assert con.execute(f"SELECT count(*) FROM '{folder}/data/{name}.parquet'").fetchall() == [(rows,)]
        kept = con.execute(f"SELECT label, model_name FROM '{folder}/data/variants.parquet' ORDER BY number").fetchall()
    assert kept[0] == ("F16\u2400\x1b'\";\\ud800", "Gemma 3 1B F16\u2400\x1b'\";\\ud800")
    assert manifest["rows"]["runs"] == len(found.runs) == 3 * 6 * 3
    assert manifest["finished"] is True and manifest["key"] == found.job.key
    assert folder.stat().st_mode & 0o777 == 0o700


def test_hostile_text_stays_text_on_the_page(folders: Paths, tmp_path: Path) -> None:
    _, folder = write(folders, tmp_path, Made(labels=LABELS[:3], failures={2: "no room"}, hostile=HOSTILE))
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags <= _TAGS
    assert {value for _, name, value in page.attributes if name in ("href", "src", "action", "content", "style")} <= (
        {f"#{name}" for name in page.ids} | {value for tag, _, value in page.attributes if tag == "meta"}
    )
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert "<script>alert(1)</script>" in "".join(data for _, data in page.texts)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028]", text)
    assert len(page.ids) == len(set(page.ids))
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    for word in ("http:", "https:", "@import", "url("):
        assert word not in style and word not in " ".join(v for _, name, v in page.attributes if name != "xmlns")


def test_hostile_text_stays_text_in_markdown(folders: Paths, tmp_path: Path) -> None:
    _, folder = write(folders, tmp_path, Made(labels=LABELS[:3], failures={2: "no room"}, hostile=HOSTILE))
    text = (folder / "report.md").read_text(encoding="utf-8")
    reader = MarkdownIt("gfm-like")
    assert reader.linkify
    reader.linkify.set({"fuzzy_link": False})  # as GitHub, which takes no bare name for an address
    tokens = reader.parse(text)
    inner = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in [*tokens, *inner]}
    assert not {kind for kind in kinds if kind.startswith("html")} and "em_open" not in kinds
    assert {child.attrs["href"] for child in inner if child.type == "link_open"} == {"report.html"}
    images = {str(child.attrs["src"]) for child in inner if child.type == "image"}
    assert images == {f"figures/{path.name}" for path in (folder / "figures").iterdir()} and len(images) == 8
    heads = [token.content for token, after in itertools.pairwise(tokens) if token.type == "inline"] + [""]
    assert not [head for head in heads if head == "head"]
    assert sum(token.type == "heading_open" and token.tag == "h2" for token in tokens) == 10
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028]", text)
    for table in re.findall(r"(?:^\|.*\n)+", re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S), re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def boxes_of_text(picture: Path) -> list[tuple[float, float, float, float, str]]:
    """Where the text of a picture lies, a little wider than common fonts draw it."""
    space = "{http://www.w3.org/2000/svg}"
    found = []
    for text in ElementTree.parse(picture).iter(f"{space}text"):
        words = text.text or ""
        x, y, width = float(text.attrib["x"]), float(text.attrib["y"]), svg.width_of(words)
        x -= {"start": 0.0, "middle": width / 2, "end": width}[text.attrib.get("text-anchor", "start")]
        found.append((x, y - 10, x + width, y + 3, words))
    return found


@pytest.mark.parametrize("count", [2, 3, 5, 8, 11])
@pytest.mark.parametrize("added", ["", " of a model with a very long name, trained for \u6a21\u578b" * 4])
def test_text_never_lies_over_text(folders: Paths, tmp_path: Path, count: int, added: str) -> None:
    labels = [f"{LABELS[i % 8]} {i}{added}" for i in range(count)]
    _, folder = write(folders, tmp_path, Made(labels=labels, prompts=2, repeat=2, checkpoints={1: 0}))
    pictures = sorted((folder / "figures").iterdir())
    assert len(pictures) == 8 or count == 2  # with few runs none may have been throttled
    for picture in pictures:
        found = boxes_of_text(picture)
        for x1, _, x2, _, words in found:
            assert x1 >= 0 and x2 <= svg.WIDTH, (picture.name, words)
        for a, b in itertools.combinations(found, 2):
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (picture.name, a, b)


def test_a_variant_has_one_colour(folders: Paths, tmp_path: Path) -> None:
    found, folder = write(folders, tmp_path, Made(labels=LABELS[:4]))
    assert found.marks == (0, 2, 1, 3), "those of their kinds, and what is left for a second PTQ"
    for picture in (folder / "figures").iterdir():
        for group in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}g"):
            title = group.find("{http://www.w3.org/2000/svg}title")
            named = [
                i for i, label in enumerate(LABELS[:4]) if title is not None and (title.text or "").startswith(label)
            ]
            assert not named or group.attrib["class"] == f"v{found.marks[named[0]]}", picture.name


def test_what_is_not_known_says_why(folders: Paths, tmp_path: Path) -> None:
    made = Made(labels=LABELS[:2], gpu=False, text=False, failures={1: "it does not fit"})
    _, folder = write(folders, tmp_path, made)
    said = "".join(data for _, data in Page((folder / "report.html").read_text(encoding="utf-8")).texts)
    assert "Not drawn: no variant was held against the baseline's predictions of a text." in said
    assert "Not drawn: it does not fit; not measured on this machine." in said
    assert "Not drawn: no card that says whether it was throttled held a part of the model." in said
    assert "PTQ" not in said and "QAT Q4_0: it does not fit" in said
    assert {path.name for path in (folder / "figures").iterdir()} == {"speed.svg", "latency.svg", "latency-shares.svg"}


def test_a_history_without_the_tokens(folders: Paths, tmp_path: Path) -> None:
    found = comparison(Made(labels=LABELS[:2]))
    folder = write_report(found, tmp_path / "out", folders, ["compare"], finished=True)
    assert "Not drawn: the history has no tokens of these runs." in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("runs", [0, 1, 7])
def test_an_unfinished_one_says_so(folders: Paths, tmp_path: Path, runs: int) -> None:
    made = Made(labels=LABELS[:2], until_run=runs)
    _, folder = write(folders, tmp_path, made, finished=False)
    words = f"This comparison is unfinished: it was stopped after {runs} of 36 runs"
    for name in ("report.html", "report.md"):
        assert words in (folder / name).read_text(encoding="utf-8")
    Page((folder / "report.html").read_text(encoding="utf-8"))


def test_qat_is_not_damaged_by_learning(folders: Paths, tmp_path: Path) -> None:
    _, folder = write(folders, tmp_path, Made(labels=LABELS[:3], checkpoints={1: 2}))
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "is no measure of damage for it" in text
    assert "Held against their own unquantised checkpoint as well: QAT Q4_0 against PTQ Q8_0" in text.replace(
        "checkpoints", "checkpoint"
    )


# Where it is put


def test_a_folder_of_others_is_never_replaced(folders: Paths, tmp_path: Path) -> None:
    job, target = job_of(Made()), tmp_path / "out"
    target.mkdir()
    check_report(target, job, force=False)  # an empty one will do
    (target / "notes.txt").write_text("mine")
    for force, words in ((False, "is not empty"), (True, "holds other things than a report")):
        with pytest.raises(BadInputError, match=words):
            check_report(target, job, force=force)
    with pytest.raises(BadInputError, match="is a file: --report names a folder"):
        check_report(target / "notes.txt", job, force=True)
    with pytest.raises(BadInputError, match="there is no folder"):
        check_report(tmp_path / "no" / "out", job, force=True)
    assert (target / "notes.txt").read_text() == "mine" and len(list(tmp_path.glob(".*"))) == 0


def test_a_report_is_replaced_when_asked_and_an_unfinished_one_by_what_goes_on(folders: Paths, tmp_path: Path) -> None:
    part = Made(labels=LABELS[:2], until_run=3)
    found, folder = write(folders, tmp_path, part, finished=False)
    check_report(folder, found.job, force=False)
    other = job_of(Made(labels=LABELS[:3]))
    with pytest.raises(BadInputError, match="--force to replace a report"):
        check_report(folder, other, force=False)
    check_report(folder, other, force=True)
    (folder / "data" / "mine.parquet").write_text("mine")
    with pytest.raises(BadInputError, match="holds other things"):
        check_report(folder, other, force=True)
    (folder / "data" / "mine.parquet").unlink()
    write_report(found, folder, folders, ["compare"], finished=True)
    with pytest.raises(BadInputError, match="--force to replace a report"):
        write_report(found, folder, folders, ["compare"], finished=True)
    write_report(found, folder, folders, ["compare"], finished=True, force=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_nothing_is_left_where_it_could_not_be_written(
    folders: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = comparison(Made(labels=LABELS[:2]))

    def full(*_: object) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("gemtop.comparison.report.write.page", full)
    with pytest.raises(Exception, match="could not be written: No space left"):
        write_report(found, tmp_path / "out", folders, [], finished=True)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_the_command_checks_the_folder_before_it_measures(
    folders: Paths, tmp_path: Path, model_path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hello"}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    arguments = ["compare", model_path, "-ctk", "f16,q8_0", "--prompts", str(tmp_path / "prompts.jsonl")]
    assert main([*arguments, "--report", str(tmp_path / "out")]) == 2
    said = capfd.readouterr()
    assert said.out == "" and said.err.splitlines()[-1].endswith(
        "choose another folder, or --force to replace a report"
    )
    assert not folders.history.exists()


# In a browser


def console(page: Path, profile: Path) -> list[str]:
    """What Chromium says in its console while it opens a page."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert browser, "Chromium is not installed: apt-get install chromium"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr",
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "</html>" in done.stdout, done.stderr
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_a_browser_has_nothing_to_say_of_it(folders: Paths, tmp_path: Path) -> None:
    _, folder = write(folders, tmp_path, Made(labels=LABELS[:3], hostile=HOSTILE))
    assert console(folder / "report.html", tmp_path / "profile") == []
    bad = tmp_path / "bad.html"
    text = (folder / "report.html").read_text(encoding="utf-8")
    bad.write_text(text.replace("<main>", '<main style="color:red"><script>alert(1)</script>'), encoding="utf-8")
    said = "\n".join(console(bad, tmp_path / "profile"))
    assert "inline style" in said and "inline script" in said  # the policy holds, and would be seen to fail
