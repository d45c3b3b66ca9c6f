"""To add an activation or a loss to the package, one file is edited: everything else finds it.

A copy of the package is given an activation, two functions and a row of the table, and a loss. A
process of its own, which compiles that copy, is asked about each.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import reference
from questions_about_additions import QUESTIONS

import fastnn

TESTS = Path(__file__).parent
PACKAGE = Path(fastnn.__file__).parent

BENT = """
@inner
def _bent(z):
    return where_less(z, like(z, 0), z * like(z, 0.25), z)


@inner
def _bent_slope(y):
    return where_less(like(y, 0), y, like(y, 1), like(y, 0.25))
"""
BENT_ROW = '    "bent": Activation(_bent, _bent_slope, kink=0.25),'

QUARTIC = """
@inner
def _quartic_forward(outputs, wanted, y):
    total = splat(y.array.dtype.type(0), GROUP)
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        error = _error(outputs, n, wanted, y)
        square = keep_first(error * error, outputs - n, like(error, 0))
        total = fma(square, square, total)
    return y.array.dtype.type(0.25) * lane_sum(total)


@inner
def _quartic_backward(outputs, wanted, weight, y, dz):
    for n in range(0, outputs, GROUP_BYTES // y.array.itemsize):
        error = _error(outputs, n, wanted, y)
        cube = error * error * error * splat(weight, GROUP)
        store(dz.array, dz.at + n, keep_first(cube, outputs - n, like(error, 0)))
"""
QUARTIC_ROW = (
    '    "quartic_error": Loss("identity", NUMBERS, _quartic_forward, _quartic_backward,'
    " _identity_outputs),"
)


def add(file, table, functions, row):
    """Write functions before a table of a module, and a row at its end."""
    text = file.read_text(encoding="utf-8")
    (where,) = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == table
    ]
    lines = text.splitlines()
    lines.insert(where.end_lineno - 1, row)
    lines.insert(where.lineno - 1, functions)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def changed(folder):
    """Files of a copy of the package that are not those of the package."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {path for path in files if not (PACKAGE / path).is_file()} == set()
    return [
        path.as_posix()
        for path in sorted(files)
        if (folder / path).read_bytes() != (PACKAGE / path).read_bytes()
    ]


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The copy, and which of its files each addition has changed."""
    folder = tmp_path_factory.mktemp("added") / "fastnn"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    add(folder / "kernels/activations.py", "ACTIVATIONS", BENT, BENT_ROW)
    after_one = changed(folder)
    add(folder / "kernels/losses.py", "LOSSES", QUARTIC, QUARTIC_ROW)
    after_both = changed(folder)
    return folder, after_one, [path for path in after_both if path not in after_one]


@pytest.fixture(scope="module")
def answers(copied, tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    environment = os.environ | {
        "PYTHONPATH": str(copied[0].parent),
        "FASTNN_CACHE_DIR": str(folder / "code"),
    }
    found = subprocess.run(
        [sys.executable, str(TESTS / "questions_about_additions.py"), "answers.json"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stderr
    return json.loads((folder / "answers.json").read_text(encoding="utf-8"))


def test_each_is_added_in_one_file(copied):
    _, for_the_activation, for_the_loss = copied
    assert for_the_activation == ["kernels/activations.py"]
    assert for_the_loss == ["kernels/losses.py"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_added_works_everywhere(question, answers):
    assert answers[question] == "yes", answers[question]


@pytest.mark.parametrize("table", ["ACTIVATIONS", "LOSSES", "RULES"])
def test_the_tests_say_that_a_twin_is_missing(table):
    with pytest.raises(AssertionError, match=r"'bent' has no twin in tests/reference.py"):
        getattr(reference, table)["bent"]
