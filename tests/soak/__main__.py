"""Hours of random use of the whole program, in tmux, on the demo weights.

python -m tests.soak [--minutes 120] [--seed 1] [--folder FOLDER]

Ends with 1, and says why, where an exception stands in the log, memory has grown by more than 20 MB, a thread or a
handle more is there at the end than after each part was used once, or the history is not complete. Readings are taken
every few minutes in the same state: the live screen, idle, with the settings of the beginning.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb
import psutil  # type: ignore[import-untyped]

from gemtop.config import paths
from gemtop.engine.stores.demo import demo_model
from tests.soak.person import LostError, Person
from tests.soak.readings import Reading, take
from tests.soak.tmux import Tmux

MOST_MB = 20.0
EVERY_S = 300.0
WARM = 3
"""Readings at the beginning that memory is compared with, and at the end."""
_PROMPTS = """[[prompt]]
id = "one"
prompt = "The capital of Italy is"
[[prompt]]
id = "two"
prompt = "Name a colour:"
"""


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keeps history, log and diary there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="gemtop-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / "here"
    here.mkdir()
    model = here / "gemma-3-270m-Q4_K_M.gguf"
    shutil.copyfile(demo_model(paths()), model)
    (here / "two.toml").write_text(_PROMPTS, encoding="utf-8")
    environment = {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "gemtop", model.name, "-c", "2048", "-t", "1", "-n", "200", "-v"]
    with Tmux(folder / "tmux", command, here, environment) as tmux:
        person = Person(tmux, random.Random(given.seed), folder / "diary.txt")
        readings, problem = use(person, given.minutes * 60)
    problems = [problem] if problem else []
    print(problem)
    problems += weigh(readings) + look_back(folder, person)
    print(*(f"{count:4} {name}" for name, count in person.done.most_common()), sep="\n")
    print(f"kept in {folder}" if problems or given.folder else "", end="\n")
    for line in problems:
        print(line, file=sys.stderr)
    if not problems and not given.folder:
        shutil.rmtree(folder)
    return 1 if problems else 0


def use(person: Person, for_s: float) -> tuple[list[Reading], str]:
    """Everything at random until the time is over, then leave. Returns the readings, and what went wrong."""
    began_s = time.monotonic()
    readings: list[Reading] = []
    tmux = person.tmux
    try:
        person.begin()
        program = _program(tmux.pid)
        due_s = 0.0
        while (at_s := time.monotonic() - began_s) < for_s:
            if at_s >= due_s:
                person.settle()
                readings.append(take(program, at_s))
                print(readings[-1], flush=True)
                due_s = at_s + EVERY_S
            person.act()
        person.settle()
        readings.append(take(program, time.monotonic() - began_s))
        print(readings[-1], flush=True)
        tmux.press("q")
        tmux.wait(lambda text: "runs recorded" in text, 60.0)
        tmux.write("echo ended with $?.\n")
        if not tmux.wait(lambda text: "ended with 0." in text, 60.0):
            return readings, f"it did not end well:\n{tmux.text}"
    except LostError as error:
        return readings, str(error)
    except (psutil.Error, OSError) as error:
        return readings, f"the program is gone ({error}):\n{tmux.text}"
    return readings, ""


def _program(shell: int) -> psutil.Process:
    """The process that is the screen: the child of its thin parent, below the shell."""
    (parent,) = psutil.Process(shell).children()
    (program,) = parent.children()
    return program


def weigh(readings: list[Reading]) -> list[str]:
    """What the readings have against it."""
    if len(readings) < 2 * WARM:
        return [f"only {len(readings)} readings: nothing can be said of memory"]
    problems = []
    for name in ("pss_mb", "anonymous_mb"):
        grown = median(getattr(one, name) for one in readings[-WARM:]) - median(
            getattr(one, name) for one in readings[:WARM]
        )
        print(f"{name}: {grown:+.1f} MB from the first {WARM} readings to the last {WARM}")
        if grown > MOST_MB:
            problems.append(f"memory has grown by {grown:.1f} MB ({name})")
    for name in ("threads", "handles", "processes"):
        first, last = getattr(readings[0], name), getattr(readings[-1], name)
        print(f"{name}: {first} at first, {last} at the end")
        if last > first:
            problems.append(f"{last - first} {name} more at the end")
    return problems


def look_back(folder: Path, person: Person) -> list[str]:
    """What log and history have against it."""
    problems = []
    log = "".join(path.read_text(errors="replace") for path in (folder / "state").rglob("*.log*"))
    if "Traceback" in log or " ERROR " in log:
        problems.append("the log holds an exception")
    (history,) = (folder / "data").rglob("history.duckdb")
    left = list(history.parent.glob("history.duckdb.spool/*"))
    if left:
        problems.append(f"spools are left: {left}")
    with duckdb.connect(str(history), read_only=True) as con:

        def ask(sql: str) -> list[tuple[object, ...]]:
            return con.execute(sql).fetchall()

        print(*ask("SELECT kind, status, count(*) FROM runs GROUP BY ALL ORDER BY ALL"), sep="\n")
        print("samples, tokens:", *ask("SELECT (SELECT count(*) FROM samples), (SELECT count(*) FROM tokens)"))
        if ask("SELECT status FROM sessions") != [("finished",)]:
            problems.append("the session is not closed")
        if ask("SELECT count(*) FROM store.runs WHERE status IS NULL OR end_ns IS NULL") != [(0,)]:
            problems.append("a run has no end")
        wrong = ask(
            "SELECT r.run_id FROM runs AS r WHERE r.generated_tokens IS NOT NULL AND r.generated_tokens <>"
            " (SELECT count(*) FROM tokens AS t WHERE t.run_id = r.run_id AND t.phase = 'decode')"
        )
        if wrong:
            problems.append(f"{len(wrong)} runs have other tokens than they generated")
        gaps = ask("SELECT count(*) FROM (SELECT t_s - lag(t_s) OVER (ORDER BY t_s) AS gap FROM samples) WHERE gap > 5")
        print("gaps of over 5 s in the samples:", gaps[0][0])
    if person.done["prompt"] == 0:
        problems.append("no prompt was run")
    return problems


if __name__ == "__main__":
    sys.exit(main())
