"""Who is timed by the benchmarks, and who is not and why."""

from dataclasses import replace

import stub_contestants
from stub_results import SMALL, STEPS, entry, measured

from bench import clock
from bench.workers import Setting, Worker


def test_who_agrees_is_timed():
    found = measured()
    for name in ("fastnn", "numpy"):
        timed = entry(found, "small", name)
        assert timed["agrees"]
        assert set(timed["distances"]) == {"y", "dz"}
        assert len(timed["seconds"]) == 1
        assert timed["steps"] > 1


def test_who_disagrees_is_not():
    found = measured()
    wrong = entry(found, "small", "scikit-learn")
    assert not wrong["agrees"]
    assert max(wrong["distances"].values()) > 1
    assert wrong["seconds"] == []


def test_who_cannot_be_compared_is_timed_all_the_same():
    found = measured()
    timed = entry(found, "small", "document")
    assert timed["agrees"]
    assert timed["distances"] == {}
    assert len(timed["seconds"]) == 1


def test_failures_are_told_and_stop_nobody():
    found = measured()
    assert entry(found, "small", "jax")["failure"] == "ImportError: jax is out"
    assert entry(found, "steps", "pytorch")["failure"] == "its process ended with exit code 3"
    assert len(entry(found, "steps", "numpy")["seconds"]) == 1


def test_who_cannot_do_a_case_has_no_entry():
    case = replace(SMALL, name="nobody else", contestants=("numpy", "scikit-learn"))
    names = ["fastnn", "numpy", "scikit-learn"]
    (result,) = clock.measure([case], 1, 1, False, names, load=stub_contestants.load)
    assert [e["contestant"] for e in result["contestants"]] == ["scikit-learn"]


def test_rivals_make_as_many_steps_as_fit_and_fastnn_all():
    case = replace(STEPS, steps=10_000)
    ours, rival = (Worker(Setting(name, 1), None) for name in ("fastnn", "numpy"))
    assert clock._steps(case, ours, 0.01, full=False) == 10_000
    assert clock._steps(case, rival, 0.001, full=False) == 100
    assert clock._steps(case, rival, 0.001, full=True) == 300
    assert clock._steps(case, rival, 0.1, full=False) == case.check_steps
    assert clock._steps(case, rival, 1e-6, full=False) == 10_000
    assert clock._steps(replace(case, kind="mnist_job"), rival, 0.1, full=False) == 10_000


def test_who_loses_its_process_to_another_is_told_so():
    found = clock.measure([STEPS], 1, 2, True, ["pytorch"], full=True, load=stub_contestants.load)
    (result,) = found
    assert {e["threads"]: e["failure"] for e in result["contestants"]} == {
        2: "its process ended with exit code 3", 1: "its process ended earlier",
    }  # fmt: skip
