"""Whole runs of the book's own script: `python -m bench.documents --book FOLDER`.

FOLDER is a checkout of the book's repository whose `dataset/mnist.pkl` exists. Its
`ch05/train_neuralnet.py` runs unchanged, through `python -m fastnn.book` and on the book's own
modules, in turns; a ratio is the median of the ratios within a turn. The documents' other systems
are cases of `fastnn bench --cases "the source documents"`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from fastnn.benchmarks import ending, machine, report
from fastnn.benchmarks.cases import Goal
from fastnn.command import say

ROOT = Path(__file__).resolve().parent.parent
GOAL = Goal(2, 4)
LEAST_ACCURACY = 0.96


def main():
    options = parse_options()
    return ending.run("documents", lambda: run(options), is_program=True)


def run(options):
    """Time, print and save."""
    if options.json is not None:
        report.check_json(options.json)
    facts = machine.describe()
    say(f"{facts['processor']}, {facts['cores']} cores, load {facts['load_average']}\n")
    seconds = run_book(Path(options.book), options.rounds)
    ratio = median(b / a for a, b in zip(seconds["fastnn"], seconds["document"], strict=True))
    cells = [f"{median(seconds[name]):.1f}" for name in ("fastnn", "document")]
    goal = [GOAL.at_least, GOAL.aim]
    row = ["ch05/train_neuralnet.py", *cells, report.times(ratio), report.verdict(ratio, goal)]
    say(report.table(["script", "fastnn s", "the book's s", "ratio", "verdict"], [row]))
    if options.json is not None:
        report.write_json(options.json, {"book": {"machine": facts, "seconds": seconds}})
    return 0


def parse_options():
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description=__doc__)
    parser.add_argument("--book", metavar="FOLDER", required=True, help="the book's repository")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each")
    parser.add_argument("--json", metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def run_book(folder, rounds):
    """Seconds of whole runs of the book's script."""
    script, place = folder / "ch05" / "train_neuralnet.py", folder / "ch05"
    if not (folder / "dataset" / "mnist.pkl").exists():
        raise SystemExit(f"{folder} has no dataset/mnist.pkl; the book's load_mnist makes it")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": path}
    commands = {"fastnn": ["-m", "fastnn.book", str(script)], "document": [str(script)]}
    seconds = {name: [] for name in commands}
    for turn in range(rounds + 1):  # the first warms caches up
        for name, arguments in commands.items():
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, *arguments], cwd=place, env=environment, capture_output=True,
                text=True,
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
            last = float(done.stdout.split()[-1])  # the script prints train and test accuracy
            if not last > LEAST_ACCURACY:
                raise SystemExit(f"{name}: the script ended at an accuracy of {last}")
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
