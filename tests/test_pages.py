"""The pages are run, and what they say of files, options and limits is compared with them."""

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import itertools
import os
import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

import fastnn
from fastnn import cli, plots
from fastnn.compiler import runtime

ROOT = Path(__file__).parents[1]
FRONT, INSIDE = "README.md", "fastnn/README.md"
RECIPES, BENCH = "fastnn/recipes/README.md", "bench/README.md"
FOUND = [ROOT / FRONT, *sorted((ROOT / "fastnn").rglob("README.md")), ROOT / BENCH]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FOUND}
every_page = pytest.mark.parametrize("page", PAGES)

# A block of code, and the block of text right below it with what it prints, if there is one.
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.M | re.S)


def sections_of(page):
    """Parts of a page by their titles."""
    parts = re.split(r"^## ", PAGES[page], flags=re.M)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def blocks_of(text, language):
    return [(code, shown) for kind, code, shown in BLOCKS.findall(text) if kind == language]


def without_code(page):
    """A page's prose: no blocks, and nothing between two backquotes."""
    return re.sub(r"`[^`\n]*`", "", BLOCKS.sub("", PAGES[page]))


# The blocks of Python ------------------------------------------------------------


def output_of(code, namespace, page):
    """What a block prints, and below that the error it ends with, if it does."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, page, "exec"), namespace)
        except Exception as error:
            printed.write(f"{type(error).__name__}: {error}\n")
    return printed.getvalue()


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    fastnn.set_num_threads(None)


PYTHON_SECTIONS = [
    (page, title)
    for page in PAGES
    for title, text in sections_of(page).items()
    if blocks_of(text, "python")
]


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize(("page", "title"), PYTHON_SECTIONS)
def test_each_section_runs_by_itself_and_prints_what_it_shows(page, title):
    namespace = {"__name__": "page"}
    for code, expected in blocks_of(sections_of(page)[title], "python"):
        found = output_of(code, namespace, page)
        same = doctest.OutputChecker().check_output(expected, found, doctest.ELLIPSIS)
        assert same, f"{code}\nprints\n{found}\nnot\n{expected}"


@every_page
def test_all_blocks_of_python_are_found(page):
    found = [blocks_of(text, "python") for text in sections_of(page).values()]
    assert PAGES[page].count("```python") == sum(map(len, found))


def test_there_is_python_on_most_pages():
    assert len(PYTHON_SECTIONS) >= 14
    assert len({page for page, _ in PYTHON_SECTIONS}) >= 5


@every_page
def test_blocks_are_of_kinds_that_are_tested(page):
    kinds = re.findall(r"^```(\w+)$", PAGES[page], re.M)
    assert set(kinds) <= {"python", "text", "sh", "console"}
    assert "sh" not in kinds or page == FRONT
    assert "console" not in kinds or page == RECIPES


# The front page ------------------------------------------------------------------


def test_front_page_is_for_one_sitting():
    assert len(PAGES[FRONT].splitlines()) <= 250


def test_front_page_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["readme"] == FRONT


def test_quick_start_is_short():
    code = blocks_of(PAGES[FRONT], "python")[0][0]
    assert len(code.splitlines()) < 15


def test_two_lines_stand_alone_in_their_blocks():
    commands = [code for code, _ in blocks_of(PAGES[FRONT], "sh")]
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
    found = [line for line in PAGES[FRONT].splitlines() if re.search(pattern, line)]
    assert found == [blocks_of(PAGES[FRONT], "sh")[1][0].rstrip("\n")]


def choices(**wrong):
    """What the error about a wrong word says may be there instead."""
    with pytest.raises(ValueError, match="must be one of") as raised:
        fastnn.MLP([1, 1, 1], **wrong)
    return re.findall(r"'?(\w+)'?", re.search(r"one of (.*), got", str(raised.value))[1])


def test_outputs_and_losses_are_those_that_there_are():
    text = sections_of(FRONT)["Outputs and losses"]
    rows = re.findall(r'^\| (`"\w+"`.*?) \| (.*) \|$', text, re.M)
    names = [[re.findall(r'`"(\w+)"`', cell) for cell in row] for row in rows]
    shown = {output: losses for outputs, losses in names for output in outputs}
    assert shown == {o: choices(output=o, loss="no") for o in choices(output="no")}
    hidden = re.search(r"^Hidden layers are (.*?):", text, re.M | re.S)[1]
    assert set(re.findall(r'`"(\w+)"`', hidden)) == set(choices(activation="no"))


def test_promises_are_those_that_are_said_in_full():
    in_full = sections_of("fastnn/training/README.md")["What is promised"]
    promises = re.findall(r"^- \*\*(.*?)\.\*\*", in_full, re.M)
    in_short = re.findall(r"^- \*\*(.*?)\*\*.*$", sections_of(FRONT)["What is promised"], re.M)
    assert len(promises) == 10
    assert in_short == promises


# The command line ----------------------------------------------------------------


# The command of a section of the recipes, and the section.
COMMANDS = {
    re.search(r"^fastnn (.*?)(?: --.*)?$", code, re.M)[1]: text
    for text in sections_of(RECIPES).values()
    for code, _ in blocks_of(text, "console")
}
MAIN_JOB = "train mnist"  # tests/test_cli.py runs it, and reads the front page


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


@pytest.mark.parametrize("command", COMMANDS)
def test_options_and_defaults_are_those_of_the_parser(command):
    table = re.findall(r"^\| `(--[\w-]+).*\|(.*)\|$", COMMANDS[command], re.M)
    shown = {name: default.strip() for name, default in table}
    assert len(table) == len(shown)
    expected = {
        name: " ".join(map(str, default)) if isinstance(default, list) else str(default)
        for name, default in options_of(command).items()
    }
    assert shown == {n: "" if d in ("None", "False") else d for n, d in expected.items()}


def test_commands_are_those_of_the_parser():
    commands = commands_of(cli._parser())
    text = sections_of(RECIPES)["Commands"]
    # The benchmarks are not the package's: python -m bench.
    assert set(re.findall(r"`fastnn (\w+)", text)) == set(commands)
    pages = "\n".join(PAGES.values())
    for name in ("train", "show"):
        assert set(re.findall(rf"`fastnn {name} (\w+)", pages)) == set(commands_of(commands[name]))
    every = {
        f"{name} {below}" for name in ("train", "show") for below in commands_of(commands[name])
    }
    assert set(COMMANDS) == every | {"gradcheck"}


def test_options_in_the_prose_are_options():
    for line in re.findall(r"`fastnn ([a-z][^`]*)`", "\n".join(PAGES.values())):
        cli._parser().parse_args(line.split())


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != MAIN_JOB])
def test_each_recipe_prints_what_it_shows(command, capsys):
    [(code, shown)] = blocks_of(COMMANDS[command], "console")
    [line] = code.splitlines()
    program, *arguments = line.split()
    assert program == "fastnn"
    assert cli.main(arguments) == 0
    assert without_noise(capsys.readouterr().out) == without_noise(shown)


def without_noise(text):
    """Without times, and without differences that are only rounding."""
    return re.sub(r" *\d\.\de-1\d", " ~0", re.sub(r"\d+\.\d+ s\b", "- s", text))


def test_pictures_are_those_that_can_be_drawn():
    shown = dict(re.findall(r"^\| `plots\.(\w+)\((.*?)\)`", sections_of(RECIPES)["Pictures"], re.M))
    assert set(shown) == set(plots.__all__) - {"require_matplotlib", "save_history"}
    for name, arguments in shown.items():
        parameters = list(inspect.signature(getattr(plots, name)).parameters)
        assert ", ".join(parameters).startswith(arguments)
        assert name == "save" or "ax" in parameters


# Limits and variables ------------------------------------------------------------


def test_work_that_is_done_serially():
    assert f"{runtime.PARALLEL_WORK:,} multiply-adds" in sections_of(INSIDE)["Threads"]


def test_variables_of_the_environment_are_read_somewhere():
    named = set(re.findall(r"\bFASTNN_\w+", "\n".join(PAGES.values())))
    words = set()
    for path in (ROOT / "fastnn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    assert named == {
        "FASTNN_CACHE",
        "FASTNN_CACHE_DIR",
        "FASTNN_COMPILE",
        "FASTNN_NUM_THREADS",
        "FASTNN_PROCESSOR",
    }
    assert named <= words


# The benchmarks ------------------------------------------------------------------


def of_the_benchmarks(name):
    """A module of the benchmarks."""
    return importlib.import_module(f"bench.{name}")


def rows_of(text):
    """The rows of all tables of a text that begin with a case: cells by their columns."""
    rows = {}
    for table in re.findall(r"^\| case .*\n\|[-: |]+\n(?:\|.*\n)+", text, re.M):
        header, _, *lines = [re.split(r" *\| *", line)[1:-1] for line in table.splitlines()]
        rows |= {cells[0]: dict(zip(header, cells, strict=True)) for cells in lines}
    return rows


def test_tables_are_those_of_the_stored_results(capsys):
    report = of_the_benchmarks("report")
    stored = re.search(r"--readme (bench/\S+) --write bench/README\.md`", PAGES[BENCH])[1]
    shown = re.search(rf"^{report.BEGIN}\n\n(.*?)\n\n{report.END}$", PAGES[BENCH], re.M | re.S)[1]
    report.show_tables(str(ROOT / stored), None)
    assert shown == capsys.readouterr().out.rstrip("\n")


def test_rows_of_speed_are_those_of_the_results():
    shown, stored = rows_of(PAGES[FRONT]), rows_of(PAGES[BENCH])
    assert len(shown) == 8
    for case, cells in shown.items():
        assert cells == {column: stored[case].get(column, "–") for column in cells}
    commit = 'of the commit "Threads that need the same part make it once"'
    assert all(commit in PAGES[page].replace("\n", " ") for page in (FRONT, BENCH))


def test_programs_and_cases_of_the_benchmarks_are_there():
    text = "\n".join(PAGES.values())
    programs = set(re.findall(r"python -m bench\.(\w+)", text))
    programs |= set(re.findall(r"python -m bench (\w+)", text))
    assert programs
    for name in programs:
        assert (ROOT / "bench" / f"{name}.py").is_file(), name
    for words in re.findall(r'`python -m bench [^`]*--cases ((?:"[^"`]+" ?)+)', text):
        # What fits no case is an error.
        assert of_the_benchmarks("cases").chosen(re.findall(r'"([^"]+)"', words))


def test_options_of_the_benchmarks_are_options():
    parser = of_the_benchmarks("program")._parser()
    for line in re.findall(r"`python -m bench( [^`]*)?`", "\n".join(PAGES.values())):
        parser.parse_args(shlex.split(line))


# Links ---------------------------------------------------------------------------


LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")


def links_of(page):
    """Targets of a page's links to other places of this repository, and whether of a picture."""
    found = [(mark == "!", target) for mark, _, target in LINK.findall(without_code(page))]
    return [(picture, target) for picture, target in found if not target.startswith("https://")]


