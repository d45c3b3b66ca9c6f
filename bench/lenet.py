"""Whole trainings of LeNet on MNIST: `python -m bench.lenet [--epochs N] [--rounds N]`.

60,000 images in batches of 128, Adam, the same first weights and the same batches for all, and then
the accuracy of the 10,000 test images, on all cores; fastnn's also on one.  Seconds are of both,
after some steps of which everything is compiled.  Each turn has a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import contestants, ending, inputs, machine
from bench.cases import Case
from bench.contestants import OURS
from bench.networks import LENET
from bench.ratios import NOTHING
from bench.tables import table, times
from bench.workers import ContestantFailedError, Load, Setting, crew, settings_of
from fastnn.command import Parser, say

BATCH, ROWS, EPOCHS = 128, 60_000, 10
RIVALS = ("pytorch", "pytorch channels last", "jax")
JOB = Case("LeNet", "image_job", "convolution", (784, 10), BATCH, rows=ROWS, optimizer="adam",
           lr=0.001, network=LENET)  # fmt: skip
# Seconds and accuracies of the turns of a contestant.
Turns = list[tuple[float, float]]


def main() -> int:
    """Run the command."""
    parser = Parser(prog="python -m bench.lenet", description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="of the training")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="turns of each")
    parser.add_argument("--numpy", action="store_true", help="NumPy, too, which takes minutes")
    return ending.run("lenet", lambda: _run(parser.parse_args()), is_program=True)


def _run(options: argparse.Namespace) -> int:
    for name in ("epochs", "rounds"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(options, name)}")
    names = [OURS, *RIVALS, *(["numpy"] if options.numpy else [])]
    names = [name for name in names if contestants.is_installed(name)]
    case = replace(JOB, steps=options.epochs * ROWS // BATCH)
    say(f"{machine.in_one_line(machine.describe())}; {case.steps:,} steps\n")
    say(text(measured(case, names, options.rounds, machine.available_cores())))
    return 0


def measured(
    case: Case, names: Iterable[str], rounds: int, threads: int, load: Load = contestants.load
) -> dict[Setting, Turns]:
    """All turns, by the settings of contestants that did not fail."""
    found: dict[Setting, Turns] = {
        setting: [] for name in names for setting in settings_of(name, threads, False)
    }
    with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
        inputs.write(inputs.given(case), Path(folder))
        for _ in range(rounds):
            for setting in list(found):
                try:
                    found[setting].append(_turn(case, setting, folder, load))
                except ContestantFailedError as failure:
                    say(f"{setting.label} failed: {failure}\n")
                    del found[setting]
    return found


def _turn(case: Case, setting: Setting, folder: str, load: Load) -> tuple[float, float]:
    """Seconds and accuracy, in a process that ends."""
    with crew([setting], load) as (worker,):
        worker.send("prepare", case, folder)
        worker.receive()
        worker.send("answers_and_seconds", case.steps)
        answers, seconds = worker.receive()
    return seconds, float(answers["accuracy"][0])


def text(found: dict[Setting, Turns]) -> str:
    """The table: medians, and how many times as long as fastnn on all cores each takes."""
    ours = next((turns for setting, turns in found.items() if setting.contestant == OURS), None)
    rows = []
    for setting, turns in found.items():
        seconds, accuracy = (median(column) for column in zip(*turns, strict=True))
        ratios = [a / b for (a, _), (b, _) in zip(turns, ours or (), strict=False)]
        ratio = times(median(ratios)) if ratios else NOTHING
        rows.append([setting.label, f"{seconds:.2f}", ratio, f"{accuracy:.4f}"])
    return table(["training", "seconds", "of fastnn's", "test accuracy"], rows)


if __name__ == "__main__":
    raise SystemExit(main())
