"""Answers are compared, then the contestants take turns: A B C A B C ...

A slow minute of the machine so meets them all, and a ratio is the median over the
rounds of (the rival's time / fastnn's time in the same round).  A contestant that
fails or disagrees is not timed and stops nobody else.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import inputs, reference
from bench.cases import Case
from bench.contestants import JAX, OURS
from bench.contestants import load as load_contestant
from bench.reference import Arrays
from bench.workers import (
    SETTLE_SECONDS,
    ContestantFailedError,
    Load,
    Worker,
    crew,
    settings_of,
)

# Seconds of a turn, short and full: of calls, and the most of a rival's steps of training.
CALL_SECONDS = {False: 0.02, True: 0.05}
STEP_SECONDS = {False: 0.1, True: 0.3}
# First steps that said too much of the others leave a turn this much shorter at the most.
SHORTENED = 4
# A rival's setting that takes this many times as long as its best is not timed again.
HOPELESS = 1.5
# In short runs one whose first steps take this many times as long is not timed at all.
LOOKS_HOPELESS = 2.5
# Infinity is no JSON.
LARGEST_DISTANCE = 1e300

Progress = Callable[[str], Any]
Result = dict[str, Any]
Timed = list[tuple[Worker, dict[str, Any]]]


def measure(
    cases: Iterable[Case],
    rounds: int,
    threads: int,
    best_threads: bool,
    contestants: Iterable[str],
    progress: Progress = lambda case: None,
    *,
    full: bool = False,
    load: Load = load_contestant,
) -> Iterator[Result]:
    """Time fastnn and its rivals on every case, one result after the other.

    Parameters
    ----------
    cases : iterable of Case
    rounds : int
        Turns of each contestant.
    threads : int
        Threads of all contestants alike; fastnn is also timed with one.
    best_threads : bool
        Whether rivals are, too.
    contestants : iterable of str
        Names of those whose libraries are installed, fastnn's among them.
    progress : callable
        Called with the case's name ``rounds + 1`` times per case.
    full : bool, default False
        Longer turns.
    load : callable
        A contestant's module by its name.

    Yields
    ------
    dict
        What is known of a case; see `result_of`.
    """
    cases = list(cases)
    asked = {OURS}.union(*(case.contestants for case in cases))
    settings = [setting for name in contestants if name in asked
                for setting in settings_of(name, threads, best_threads)]  # fmt: skip
    with crew(settings, load) as workers:
        for case in cases:
            yield _measure_case(case, workers, rounds, progress, full)


def _measure_case(
    case: Case, workers: Sequence[Worker], rounds: int, progress: Progress, full: bool
) -> Result:
    able = [w for w in workers if w.setting.contestant in (OURS, *case.contestants)]
    given = inputs.given(case)
    with tempfile.TemporaryDirectory(prefix="fastnn-bench-") as folder:
        inputs.write(given, Path(folder))
        entries = _prepare(case, able, folder, given)
    result = result_of(case, entries.values())
    timed = [(w, e) for w, e in entries.items() if e["agrees"]]
    timed = _choose_steps(case, timed, full)
    progress(case.name)
    for _ in range(rounds):
        for worker, entry in timed:
            if not entry["failure"] and not _is_hopeless(entry, result):
                _try(worker, entry, "time", entry["steps"])
        progress(case.name)
    return result


def result_of(case: Case, entries: Iterable[dict[str, Any]]) -> Result:
    """What the results say of a case: its numbers, and an entry per contestant and setting.

    An entry has the ``contestant``, ``threads`` and ``label`` of its setting; whether it
    ``agrees``, and the ``distances`` of its answers in tolerances (none if the contestant
    cannot be compared); the ``failure`` in words, or None; the ``steps`` of a turn, and
    the ``seconds`` per step in every round.
    """
    return {
        "case": case.name,
        "kind": case.kind,
        "group": case.group,
        "sizes": list(case.sizes),
        "batch": case.batch,
        "rows": case.rows,
        "steps": case.steps,
        "dtype": case.dtype,
        "flops": case.flops,
        "bytes": case.bytes,
        "array_bytes": case.array_bytes,
        "goals": {name: [goal.at_least, goal.aim] for name, goal in case.goals.items()},
        "contestants": list(entries),
    }


def _prepare(
    case: Case, workers: Sequence[Worker], folder: str, given: Arrays
) -> dict[Worker, dict[str, Any]]:
    """An entry for each worker that can do the case, with the distances of its first answers."""
    for worker in workers:  # all at once: nothing is timed yet
        worker.send("prepare", case, folder)
    expected = getattr(reference, case.kind)(case, given)(case.check_steps)
    entries = {}
    for worker in workers:
        entry = _new_entry(worker)
        try:
            answers = worker.receive()
        except ContestantFailedError as failure:
            entry.update(agrees=False, failure=str(failure))
            answers = True
        if answers is False:
            continue
        if answers is not True:
            entry["distances"] = _distances(case, answers, expected, given)
            entry["agrees"] = max(entry["distances"].values()) <= 1
        entries[worker] = entry
    return entries


def _new_entry(worker: Worker) -> dict[str, Any]:
    setting = worker.setting
    return {
        "contestant": setting.contestant,
        "threads": setting.threads,
        "label": setting.label,
        "agrees": True,
        "distances": {},
        "failure": None,
        "steps": 0,
        "seconds": [],
    }


def _distances(case: Case, answers: Arrays, expected: Arrays, given: Arrays) -> dict[str, float]:
    found = reference.differs(case, answers, expected, given)
    return {name: min(distance, LARGEST_DISTANCE) for name, distance in found.items()}


def _choose_steps(case: Case, timed: Timed, full: bool) -> Timed:
    """Set the steps of everybody's turns; who is still to be timed."""
    guesses = {worker: _ask(worker, entry, "seconds_per_step") for worker, entry in timed}
    if not full:
        for worker, entry in timed:  # the machine may have been busy for a moment
            if _looks_hopeless(worker, guesses):
                guesses[worker] = _ask(worker, entry, "seconds_per_step")
        timed = [(w, e) for w, e in timed if not _looks_hopeless(w, guesses)]
    for worker, entry in timed:
        if case.steps:
            entry["steps"] = _steps(case, worker, guesses[worker], full)
        else:
            entry["steps"] = _ask(worker, entry, "calibrate", CALL_SECONDS[full]) or 0
    for worker, entry in timed:
        if case.steps and entry["contestant"] == JAX:
            _compile(case, worker, entry, full)
    return timed


