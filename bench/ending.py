"""How a benchmark ends, whatever ends it: nothing is left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from fastnn import command

# Those that end a program: Ctrl-C, `kill`, and a terminal that is closed, which Windows has not.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let the other signals, as Ctrl-C does, leave the block by an exception.

    So every ``with`` on the way out removes its folder and ends its processes.
    """
    heard = _heard()

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        for each in heard:  # a second one would stop the cleaning up
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    """Signals whose handlers this thread may replace for a time.

    What is ignored stays so: a program in the background of a shell is not to hear Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # no other has handlers
        return []
    # None stands for a handler that Python cannot put back.
    return [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Let signals wait for the end of the block; a process that it starts never gets them.

    Ctrl-C goes to all processes of a terminal, but it is the parent's to answer.
    """
    with _handled_later(), _masked():
        yield


@contextmanager
def _masked() -> Iterator[None]:
    """Block signals for this thread and for the processes that it starts; Windows has no masks."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handled_later() -> Iterator[None]:
    """Note signals, which other threads still get, and raise the first after the block."""
    noted: list[int] = []
    before = {n: signal.signal(n, lambda number, frame: noted.append(number)) for n in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


def run(name: str, work: Callable[[], int], *, is_program: bool = False) -> int:
    """Run a benchmark's command as `fastnn.command.run` does, and clean up after signals."""

    def unwound() -> int:
        with unwound_by_signals():
            return work()

    return command.run(name, unwound, is_program=is_program)
