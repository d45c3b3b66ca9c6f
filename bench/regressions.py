"""Is a commit slower than another? `python -m bench.regressions BASE [HEAD]`.

Both commits are exported to temporary folders, and a fixed list of fastnn's own calls is timed on
either, in turns, each in its own process. A ratio above 1 says that HEAD is faster. The exit code
is 1 on a loss beyond the noise, which is told from the spread of the ratios within the rounds.
With `--threads` the tree at hand is compared with itself: all threads must not be slower than one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from statistics import median

from bench.timed import CASES
from fastnn.benchmarks import report
from fastnn.benchmarks.machine import available_cores

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).with_name("timed.py")
ROUNDS = 15
TURN_SECONDS = 0.1
SETTLE_SECONDS = 0.05
# Losses up to this are never told from noise: the layout of code and memory moves as much.
LEAST_LOSS = 0.05


def main(arguments=None):
    options = parse_options(arguments)
    names = [name for name in CASES if any(fnmatch(name, p) for p in options.cases)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastnn-bench-")))
        if options.threads:
            sides = [Side(ROOT, folder / "cache", n) for n in (1, available_cores())]
        else:
            trees = [export(c, folder / f"tree{i}") for i, c in enumerate(options.commits)]
            sides = [Side(tree, folder / f"cache{i}") for i, tree in enumerate(trees)]
        for side in sides:
            stack.callback(side.stop)
        rows, lost = [], False
        for name in names:
            row, loss = compare(name, *sides, options.rounds)
            rows.append(row)
            lost = lost or loss
    titles = ("1 thread", "all threads") if options.threads else options.commits
    header = ["case", *(f"{title[:20]} µs" for title in titles), "ratio", "noise", "verdict"]
    print(report.table(header, rows))
    return int(lost)


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="python -m bench.regressions", description=__doc__)
    parser.add_argument("commits", nargs="*", metavar="COMMIT", help="BASE, and HEAD if not given")
    parser.add_argument("--threads", action="store_true", help="all threads against one instead")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    options = parser.parse_args(arguments)
    if options.threads == bool(options.commits) or len(options.commits) > 2:
        parser.error("give a commit, or two, or --threads")
    if options.rounds < 3:
        parser.error("--rounds must be at least 3, or there is no noise to see")
    if len(options.commits) == 1:
        options.commits.append("HEAD")
    return options


def export(commit, folder):
    """The package of a commit in a folder of its own."""
    folder.mkdir()
    archive = folder / "package.tar"
    command = ["git", "archive", "-o", str(archive), commit, "fastnn"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{commit}: {done.stderr.strip()}")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder


class Side:
    """A process that runs `timed.py` on a tree."""

    def __init__(self, tree, cache, threads=None):
        environment = {**os.environ, "PYTHONPATH": str(tree), "FASTNN_CACHE_DIR": str(cache)}
        # -P: the script's folder is no place to import from.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT)], env=environment, cwd=tree, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        found = Path(self._line())
        if not found.is_relative_to(tree):
            raise SystemExit(f"{found} was imported, not the package in {tree}")
        if threads is not None:
            self.seconds("threads", threads)

    def seconds(self, name, number):
        """Seconds that so many calls took."""
        self.process.stdin.write(f"{name} {number}\n")
        self.process.stdin.flush()
        return float(self._line())

    def stop(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended with exit code {self.process.wait()}")
        return line.strip()


def compare(name, base, head, rounds):
    """A row of the table, and whether `head` loses."""
    calls = 1
    while (taken := base.seconds(name, calls)) < TURN_SECONDS / 2:
        calls = max(2 * calls, int(calls * TURN_SECONDS / 2 / taken))
    head.seconds(name, 1)
    times = ([], [])
    for turn in range(rounds):
        # Who comes first changes, or a habit of the clock would count for one of them.
        for i in (0, 1) if turn % 2 else (1, 0):
            time.sleep(SETTLE_SECONDS)
            times[i].append((base, head)[i].seconds(name, calls) / calls)
    ratio, noise = middle_and_noise([b / h for b, h in zip(*times, strict=True)])
    loss = ratio < 1 - noise
    words = "SLOWER" if loss else "faster" if ratio > 1 + noise else "same"
    cells = [f"{median(seconds) * 1e6:.4g}" for seconds in times]
    return [name, *cells, f"{ratio:.3f}x", f"± {noise:.3f}", words], loss


def middle_and_noise(ratios):
    """The median, and how far from 1 it has to be to mean something."""
    middle = median(ratios)
    spread = median(abs(ratio - middle) for ratio in ratios)
    return middle, max(LEAST_LOSS, 3 * spread / len(ratios) ** 0.5)


if __name__ == "__main__":
    sys.exit(main())
