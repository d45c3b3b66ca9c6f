"""How a command ends, whatever ends it: an exit code, one line at most, nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
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
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        130 after Ctrl-C, 2 for a value or a file that is wrong, else the command's.
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
    except (OSError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
