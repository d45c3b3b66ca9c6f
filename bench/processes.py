"""Whole processes: ``python -m bench.processes [--json FILE]``.

Imports: fastnn's network against ``import numba``, on which it must build.  Training:
an epoch of MNIST with 784-50-10 from the start of Python to its end, fastnn with an
empty compile cache, from a checkout and as `pip` installs it, and with a filled one, against its
rivals, with the most memory that each process held.  The processes take turns, the first turn is
not counted, and the figures are medians.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import contestants, ending, inputs, machine, stored
from bench.cases import Goal
from bench.contestants import JAX, OURS
from bench.one_process import CASE
from bench.ratios import NOTHING, verdict
from bench.tables import table
from fastnn import command

ROOT = Path(__file__).resolve().parent.parent
# A name of fastnn is imported when it is asked for, and Numba with the first that needs it.
NETWORK = "from fastnn import MLP"
IMPORTS = ("pass", "import numpy", "import numba", "import fastnn", NETWORK)
RIVALS = ("numpy", "pytorch", "scikit-learn")
COLD, WARM = "fastnn, cold cache", "fastnn, warm cache"
INSTALLED = "fastnn, cold cache, installed with compiled code"
CACHED = "jax, its compilation cache filled"
# fastnn's share of JAX's whole process, and seconds above `import numba`: the less the better.
SHARE_GOALS = {COLD: Goal(1.2, 0.7), INSTALLED: Goal(1.2, 0.7), WARM: Goal(0.3, 0.15)}
IMPORT_GOAL = Goal(0.15, 0.05)
# Losses after 600 float32 steps differ by what rounding grew to; a wrong network by tenths.
LOSS_TOLERANCE = 0.01

Run = Callable[[], tuple[float, str]]
Read = Callable[[str], dict[str, Any]]
Found = dict[str, dict[str, Any]]


class ProcessFailedError(Exception):
    """A process ended with an error; the message is its last line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save."""
    return ending.run("processes", lambda: _measure(arguments), is_program=arguments is None)


def _measure(arguments: Sequence[str] | None) -> int:
    parser = command.Parser(prog="python -m bench.processes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each process")
    parser.add_argument("--json", metavar="FILE", help="save everything measured")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return run(options.rounds, options.json)


def run(rounds: int, json: str | None) -> int:
    """What the options ask for; the exit code is 1 if a process fails or disagrees."""
    if json is not None:
        stored.check_json(json)
    found = measure(rounds)
    content = {"processes": found}
    writers = {} if json is None else {json: lambda: stored.write_json(json, content)}
    _, error = command.write_each(writers)
    command.say(text(found))
    if error is not None:
        raise error
    return 0 if found["agree"] else 1


def measure(rounds: int) -> dict[str, Any]:
    """Seconds and answers of every process, JSON-ready."""
    with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        inputs.write(inputs.given(CASE), data)
        imports = take_turns({line: runner(["-c", line], folder) for line in IMPORTS}, rounds)
        training = take_turns(training_runners(folder, str(data)), rounds)
    agree = mark_wrong(training)
    facts = machine.describe()
    return {"machine": facts, "imports": imports, "training": training, "agree": agree}


def run_python(
    arguments: Sequence[str], variables: dict[str, str], folder: Path | None = None
) -> tuple[float, str]:
    """Seconds from start to end, in a folder or in this one, and what was printed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    line = [sys.executable, *arguments]
    started = time.perf_counter()
    done = subprocess.run(line, env=environment, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProcessFailedError(f"exit code {done.returncode}: {last_line}")
    return seconds, done.stdout


def runner(arguments: Sequence[str], folder: str, **variables: str) -> Run:
    """A function that runs Python once, with compile caches that are kept."""
    kept = {"FASTNN_CACHE_DIR": str(Path(folder) / "fastnn-cache"), **variables}
    return lambda: run_python(arguments, kept)


def cold_runner(arguments: Sequence[str], **variables: str) -> Run:
    """A function that runs Python once with a compile cache that is new each time."""

    def run() -> tuple[float, str]:
        with tempfile.TemporaryDirectory(prefix="fastnn-cold-") as cache:
            return run_python(arguments, {"FASTNN_CACHE_DIR": cache, **variables})

    return run


def install(folder: Path) -> Path:
    """Make a wheel of this checkout, in a copy as a build leaves files; where its package lies.

    Raises
    ------
    ProcessFailedError
        If `pip` cannot.
    """
    sources, packed, library = (folder / name for name in ("sources", "wheel", "library"))
    copy_sources(sources)
    run_python(["-m", "pip", "wheel", "-q", "--no-deps", "-w", str(packed), str(sources)], {})
    for wheel in packed.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(library)
    return library


def copy_sources(folder: Path) -> None:
    """Copy what a wheel is made of."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fastnn", folder / "fastnn", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)


def training_runners(folder: str, data: str) -> dict[str, Run]:
    """The training processes by name, as far as their libraries are installed."""

    def epoch(name: str) -> list[str]:
        return ["-m", "bench.one_process", name, data]

    path = os.pathsep.join([str(install(Path(folder))), str(ROOT)])
    runners = {
        COLD: cold_runner(epoch(OURS)),
        INSTALLED: cold_runner(["-P", *epoch(OURS)], PYTHONPATH=path),  # not from this folder
        WARM: runner(epoch(OURS), folder),
    }
    for name in (JAX, *RIVALS):
        if contestants.is_installed(name):
            runners[name] = runner(epoch(name), folder)
    if JAX in runners:
        runners[CACHED] = runner(
            epoch(JAX),
            folder,
            JAX_COMPILATION_CACHE_DIR=str(Path(folder) / "jax-cache"),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
            JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
        )
    return runners


def take_turns(runners: Mapping[str, Run], rounds: int, read: Read = json.loads) -> Found:
    """Run all in turns; the first turn fills the caches of the disk and of the libraries.

    `read` makes answers of what a process printed, and may find that it has failed.
    """
    found: Found = {name: {"seconds": [], "answers": {}, "failure": None} for name in runners}
    for turn in range(1 + rounds):
        for name, run in runners.items():
            entry = found[name]
            if entry["failure"]:
                continue
            try:
                seconds, output = run()
                entry["answers"] = read(output) if output else {}
            except ProcessFailedError as failure:
                entry.update(failure=str(failure), seconds=[])
                continue
            if turn > 0:
                entry["seconds"].append(seconds)
    return found


def mark_wrong(found: Found) -> bool:
    """Write a failure for those whose losses are not NumPy's; whether there is no failure."""
    expected = found["numpy"]["answers"]
    for entry in found.values():
        answers = entry["answers"]
        pairs = [(answers[k], expected[k]) for k in ("first", "last") if k in answers and expected]
        if any(not abs(mine - numpys) <= LOSS_TOLERANCE for mine, numpys in pairs):
            entry.update(failure=f"DISAGREES: {answers}, NumPy has {expected}", seconds=[])
    return not any(entry["failure"] for entry in found.values())


# In words -----------------------------------------------------------------------------


def text(found: dict[str, Any]) -> str:
    """Both tables, and what failed."""
    imports, training = found["imports"], found["training"]
    rows = [[name, *_seconds(entry)] for name, entry in imports.items()]
    parts = ["## Imports", table(["process", "seconds", "least – most"], rows)]
    pairs = zip(imports[NETWORK]["seconds"], imports["import numba"]["seconds"], strict=False)
    if extra := [fastnn - numba for fastnn, numba in pairs]:
        goal, reached = IMPORT_GOAL, median(extra)
        parts.append(
            f"`{NETWORK}` over `import numba`: {reached:+.3f} s (at most {goal.at_least:+g} s, "
            f"aim {goal.aim:+g} s): {verdict(reached, goal, less_is_better=True)}"
        )
    header = ["process", "seconds", "least – most", "of JAX's", "goal", "verdict", "peak MiB"]
    rows = [_training_row(name, training) for name in training]
    parts += ["## An epoch of MNIST, 784-50-10, batch 100: the whole process",
              table(header, rows)]  # fmt: skip
    everything = [*imports.items(), *training.items()]
    parts += [f"{name}: {e['failure']}" for name, e in everything if e["failure"]]
    return "\n\n".join(parts)


def _training_row(name: str, found: Found) -> list[str]:
    jax, entry, goal = found.get(JAX), found[name], SHARE_GOALS.get(name)
    share = None
    if jax and jax["seconds"] and entry["seconds"]:
        pairs = zip(entry["seconds"], jax["seconds"], strict=True)
        share = median(seconds / of_jax for seconds, of_jax in pairs)
    peak = entry["answers"].get("peak_bytes")
    return [
        name,
        *_seconds(entry),
        NOTHING if share is None else f"{share:.2f}",
        f"{goal.at_least:g}, aim {goal.aim:g}" if goal else "",
        verdict(share, goal, less_is_better=True) if goal else "",
        f"{peak / 2**20:.0f}" if peak else NOTHING,
    ]


def _seconds(entry: dict[str, Any]) -> list[str]:
    seconds = entry["seconds"]
    if not seconds:
        return [NOTHING, NOTHING]
    return [f"{median(seconds):.3f}", f"{min(seconds):.3f} – {max(seconds):.3f}"]


if __name__ == "__main__":
    sys.exit(main())
