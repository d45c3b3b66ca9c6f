"""A worker per contestant and thread setting, told by the parent when to run.

Own processes keep the contestants apart: thread counts that a library reads only at
its start can differ, and no library's idle threads belong to another's process.  Only
the workers of a library that changes its threads at any time share one process.  The
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
from multiprocessing import resource_tracker
from typing import Any

from bench.cases import Case
from bench.contestants import JAX, OURS, run_of
from bench.ending import signals_held_back
from bench.inputs import read
from bench.reference import Arrays

# Some thread pools, as OpenBLAS's, spin for a while after their last task, on the cores the next
# contestant needs.
SETTLE_SECONDS = 0.05
# A turn starts with some untimed steps, unless they take longer than this.
WARM_UP_SECONDS = 0.3
MOST_CALLS = 1_000_000

# Set from inside, by the `threads` of their modules.
SET_FROM_INSIDE = (OURS, "pytorch", "pytorch channels last")
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
        if self.contestant in SET_FROM_INSIDE:
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


class Host:
    """The parent's handle on a process, in which contestants of one environment work."""

    def __init__(self, environment: dict[str, str], load: Load):
        self.environment, self.load = environment, load
        self.connection: Any = None
        self.process: Any = None

    def send(self, message: Any) -> None:
        """Ask for something, in a new process if there is none or the last one has died."""
        if self.process is None or not self.process.is_alive():
            self._start()
        with suppress(OSError):  # it has died since; there will be no answer
            self.connection.send(message)

    def receive(self) -> Any:
        """Wait for the answer to the oldest question that has none yet."""
        try:
            outcome, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(timeout=10)
            code = self.process.exitcode
            raise ContestantFailedError(f"its process ended with exit code {code}") from None
        if outcome == "failed":
            raise ContestantFailedError(answer)
        return answer

    def end(self) -> None:
        """End the process, at once: it holds nothing that anybody waits for."""
        if self.process is not None:
            self.connection.close()
            self.process.kill()
            self.process.join()

    def _start(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # Windows has neither masks nor a tracker
            resource_tracker.ensure_running()  # or `start` does so, and lets signals through again
        context = multiprocessing.get_context("spawn")
        connection, child = context.Pipe()
        process = context.Process(target=serve, args=(child, self.load), daemon=True)
        with variables_set(self.environment), signals_held_back():
            process.start()
            self.connection, self.process = connection, process
        child.close()


class Worker:
    """A contestant with its threads, in a host's process."""

    def __init__(self, setting: Setting, host: Host):
        self.setting, self.host = setting, host

    def send(self, question: str, *arguments: Any) -> None:
        """Ask for something."""
        self.host.send((self.setting, question, arguments))

    def receive(self) -> Any:
        """Wait for the answer; those of one host answer in the order they were asked in."""
        return self.host.receive()


@contextmanager
def crew(settings: Iterable[Setting], load: Load) -> Iterator[list[Worker]]:
    """Workers for the settings, whose processes end with the block."""
    hosts: dict[Any, Host] = {}
    workers = []
    for setting in settings:
        environment = setting.environment()
        key = (setting.contestant, *environment.items())
        workers.append(Worker(setting, hosts.setdefault(key, Host(environment, load))))
    try:
        yield workers
    finally:
        for host in hosts.values():
            host.end()


# In the worker's process --------------------------------------------------------------


def serve(connection: Any, load: Load) -> None:
    """Answer the parent's questions until it is gone: the life of a worker process."""
    desks: dict[Setting, Desk] = {}
    with suppress(EOFError, OSError):  # nobody asks any more, or reads the answer
        while True:
            setting, question, arguments = connection.recv()
            desk = desks.setdefault(setting, Desk(setting, load))
            connection.send(answer(desk, question, arguments))


def answer(desk: Desk, question: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """What became of a question: "done" and the answer, or "failed" and the reason."""
    if desk.case is None and question != "prepare":  # another desk's work has ended the process
        return "failed", "its process ended earlier"
    try:
        desk.use_own_threads()
        return "done", getattr(desk, question)(*arguments)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


class Desk:
    """What a worker process knows: its contestant and the case at hand."""

    def __init__(self, setting: Setting, load: Load):
        self.setting, self.load = setting, load
        self.case: Any = None
        self.run: Any = None

    def use_own_threads(self) -> None:
        """Take the number of threads back that another desk of the process may have changed."""
        module = self.load(self.setting.contestant)
        if hasattr(module, "threads"):
            module.threads(self.setting.threads)

    def prepare(self, case: Case, folder: str) -> Arrays | bool:
        """Answers after the case's first steps; True if not to be compared, False if unable."""
        module = self.load(self.setting.contestant)
        self.case, self.run = case, None  # the last case's arrays go before the next one's come
        self.run = run_of(module, case, read(folder))
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

    def answers_and_seconds(self, steps: int) -> tuple[Arrays, float]:
        """Of so many steps, from the first on."""
        started = time.perf_counter()
        answers = self.run(steps)
        return answers, time.perf_counter() - started

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
