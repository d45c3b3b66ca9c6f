"""What every command has in common: streams to write to, one line for an error, an exit code.

A standard stream may be missing, closed, full, left by its reader, or unable to encode a text.
None of these ends in a traceback, and a host that calls a command keeps its streams as they are.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NoReturn

STREAMS = ("stdout", "stderr")


class NotWrittenError(OSError):
    """Something that was asked for could not be written when the work was under way or done."""


class _ReaderLeftError(Exception):
    """The reader of the output has gone, as with ``| head``."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and writes as all commands do."""

    def error(self, message: str) -> NoReturn:
        """End with this line."""
        self.exit(2, f"{self.prog}: {message}\n")

    def _print_message(self, message: str, file: Any = None) -> None:  # argparse's drops errors
        (say if file is sys.stdout else complain)(message, end="")


def run(name: str, command: Callable[[], int | None], *, is_program: bool) -> int:
    """Run a command of this name.

    Parameters
    ----------
    name : str
        What begins an error's line.
    command : callable
        Returns an exit code, None for 0.
    is_program : bool
        Whether the process is there for this command alone, so that its descriptors may be mended.

    Returns
    -------
    int
        130 after Ctrl-C; 2 for a value or a file that is wrong or a library that is missing; 1 for
        a run that fails, or whose output cannot be written; else the command's.
    """
    if is_program:
        fill_descriptors()
    with ExitStack() as undo:
        stand_in(undo)
        try:
            return _code_of(name, command)
        finally:
            if is_program:
                _let_go()


def _code_of(name: str, command: Callable[[], int | None]) -> int:
    try:
        return command() or 0
    except KeyboardInterrupt:
        complain(f"{name}: interrupted")
        return 130
    except _ReaderLeftError:
        return 1
    except (NotWrittenError, FloatingPointError, MemoryError) as error:
        complain(f"{name}: {in_one_line(error)}")
        return 1
    except (ValueError, TypeError, ImportError, OSError) as error:
        complain(f"{name}: {in_one_line(error)}")
        return 2


def in_one_line(error: BaseException) -> str:
    """The text of an error, or its kind if it has none, and its notes."""
    text = str(error) or type(error).__name__
    for note in getattr(error, "__notes__", ()):
        text += f"{' ' if text.endswith('.') else '; '}{note}"
    return " ".join(line.strip() for line in text.splitlines())


# Streams ------------------------------------------------------------------------------


def mended_for_good() -> None:
    """Give a program that is not run by `run` the streams that it lacks."""
    fill_descriptors()
    stand_in(ExitStack())


def say(text: str, end: str = "\n") -> None:
    """Write a line to standard output, which gets it at once."""
    with written_out():
        sys.stdout.write(fitting(text, sys.stdout))
        sys.stdout.write(end)  # an unbuffered stream drops what its reader left of a long text


def complain(text: str, end: str = "\n") -> None:
    """Write a line to standard error, if there is one and it can be written."""
    with suppress(OSError, AttributeError, ValueError):
        sys.stderr.write(fitting(text + end, sys.stderr))
        _flush(sys.stderr)


def fitting(text: str, stream: Any) -> str:
    """The text, or one with escapes where the stream's encoding lacks a character."""
    encoding, errors = (getattr(stream, name, None) for name in ("encoding", "errors"))
    if not isinstance(encoding, str):
        return text
    try:
        text.encode(encoding, errors or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


@contextmanager
def written_out() -> Iterator[None]:
    """Flush what the block writes to standard output; an error says that it was that stream's."""
    try:
        yield
        _flush(sys.stdout)
    except BrokenPipeError:
        raise _ReaderLeftError from None
    except OSError as error:
        raise NotWrittenError(f"standard output cannot be written: {_reason(error)}") from error


def _flush(stream: Any) -> None:
    if hasattr(stream, "flush"):  # a host's may do with `write`
        stream.flush()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or in_one_line(error)
    return f"{type(error).__name__}: {in_one_line(error)}"


class _Nowhere(io.TextIOBase):
    """A stream for nobody."""

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def fill_descriptors() -> None:
    """Open what is closed of the descriptors 0 to 2, or the next files to be opened became them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                _to_nowhere(descriptor)


def _to_nowhere(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null == descriptor:
        os.set_inheritable(null, True)
    else:
        os.dup2(null, descriptor)
        os.close(null)


def stand_in(undo: ExitStack) -> None:
    """Give ``sys`` streams for those that are missing or closed, until `undo` is closed."""
    for name in STREAMS:
        stream = getattr(sys, name, None)
        if _is_gone(stream):
            setattr(sys, name, _Nowhere())
            undo.callback(setattr, sys, name, stream)


def _is_gone(stream: Any) -> bool:
    try:
        return stream is None or getattr(stream, "closed", False)
    except ValueError:  # its inner stream is another's now
        return True


def _let_go() -> None:
    """Leave nothing that cannot be written to the end of Python, which would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                _to_nowhere(stream.fileno())
        except (AttributeError, ValueError):  # the command has closed it or taken it away
            pass


# Files --------------------------------------------------------------------------------


def write_each(
    writers: Mapping[str, Callable[[], Any]],
) -> tuple[list[str], NotWrittenError | None]:
    """Call all that write something, whatever one of them raises.

    Parameters
    ----------
    writers : mapping of str to callable
        By the names of what they write.

    Returns
    -------
    list of str
        Names of what was written.
    NotWrittenError or None
        What is to be raised in the end, if something was not.
    """
    failures: dict[str, Exception] = {}
    for name, write in writers.items():
        try:
            write()
        except Exception as error:
            failures[name] = error
    written = [name for name in writers if name not in failures]
    if not failures:
        return written, None
    first = next(iter(failures.values()))
    unwritten = NotWrittenError(f"{listed(list(failures))} could not be written: {_reason(first)}")
    unwritten.__cause__ = first
    return written, unwritten


def listed(names: list[str]) -> str:
    """Names as a sentence has them."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
