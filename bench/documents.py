"""Whole runs of the book's own script: `python -m bench.documents --book FOLDER`.

FOLDER is a checkout of the book's repository whose `dataset/mnist.pkl` exists. Its
`ch05/train_neuralnet.py` runs unchanged, through `python -m fastnn.book` and on the book's own
modules, in turns; a ratio is the median of the ratios within a turn. The documents' other systems
are cases of `python -m bench --cases "the source documents"`.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import median

from bench import ending, machine, stored, tables
from bench.cases import Goal
from bench.processes import ProcessFailedError, run_python, take_turns
from bench.ratios import verdict
from fastnn.command import say

GOAL = Goal(2, 4)
LEAST_ACCURACY = 0.96


def main():
    options = parse_options()
    return ending.run("documents", lambda: run(options), is_program=True)


def run(options):
    """Time, print and save."""
    if options.json is not None:
        stored.check_json(options.json)
    facts = machine.describe()
    say(f"{machine.in_one_line(facts)}\n")
    seconds = run_book(Path(options.book), options.rounds)
    ratio = median(b / a for a, b in zip(seconds["fastnn"], seconds["document"], strict=True))
    cells = [f"{median(seconds[name]):.1f}" for name in ("fastnn", "document")]
    row = ["ch05/train_neuralnet.py", *cells, tables.times(ratio), verdict(ratio, GOAL)]
    say(tables.table(["script", "fastnn s", "the book's s", "ratio", "verdict"], [row]))
    if options.json is not None:
        stored.write_json(options.json, {"book": {"machine": facts, "seconds": seconds}})
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
    script = folder / "ch05" / "train_neuralnet.py"
    if not (folder / "dataset" / "mnist.pkl").exists():
        raise SystemExit(f"{folder} has no dataset/mnist.pkl; the book's load_mnist makes it")
    commands = {"fastnn": ["-m", "fastnn.book", str(script)], "document": [str(script)]}
    runners = {name: partial(run_python, line, {"MPLBACKEND": "Agg"}, script.parent)
               for name, line in commands.items()}  # fmt: skip
    found = take_turns(runners, rounds, accuracy)
    for name, entry in found.items():
        if entry["failure"]:
            raise SystemExit(f"{name}: {entry['failure']}")
    return {name: entry["seconds"] for name, entry in found.items()}


def accuracy(printed):
    """What the script reached, which prints its train and test accuracy as it goes."""
    last = float(printed.split()[-1])
    if not last > LEAST_ACCURACY:
        raise ProcessFailedError(f"the script ended at an accuracy of {last}")
    return {"accuracy": last}


if __name__ == "__main__":
    sys.exit(main())
