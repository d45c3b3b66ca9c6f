"""`python -m bench`: its options, what is printed and saved, and the exit code."""

import json
import os
import sys
import threading
from dataclasses import replace

import pytest
import stub_contestants
from stub_results import SMALL, STEPS

from bench import cases, clock, ending, program
from fastnn import command


def bench(*arguments):
    try:
        return program.main(arguments)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--threads", "-1"], "--threads must be at least 1"),
        (["--cases", "nothing*"], "no case is named 'nothing*'"),
        (["--cases", "step*", "nothing*"], "no case is named 'nothing*'"),
        (["--cases", ""], "no case is named ''; patterns"),
        (["--cases", ""], "by group: 'training steps', 'steps over batch'"),
        (["--json", ""], "the name of the file is empty"),
        (["--cases", "steps over*", "--plot", ""], "names end with .png, not ''"),
        (["--cases", "steps over*", "--json", "a.png", "--plot", "a.png"], "are the same file"),
        (["--cases", "steps over*", "--json", "./a.png", "--plot", "a.png"], "are the same file"),
        (["--rounds", "many"], "invalid int value"),
        (["--plot", "a.png"], "--plot needs cases"),
        (["--json", os.path.join("not", "there.json")], "there is no folder not"),
        (["--json", __file__], "has no results"),
        (["--json", os.path.dirname(__file__)], "Is a directory"),
        (["--cases", "steps over*", "--plot", "p.xyz"], "names end with .png, not 'p.xyz'"),
        (["--cases", "steps over*", "--plot", os.path.join("not", "there.png")], "no folder not"),
    ],
)
def test_wrong_options_are_one_line_and_code_2(arguments, words, capsys, monkeypatch):
    groups = {case.group: case for case in cases.CASES}
    few = groups["training steps"], groups["steps over batch"]
    monkeypatch.setattr(cases, "CASES", (replace(few[0], quick=True), few[1]))
    monkeypatch.setattr(clock, "measure", lambda *a, **k: pytest.fail("something was timed"))
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
    assert json.loads(path.read_text(encoding="utf-8"))["cases"][0]["case"] == "small"


def test_a_contestant_that_disagrees_makes_the_exit_code_1(capsys, monkeypatch):
    monkeypatch.setattr(program.contestants, "is_installed", lambda name: True)
    assert run([replace(SMALL, contestants=("scikit-learn",))], monkeypatch) == 1
    assert "DISAGREES" in capsys.readouterr().out


def test_threads_are_cut_to_the_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(program.machine, "available_cores", lambda: 1)
    path = tmp_path / "results.json"
    assert run([replace(SMALL, contestants=())], monkeypatch, threads=999, json=str(path)) == 0
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["threads"] == 1
    assert [e["threads"] for e in results["cases"][0]["contestants"]] == [1]


def test_patterns_choose_by_name_or_group():
    assert program.choose(False, None) == [case for case in cases.CASES if case.quick]
    assert len(program.choose(True, None)) == len(cases.CASES)
    assert {case.group for case in program.choose(False, ["kernels: l*"])} == {"kernels: loss"}


def test_without_matplotlib_a_benchmark_does_all_but_draw(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    paths = {"json": str(tmp_path / "results.json"), "plot": str(tmp_path / "picture.png")}
    assert run([replace(STEPS, contestants=("numpy",))], monkeypatch, **paths) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith('no pictures without matplotlib: pip install "fastnn[plots]"')
    assert lines[-1] == "no pictures without matplotlib"
    assert any(line.startswith("| steps") for line in lines)
    assert os.listdir(tmp_path) == ["results.json"]


def test_what_cannot_be_written_costs_no_table(capsys, monkeypatch, tmp_path):
    """Neither does a failed file end the measuring, nor one file's failure another file."""
    folder, path = tmp_path / "folder", tmp_path / "results.json"
    measure = clock.measure

    def measure_and_remove(*given, **options):
        for found in measure(*given, **options):
            folder.rmdir()
            yield found

    folder.mkdir()
    monkeypatch.setattr(clock, "measure", measure_and_remove)
    case = replace(STEPS, contestants=("numpy",))
    gone = str(folder / "gone")
    with pytest.raises(command.NotWrittenError, match=r"gone\.json could not be written: No such"):
        run([case], monkeypatch, json=f"{gone}.json", plot=str(tmp_path / "a.png"))
    assert "| steps" in capsys.readouterr().out
    folder.mkdir()
    with pytest.raises(command.NotWrittenError, match=r"gone\.png could not be written: No such"):
        run([case], monkeypatch, json=str(path), plot=f"{gone}.png")
    assert "| steps" in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"a.png", "results.json"}


def test_other_threads_hear_no_signals(monkeypatch, capsys):
    codes = []
    case = replace(SMALL, contestants=("numpy",))

    def work():
        codes.append(ending.run("bench", lambda: run([case], monkeypatch)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [0]