def _compile(case: Case, worker: Worker, entry: dict[str, Any], full: bool) -> None:
    """Let JAX compile, which it does anew for each number of steps.

    Its first steps are mostly the call, and may say little of the others: a turn that is
    far too short is set again by a turn.
    """
    _ask(worker, entry, "time", entry["steps"])
    steps = _steps(case, worker, _ask(worker, entry, "time", entry["steps"]), full)
    if steps > SHORTENED * entry["steps"]:
        entry["steps"] = steps
        _ask(worker, entry, "time", steps)


def _looks_hopeless(worker: Worker, guesses: dict[Worker, float | None]) -> bool:
    """Whether a rival's first steps say that another of its settings is far better."""
    own, name = guesses[worker], worker.setting.contestant
    others = [guess for w, guess in guesses.items() if guess and w.setting.contestant == name]
    return name != OURS and own is not None and own > LOOKS_HOPELESS * min(others, default=own)


def _steps(case: Case, worker: Worker, seconds: float | None, full: bool) -> int:
    """Steps of a worker's turn, if one takes about so many seconds.

    A rival makes as many as fit into STEP_SECONDS, and fastnn makes them all: the rivals' steps
    take the same time each, but `fit` first checks and compresses its data, once a call, which a
    shorter turn would overstate.
    """
    if worker.setting.contestant == OURS or case.has_evaluations or not seconds:
        return case.steps
    return max(case.check_steps, min(case.steps, int(STEP_SECONDS[full] / seconds)))


def _is_hopeless(entry: dict[str, Any], result: Result) -> bool:
    """Whether another setting of the same rival is clearly faster."""
    if entry["contestant"] == OURS or not entry["seconds"]:
        return False
    siblings = [min(e["seconds"]) for e in result["contestants"]
                if e["contestant"] == entry["contestant"] and e["seconds"]]  # fmt: skip
    return min(entry["seconds"]) > HOPELESS * min(siblings)


def _try(worker: Worker, entry: dict[str, Any], question: str, *arguments: Any) -> None:
    """Add a round's time."""
    time.sleep(SETTLE_SECONDS)
    seconds = _ask(worker, entry, question, *arguments)
    if seconds is not None:
        entry["seconds"].append(seconds)


def _ask(worker: Worker, entry: dict[str, Any], question: str, *arguments: Any) -> Any:
    if entry["failure"]:
        return None
    worker.send(question, *arguments)
    return _receive(worker, entry)


def _receive(worker: Worker, entry: dict[str, Any]) -> Any:
    """The answer, or None from a contestant that failed, which loses all its times."""
    try:
        return worker.receive()
    except ContestantFailedError as failure:
        entry.update(agrees=False, failure=str(failure), seconds=[])
        return None
