"""`fastnn bench`: who is timed, who is not and why, and what is printed and saved of it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import stub_contestants
from at_a_terminal import signals_heard

from fastnn import cli, command
from fastnn.benchmarks import (
    cases,
    clock,
    ending,
    inputs,
    pictures,
    processes,
    program,
    reference,
    report,
)
from fastnn.benchmarks.cases import Case, Goal
from fastnn.benchmarks.workers import Desk, Setting, Worker, answer, crew, settings_of

SMALL = Case(
    "small", "activation", "kernels: activations", (8,), 4,
    contestants=("numpy", "jax", "scikit-learn", "document"), goals={"numpy": Goal(1e-9, 1e9)},
)  # fmt: skip
STEPS = Case(
    "steps", "training", "steps over batch", (3, 4, 2), 5, 40, 50, "dense", lr=0.05,
    contestants=("numpy", "pytorch"),
)  # fmt: skip


# What ends a program at a terminal: Windows has no SIGHUP.
ENDS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


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


def test_rivals_make_as_many_steps_as_fit_and_fastnn_all():
    case = replace(STEPS, steps=10_000)
    ours, rival = (Worker(Setting(name, 1), None) for name in ("fastnn", "numpy"))
    assert clock._steps(case, ours, 0.01, full=False) == 10_000
    assert clock._steps(case, rival, 0.001, full=False) == 100
    assert clock._steps(case, rival, 0.001, full=True) == 300
    assert clock._steps(case, rival, 0.1, full=False) == case.check_steps
    assert clock._steps(case, rival, 1e-6, full=False) == 10_000
    assert clock._steps(replace(case, kind="mnist_job"), rival, 0.1, full=False) == 10_000


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


def test_who_loses_its_process_to_another_is_told_so():
    found = clock.measure([STEPS], 1, 2, True, ["pytorch"], full=True, load=stub_contestants.load)
    (result,) = found
    assert {e["threads"]: e["failure"] for e in result["contestants"]} == {
        2: "its process ended with exit code 3", 1: "its process ended earlier",
    }  # fmt: skip


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
    assert cells == ["a case", "1e+05", "4.00x ±0%", "0.50x ±20%", "2.00x ±25%", "50%"]


def test_beside_a_ratio_is_how_far_off_its_furthest_round_is():
    assert report.with_spread([2.0, 1.9, 2.2]) == "2.00x ±10%"
    assert report.with_spread([2.0, 1.9, 40]) == "2.00x ±>99%"
    assert report.with_spread([2.0]) == "2.00x"
    assert report.with_spread([]) == report.NOTHING
    found = report.ratios_of(RESULT, 2)["pytorch"]
    assert found == pytest.approx({"median": 0.5, "lowest": 0.4, "highest": 0.5})


@pytest.mark.parametrize(
    ("gb", "array_bytes", "cache_bytes", "expected"),
    [(3.6, 100, 99, "40%"), (3.6, 100, 100, "in cache"), (3.6, 100, None, "40%"),
     (10, 100, 99, "in cache")],
)  # fmt: skip
def test_arrays_in_caches_have_no_share_of_the_memory(gb, array_bytes, cache_bytes, expected):
    moves = {"flops": 0, "bytes": gb * 1e8, "array_bytes": array_bytes}
    assert report.share(RESULT | moves, FACTS | {"cache_bytes": cache_bytes}, 2) == expected
    del moves["array_bytes"]  # as in results of before
    assert report.share(RESULT | moves, FACTS, 2) == ("40%" if gb < 9 else "in cache")


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
    report.write_json(path, {"processes": {"seconds": 1}})
    report.write_json(path, found)
    assert report.read_json(path) == found | {"processes": {"seconds": 1}}


def test_a_write_that_is_cut_short_leaves_what_was_there(tmp_path, monkeypatch):
    path, link = tmp_path / "results.json", tmp_path / "link.json"
    link.symlink_to(path)
    report.check_json(str(link))
    report.write_json(str(link), RESULTS)
    path.chmod(0o600)

    def cut_short(place, content, encoding):
        place.write_bytes(content[: len(content) // 2].encode(encoding))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", cut_short)
        with pytest.raises(KeyboardInterrupt):
            report.write_json(str(link), RESULTS | {"threads": 1})
    assert report.read_json(str(path)) == RESULTS
    report.write_json(str(link), {"processes": {}})
    assert report.read_json(str(path)) == RESULTS | {"processes": {}}
    assert path.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert set(tmp_path.iterdir()) == {path, link}


def test_what_is_no_regular_file_is_not_replaced(monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *paths: pytest.fail("replaced"))
    report.check_json(os.devnull)
    report.write_json(os.devnull, RESULTS)
    report.write_json(os.devnull, RESULTS)


def test_one_sentence_says_that_steps_were_cut():
    assert "fewer steps" not in report.text(RESULTS)
    rival = row("numpy", 1, 0.5) | {"steps": 30}
    cut = RESULT | {"steps": 100, "contestants": [row("fastnn", 2, 0.1) | {"steps": 100}, rival]}
    text = report.text(RESULTS | {"cases": [cut, RESULT], "full": True})
    assert "than fastnn in 1 of 2 cases (about as many as fit into 0.3 s)" in text


def damaged(change):
    results = json.loads(json.dumps(RESULTS))
    change(results)
    return json.dumps(results)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "it is no JSON object"),
        ("no JSON", "Expecting value"),
        ("{}", "it has none of cases, processes, book"),
        ('{"name": "package.json"}', "it has none of"),
        ('{"cases": 1, "machine": {}}', "is wrong|is missing"),
        (damaged(lambda results: results.pop("machine")), "machine is missing"),
        (damaged(lambda results: results["machine"].pop("cores")), "machine.cores is missing"),
        (damaged(lambda results: results["cases"][0]["contestants"][1].pop("seconds")),
         r"cases\[0\].contestants\[1\].seconds is missing"),
        (damaged(lambda results: results["cases"][0]["contestants"][1].pop("failure")),
         r"cases\[0\].contestants\[1\].failure is missing"),
        (damaged(lambda results: results["cases"].append("case")), r"cases\[1\] is wrong"),
        (damaged(lambda results: results["cases"].clear()), "cases is empty"),
        (damaged(lambda results: results.update(threads=0)), "threads is wrong"),
        (damaged(lambda results: results["machine"].update(cores=0)), "machine.cores is wrong"),
        *((damaged(lambda results, part=part: results["cases"][0].update(part)), words)
          for part, words in (
              ({"group": ""}, r"cases\[0\].group is wrong"),
              ({"contestants": []}, r"cases\[0\].contestants is empty"),
              ({"flops": float("nan")}, r"cases\[0\].flops is wrong"),
              ({"goals": {"numpy": [1]}}, r"cases\[0\].goals is wrong"),
              ({"array_bytes": "many"}, r"cases\[0\].array_bytes is wrong"),
              ({"dtype": "float8"}, r"machine.speed has no float8, which cases\[0\] needs"),
          )),
        *((damaged(lambda results, part=part: results["cases"][0]["contestants"][1].update(part)),
           rf"cases\[0\].contestants\[1\]{words}")
          for part, words in (
              ({"seconds": [0.0]}, ".seconds is wrong"),
              ({"seconds": [0.1, -0.1]}, ".seconds is wrong"),
              ({"seconds": [float("inf")]}, ".seconds is wrong"),
              ({"seconds": [float("nan")]}, ".seconds is wrong"),
              ({"seconds": [10**400]}, ".seconds is wrong"),
              ({"steps": -1}, ".steps is wrong"),
              ({"steps": 0}, " was timed for 0 steps"),
              ({"distances": {"y": "far"}}, ".distances is wrong"),
              ({"agrees": False}, ".distances is empty"),
          )),
        *((damaged(lambda results, part=part: results["machine"]["speed"].update(part)), words)
          for part, words in (
              ({"gflops_per_core": {"float32": 0}}, "machine.speed.gflops_per_core is wrong"),
              ({"gb_per_second": {}}, "machine.speed.gb_per_second is wrong"),
          )),
    ],
)  # fmt: skip
def test_other_files_are_no_results(tmp_path, capsys, content, words):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="has no results") as found:
        report.write_json(str(path), RESULTS)
    assert re.search(words, str(found.value))
    assert path.read_text(encoding="utf-8") == content
    assert report.main(["--readme", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_stored_results_can_be_read():
    path = str(Path(__file__).parents[1] / "bench" / "results" / "epyc-2-cores.json")
    assert "in cache" in report.readme_block(report.read_json(path))


def test_a_reader_who_leaves_is_no_error(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS | {"cases": 5000 * [RESULT]}))
    line = [sys.executable, "-m", "fastnn.benchmarks.report", "--readme", str(path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        writer.stdout.read(1)
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 1


def test_the_readme_gets_the_table_between_its_markers(tmp_path, capsys):
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    results.write_text(json.dumps(RESULTS))
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert report.main(["--readme", str(results)]) == 0
    block = capsys.readouterr().out.strip()
    assert report.main(["--readme", str(results), "--write", str(readme)]) == 0
    expected = f"before\n{report.BEGIN}\n\n{block}\n\n{report.END}\nafter\n"
    assert readme.read_text(encoding="utf-8") == expected
    readme.write_text("no markers")
    assert report.main(["--readme", str(results), "--write", str(readme)]) == 2
    assert "has no lines" in capsys.readouterr().err


def test_damage_leaves_the_tables_of_the_readme(tmp_path):
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    results.write_text(damaged(lambda results: results["cases"].clear()))
    content = f"{report.BEGIN}\nold\n{report.END}\n"
    readme.write_text(content)
    assert report.main(["--readme", str(results), "--write", str(readme)]) == 2
    assert readme.read_text(encoding="utf-8") == content


def test_a_picture_is_drawn_of_steps_over_a_size(tmp_path, found):
    path = tmp_path / "picture.png"
    pictures.check({"steps over batch"}, str(path))
    assert not path.exists()
    pictures.draw(found, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="a plot needs cases"):
        pictures.draw(RESULTS, str(path))


def over(group):
    sizes = {"batch": 4, "rows": 40, "sizes": [3, 4, 2]}
    return RESULT | sizes | {"case": f"a case of {group}", "group": group}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_picture_has_a_panel_for_each_group_and_no_other(number):
    groups = list(pictures.SIZES)[:number]
    figure = pictures.figure_of(RESULTS | {"cases": [over(group) for group in groups]})
    assert [panel.get_title() for panel in figure.axes] == groups
    assert all(panel.lines for panel in figure.axes)


def test_a_picture_says_where_its_times_are_from():
    figure = pictures.figure_of(RESULTS | {"cases": [over("steps over batch")]})
    title = " ".join(figure.get_suptitle().splitlines())
    assert title.endswith(
        "a processor, 2 cores; threads: fastnn 2, each rival its best of 1 and 2; float32"
    )


@pytest.mark.parametrize("number", [1, 2])
def test_the_words_of_a_picture_fit_its_width(number):
    machine = FACTS | {"processor": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz avx512f"}
    names = ["numpy", "scipy sparse", "pytorch", "compiled pytorch", "jax", "scikit-learn"]
    rows = [row(name, 2, 0.2) for name in ("fastnn", *names)]
    chosen = [over(group) | {"contestants": rows} for group in list(pictures.SIZES)[:number]]
    figure = pictures.figure_of(RESULTS | {"machine": machine, "cases": chosen})
    figure.canvas.draw()
    for words in (figure._suptitle, *figure.legends):
        box = words.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_a_picture_can_be_drawn_of_stored_results(tmp_path, capsys):
    results, path = tmp_path / "results.json", tmp_path / "picture.png"
    results.write_text(json.dumps(RESULTS | {"cases": [over("steps over width"), RESULT]}))
    assert report.main(["--plot", str(results), "--write", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"group": "steps"}, "--plot needs cases of 'steps over batch', 'steps over batch, wide',"),
     ({"sizes": [3, 2]}, "sizes has no hidden layer"), ({"batch": 0}, "batch is wrong"),
     ({"rows": None}, "rows is wrong"), ({"sizes": []}, "sizes is empty")],
)  # fmt: skip
def test_no_picture_is_drawn_of_cases_without_sizes(tmp_path, capsys, change, words):
    results, path = tmp_path / "results.json", tmp_path / "picture.png"
    results.write_text(json.dumps(RESULTS | {"cases": [over("steps over width") | change]}))
    assert report.main(["--plot", str(results), "--write", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--goals", "results", "--write", "x"], "--goals prints only"),
     (["--goals", "results", "--write", ""], "--goals prints only"),
     (["--goals", ""], "Is a directory"),
     (["--readme", "results", "--write", ""], "Is a directory"),
     (["--plot", "results"], "--plot needs --write PICTURE.png"),
     (["--plot", "results", "--write", ""], "names end with .png, not ''"),
     (["--plot", "results", "--write", "x.svg"], "names end with .png, not 'x.svg'"),
     (["--plot", "results", "--write", "results"], "are the same file"),
     (["--plot", "other", "--write", "x.png"], "has no cases of `fastnn bench`")],
)  # fmt: skip
def test_wrong_options_of_the_report(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("results").write_text(json.dumps(RESULTS | {"cases": [over("steps over width")]}))
    Path("other").write_text(json.dumps({"processes": {}}))
    assert report.main(arguments) == 2
    out, error = capsys.readouterr()
    assert words in error
    assert (out, error.count("\n")) == ("", 1)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_matplotlib_is_one_line(tmp_path, capsys, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS | {"cases": [over("steps over width")]}))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report.main(["--plot", str(path), "--write", str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err == 'report: plots need matplotlib: pip install "fastnn[plots]"\n'


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


def test_goals_are_shown_to_who_asks(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    assert report.main(["--goals", str(path)]) == 0
    assert "at least" in capsys.readouterr().out
    assert "at least" not in report.text(RESULTS)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_workers_are_deaf_to_signals_from_the_start():
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import stub_contestants
        from fastnn.benchmarks.workers import Setting, crew
        with crew([Setting("fastnn", 1)], stub_contestants.load) as (worker,):
            worker.send("calibrate", 1)
            print(open(f"/proc/{{worker.host.process.pid}}/status").read())
    """
    printed = subprocess.run(
        [sys.executable, "-c", "if __name__ == '__main__':" + program], capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    blocked = int(re.search(r"^SigBlk:\s*(\w+)$", printed, re.M)[1], 16)
    assert all(blocked >> (number - 1) & 1 for number in ENDS)


@pytest.mark.parametrize("number", ENDS)
def test_signals_leave_nothing_behind(number, tmp_path):
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import at_a_terminal, stub_contestants
        at_a_terminal.hear_signals()
        from fastnn.benchmarks import cases, ending, program
        case = cases.Case("a case", "activation", "a group", (8,), 4, contestants=("numpy",))
        print("ready", flush=True)
        sys.exit(ending.run("bench", lambda: program.run(
            full=False, patterns=None, rounds=10**6, threads=1, json=None, plot=None,
            table=[case], load=stub_contestants.load)))
    """
    running = subprocess.Popen(
        [sys.executable, "-c", "if __name__ == '__main__':" + program], start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
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
    thread = threading.Thread(target=lambda: codes.append(run([case], monkeypatch)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_handlers_that_python_cannot_put_back_are_left(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signal, "signal", lambda *given: pytest.fail("replaced"))
    with ending.unwound_by_signals(), ending.signals_held_back():
        pass


# ---- whole processes


def test_an_empty_name_is_refused_before_processes_are_timed(capsys, monkeypatch):
    monkeypatch.setattr(processes, "measure", lambda rounds: pytest.fail("something was timed"))
    assert processes.main(["--json", ""]) == 2
    assert "the name of the file is empty" in capsys.readouterr().err


def test_processes_are_told_where_no_file_can_be_written(capsys, monkeypatch, tmp_path):
    def measure(rounds):
        tmp_path.rmdir()
        return {"agree": True}

    monkeypatch.setattr(processes, "measure", measure)
    monkeypatch.setattr(processes, "text", lambda found: "all the tables")
    path = tmp_path / "results.json"
    assert processes.main(["--json", str(path)]) == 1
    said = f"processes: {path} could not be written: No such file or directory\n"
    assert capsys.readouterr() == ("all the tables\n", said)


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
