"""`fastnn bench`: who is timed, who is not and why, and what is printed and saved of it."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import stub_contestants

from fastnn import cli
from fastnn.benchmarks import cases, clock, inputs, pictures, processes, program, reference, report
from fastnn.benchmarks.cases import Case, Goal
from fastnn.benchmarks.workers import Setting, settings_of

SMALL = Case(
    "small", "activation", "kernels: activations", (8,), 4,
    contestants=("numpy", "jax", "scikit-learn", "document"), goals={"numpy": Goal(1e-9, 1e9)},
)  # fmt: skip
STEPS = Case(
    "steps", "training", "steps over batch", (3, 4, 2), 5, 40, 50, "dense", lr=0.05,
    contestants=("numpy", "pytorch"),
)  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """Results of two cases, one round for each of the stubs."""
    names = ["fastnn", "numpy", "pytorch", "jax", "scikit-learn", "document"]
    seen = []
    results = list(
        clock.measure([SMALL, STEPS], 1, 1, True, names, seen.append, load=stub_contestants.load)
    )
    assert seen == ["small"] * 2 + ["steps"] * 2
    speed = {"gflops_per_core": {"float32": 100.0}, "gb_per_second": {"1": 10.0}}
    machine = {"processor": "a processor", "cores": 1, "system": "a system", "python": "3",
               "versions": {"numpy": "2"}, "load_average": 0.1, "speed": speed}  # fmt: skip
    return {"machine": machine, "threads": 1, "best_threads": True, "cases": results}


def entry(results, case, contestant):
    (result,) = (r for r in results["cases"] if r["case"] == case)
    (found,) = (e for e in result["contestants"] if e["contestant"] == contestant)
    return found


def test_who_agrees_is_timed(found):
    for name in ("fastnn", "numpy"):
        timed = entry(found, "small", name)
        assert timed["agrees"]
        assert set(timed["distances"]) == {"y", "dz"}
        assert len(timed["seconds"]) == 1
        assert timed["steps"] > 1


def test_who_disagrees_is_not(found):
    wrong = entry(found, "small", "scikit-learn")
    assert not wrong["agrees"]
    assert max(wrong["distances"].values()) > 1
    assert wrong["seconds"] == []


def test_who_cannot_be_compared_is_timed_all_the_same(found):
    timed = entry(found, "small", "document")
    assert timed["agrees"]
    assert timed["distances"] == {}
    assert len(timed["seconds"]) == 1


def test_failures_are_told_and_stop_nobody(found):
    assert entry(found, "small", "jax")["failure"] == "ImportError: jax is out"
    assert entry(found, "steps", "pytorch")["failure"] == "its process ended with exit code 3"
    assert len(entry(found, "steps", "numpy")["seconds"]) == 1


def test_who_cannot_do_a_case_has_no_entry():
    case = replace(SMALL, name="nobody else", contestants=("numpy", "scikit-learn"))
    names = ["fastnn", "numpy", "scikit-learn"]
    (result,) = clock.measure([case], 1, 1, False, names, load=stub_contestants.load)
    assert [e["contestant"] for e in result["contestants"]] == ["scikit-learn"]


def test_fastnn_is_timed_with_one_thread_too_and_rivals_if_asked():
    assert settings_of("fastnn", 2, False) == [Setting("fastnn", 2), Setting("fastnn", 1)]
    assert settings_of("fastnn", 1, True) == [Setting("fastnn", 1)]
    assert settings_of("numpy", 2, False) == [Setting("numpy", 2)]
    assert [s.threads for s in settings_of("numpy", 2, True)] == [2, 1]
    assert [s.threads for s in settings_of("jax", 2, True)] == [2, 1, 2]
    assert len({s.label for s in settings_of("jax", 2, True)}) == 3


def test_a_full_run_makes_everybody_do_the_same_steps():
    guesses = {"fast": 0.001, "slow": 0.01}
    case = replace(STEPS, steps=10_000)
    for worker in guesses:
        assert clock._steps(case, guesses, worker, full=True) == 100
    assert clock._steps(replace(case, goals=SMALL.goals), guesses, "slow", full=True) == 10_000
    assert clock._steps(case, guesses, "fastnn", full=False) == 10_000
    assert clock._steps(case, guesses, "fast", full=False) == 125
    assert clock._steps(case, guesses, "slow", full=False) == 20


# ---- the report


def row(name, threads, *seconds):
    return {"contestant": name, "threads": threads, "label": f"{name} ({threads} thr)",
            "agrees": True, "distances": {}, "failure": None, "steps": 1,
            "seconds": list(seconds)}  # fmt: skip


RESULT = {
    "case": "a case", "group": "kernels: affine", "dtype": "float32", "steps": 1, "flops": 4e9,
    "bytes": 0, "goals": {"numpy": [4, 8], "best": [1, 2], "jax": [2, 3]},
    "contestants": [row("fastnn", 2, 0.1, 0.2, 0.1), row("fastnn", 1, 0.2, 0.3, 0.2),
                    row("numpy", 2, 0.9), row("numpy", 1, 0.4, 0.8, 0.4),
                    row("pytorch", 2, 0.05, 0.1, 0.04)],
}  # fmt: skip
FACTS = {"processor": "a processor", "cores": 2, "system": "a system", "python": "3",
         "versions": {"numpy": "2"}, "load_average": 0.1,
         "speed": {"gflops_per_core": {"float32": 40.0}, "gb_per_second": {"2": 9.0}}}  # fmt: skip
RESULTS = {"machine": FACTS, "threads": 2, "best_threads": True, "cases": [RESULT]}


def test_a_ratio_is_the_median_within_rounds_of_the_best_setting():
    assert report.ratio_to(RESULT, "numpy", 2) == 4
    assert report.ratio_to(RESULT, "pytorch", 2) == 0.5
    assert report.ratio_to(RESULT, "best", 2) == 0.5
    assert report.ratio_to(RESULT, "jax", 2) is None


def test_the_table_has_ratios_below_one_and_the_share_of_the_peak():
    text = report.text(RESULTS)
    (line,) = (line for line in text.splitlines() if "1e+05" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["a case", "1e+05", "4.00x", "0.50x", "2.00x", "50%"]


def test_the_goals_say_what_is_met():
    cells = [[c.strip() for c in line.strip("|").split("|")]
             for line in report.goals_table(RESULTS).splitlines()]  # fmt: skip
    assert [(row[1], row[-1]) for row in cells[2:]] == [
        ("numpy", "met"), ("the best of numpy, pytorch, jax", "missed"), ("jax", "not measured"),
    ]  # fmt: skip


def test_what_went_wrong_is_in_the_text(found):
    text = report.text(found)
    assert "jax (1 thr) FAILED: ImportError: jax is out (small)" in text
    assert "scikit-learn (1 thr) DISAGREES: " in text
    assert "pytorch (1 thr) FAILED: its process ended with exit code 3 (steps)" in text


def test_results_are_saved_beside_others(tmp_path, found):
    path = str(tmp_path / "results.json")
    report.write_json(path, {"processes": 1})
    report.write_json(path, found)
    assert report.read_json(path) == found | {"processes": 1}


@pytest.mark.parametrize("content", ["[1]", "no JSON"])
def test_other_files_are_no_results(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="has no results"):
        report.read_json(str(path))


def test_the_readme_gets_the_table_between_its_markers(tmp_path, capsys):
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    results.write_text(json.dumps(RESULTS))
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert report.main(["--readme", str(results)]) == 0
    block = capsys.readouterr().out.strip()
    assert report.main(["--readme", str(results), "--write", str(readme)]) == 0
    expected = f"before\n{report.BEGIN}\n\n{block}\n\n{report.END}\nafter\n"
    assert readme.read_text() == expected
    readme.write_text("no markers")
    assert report.main(["--readme", str(results), "--write", str(readme)]) == 2
    assert "has no lines" in capsys.readouterr().err


def test_a_picture_is_drawn_of_steps_over_a_size(tmp_path, found):
    path = tmp_path / "picture.png"
    pictures.draw(found, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="a plot needs cases"):
        pictures.draw(RESULTS, str(path))


# ---- the command


def bench(*arguments):
    try:
        return cli.main(["bench", *arguments])
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--threads", "-1"], "--threads must be at least 1"),
        (["--cases", "nothing*"], "no case is named nothing*"),
        (["--rounds", "many"], "invalid int value"),
        (["--plot", "a.png"], "--plot needs cases"),
        (["--json", os.path.join("not", "there.json")], "there is no folder not"),
    ],
)
def test_wrong_options_are_one_line_and_code_2(arguments, words, capsys, monkeypatch):
    quick = [case for case in cases.CASES if case.group == "training steps"][:1]
    monkeypatch.setattr(cases, "CASES", tuple(quick))
    assert bench(*arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def run(chosen, monkeypatch, **more):
    speed = {"gflops_per_core": {"float32": 100.0}, "gb_per_second": {"1": 10.0}}
    monkeypatch.setattr(program.machine, "speed", lambda threads: speed)
    options = {"full": False, "patterns": None, "rounds": 1, "threads": 1, "json": None}
    return program.run(**{**options, "plot": None, "table": chosen, **more},
                       load=stub_contestants.load)  # fmt: skip


def test_missing_rivals_are_named_and_the_rest_is_printed(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(program.contestants, "is_installed", lambda name: name != "jax")
    path = tmp_path / "results.json"
    case = replace(SMALL, contestants=("numpy", "jax"))
    assert run([case], monkeypatch, json=str(path)) == 0
    printed = capsys.readouterr().out
    assert "jax is left out: jax is not installed." in printed
    assert "- threads: 1" in printed
    assert "| small" in printed
    assert json.loads(path.read_text())["cases"][0]["case"] == "small"


def test_a_contestant_that_disagrees_makes_the_exit_code_1(capsys, monkeypatch):
    monkeypatch.setattr(program.contestants, "is_installed", lambda name: True)
    assert run([replace(SMALL, contestants=("scikit-learn",))], monkeypatch) == 1
    assert "DISAGREES" in capsys.readouterr().out


def test_patterns_choose_by_name_or_group():
    assert program.choose(False, None) == [case for case in cases.CASES if case.quick]
    assert len(program.choose(True, None)) == len(cases.CASES)
    assert {case.group for case in program.choose(False, ["kernels: l*"])} == {"kernels: loss"}


# ---- whole processes


def test_processes_that_differ_or_fail_are_told():
    def failing():
        raise processes.ProcessFailedError("exit code 1: no")

    answers = {"numpy": 1.0, "pytorch": 1.5}
    runners = {name: lambda loss=loss: (1.0, json.dumps({"first": loss, "last": loss}))
               for name, loss in answers.items()}  # fmt: skip
    found = processes.take_turns(runners | {"jax": failing}, rounds=2)
    assert found["numpy"]["seconds"] == [1.0, 1.0]
    assert not processes.mark_wrong(found)
    assert found["numpy"]["failure"] is None
    assert found["pytorch"]["failure"].startswith("DISAGREES")
    assert found["jax"]["failure"] == "exit code 1: no"


# ---- the table and the reference


def test_names_are_unique_and_every_kind_is_known():
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)
    for case in cases.CASES:
        assert case.kind in inputs.MAKERS
        assert hasattr(reference, case.kind)


@pytest.mark.parametrize(
    ("found", "word"),
    [({"y": np.zeros(2)}, "answers are"), ({"y": np.zeros(2), "dz": np.zeros(3)}, "shape")],
)
def test_missing_or_misshapen_answers_are_infinitely_far(found, word):
    given = inputs.given(SMALL)
    expected = reference.activation(SMALL, given)(1)
    distances = reference.differs(SMALL, found, expected, given)
    assert any(word in name and distance == np.inf for name, distance in distances.items())
