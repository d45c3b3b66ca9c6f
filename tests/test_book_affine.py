"""fastnn.book's Affine, and that its kernels keep their bits."""

import os
import subprocess
import sys
from pathlib import Path

import book_reference as reference
import numpy as np
import pytest
from book_reference import close
from numpy.testing import assert_array_equal
from reference import assert_same_bits

import fastnn
from fastnn.book import compiled, kernel_calls
from fastnn.book.layers import Affine
from fastnn.compiler import runtime
from fastnn.compiler.tiles import TILE_VECTORS
from fastnn.kernels.book_affine import (
    BLOCK,
    ROW_BLOCK,
    ROWS_OF_A_GRADIENT,
    WEIGHT_BLOCK,
    WIDTHS,
)
from fastnn.kernels.products import K_BLOCK

# Rows, inputs and outputs: for kernels, for NumPy, and at the edges of blocks, widths and vectors.
SHAPES = [(1, 1, 1), (2, 3, 4), (100, 784, 50), (100, 50, 10), (3, 784, 50), (1, 784, 33),
          (ROW_BLOCK + 1, int(BLOCK) + 1, 27), (2 * ROW_BLOCK + 3, 111, 13),
          (400, 33, 120), (2 * ROWS_OF_A_GRADIENT + 1, int(WEIGHT_BLOCK) + 9, 53)]  # fmt: skip
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_x = pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
each_density = pytest.mark.parametrize("density", [0.0, 0.2, 1.0])


@pytest.fixture
def kernels_of_any_size(monkeypatch):
    """Small products, too, which NumPy makes faster."""
    monkeypatch.setattr(compiled, "PRODUCT_FROM", 1)


def data(rng, shape, x_dtype=np.float64, density=0.2):
    """x, W, b and a gradient of the outputs."""
    N, inputs, outputs = shape
    x = rng.normal(size=(N, inputs)) * (rng.random((N, inputs)) < density)
    W, b = rng.normal(size=(inputs, outputs)), rng.normal(size=outputs)
    return x.astype(x_dtype), W, b, rng.normal(size=(N, outputs))


@each_shape
@each_x
@each_density
@pytest.mark.usefixtures("both_builds", "kernels_of_any_size")
def test_affine_is_the_product_and_its_gradients(shape, x_dtype, density, rng):
    x, W, b, dout = data(rng, shape, x_dtype, density)
    layer = Affine(W, b)
    close(layer.forward(x), reference.affine(x, W, b))
    dx, dW, db = reference.affine_gradients(x, W, dout)
    close(layer.backward(dout), dx)
    close(layer.dW, dW)
    close(layer.db, db)


@each_shape
@pytest.mark.parametrize("density", [0.0, 0.3, 0.9])
@pytest.mark.usefixtures("both_builds", "kernels_of_any_size")
def test_gradients_of_outputs_of_which_some_are_zero(shape, density, rng):
    """As ReLU leaves them: gradients of inputs come from lists, or from tiles if few are zero."""
    x, W, _, dout = data(rng, shape)
    dout *= rng.random(dout.shape) < density
    found = compiled.affine_gradients(x, W, dout)
    for one, expected in zip(found, reference.affine_gradients(x, W, dout), strict=True):
        close(one, expected)


@pytest.mark.parametrize("shape", [(300, 784, 50), (40, 130, 300), (30, 33, 1000)], ids=str)
@pytest.mark.usefixtures("kernels_of_any_size")
def test_lists_and_tiles_have_the_same_bits(shape, rng):
    x, W, _, dout = data(rng, shape)
    dout[:5] *= rng.random(dout[:5].shape) < 0.3
    among_full_rows, _, _ = compiled.affine_gradients(x, W, dout)
    alone, _, _ = compiled.affine_gradients(x[:5].copy(), W, dout[:5].copy())
    assert_same_bits(alone, among_full_rows[:5])


def test_panels_of_tiles_fit_into_the_scratch_of_lists():
    assert BLOCK * max(WIDTHS) >= (K_BLOCK + 1) * TILE_VECTORS
    assert max(WIDTHS) >= TILE_VECTORS


@each_shape
@pytest.mark.usefixtures("kernels_of_any_size")
def test_gradients_alone_are_those_of_the_whole_backward_pass(shape, rng):
    x, W, b, dout = data(rng, shape)
    whole, alone = Affine(W, b), Affine(W, b)
    for layer in (whole, alone):
        layer.forward(x)
    whole.backward(dout)
    alone.backward_to_data(dout)
    assert_same_bits(alone.dW, whole.dW)
    assert_same_bits(alone.db, whole.db)


def test_the_kernels_take_what_they_are_for_and_nothing_else(rng):
    x, W, b, dout = data(rng, (100, 784, 50), np.float32)
    assert compiled.affine(x, W, b) is not None
    assert compiled.affine_gradients(x, W, dout) is not None
    assert compiled.affine(np.ones_like(x), W, b) is not None  # or OpenBLAS starts its threads
    read_only = W.copy()
    read_only.flags.writeable = False
    for strange in (
        (x.astype(np.uint8), W, b),
        (x.astype(object), W, b),
        (x[:, ::-1], W, b),
        (np.asfortranarray(x), W, b),
        (x, W.astype(np.float32), b),
        (x, read_only, b),
        (x, W, b[:1]),
        (x[:, :-1].copy(), W, b),
        (x.view(np.matrix), W, b),
        (x[:2, :2].copy(), W[:2].copy(), b),
        (x, np.zeros((784, 1 << 10)), np.zeros(1 << 10)),
    ):
        assert compiled.affine(*strange) is None


