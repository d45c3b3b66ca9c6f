"""Kernels in other builds, in processes of their own: checked, and for another processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import kernel_exercises
from kernel_entries import DTYPES

TESTS = Path(__file__).parent


def run(code, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def fingerprints(arguments, **environment):
    code = f"import kernel_exercises; print(kernel_exercises.fingerprints(**{arguments}))"
    return json.loads(run(code, **environment))


def test_kernels_stay_inside_their_arrays(code_folder):
    """Bounds checks are on, the optimiser is off, and the memory of the exercises has no margin."""
    asked = {"dtypes": ("float32",)}
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "0", "FASTNN_CACHE_DIR": str(code_folder)}
    assert fingerprints(asked, **checked) == json.loads(kernel_exercises.fingerprints(**asked))


def test_bounds_checks_see_every_access(code_folder):
    """The check itself: each access at its first and last place, and one before and behind."""
    code = """
import numpy as np, tile_entries as tiles
from kernel_entries import lanes_of
lanes, length = lanes_of(np.float32), 100
X = np.zeros(length, np.float32)
row, square, rows = 2 * lanes, 2 * lanes - 1, 2 * lanes + 2
sizes = {"element": 1, "put": 1, "splat": 1, "broadcast_like": 1, "load": lanes, "load_row": row,
         "load_like": row, "load_first": 0, "load_rows": rows, "load_transposed": square,
         "store": row, "store_rows": rows, "product_left": 1, "product_right": row,
         "products_of_rows_left": lanes, "products_of_rows_right": square,
         "tile_product_left": 4, "tile_product_right": row + 1, "tile_product_start": rows}
assert {*sizes, "prefetch"} == {*tiles.ACCESSES}
for name, size in sizes.items():
    for at in (0, length - size):
        tiles.access(name, X, at, stride=1)
    for at in (-1, length - size + 1):
        try:
            tiles.access(name, X, at, stride=1)
        except IndexError:
            continue
        raise AssertionError(f"{name} at {at} of {length}")
"""
    run(code, NUMBA_BOUNDSCHECK="1", FASTNN_CACHE_DIR=str(code_folder))


def test_a_processor_with_narrow_vectors_and_no_fma_gives_the_same_bits(code_folder):
    names = [
        "exp",
        "multiply",
        "outputs of cross_entropy",
        "layers of images",
        "layers of an image",
    ]
    environment = {"NUMBA_CPU_NAME": "generic", "FASTNN_VECTOR_BYTES": "16"}
    other = fingerprints({"names": names}, FASTNN_CACHE_DIR=str(code_folder), **environment)
    assert len(other) == len(DTYPES) * len(names)
    assert other == json.loads(kernel_exercises.fingerprints(names))
