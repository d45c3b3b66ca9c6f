"""A process as at a terminal, whatever started the tests: with nohup signals are ignored, say.

``python at_a_terminal.py MODULE ARGUMENT ...`` runs a module so.
"""

import contextlib
import runpy
import signal
import sys

HANDLERS = {
    getattr(signal, name): handler
    for name, handler in {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
        "SIGALRM": signal.SIG_DFL,
    }.items()
    if hasattr(signal, name)
}
# What ends a program there: Windows has no SIGHUP.
ENDS = [number for number in HANDLERS if number != getattr(signal, "SIGALRM", None)]


def hear_signals():
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLERS)


@contextlib.contextmanager
def signals_heard():
    """Hear them in the block, and put back what was there before."""
    handlers = {number: signal.getsignal(number) for number in HANDLERS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else 0
    hear_signals()
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            if handler is not None:  # which stands for one that Python cannot put back
                signal.signal(number, handler)


if __name__ == "__main__":
    hear_signals()
    del sys.argv[0]
    sys.path[0] = ""  # as with -m
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
