"""``fastnn bench``: what its options mean, what it prints, and its exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastnn import command
from fastnn.benchmarks import cases, clock, contestants, machine, report
from fastnn.benchmarks.cases import Case
from fastnn.benchmarks.ending import unwound_by_signals
from fastnn.benchmarks.workers import OURS, Load
from fastnn.plots.figures import no_pictures

SHORT_ROUNDS, FULL_ROUNDS = 3, 5


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
    results: dict[str, Any] = {
        "machine": facts_for(chosen, threads), "threads": threads, "best_threads": True,
        "rounds": rounds, "full": full, "cases": [],
    }  # fmt: skip
    with unwound_by_signals():
        for found in _with_a_bar(chosen, rounds, threads, names, full, load):
            results["cases"].append(found | {"ratios": report.ratios_of(found, threads)})
            _write(results, json, None)  # as a full run takes half an hour
    results["machine"]["load_average_at_end"] = machine.load_average()
    command.say(report.text(results))
    error = _write(results, json, plot if lack is None else None)
    if error is not None:
        raise error
    if lack is not None:
        command.say(lack[0])
    return int(any(not e["agrees"] for case in results["cases"] for e in case["contestants"]))


def facts_for(chosen: Sequence[Case], threads: int) -> dict[str, Any]:
    """The machine; its speed only where a kernel is compared with that."""
    facts = machine.describe()
    if any(report.has_limit(case.group) for case in chosen):
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
        from fastnn.benchmarks import pictures

        pictures.check({case.group for case in chosen}, plot)
    if json is not None:
        report.check_json(json)
    if json is not None and plot is not None:
        report.check_apart(json, plot)


def _write(
    results: dict[str, Any], json: str | None, plot: str | None
) -> command.NotWrittenError | None:
    """Write what is wanted; what could not be written is to be said when all is done."""
    writers: dict[str, Any] = {}
    if json is not None:
        writers[json] = lambda: report.write_json(json, results)
    if plot is not None:
        from fastnn.benchmarks import pictures

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
