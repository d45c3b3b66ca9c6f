"""How a command ends, whatever ends it: an exit code, one line at most, nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM, as Ctrl-C does, leave the block by an exception.

    So every ``with`` on the way out removes its folder and ends its processes.
    """
    # A program in the background of a shell is not to hear Ctrl-C.
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]

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
    if threading.current_thread() is not threading.main_thread():  # no other has handlers
        yield
        return
    noted: list[int] = []
    # None stands for a handler that Python cannot put back.
    heard = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {n: signal.signal(n, lambda number, frame: noted.append(number)) for n in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command of this name; the exit code.

    Parameters
    ----------
    name : str
        What begins an error's line.
    command : callable
        Returns an exit code.

    Returns
    -------
    int
        130 after Ctrl-C, 2 for a value or a file that is wrong or a library that is
        missing, else the command's.
    """
    try:
        with unwound_by_signals():
            code = command()
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        # What is still to be written goes nowhere, or Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
