"""Is a commit slower than another? `python -m bench.regressions BASE [HEAD]`.

Both commits are exported to temporary folders, and a fixed list of fastnn's own calls is timed on
either, in turns, each in its own process. A ratio above 1 says that HEAD is faster. A case is lost
if the median of its rounds is below 1 by more than 5 % and a sign test says that HEAD is behind by
that much in more rounds than chance gives. What looks lost is timed once more with twice the
rounds, in new processes, and must be lost again: then the exit code is 1. With `--threads` the
tree at hand is compared with itself: all threads must not be slower than one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from math import comb
from pathlib import Path
from statistics import median, quantiles

from bench import ending
from bench.machine import available_cores
from bench.tables import table
from bench.timed import CASES
from bench.workers import SETTLE_SECONDS
from fastnn.command import say

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).with_name("timed.py")
ROUNDS = 15
# Fewer rounds than this cannot tell a loss from chance, even if all of them are lost.
LEAST_ROUNDS = 7
TURN_SECONDS = 0.1
# Losses up to this are never told from noise: the layout of code and memory moves as much.
LEAST_LOSS = 0.05
# How often a case without a loss may look like one the first time.
CHANCE = 0.01


def main(arguments=None):
    options = parse_options(arguments)
    return ending.run("regressions", lambda: run(options), is_program=arguments is None)


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="python -m bench.regressions", description=__doc__)
    parser.add_argument("commits", nargs="*", metavar="COMMIT", help="BASE, and HEAD if not given")
    parser.add_argument("--threads", action="store_true", help="all threads against one instead")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    options = parser.parse_args(arguments)
    if options.threads == bool(options.commits) or len(options.commits) > 2:
        parser.error("give a commit, or two, or --threads")
    if options.rounds < LEAST_ROUNDS:
        parser.error(
            f"--rounds must be at least {LEAST_ROUNDS}, or chance cannot be told from loss"
        )
    if len(options.commits) == 1:
        options.commits.append("HEAD")
    return options


def run(options):
    """Time, print, and return the exit code."""
    names = chosen(options.cases)
    with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
        sides = sides_of(options, Path(folder))
        rows = timed(names, sides, options.rounds)
        suspects = [name for name in names if is_lost(rows[name])]
        again = timed(suspects, sides, 2 * options.rounds)
    lost = [name for name in suspects if is_lost(again[name])]
    titles = ("1 thread", "all threads") if options.threads else options.commits
    header = ["case", *(f"{title[:20]} µs" for title in titles), "ratio", "middle half", "verdict"]
    lines = [words(name, rows[name], "") for name in names]
    lines += [words(f"{name}, again", again[name], "SLOWER" if name in lost else "same")
              for name in suspects]  # fmt: skip
    say(table(header, lines))
    return 1 if lost else 0


def chosen(patterns):
    """Names of the cases that match; an error if a pattern matches none."""
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in CASES):
            raise ValueError(f"no case is named {pattern}; there are {'; '.join(CASES)}")
    return [name for name in CASES if any(fnmatch(name, pattern) for pattern in patterns)]


def sides_of(options, folder):
    """What `Side` needs for each of the two."""
    if options.threads:
        return [(ROOT, folder / "cache", n) for n in (1, available_cores())]
    trees = [export(commit, folder / f"tree{i}") for i, commit in enumerate(options.commits)]
    return [(tree, folder / f"cache{i}", None) for i, tree in enumerate(trees)]


# What is told from the times ----------------------------------------------------------


def ratios(times):
    """How many times as fast the second side was, a round each."""
    return [base / head for base, head in zip(*times, strict=True)]


def is_lost(times):
    """Whether the second side is slower by more than noise and chance explain.

    A round says "slower" or "not slower", each with one half, if nothing was lost beyond
    LEAST_LOSS; so many of the first kind are to be rarer than CHANCE. One bad minute of the
    machine is a few rounds, however bad.
    """
    found = ratios(times)
    behind = sum(ratio < 1 - LEAST_LOSS for ratio in found)
    tosses = len(found)
    likely = sum(comb(tosses, n) for n in range(behind, tosses + 1)) / 2**tosses
    return median(found) < 1 - LEAST_LOSS and likely < CHANCE


def words(name, times, verdict):
    """A row of the table."""
    found = ratios(times)
    low, _, high = quantiles(found, n=4)
    verdict = verdict or ("slower?" if is_lost(times) else
                          "faster" if is_lost(times[::-1]) else "same")  # fmt: skip
    cells = [f"{median(seconds) * 1e6:.4g}" for seconds in times]
    return [name, *cells, f"{median(found):.3f}x", f"{low:.3f} – {high:.3f}", verdict]


# Processes ----------------------------------------------------------------------------


def export(commit, folder):
    """The package of a commit in a folder of its own."""
    folder.mkdir()
    archive = folder / "package.tar"
    command = ["git", "archive", "-o", str(archive), commit, "fastnn"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{commit}: {done.stderr.strip().splitlines()[0]}")
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder


class Side:
    """A process that runs `timed.py` on a tree."""

    def __init__(self, tree, cache, threads=None):
        environment = {**os.environ, "PYTHONPATH": str(tree), "FASTNN_CACHE_DIR": str(cache)}
        # -P: the script's folder is no place to import from.
        with ending.signals_held_back():
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT)], env=environment, cwd=tree, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        found = Path(self._line())
        if not found.is_relative_to(tree):
            raise ValueError(f"{found} was imported, not the package in {tree}")
        if threads is not None:
            self.seconds("threads", threads)

    def seconds(self, name, number):
        """Seconds that so many calls took."""
        with suppress(OSError):  # it has ended; there will be no answer
            self.process.stdin.write(f"{name} {number}\n")
            self.process.stdin.flush()
        return float(self._line())

    def stop(self):
        """End the process, at once: it holds nothing that anybody waits for."""
        self.process.kill()
        self.process.communicate()

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"a process ended with exit code {self.process.wait()}")
        return line.strip()


@contextmanager
def processes(sides):
    """A running `Side` for each."""
    with ExitStack() as stack:
        running = []
        for side in sides:
            running.append(Side(*side))
            stack.callback(running[-1].stop)
        yield running


def timed(names, sides, rounds):
    """Seconds of a call in each round, of both sides, for each case."""
    if not names:
        return {}
    with processes(sides) as (base, head):
        return {name: take_turns(name, base, head, rounds) for name in names}


def take_turns(name, base, head, rounds):
    """Seconds of a call in each round: those of `base`, those of `head`."""
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
    return times


if __name__ == "__main__":
    sys.exit(main())
