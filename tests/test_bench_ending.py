"""How benchmarks end, whatever ends them: nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from at_a_terminal import ENDS, signals_heard

from bench import ending

TESTS = Path(__file__).parent


@pytest.mark.parametrize("number", ENDS)
def test_signals_leave_nothing_behind(number, tmp_path):
    program = f"""
        import sys
        sys.path.insert(0, {str(TESTS)!r})
        import at_a_terminal, stub_contestants
        at_a_terminal.hear_signals()
        from bench import cases, ending, program
        case = cases.Case("a case", "activation", "a group", (8,), 4, contestants=("numpy",))
        print("ready", flush=True)
        sys.exit(ending.run("bench", lambda: program.run(
            full=False, patterns=None, rounds=10**6, threads=1, json=None, plot=None,
            table=[case], load=stub_contestants.load)))
    """
    running = subprocess.Popen(
        [sys.executable, "-c", "if __name__ == '__main__':" + program], start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=TESTS.parent, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while not list(tmp_path.glob("fastnn-bench-*")):
        assert running.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)  # its processes are on their way
    os.killpg(running.pid, number)
    errors = running.communicate(timeout=60)[1]
    assert running.returncode == 128 + number
    assert errors.count(b"\n") <= 1, errors
    assert not list(tmp_path.iterdir())
    deadline = time.monotonic() + 10
    with suppress(ProcessLookupError):  # which says that no process is left
        while time.monotonic() < deadline:
            os.killpg(running.pid, 0)
            time.sleep(0.01)
    assert time.monotonic() < deadline


@pytest.fixture
def at_a_terminal():
    with signals_heard():
        yield


@pytest.fixture
def bystander(at_a_terminal):
    """A thread that signals can be delivered to, as those of a library's pool."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield thread
    done.set()
    thread.join()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of threads are POSIX's")
@pytest.mark.parametrize(
    ("number", "error"),
    [(n, KeyboardInterrupt if n == signal.SIGINT else SystemExit) for n in ENDS],
)
def test_signals_that_other_threads_get_wait_too(number, error, bystander):
    before, passed = signal.getsignal(number), []

    def started():
        with ending.unwound_by_signals(), ending.signals_held_back():
            signal.pthread_kill(bystander.ident, number)
            time.sleep(0.05)
            passed.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    with pytest.raises(error):
        started()
    assert set(ENDS) <= passed[0]
    assert signal.getsignal(number) is before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(ENDS)


def test_systems_without_masks_and_other_threads_can_hold_signals_back(monkeypatch):
    entered = []

    def enter():
        with ending.signals_held_back():
            entered.append(threading.current_thread())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    enter()
    assert entered == [thread, threading.current_thread()]


def test_handlers_that_python_cannot_put_back_are_left(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda *given: pytest.fail("replaced"))
    with ending.unwound_by_signals(), ending.signals_held_back():
        pass
