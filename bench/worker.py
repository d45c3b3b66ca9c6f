"""A process per contestant and thread setting, told by the parent when to run.

Own processes keep the contestants apart: thread counts that a library reads only at its start can
differ, and no library's idle threads belong to another's process. The parent lets one worker run
at a time; each reads its own clock, around `run` alone.
"""

import multiprocessing
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass

from bench import inputs
from bench.rivals import CONTESTANTS

# Some thread pools spin for a while after their last task (OpenBLAS for tens of milliseconds), on
# the cores the next contestant needs.
SETTLE_SECONDS = 0.1

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
SERIAL_EIGEN = "--xla_cpu_multi_thread_eigen=false"


class ContestantFailedError(Exception):
    """A worker could not do what it was asked; the message says why."""


@dataclass(frozen=True)
class Setting:
    """A contestant and the threads it may use."""

    contestant: str
    threads: int
    xla_flags: str = ""

    @property
    def label(self):
        """The contestant with its threads, as the tables name it."""
        note = ", serial matrix products" if self.xla_flags and self.threads > 1 else ""
        return f"{self.contestant} ({self.threads} thr{note})"

    def environment(self):
        """Return the variables that must be set before the contestant's libraries start."""
        if self.contestant == "fastnn":
            return {}
        if self.contestant == "jax":
            # The size of XLA's thread pool; `xla_cpu_multi_thread_eigen` alone does not bound it.
            return {"PJRT_NPROC": str(self.threads), "XLA_FLAGS": self.xla_flags}
        return dict.fromkeys(BLAS_VARIABLES, str(self.threads))


def settings_of(contestant, threads, best_threads):
    """Return the settings to time: the one asked for, or all that might be a rival's best."""
    plain = Setting(contestant, threads)
    if not best_threads or contestant == "fastnn" or threads == 1:
        return [plain]
    settings = [Setting(contestant, 1), plain]
    if contestant == "jax":
        # Operations side by side, each product on one thread: JAX's best for small networks.
        settings.append(Setting(contestant, threads, SERIAL_EIGEN))
    return settings


@contextmanager
def variables_set(variables):
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

    def __init__(self, setting):
        self.setting = setting
        context = multiprocessing.get_context("spawn")
        self.connection, child = context.Pipe()
        self.process = context.Process(target=serve, args=(child, setting), daemon=True)
        with variables_set(setting.environment()):
            self.process.start()
        child.close()

    def prepare(self, case, place):
        """Load a case's inputs, then return (losses, params) after `case.check_steps` steps."""
        return self._ask("prepare", case, str(place))

    def time_steps(self):
        """Return the seconds that all steps of the case took, from its starting weights."""
        time.sleep(SETTLE_SECONDS)
        return self._ask("time_steps")

    def stop(self):
        """End the process."""
        if self.process.is_alive():
            self.connection.send(("stop", ()))
            self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.terminate()

    def _ask(self, question, *arguments):
        try:
            self.connection.send((question, arguments))
            outcome, answer = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(timeout=10)
            raise ContestantFailedError(
                f"its process ended with exit code {self.process.exitcode}"
            ) from None
        if outcome == "failed":
            raise ContestantFailedError(answer)
        return answer


def serve(connection, setting):
    """Answer the parent's questions until it says stop: the life of a worker process."""
    desk = Desk(setting)
    while True:
        question, arguments = connection.recv()
        if question == "stop":
            return
        try:
            connection.send(("done", getattr(desk, question)(*arguments)))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))


class Desk:
    """What a worker process knows: its contestant and the case at hand."""

    def __init__(self, setting):
        self.setting = setting

    def prepare(self, case, place):
        """Make the contestant, run it for the first time, and return its answers."""
        kind = CONTESTANTS[self.setting.contestant]
        kind.set_num_threads(self.setting.threads)
        self.case = case
        self.x, self.t = inputs.read(place)
        self.batches = inputs.draw_batches(case.steps, case.batch, rows=len(self.x))
        self.start = inputs.start_params(case.layer_sizes)
        self.contestant = kind(case.layer_sizes, case.activation, self.start)
        losses = self._run(self.batches[: case.check_steps])
        params = self.contestant.params
        self.time_steps()  # JAX compiles anew for each number of steps
        return losses, params

    def time_steps(self):
        """Start from the first weights, warm up, and time the steps."""
        self.contestant.params = self.start
        self._run(self.batches[: self.case.check_steps])
        started = time.perf_counter()
        self._run(self.batches)
        return time.perf_counter() - started

    def _run(self, batches):
        return self.contestant.run(self.x, self.t, batches, self.case.lr)
