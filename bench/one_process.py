"""A whole training in one process, timed and weighed by `processes`.

Reads the arrays that `inputs.write` saved, trains 784-50-10 for an epoch of MNIST, and prints
as JSON the losses' ends, the seconds spent reading the files, which are the same for everyone,
and the most memory that the process ever held.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench.cases import Case
from bench.contestants import load, run_of
from bench.inputs import read

CASE = Case("an epoch of MNIST", "training", "whole processes", (784, 50, 10), 100, 600)
LAST = 50


def main() -> None:
    """Train the contestant of the first argument with the arrays in the folder of the second."""
    name, folder = sys.argv[1:3]
    started = time.perf_counter()
    given = read(folder)
    seconds = time.perf_counter() - started
    run = run_of(load(name), CASE, given)
    assert run is not None, f"{name} cannot do this"
    answers = run(CASE.steps)
    losses = answers.get("losses")  # scikit-learn tells none
    ends = {} if losses is None else {
        "first": float(losses[0]), "last": float(losses[-LAST:].mean()),
    }  # fmt: skip
    print(json.dumps({**ends, "read": seconds, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """The most memory that this process has held.

    Linux hands ``ru_maxrss`` of the parent down to a child, so its own mark is read where it is.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        mark = next(line for line in lines if line.startswith("VmHWM:"))
        return 1024 * int(mark.split()[1])
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
