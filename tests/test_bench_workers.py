"""The contestants' processes: their threads, and who shares one."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import stub_contestants
from at_a_terminal import ENDS
from stub_results import SMALL

from bench.workers import Desk, Setting, answer, crew, settings_of

TESTS = Path(__file__).parent


def test_fastnn_is_timed_with_one_thread_too_and_rivals_if_asked():
    assert settings_of("fastnn", 2, False) == [Setting("fastnn", 2), Setting("fastnn", 1)]
    assert settings_of("fastnn", 1, True) == [Setting("fastnn", 1)]
    assert settings_of("numpy", 2, False) == [Setting("numpy", 2)]
    assert [s.threads for s in settings_of("numpy", 2, True)] == [2, 1]
    assert [s.threads for s in settings_of("jax", 2, True)] == [2, 1, 2]
    assert len({s.label for s in settings_of("jax", 2, True)}) == 3


def test_workers_that_set_their_threads_from_inside_share_a_process():
    settings = [s for name in ("fastnn", "numpy") for s in settings_of(name, 2, True)]
    with crew(settings, stub_contestants.load) as workers:
        hosts = [worker.host for worker in workers]
    assert hosts[0] is hosts[1]
    assert hosts[2] is not hosts[3]
    assert all(host.process is None for host in hosts)


def test_desks_of_one_process_take_their_threads_back(monkeypatch):
    seen = []
    load = lambda name: SimpleNamespace(threads=seen.append)  # noqa: E731
    desks = [Desk(Setting("fastnn", threads), load) for threads in (2, 1)]
    for desk in desks:
        desk.case = SMALL
    monkeypatch.setattr(Desk, "calibrate", lambda desk, seconds: desk.setting.threads)
    found = [answer(desk, "calibrate", (1,)) for desk in (*desks, *desks)]
    assert found == [("done", 2), ("done", 1)] * 2
    assert seen == [2, 1, 2, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_workers_are_deaf_to_signals_from_the_start():
    program = f"""
        import sys
        sys.path.insert(0, {str(TESTS)!r})
        import stub_contestants
        from bench.workers import Setting, crew
        with crew([Setting("fastnn", 1)], stub_contestants.load) as (worker,):
            worker.send("calibrate", 1)
            print(open(f"/proc/{{worker.host.process.pid}}/status").read())
    """
    printed = subprocess.run(
        [sys.executable, "-c", "if __name__ == '__main__':" + program], capture_output=True,
        text=True, check=True, cwd=TESTS.parent,
    ).stdout  # fmt: skip
    blocked = int(re.search(r"^SigBlk:\s*(\w+)$", printed, re.M)[1], 16)
    assert all(blocked >> (number - 1) & 1 for number in ENDS)
