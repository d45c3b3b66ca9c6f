"""Time whole processes: `python -m bench.processes`.

Imports: `import fastnn` against `import numba`, on which it must build. Training: 600 MNIST steps
of 784-50-10 from the start of Python to its end, fastnn with an empty and with a filled compile
cache against JAX. All training processes read the same two .npy files. The processes take turns,
and the figures are medians.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import inputs, report
from bench.cases import Goal
from bench.rivals import CONTESTANTS

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = ("pass", "import numpy", "import numba", "import fastnn")
DATA_LOADING = (
    "import time, fastnn.datasets\n"
    "started = time.perf_counter()\n"
    "fastnn.datasets.load_mnist()\n"
    "print(time.perf_counter() - started)"
)

COLD, WARM = "fastnn, cold cache", "fastnn, warm cache"
JAX, JAX_CACHED = "JAX", "JAX, its compilation cache filled"
# fastnn's share of JAX's whole process, and seconds above `import numba`: the less the better.
SHARE_GOALS = {COLD: Goal(1.2, 0.7), WARM: Goal(0.3, 0.15)}
IMPORT_GOAL = Goal(0.15, 0.05)

# Losses after 600 float32 steps differ by what rounding grew to; a wrong network differs by tenths.
LOSS_TOLERANCE = 0.01


class ProcessFailedError(Exception):
    """A process ended with an error; the message is its last line."""


def main():
    options = parse_options()
    facts = report.machine()
    print("# Whole processes\n")
    report.print_machine(facts, repetitions=options.repetitions)
    with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
        imports = {line: python_runner(["-c", line], folder) for line in IMPORTS}
        measured = {"imports": take_turns(imports, options.repetitions)}
        print_imports(measured["imports"])
        runs = training_runners(folder)
        measured["training"] = take_turns(runs, options.repetitions)
        measured["load_mnist"] = own_data_loading(folder, options.repetitions)
        print_training(measured["training"], measured["load_mnist"])
    if options.json:
        report.write_json(options.json, {"machine": facts, **measured})
    return not answers_agree(measured["training"])


def parse_options():
    parser = argparse.ArgumentParser(prog="python -m bench.processes", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="turns of each process")
    parser.add_argument("--json", metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    return options


def run_python(arguments, variables):
    """Run Python once; return (seconds from start to end, what it printed)."""
    environment = {**os.environ, **variables}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProcessFailedError(f"exit code {done.returncode}: {last_line}")
    return seconds, done.stdout


def python_runner(arguments, folder, **variables):
    """Return a function that runs Python once, with compile caches that are kept."""
    kept = {"FASTNN_CACHE_DIR": str(Path(folder) / "fastnn-cache"), **variables}
    return lambda: run_python(arguments, kept)


def cold_runner(arguments):
    """Return a function that runs Python once with a compile cache that is new each time."""

    def run():
        with tempfile.TemporaryDirectory(prefix="fastnn-cold-") as cache:
            return run_python(arguments, {"FASTNN_CACHE_DIR": cache})

    return run


def training_runners(folder):
    """Return the training processes by name, as far as their libraries are installed."""
    data = str(inputs.write("mnist", 784, folder))
    program = {name: ["-m", "bench.one_process", name, data] for name in CONTESTANTS}
    runners = {COLD: cold_runner(program["fastnn"]), WARM: python_runner(program["fastnn"], folder)}
    if CONTESTANTS["jax"].is_installed():
        runners[JAX] = python_runner(program["jax"], folder)
        runners[JAX_CACHED] = python_runner(
            program["jax"],
            folder,
            JAX_COMPILATION_CACHE_DIR=str(Path(folder) / "jax-cache"),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
            JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
        )
    else:
        print("jax is left out: it is not installed.\n")
    runners["NumPy"] = python_runner(program["numpy"], folder)
    if CONTESTANTS["pytorch"].is_installed():
        runners["PyTorch"] = python_runner(program["pytorch"], folder)
    return runners


def take_turns(runners, repetitions):
    """Run all in turns and return {name: {"seconds": [...], "output": ..., "failure": ...}}.

    The first turn is not counted: it fills the caches of the disk, of Python and of the libraries.
    """
    found = {name: {"seconds": [], "output": "", "failure": None} for name in runners}
    for turn in range(1 + repetitions):
        for name, run in runners.items():
            entry = found[name]
            if entry["failure"]:
                continue
            try:
                seconds, entry["output"] = run()
            except ProcessFailedError as failure:
                entry.update(failure=str(failure), seconds=[])
                continue
            if turn > 0:
                entry["seconds"].append(seconds)
    return found


def own_data_loading(folder, repetitions):
    """Return the seconds of fastnn's `load_mnist()`, and its failure if any."""
    run = python_runner(["-c", DATA_LOADING], folder)
    try:
        outputs = [run()[1] for _ in range(1 + repetitions)]
    except ProcessFailedError as failure:
        return {"seconds": [], "failure": str(failure)}
    return {"seconds": [float(output) for output in outputs[1:]], "failure": None}


