"""A process per contestant and thread setting, told by the parent when to run.

Own processes keep the contestants apart: thread counts that a library reads only at
its start can differ, and no library's idle threads belong to another's process.  The
parent lets one worker at a time run against the clock; each reads its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.benchmarks.cases import Case
from fastnn.benchmarks.reference import Arrays

OURS, JAX = "fastnn", "jax"
# Some thread pools spin for a while after their last task (OpenBLAS for 20 to 30 milliseconds), on
# the cores the next contestant needs.
SETTLE_SECONDS = 0.05
# A turn starts with some untimed steps, unless they take longer than this.
WARM_UP_SECONDS = 0.3
MOST_CALLS = 1_000_000

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
SERIAL_EIGEN = "--xla_cpu_multi_thread_eigen=false"

# The module of a contestant's name; must be importable by name, because it is sent to a process.
Load = Callable[[str], Any]


class ContestantFailedError(Exception):
    """A worker could not do what it was asked; the message says why."""


@dataclass(frozen=True)
class Setting:
    """A contestant and the threads it may use."""

    contestant: str
    threads: int
    xla_flags: str = ""

    @property
    def label(self) -> str:
        """The contestant with its threads, as the tables name it."""
        note = ", serial matrix products" if self.xla_flags else ""
        return f"{self.contestant} ({self.threads} thr{note})"

    def environment(self) -> dict[str, str]:
        """Variables that must be set before the contestant's libraries start."""
        if self.contestant == OURS:
            return {}
        if self.contestant == JAX:
            # The size of XLA's thread pool; `xla_cpu_multi_thread_eigen` alone does not bound it.
            return {"PJRT_NPROC": str(self.threads), "XLA_FLAGS": self.xla_flags}
        return dict.fromkeys(BLAS_VARIABLES, str(self.threads))


def settings_of(contestant: str, threads: int, best_threads: bool) -> list[Setting]:
    """The settings to time: the one asked for, and one thread; for JAX all that may be its best."""
    plain, single = Setting(contestant, threads), Setting(contestant, 1)
    if threads == 1 or (contestant != OURS and not best_threads):
        return [plain]
    settings = [plain, single]
    if contestant == JAX:
        # Operations side by side, each product on one thread: JAX's best for small networks.
        settings.append(Setting(contestant, threads, SERIAL_EIGEN))
    return settings


@contextmanager
def variables_set(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the children started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Worker:
    """The parent's handle on a process that holds one contestant."""

    def __init__(self, setting: Setting, load: Load):
        self.setting, self.load = setting, load
        self.connection: Any = None
        self.process: Any = None

    def send(self, question: str, *arguments: Any) -> None:
        """Ask for something, in a new process if there is none or the last one has died."""
        if self.process is None or not self.process.is_alive():
            self._start()
        with suppress(OSError):  # it has died since; there will be no answer
            self.connection.send((question, arguments))

    def receive(self) -> Any:
        """Wait for the answer to what was asked last."""
        try:
            outcome, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(timeout=10)
            code = self.process.exitcode
            raise ContestantFailedError(f"its process ended with exit code {code}") from None
        if outcome == "failed":
            raise ContestantFailedError(answer)
        return answer

    def ask(self, question: str, *arguments: Any) -> Any:
        """Send and receive."""
        self.send(question, *arguments)
        return self.receive()

    def stop(self) -> None:
        """End the process, at once if it is busy."""
        if self.process is None:
            return
        self.connection.close()  # an idle worker reads the end of it and leaves
        self.process.join(timeout=2)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child = context.Pipe()
        arguments = (child, self.setting, self.load)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        with variables_set(self.setting.environment()):
            self.process.start()
        child.close()


@contextmanager
def crew(settings: Iterable[Setting], load: Load) -> Iterator[list[Worker]]:
    """Workers for the settings, stopped at the end of the block."""
    workers = [Worker(setting, load) for setting in settings]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()


# In the worker's process --------------------------------------------------------------


def serve(connection: Any, setting: Setting, load: Load) -> None:
    """Answer the parent's questions until it hangs up: the life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    desk = Desk(setting, load)
    while True:
        try:
            question, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("done", getattr(desk, question)(*arguments)))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))


class Desk:
    """What a worker process knows: its contestant and the case at hand."""

    def __init__(self, setting: Setting, load: Load):
        self.setting, self.load = setting, load
        self.run: Any = None

    def prepare(self, case: Case, folder: str) -> Arrays | bool:
        """Answers after the case's first steps; True if not to be compared, False if unable."""
        module = self.load(self.setting.contestant)
        if hasattr(module, "threads"):
            module.threads(self.setting.threads)
        self.case, self.run = case, None  # the last case's arrays go before the next one's come
        make = getattr(module, case.kind, None)
        self.run = make(case, read(folder)) if make else None
        if self.run is None:
            return False
        answers = self.run(case.check_steps)
        return True if case.kind in getattr(module, "NOT_COMPARED", ()) else answers

    def seconds_per_step(self) -> float:
        """About how long a step takes, from the case's first steps."""
        steps = self.case.check_steps
        self.first_steps = self.time(steps, warm_up=False)
        if self.first_steps * steps < WARM_UP_SECONDS:  # threads of the last one may have spun
            self.first_steps = min(self.first_steps, self.time(steps, warm_up=False))
        return self.first_steps

    def calibrate(self, seconds: float) -> int:
        """How many calls take about that long."""
        calls = 1
        while True:
            # The better of two: a thread that is slow to wake up once is not what calls take.
            taken = calls * min(self.time(calls, warm_up=False) for _ in range(2))
            if taken > seconds / 4:
                return max(1, round(calls * seconds / taken))
            if calls >= MOST_CALLS:
                return calls
            # Few tries, because JAX may compile anew for each number of calls.
            grown = max(2 * calls, round(calls * seconds / max(taken, 1e-6)))
            calls = min(10 * calls, grown, MOST_CALLS)

    def time(self, steps: int, warm_up: bool = True) -> float:
        """Seconds of a step: the mean of so many, made after some untimed ones."""
        if warm_up and self.first_steps * self.case.check_steps < WARM_UP_SECONDS:
            self.run(self.case.check_steps)
        started = time.perf_counter()
        self.run(steps)
        return (time.perf_counter() - started) / steps


# The arrays, made once for all processes ----------------------------------------------


def write(given: Arrays, folder: Path) -> None:
    """Save each array under its name."""
    for name, array in given.items():
        np.save(folder / f"{name}.npy", array)


def read(folder: str) -> Arrays:
    """What `write` saved, in memory of this process's own."""
    return {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
