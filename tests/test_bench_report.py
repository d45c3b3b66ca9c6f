"""`python -m bench report`: tables, goals and pictures of stored results."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from stub_results import RESULT, RESULTS, damaged, over

from bench import program, tables
from bench.report import BEGIN, END

ROOT = Path(__file__).parents[1]


def report(*arguments):
    return program.main(["report", *map(str, arguments)])


def test_a_reader_who_leaves_is_no_error(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS | {"cases": 5000 * [RESULT]}))
    line = [sys.executable, "-m", "bench", "report", "--readme", str(path)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        writer.stdout.read(1)
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 1


def test_the_readme_gets_the_table_between_its_markers(tmp_path, capsys):
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    results.write_text(json.dumps(RESULTS))
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert report("--readme", str(results)) == 0
    block = capsys.readouterr().out.strip()
    assert report("--readme", str(results), "--write", str(readme)) == 0
    expected = f"before\n{BEGIN}\n\n{block}\n\n{END}\nafter\n"
    assert readme.read_text(encoding="utf-8") == expected
    readme.write_text("no markers")
    assert report("--readme", str(results), "--write", str(readme)) == 2
    assert "has no lines" in capsys.readouterr().err


def test_damage_leaves_the_tables_of_the_readme(tmp_path):
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    results.write_text(damaged(lambda results: results["cases"].clear()))
    content = f"{BEGIN}\nold\n{END}\n"
    readme.write_text(content)
    assert report("--readme", str(results), "--write", str(readme)) == 2
    assert readme.read_text(encoding="utf-8") == content


def test_a_picture_can_be_drawn_of_stored_results(tmp_path, capsys):
    results, path = tmp_path / "results.json", tmp_path / "picture.png"
    results.write_text(json.dumps(RESULTS | {"cases": [over("steps over width"), RESULT]}))
    assert report("--plot", str(results), "--write", str(path)) == 0
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
    assert report("--plot", str(results), "--write", str(path)) == 2
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
     (["--plot", "other", "--write", "x.png"], "has no cases of `python -m bench`")],
)  # fmt: skip
def test_wrong_options_of_the_report(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("results").write_text(json.dumps(RESULTS | {"cases": [over("steps over width")]}))
    Path("other").write_text(json.dumps({"processes": {}}))
    assert report(*arguments) == 2
    out, error = capsys.readouterr()
    assert words in error
    assert (out, error.count("\n")) == ("", 1)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_matplotlib_is_one_line(tmp_path, capsys, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS | {"cases": [over("steps over width")]}))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report("--plot", str(path), "--write", str(tmp_path / "a.png")) == 2
    assert capsys.readouterr().err == 'bench: plots need matplotlib: pip install "fastnn[plots]"\n'


def test_goals_are_shown_to_who_asks(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    assert report("--goals", str(path)) == 0
    assert "at least" in capsys.readouterr().out
    assert "at least" not in tables.text(RESULTS)