def anchors_of(page):
    """The names that a page's headings can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", BLOCKS.sub("", PAGES[page]), re.M)
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings]
    return {
        slug + (f"-{slugs[:place].count(slug)}" if slug in slugs[:place] else "")
        for place, slug in enumerate(slugs)
    }


def place_of(page, target):
    """Where a link leads: a file below the root, and an anchor there or nothing."""
    file, _, anchor = target.partition("#")
    path = (ROOT / page).parent / unquote(file) if file else ROOT / page
    return path.resolve(), anchor


@every_page
def test_links_lead_somewhere(page):
    for _, target in links_of(page):
        path, anchor = place_of(page, target)
        assert path.is_file(), target
        name = path.relative_to(ROOT.resolve()).as_posix()
        assert not anchor or anchor in anchors_of(name), target


@every_page
def test_every_link_is_understood(page):
    assert without_code(page).count("](") == len(LINK.findall(without_code(page)))


def test_every_page_is_one_link_from_the_front():
    linked = {place_of(FRONT, target)[0] for _, target in links_of(FRONT)}
    assert {(ROOT / page).resolve() for page in PAGES} <= linked | {(ROOT / FRONT).resolve()}
    gotchas = (ROOT / "fastnn/training/README.md").resolve(), "gotchas"
    assert gotchas in [place_of(FRONT, target) for _, target in links_of(FRONT)]


def test_pictures_are_small_and_shown():
    shown = {
        place_of(page, target)[0] for page in PAGES for picture, target in links_of(page) if picture
    }
    drawn = {path.resolve() for path in (ROOT / "fastnn").rglob("*.png")}
    assert shown == drawn
    for path in drawn:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n"), path
        assert len(content) < 60_000, path


# What is said once --------------------------------------------------------------


def test_no_paragraph_stands_on_two_pages():
    paragraphs = {
        page: {" ".join(part.split()) for part in PAGES[page].split("\n\n") if len(part) > 200}
        for page in PAGES
    }
    for one, other in itertools.combinations(PAGES, 2):
        assert not paragraphs[one] & paragraphs[other], (one, other)
