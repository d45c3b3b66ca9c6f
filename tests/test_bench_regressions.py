"""`python -m bench.regressions`: what is a loss, what is noise, and the exit code."""

from types import SimpleNamespace

import numpy as np
import pytest

from bench import ending, regressions


def drawn(slower, seed, rounds=15, hiccups=0):
    """Seconds of two sides: one is so many times slower, both have noise of 10 %."""
    random = np.random.default_rng(seed)
    base, head = random.lognormal(0, 0.1, (2, rounds))
    head[random.permutation(rounds)[:hiccups]] *= 30
    return list(base), list(slower * head)


def test_noise_is_no_loss_and_a_loss_is_no_noise():
    tries = range(300)
    for hiccups in (0, 3):
        alarms = sum(regressions.is_lost(drawn(1, seed, hiccups=hiccups)) for seed in tries)
        assert alarms <= 300 * regressions.CHANCE
    assert not any(regressions.is_lost(drawn(1.02, seed, rounds=40)) for seed in range(20))
    assert all(regressions.is_lost(drawn(1.5, seed)) for seed in tries)
    assert regressions.is_lost(([1.0] * 7, [1.1] * 7))
    assert not regressions.is_lost(([1.0] * 6, [1.1] * 6))  # chance might do that


class FakeSides:
    """Sides whose times are drawn, of a case that may be slower in each of its two timings."""

    def __init__(self, *slower):
        self.slower, self.rounds = list(slower), []

    def timed(self, names, sides, rounds):
        if not names:
            return {}
        self.rounds.append(rounds)
        return dict.fromkeys(names, drawn(self.slower.pop(0), 0, rounds))


@pytest.mark.parametrize(
    ("slower", "code", "rounds"),
    [((1,), 0, [15]), ((1.5, 1), 0, [15, 30]), ((1.5, 1.5), 1, [15, 30])],
)
def test_a_suspect_must_lose_twice(slower, code, rounds, monkeypatch, capsys):
    fake = FakeSides(*slower)
    monkeypatch.setattr(regressions, "timed", fake.timed)
    assert regressions.main(["--threads", "--cases", "predict 1 row"]) == code
    assert fake.rounds == rounds
    assert ("SLOWER" in capsys.readouterr().out) == bool(code)


def test_a_pattern_without_a_case_is_an_error(capsys):
    assert regressions.main(["--threads", "--cases", "predict*", "nothing*"]) == 2
    assert capsys.readouterr().err.startswith("regressions: no case is named nothing*; there are ")


def test_who_comes_first_changes(monkeypatch):
    monkeypatch.setattr(regressions, "SETTLE_SECONDS", 0)
    seen = []

    def side(name):
        def seconds(case, calls):
            seen.append(name)
            return 0.1 * calls

        return SimpleNamespace(seconds=seconds)

    times = regressions.take_turns("a case", side("base"), side("head"), 3)
    assert seen[2:] == ["head", "base", "base", "head", "head", "base"]
    assert times == ([0.1] * 3, [0.1] * 3)


def test_a_process_that_has_died_is_no_lost_case(tmp_path, monkeypatch, capsys):
    script = tmp_path / "script.py"
    script.write_text("import sys; print(__file__); sys.exit(3)")
    monkeypatch.setattr(regressions, "SCRIPT", script)
    side = regressions.Side(tmp_path, tmp_path)
    side.process.wait()
    assert ending.run("regressions", lambda: side.seconds("a case", 1)) == 2
    assert capsys.readouterr().err == "regressions: a process ended with exit code 3\n"
    side.stop()