@pytest.mark.parametrize("change", ["integers", "float32", "columns first", "broadcast bias"])
def test_affine_takes_any_arrays_that_numpy_multiplies(change, rng):
    x, W, b, dout = data(rng, (100, 784, 50))
    if change == "integers":
        x = (4 * x).astype(int)
    elif change == "float32":
        W, b, x = (array.astype(np.float32) for array in (W, b, x))
    elif change == "columns first":
        x, W = np.asfortranarray(x), np.asfortranarray(W)
    else:
        b = b[:1]
    layer = Affine(W, b)
    found = layer.forward(x)
    assert found.dtype == np.result_type(x, W)
    expected = np.dot(x, W) + b
    assert_array_equal(found, expected)
    assert_array_equal(layer.backward(dout), np.dot(dout, W.T))


@pytest.mark.usefixtures("both_builds", "kernels_of_any_size")
def test_many_rows_are_multiplied_in_several_calls(rng, monkeypatch):
    x, W, b, _ = data(rng, (300, 40, 7))
    whole = Affine(W, b).forward(x)
    monkeypatch.setattr(kernel_calls, "LONG_PIECE", 70 * W.size)
    assert_same_bits(Affine(W, b).forward(x), whole)


def test_affine_makes_one_vector_of_what_belongs_to_a_row(rng):
    x, W, b, dout = data(rng, (100, 784, 50))
    layer = Affine(W, b)
    images = x.reshape(100, 1, 28, 28)
    close(layer.forward(images), reference.affine(x, W, b))
    assert layer.x.shape == (100, 784)
    assert layer.original_x_shape == (100, 1, 28, 28)
    assert layer.backward(dout).shape == (100, 1, 28, 28)
    with pytest.raises(ValueError, match="shapes"):
        layer.forward(x[0])


def test_affine_reads_its_arrays_at_every_call(rng):
    x, W, b, _ = data(rng, (100, 784, 50))
    layer = Affine(W, b)
    layer.forward(x)
    W *= 2
    b += 1
    assert layer.W is W
    assert layer.b is b
    close(layer.forward(x), reference.affine(x, W, b))


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "W", "b", "dout"])
@pytest.mark.parametrize("place", [0, -1])
def test_what_is_not_finite_goes_where_arithmetic_takes_it(where, place, strange, rng):
    """Even through zeros of x, which are not skipped then: 0 times infinity is NaN."""
    arrays = dict(zip(("x", "W", "b", "dout"), data(rng, (100, 784, 50)), strict=True))
    arrays["x"][:, 0] = arrays["x"][:, -1] = 0
    arrays[where].flat[place] = strange
    x, W, b, dout = arrays.values()
    layer = Affine(W, b)
    with np.errstate(invalid="ignore"):
        close(layer.forward(x), np.dot(x, W) + b)
        close(layer.backward(dout), np.dot(dout, W.T))
        close(layer.dW, np.dot(x.T, dout))
        close(layer.db, dout.sum(axis=0))


@pytest.mark.parametrize("density", [0.0, 0.2])
@pytest.mark.usefixtures("kernels_of_any_size")
def test_a_row_has_the_bits_it_has_in_any_batch_in_one_thread_or_more(density, rng):
    x, W, b, dout = data(rng, (300, 784, 50), density=density)
    outputs, gradients = [], []
    for parallel in (False, True):
        with runtime.forced(parallel):
            outputs.append(compiled.affine(x, W, b))
            gradients.append(compiled.affine_gradients(x, W, dout))
    assert_same_bits(*outputs)
    for one, other in zip(*gradients, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(compiled.affine(x[17:24].copy(), W, b), outputs[0][17:24])


ALL_KERNELS = """
import sys, numpy as np
from fastnn.compiler import runtime
from fastnn import differences_of_functions
from fastnn.book import compiled
compiled.PRODUCT_FROM = 1
rng = np.random.default_rng(1)
found = []
with runtime.forced(True):
    for N, I, O in [(70, 100, 50), (3, 9, 90), (130, 21, 27)]:
        for dtype in (np.float32, np.float64):
            x = (rng.normal(size=(N, I)) * (rng.random((N, I)) < 0.4)).astype(dtype)
            W, b, t = rng.normal(size=(I, O)), rng.normal(size=O), rng.integers(0, O, N)
            y, dout = compiled.affine(x, W, b), rng.normal(size=(N, O))
            found += [y, *compiled.affine_gradients(x, W, dout)]
            found += [*compiled.softmax_with_loss(y, t), compiled.sigmoid(y), *compiled.relu(y)]
            assert compiled.clear(dout, y > 0)
            v = np.zeros_like(W)
            assert compiled.update("momentum", W, found[-7], (v,), (0.1, 0.9))
            found += [dout, W, v]
            some = dout * (rng.random(dout.shape) < 0.3)
            found += compiled.affine_gradients(x, W, some)
np.savez(sys.argv[1], *found)
"""


@pytest.mark.parametrize(
    "setting",
    [{"FASTNN_VECTOR_BYTES": "16"}, {"FASTNN_VECTOR_BYTES": "64"}, {"NUMBA_BOUNDSCHECK": "1"}],
    ids=str,
)
def test_vectors_of_other_widths_and_bounds_checks_change_nothing(setting, tmp_path, code_folder):
    results = []
    for environment in ({}, setting | {"FASTNN_CACHE_DIR": str(code_folder)}):
        file = tmp_path / f"{len(results)}.npz"
        command = [sys.executable, "-c", ALL_KERNELS, str(file)]
        path = {"PYTHONPATH": str(Path(fastnn.__file__).parent.parent)}
        subprocess.run(command, env=dict(os.environ) | path | environment, check=True, timeout=300)
        results.append(np.load(file))
    assert len(results[0]) == 6 * 15
    for name in results[0]:
        close(results[1][name], results[0][name])
