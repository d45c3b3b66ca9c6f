"""The shape of the code: how much a kernel's reader must hold in mind, and how long files are.

What travels together is in a group with a name (fastnn/kernels/groups.py), so few parameters are
left. The numbers are those of today: they may become smaller, and are then made smaller here.
"""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import fastnn

PACKAGE = Path(fastnn.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}

MEDIAN, NINE_OF_TEN, MOST = 4, 8, 10
# The book's words, x, t, W, b and y, and z, h, u, ... of formulas.
LARGEST_SHARE_OF_LETTERS = 0.1
FORMATTED_BY_HAND = 10
LONGEST_FILE = 500


def parameters():
    """The names of the parameters of every kernel, by file and name of the kernel."""
    for name, text in TEXTS.items():
        for node in ast.walk(ast.parse(text)) if name.startswith("kernels/") else ():
            if isinstance(node, ast.FunctionDef):
                arguments = node.args
                listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                rest = [arguments.vararg] if arguments.vararg else []
                yield f"{name}: {node.name}", [argument.arg for argument in listed + rest]


KERNELS = list(parameters())
ALL = [name for _, names in KERNELS for name in names]


def test_there_are_kernels_to_measure():
    assert len(KERNELS) > 150


def test_kernels_have_few_parameters():
    counts = [len(names) for _, names in KERNELS]
    assert np.median(counts) <= MEDIAN
    assert np.percentile(counts, 90) <= NINE_OF_TEN
    assert {kernel: len(names) for kernel, names in KERNELS if len(names) > MOST} == {}


def test_parameters_have_names_rather_than_letters():
    letters = [name for name in ALL if len(name) == 1]
    assert len(letters) <= LARGEST_SHARE_OF_LETTERS * len(ALL)


def test_hardly_any_code_is_formatted_by_hand():
    found = {name: len(re.findall(r"# fmt: (?:skip|off)", text)) for name, text in TEXTS.items()}
    assert sum(found.values()) <= FORMATTED_BY_HAND, {k: n for k, n in found.items() if n}


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_long(name):
    assert TEXTS[name].count("\n") <= LONGEST_FILE