def middle(entry):
    """Return the median of the seconds, or None."""
    return median(entry["seconds"]) if entry["seconds"] else None


def in_seconds(value):
    return "–" if value is None else f"{value:.3f}"


def spread(entry):
    seconds = entry["seconds"]
    return f"{min(seconds):.3f} – {max(seconds):.3f}" if seconds else "–"


def print_failures(found):
    for name, entry in found.items():
        if entry["failure"]:
            print(f"{name} did not run: {entry['failure']}\n")


def print_imports(found):
    """Print the seconds of each import, and fastnn's above Numba's turn by turn."""
    print("## Imports\n")
    rows = [[name, in_seconds(middle(entry)), spread(entry)] for name, entry in found.items()]
    report.print_table(["process", "seconds", "least – most"], rows)
    print_failures(found)
    pairs = zip(found["import fastnn"]["seconds"], found["import numba"]["seconds"], strict=False)
    extra = [fastnn - numba for fastnn, numba in pairs]
    if extra:
        print(
            f"`import fastnn` over `import numba`: {median(extra):+.3f} s "
            f"(at most {IMPORT_GOAL.at_least:+g} s, aim {IMPORT_GOAL.aim:+g} s): "
            f"{verdict(median(extra), IMPORT_GOAL)}\n"
        )


def print_training(found, loading):
    """Print the whole training processes with their share of JAX's, and the parts in common."""
    print("## 600 MNIST steps, 784-50-10, batch 100: the whole process\n")
    rows = [training_row(name, entry, found.get(JAX)) for name, entry in found.items()]
    header = ["process", "seconds", "least – most", "of JAX's", "at most", "aim", "verdict", "loss"]
    report.print_table(header, rows)
    print_failures(found)
    reads = [answers(entry)["read"] for entry in found.values() if entry["seconds"]]
    if reads:
        print(f"In each of them, reading the .npy files: {median(reads):.3f} s.")
    if loading["failure"]:
        print(f"fastnn's load_mnist() did not run: {loading['failure']}\n")
    else:
        print(f"In none of them, fastnn's own load_mnist(): {middle(loading):.3f} s.\n")


def training_row(name, entry, jax):
    share = None
    if jax and jax["seconds"] and entry["seconds"]:
        pairs = zip(entry["seconds"], jax["seconds"], strict=True)
        share = median(seconds / of_jax for seconds, of_jax in pairs)
    goal = SHARE_GOALS.get(name)
    return [
        name,
        in_seconds(middle(entry)),
        spread(entry),
        "–" if share is None else f"{share:.2f}",
        f"{goal.at_least:g}" if goal else "",
        f"{goal.aim:g}" if goal else "",
        verdict(share, goal) if goal else "",
        f"{answers(entry)['last']:.4f}" if entry["seconds"] else "–",
    ]


def verdict(reached, goal):
    """Say how a value of which less is better stands to its goal."""
    if reached is None:
        return "not measured"
    if reached > goal.at_least:
        return "missed"
    return "aim met" if reached <= goal.aim else "met"


def answers(entry):
    """Return what the training process printed."""
    return json.loads(entry["output"])


def answers_agree(found):
    """Compare all processes' losses with NumPy's; say who differs or failed."""
    expected = answers(found["NumPy"])
    agree = True
    for name, entry in found.items():
        if entry["failure"]:
            agree = False
        elif any(abs(answers(entry)[k] - expected[k]) > LOSS_TOLERANCE for k in ("first", "last")):
            print(f"{name} DISAGREES: losses {answers(entry)}, NumPy's are {expected}\n")
            agree = False
    return agree


if __name__ == "__main__":
    sys.exit(main())
