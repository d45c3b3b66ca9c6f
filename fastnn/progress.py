"""What a person at a terminal sees of long work: a bar, and a line while kernels are compiled."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from fastnn.compiler import compiling


def progress_bar(progress: bool | None, count: int, unit: str) -> Any:
    """A bar of so many units if asked for, or with None if somebody sits before a terminal.

    With False, what is compiled within is not announced, either.
    """
    if progress is False:
        return _silent_bar()
    if not (on_terminal() if progress is None else can_be_written()):
        return contextlib.nullcontext(_NoBar())
    from tqdm.auto import tqdm  # late: it costs 30 ms, and most programs have no terminal

    class Bar(tqdm):
        monitor_interval = 0  # tqdm's own would leave a thread in the host

        def display(self, *args: Any, **options: Any) -> Any:
            with contextlib.suppress(OSError, ValueError):  # a stream that is full, left or closed
                return super().display(*args, **options)

        def close(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().close()

    return Bar(total=count, unit=unit, delay=0.0 if progress else 1.0)


class _NoBar:
    def update(self, steps: int) -> None:
        pass


@contextlib.contextmanager
def _silent_bar() -> Iterator[_NoBar]:
    with silence():
        yield _NoBar()


class _Silence(threading.local):
    depth = 0


_silence = _Silence()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Within this block, in this thread, nothing is said of compiling."""
    _silence.depth += 1
    try:
        yield
    finally:
        _silence.depth -= 1


def can_be_written() -> bool:
    """Whether there is a standard error."""
    try:
        return sys.stderr is not None and not getattr(sys.stderr, "closed", False)
    except ValueError:  # one without its buffer
        return False


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):  # no standard error, or a closed one
        return False


@contextlib.contextmanager
def compiling_notice(name: str) -> Iterator[None]:
    """A line on the terminal while an entry or a part is compiled, which then disappears."""
    if _silence.depth or not on_terminal():
        yield
        return
    line = f"fastnn: compiling {name!r}; the next run finds it on disk"
    # No longer than the line that it is to disappear from.
    line = line[: max(0, _columns() - 1)]
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\r{line}")
        sys.stderr.flush()
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"\r{' ' * len(line)}\r")
            sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


compiling.announcers.append(compiling_notice)
