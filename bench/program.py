"""``python -m bench``: its options, what they mean, what it prints, and its exit code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from bench import (
    cases,
    clock,
    contestants,
    ending,
    machine,
    pictures,
    ratios,
    report,
    stored,
    tables,
)
from bench.cases import Case
from bench.contestants import OURS
from bench.workers import Load
from fastnn import command
from fastnn.plots.figures import no_pictures

SHORT_ROUNDS, FULL_ROUNDS = 3, 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; those of the process are its arguments if none are given."""
    return ending.run("bench", lambda: _run(arguments), is_program=arguments is None)


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = command.Parser(
        prog="python -m bench",
        description="Time fastnn next to what is installed of NumPy, SciPy, JAX, PyTorch and "
        "scikit-learn, after comparing their answers, and print how many times as long as "
        "fastnn each takes: a few cases in about a minute, or all with --full.",
        epilog="The exit code is 1 if a contestant's answers are wrong, 2 for wrong options.",
    )
    parser.add_argument("--full", action="store_true", help="all cases, more rounds, whole jobs")
    parser.add_argument(
        "--cases", nargs="+", metavar="PATTERN", help="names or groups, like 'kernels*' or '*512*'"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="turns of each contestant; else 3, or 5 with --full"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of fastnn; rivals may be faster with one; all "
        "cores if not given",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="save everything measured")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the ratios of the cases 'steps over *'"
    )
    parser.set_defaults(run=_time)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    stored_results = commands.add_parser("report", help="tables, goals or curves of stored results")
    report.add_options(stored_results)
    stored_results.set_defaults(run=report.run)
    return parser


def _time(options: argparse.Namespace) -> int:
    return run(
        full=options.full,
        patterns=options.cases,
        rounds=options.rounds,
        threads=options.threads,
        json=options.json,
        plot=options.plot,
    )


def run(
    *,
    full: bool,
    patterns: Sequence[str] | None,
    rounds: int | None,
    threads: int | None,
    json: str | None,
    plot: str | None,
    table: Sequence[Case] | None = None,
    load: Load = contestants.load,
) -> int:
    """Measure and print; the exit code is 1 if a contestant disagrees or fails.

    Parameters
    ----------
    full, patterns, rounds, threads, json, plot
        The options of the command line, None where not given.
    table : sequence of Case, optional
        Instead of the cases that the options choose.
    load : callable
        A contestant's module by its name.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If an option makes no sense.
    """
    chosen = list(table) if table is not None else choose(full, patterns)
    rounds = _at_least_one("--rounds", rounds, FULL_ROUNDS if full else SHORT_ROUNDS)
    cores = machine.available_cores()
    threads = min(_at_least_one("--threads", threads, cores), cores)
    _check_files(json, plot, chosen)
    names = installed(chosen)
    command.say("# fastnn and what a user could pick instead\n")
    lack = no_pictures() if plot is not None else None
    if lack is not None:
        command.say(": ".join(lack) + "\n")
    results = _measured(chosen, names, rounds, threads, full, json, load)
    command.say(tables.text(results))
    error = _write(results, json, plot if lack is None else None)
    if error is not None:
        raise error
    if lack is not None:
        command.say(lack[0])
    return int(any(not e["agrees"] for case in results["cases"] for e in case["contestants"]))


def _measured(
    chosen: Sequence[Case],
    names: Sequence[str],
    rounds: int,
    threads: int,
    full: bool,
    json: str | None,
    load: Load,
) -> dict[str, Any]:
    """Everything that the tables need, saved after every case, as a full run takes half an hour."""
    results: dict[str, Any] = {
        "machine": facts_for(chosen, threads), "threads": threads, "best_threads": True,
        "rounds": rounds, "full": full, "cases": [],
    }  # fmt: skip
    for found in _with_a_bar(chosen, rounds, threads, names, full, load):
        results["cases"].append(found | {"ratios": ratios.ratios_of(found, threads)})
        _write(results, json, None)
    results["machine"]["load_average_at_end"] = machine.load_average()
    return results


def facts_for(chosen: Sequence[Case], threads: int) -> dict[str, Any]:
    """The machine; its speed only where a kernel is compared with that."""
    facts = machine.describe()
    if any(ratios.has_limit(case.group) for case in chosen):
        facts["speed"] = machine.speed(threads)
    return facts


def choose(full: bool, patterns: Sequence[str] | None) -> list[Case]:
    """The cases that match, or all of them, or the quick ones."""
    if not patterns:
        return [case for case in cases.CASES if full or case.quick]
    return cases.chosen(patterns)


def installed(chosen: Sequence[Case]) -> list[str]:
    """Names of fastnn and of the rivals that can be had; the others are named as left out."""
    asked = {OURS}.union(*(case.contestants for case in chosen))
    names = [name for name in contestants.CONTESTANTS if name in asked]
    for name in names:
        if not contestants.is_installed(name):
            library = contestants.CONTESTANTS[name].library
            command.say(f"{name} is left out: {library} is not installed.\n")
    return [name for name in names if contestants.is_installed(name)]


def _at_least_one(option: str, value: int | None, default: int) -> int:
    if value is not None and value < 1:
        raise ValueError(f"{option} must be at least 1, not {value}")
    return default if value is None else value


def _check_files(json: str | None, plot: str | None, chosen: Sequence[Case]) -> None:
    """Fail before minutes of work rather than after."""
    if plot is not None:
        pictures.check({case.group for case in chosen}, plot)
    if json is not None:
        stored.check_json(json)
    if json is not None and plot is not None:
        stored.check_apart(json, plot)


def _write(
    results: dict[str, Any], json: str | None, plot: str | None
) -> command.NotWrittenError | None:
    """Write what is wanted; what could not be written is to be said when all is done."""
    writers: dict[str, Any] = {}
    if json is not None:
        writers[json] = lambda: stored.write_json(json, results)
    if plot is not None:
        writers[plot] = lambda: pictures.draw(results, plot)
    return command.write_each(writers)[1]


def _with_a_bar(
    chosen: Sequence[Case], rounds: int, threads: int, names: Sequence[str], full: bool, load: Load
) -> Iterator[dict[str, Any]]:
    """`clock.measure` with a progress bar on a terminal."""
    from tqdm import tqdm

    class Bar(tqdm):
        """Without tqdm's own thread, to which held back signals would go."""

        monitor_interval = 0

    with Bar(total=len(chosen) * (rounds + 1), disable=None, leave=False, unit="turn") as bar:

        def progress(case: str) -> None:
            bar.set_description(case, refresh=False)
            bar.update()

        yield from clock.measure(
            chosen, rounds, threads, True, names, progress, full=full, load=load
        )
