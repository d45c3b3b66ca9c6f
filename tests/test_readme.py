"""The README is run, and what it says about files, options and limits is compared with them."""

import contextlib
import doctest
import io
import os
import re
from pathlib import Path

import pytest

import fastnn
from fastnn import cli
from fastnn.compiler import runtime

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", README, flags=re.M)[1:]}
# A block of code, and the block of text right below it with what it prints, if there is one.
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.M | re.S)


def blocks_of(section, language):
    return [(code, text) for kind, code, text in BLOCKS.findall(section) if kind == language]


def output_of(code, namespace):
    """What a block prints, and below that the error it ends with, if it does."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, "README.md", "exec"), namespace)
        except Exception as error:
            printed.write(f"{type(error).__name__}: {error}\n")
    return printed.getvalue()


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    fastnn.set_num_threads(None)


PYTHON_SECTIONS = [name for name, text in SECTIONS.items() if blocks_of(text, "python")]


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("name", PYTHON_SECTIONS)
def test_each_section_runs_by_itself_and_prints_what_it_shows(name):
    namespace = {"__name__": "readme"}
    for code, expected in blocks_of(SECTIONS[name], "python"):
        found = output_of(code, namespace)
        same = doctest.OutputChecker().check_output(expected, found, doctest.ELLIPSIS)
        assert same, f"{code}\nprints\n{found}\nnot\n{expected}"


def test_all_blocks_of_python_are_found():
    assert README.count("```python") == sum(
        len(blocks_of(text, "python")) for text in SECTIONS.values()
    )
    assert len(PYTHON_SECTIONS) >= 5


def test_quick_start_is_short():
    code = blocks_of(SECTIONS["In Python"], "python")[0][0]
    assert len(code.splitlines()) < 15


# The two lines that do all the set-up --------------------------------------------


def test_two_lines_stand_alone_in_their_blocks():
    commands = [code for code, _ in blocks_of(README, "sh")]
    assert [code.count("\n") for code in commands] == [1, 1]
    install, check = commands
    assert install.startswith("python3 -m venv .venv && ")
    assert install.endswith(" && .venv/bin/fastnn train mnist\n")
    for tool in ("ruff check .", "ruff format --check .", "mypy", "pytest -q"):
        assert f" && .venv-test/bin/{tool}" in check
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".venv/", ".venv-test/"} <= set(ignored)


def test_ci_runs_the_second_line():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    pattern = re.search(r"grep -m 1 '(.*)' README\.md", script.read_text(encoding="utf-8"))[1]
    found = [line for line in README.splitlines() if re.search(pattern, line)]
    assert found == [blocks_of(README, "sh")[1][0].rstrip("\n")]


# What it says of the package -----------------------------------------------------


# The part of the README with the options of each command.
RECIPES = {
    re.search(r"^fastnn (.*?)(?: --.*)?$", part, re.M)[1]: part
    for part in re.split(r"^### ", SECTIONS["Recipes"], flags=re.M)[1:]
}
OPTIONS_OF = {"train mnist": SECTIONS["Command line"], **RECIPES}


def commands_of(parser):
    """Names and parsers of the commands below a parser."""
    return parser._subparsers._group_actions[0].choices if parser._subparsers else {}


def options_of(command):
    parser = cli._parser()
    for name in command.split():
        parser = commands_of(parser)[name]
    return {
        action.option_strings[-1]: action.default
        for action in parser._actions
        if action.dest != "help"
    }


@pytest.mark.parametrize("command", OPTIONS_OF)
def test_options_and_defaults_are_those_of_the_parser(command):
    table = re.findall(r"^\| `(--[\w-]+).*\|(.*)\|$", OPTIONS_OF[command], re.M)
    shown = {name: default.strip() for name, default in table}
    assert len(table) == len(shown)
    expected = {
        name: " ".join(map(str, default)) if isinstance(default, list) else str(default)
        for name, default in options_of(command).items()
    }
    assert shown == {n: "" if d in ("None", "False") else d for n, d in expected.items()}


def test_commands_are_those_of_the_parser():
    commands = commands_of(cli._parser())
    text = SECTIONS["Command line"]
    assert set(re.findall(r"`fastnn (\w+)", text)) == set(commands)
    for name in ("train", "show"):
        assert set(re.findall(rf"`fastnn {name} (\w+)", README)) == set(commands_of(commands[name]))
    every = {
        f"{name} {below}" for name in ("train", "show") for below in commands_of(commands[name])
    }
    assert set(OPTIONS_OF) == every | {"gradcheck"}


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("command", RECIPES)
def test_each_recipe_prints_what_it_shows(command, capsys):
    [(code, shown)] = blocks_of(RECIPES[command], "console")
    [line] = code.splitlines()
    program, *arguments = line.split()
    assert program == "fastnn"
    assert cli.main(arguments) == 0
    assert without_noise(capsys.readouterr().out) == without_noise(shown)


def without_noise(text):
    """Without times, and without differences that are only rounding."""
    return re.sub(r" *\d\.\de-1\d", " ~0", re.sub(r"\d+\.\d+ s\b", "- s", text))


def test_work_that_is_done_serially():
    assert f"{runtime.PARALLEL_WORK:,} multiply-adds" in SECTIONS["Threads"]
