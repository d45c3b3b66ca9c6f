"""fastnn.book's Convolution and Pooling, im2col and col2im, against sums written out."""

import itertools

import numpy as np
import pytest
from book_reference import close
from numpy.testing import assert_array_equal
from reference import assert_same_bits, numerical_gradient

import fastnn
from fastnn.book import image_calls, lanes
from fastnn.book.layers import Affine, Convolution, Pooling, Relu
from fastnn.book.util import col2im, conv_output_size, im2col
from fastnn.compiler import tiles

# N, C, H, W, filters, their lines and pixels, stride, pad.
SHAPES = [
    (1, 1, 5, 6, 1, 3, 2, 1, 0),
    (3, 2, 7, 5, 4, 2, 3, 2, 1),
    (8, 3, 6, 6, 6, 3, 3, 1, 1),
    (9, 1, 9, 8, 7, 5, 5, 1, 0),
    (33, 2, 5, 5, 13, 3, 3, 1, 2),
    (17, 4, 8, 7, 10, 1, 1, 3, 0),
    (40, 1, 4, 4, 8, 2, 2, 3, 4),  # windows of nothing but zeros
    (35, 2, 6, 7, 9, 3, 1, 2, 3),
    (5, 2, 3, 3, 2, 3, 3, 1, 0),  # one window
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
# Lines and pixels of windows, and their stride: side by side, overlapping, apart.
POOLS = [(2, 2, 2), (2, 3, 1), (3, 2, 2), (1, 2, 3), (2, 1, 1)]


@pytest.fixture(autouse=True)
def kernels_of_any_size(monkeypatch):
    """Small images, too, which NumPy makes as fast."""
    monkeypatch.setattr(image_calls, "CONVOLVED_FROM", 1)
    monkeypatch.setattr(image_calls, "POOLED_FROM", 1)


def windows(x, size, stride, pad):
    """Each window (N, C, FH, FW), with its place among the outputs and among the images."""
    _, _, H, W = x.shape
    around = np.zeros((*x.shape[:2], H + 2 * pad, W + 2 * pad))
    around[:, :, pad : pad + H, pad : pad + W] = x
    lines, pixels = ((s + 2 * pad - f) // stride + 1 for s, f in zip((H, W), size, strict=True))
    for i, j in itertools.product(range(lines), range(pixels)):
        y, z = i * stride, j * stride
        yield i, j, y, z, around[:, :, y : y + size[0], z : z + size[1]]


def convolved(x, W, b, stride, pad):
    size = W.shape[2:]
    lines, pixels = (
        int(conv_output_size(s, f, stride, pad)) for s, f in zip(x.shape[2:], size, strict=True)
    )
    out = np.empty((len(x), len(W), lines, pixels))
    for i, j, _, _, window in windows(x, size, stride, pad):
        out[:, :, i, j] = np.einsum("ncij,ocij->no", window, W) + b
    return out


def gradients(x, W, dout, stride, pad):
    dx = np.zeros((*x.shape[:2], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad))
    dW = np.zeros(W.shape)
    for i, j, y, z, window in windows(x, W.shape[2:], stride, pad):
        delta = dout[:, :, i, j]
        dW += np.einsum("no,ncij->ocij", delta, window)
        dx[:, :, y : y + W.shape[2], z : z + W.shape[3]] += np.einsum("no,ocij->ncij", delta, W)
    H, V = x.shape[2:]
    return dx[:, :, pad : pad + H, pad : pad + V], dW, dout.sum(axis=(0, 2, 3))


def data(rng, shape):
    N, C, H, V, FN, FH, FW, stride, pad = shape
    x, W, b = rng.normal(size=(N, C, H, V)), rng.normal(size=(FN, C, FH, FW)), rng.normal(size=FN)
    return x, W, b, stride, pad


def in_lanes(x):
    """The same array in lanes."""
    out = lanes.new(x.shape)
    lanes.flat(out)[:] = 0
    out[...] = x
    return out


def unseen(array):
    """What lies in lanes of no image."""
    N, C, H, W = array.shape
    return lanes.flat(array).reshape(C, H, W, -1)[..., N:]


@each_shape
@pytest.mark.usefixtures("both_builds")
def test_convolution_is_its_sums_and_their_gradients(shape, rng):
    x, W, b, stride, pad = data(rng, shape)
    layer = Convolution(W, b, stride, pad)
    out = layer.forward(x)
    assert lanes.flat(out) is not None
    assert layer.x is x
    close(out, convolved(x, W, b, stride, pad))
    dout = rng.normal(size=out.shape)
    dx = layer.backward(dout)
    for found, expected in zip(
        (dx, layer.dW, layer.db), gradients(x, W, dout, stride, pad), strict=True
    ):
        assert found.dtype == np.float64
        close(found, expected)
    for array in (out, dx):
        assert not unseen(array).any()


@each_shape
def test_numpy_computes_the_same_where_kernels_do_not(shape, rng, monkeypatch):
    x, W, b, stride, pad = data(rng, shape)
    monkeypatch.setattr(image_calls, "CONVOLVED_FROM", 1e30)
    layer = Convolution(W, b, stride, pad)
    out = layer.forward(x)
    assert lanes.flat(out) is None
    close(out, convolved(x, W, b, stride, pad))
    dout = rng.normal(size=out.shape)
    expected = gradients(x, W, dout, stride, pad)
    for found, each in zip((layer.backward(dout), layer.dW, layer.db), expected, strict=True):
        close(found, each)


@each_shape
def test_gradients_are_slopes(shape, rng):
    x, W, b, stride, pad = data(rng, (2, *shape[1:]))
    layer = Convolution(W, b, stride, pad)
    weights = rng.normal(size=layer.forward(x).shape)
    dx = layer.backward(weights)
    given = {"x": x, "W": W, "b": b}
    for name, found in (("x", dx), ("W", layer.dW), ("b", layer.db)):

        def loss(value, name=name):
            return (convolved(*(given | {name: value}).values(), stride, pad) * weights).sum()

        slopes = numerical_gradient(loss, given[name])  # exact but for rounding: it is linear
        np.testing.assert_allclose(found, slopes, rtol=1e-7, atol=1e-7)


FORMS = {
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "bytes": lambda x: (x * 50).astype(np.uint8),
    "truths": lambda x: x > 0,
    "Fortran": np.asfortranarray,
    "reversed": lambda x: x[::-1, :, ::-1],
    "swapped": lambda x: x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2),
    "in lanes": in_lanes,
    "of a larger one in lanes": lambda x: in_lanes(np.concatenate([x, x]))[: len(x)],
}


@pytest.mark.parametrize("form", FORMS)
def test_images_may_be_of_any_form(form, rng):
    x, W, b, stride, pad = data(rng, (9, 2, 8, 7, 5, 3, 3, 1, 1))
    given = FORMS[form](x)
    given.flags.writeable = False
    layer, pool = Convolution(W, b, stride, pad), Pooling(2, 2)
    out = layer.forward(given)
    close(out, convolved(given, W, b, stride, pad))
    dout = FORMS[form](rng.normal(size=out.shape))
    dx, dW, _ = gradients(given, W, dout.astype(float), stride, pad)
    close(layer.backward(dout), dx)
    close(layer.dW, dW)
    found = pool.forward(given)
    assert found.dtype == np.float64
    assert_array_equal(found[0, 0, 0, 0], given[0, 0, :2, :2].max())


def test_biases_may_be_a_number(rng):
    x, W, _, stride, pad = data(rng, SHAPES[2])
    close(Convolution(W, 0, stride, pad).forward(x), convolved(x, W, 0, stride, pad))
    close(Convolution(W, 1.5, stride, pad).forward(x), convolved(x, W, 1.5, stride, pad))


def test_weights_may_be_written_to_and_replaced(rng):
    x, W, b, stride, pad = data(rng, SHAPES[2])
    layer = Convolution(W, b, stride, pad)
    layer.forward(x)
    W *= 2
    dout = rng.normal(size=layer.forward(x).shape)
    W += 1  # gradients of inputs are those of what the filters are then, as in the book
    close(layer.backward(dout), gradients(x, W, dout, stride, pad)[0])
    layer.W = rng.normal(size=W.shape)
    close(layer.forward(x), convolved(x, layer.W, b, stride, pad))


@each_shape
@pytest.mark.parametrize("from_", [1, 1e30], ids=["kernels", "NumPy"])
def test_matrices_of_windows_are_there_when_they_are_asked_for(shape, from_, rng, monkeypatch):
    monkeypatch.setattr(image_calls, "CONVOLVED_FROM", from_)
    x, W, b, stride, pad = data(rng, shape)
    layer = Convolution(W, b, stride, pad)
    assert layer.col is None
    assert layer.col_W is None
    out = layer.forward(x)
    rows = [window.reshape(len(x), -1) for *_, window in windows(x, W.shape[2:], stride, pad)]
    expected = np.stack(rows, axis=1).reshape(-1, W[0].size)
    assert_array_equal(layer.col, expected, strict=True)
    assert_array_equal(im2col(x, *W.shape[2:], stride, pad), expected, strict=True)
    assert_array_equal(layer.col_W, W.reshape(len(W), -1).T, strict=True)
    assert np.shares_memory(layer.col_W, W)
    close(layer.col @ layer.col_W + b, out.transpose(0, 2, 3, 1).reshape(-1, len(W)))
    counts = col2im(np.ones_like(expected), x.shape, *W.shape[2:], stride, pad)
    close(
        counts,
        gradients(x, np.ones((1, *W.shape[1:])), np.ones((len(x), 1, *out.shape[2:])), stride, pad)[
            0
        ],
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["x", "W", "dout"])
def test_what_is_not_finite_is_what_numpy_makes_of_it(value, place, rng):
    x, W, b, stride, pad = data(rng, SHAPES[2])
    if place == "x":
        x[3, 1, 0, 0] = value
    if place == "W":
        W[1, 0, 0, 0] = value
    layer, plain = Convolution(W, b, stride, pad), Convolution(W, b, stride, pad)
    with np.errstate(all="ignore"):
        plain._passed = im2col(x, 3, 3, stride, pad), W.reshape(len(W), -1).T
        plain.x = x
        out = layer.forward(x)
        dout = rng.normal(size=out.shape)
        if place == "dout":
            dout[2, 1, 0, 0] = value
        close(layer.backward(dout), plain.backward(dout))
        close(layer.dW, plain.dW)
        close(out, convolved(x, W, b, stride, pad))


def test_what_does_not_fit_is_refused_as_by_the_book(rng):
    x, W, b, _, _ = data(rng, SHAPES[2])
    large = "window shape cannot be larger"
    for layer in (Convolution(rng.normal(size=(2, 3, 9, 2)), 0), Pooling(9, 2), Pooling(2, 9)):
        with pytest.raises(ValueError, match=large):
            layer.forward(x)
    with pytest.raises(ValueError, match="not aligned"):
        Convolution(W[:, :1], b).forward(x)  # of fewer channels
    with pytest.raises(ValueError, match="unpack"):
        Convolution(W, b).forward(x[0])
    with pytest.raises(ValueError, match="cannot reshape"):
        Convolution(W, b).forward(x[:0])
    layer = Convolution(W, b)
    out = layer.forward(x)
    with pytest.raises(ValueError, match="not aligned"):
        layer.backward(out[:, :, :2])


# Pooling ----------------------------------------------------------------------------------


def pooled(x, size, stride):
    """The largest pixels, and of each window the number of the first of them."""
    found = list(windows(x, size, stride, 0))
    shape = *x.shape[:2], found[-1][0] + 1, found[-1][1] + 1
    out, which = np.empty(shape), np.empty(shape, np.int64)
    for i, j, _, _, window in found:
        flat = window.reshape(*x.shape[:2], -1)
        out[:, :, i, j], which[:, :, i, j] = flat.max(axis=2), flat.argmax(axis=2)
    return out, which


def pooled_gradient(x, size, stride, dout):
    dx, which = np.zeros(x.shape), pooled(x, size, stride)[1]
    for n, c, i, j in np.ndindex(dout.shape):
        k, m = divmod(which[n, c, i, j], size[1])
        dx[n, c, i * stride + k, j * stride + m] += dout[n, c, i, j]
    return dx


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("N", [1, 8, 35])
@pytest.mark.usefixtures("both_builds")
def test_pooling_passes_on_the_first_of_the_largest(pool, N, rng):
    *size, stride = pool
    x = rng.integers(-1, 2, (N, 3, 7, 8)).astype(float)  # ties in nearly every window
    x[0, 0, 0, :3] = np.nan
    layer = Pooling(*size, stride)
    out = layer.forward(x)
    expected, which = pooled(x, size, stride)
    assert_array_equal(out, expected)
    assert_array_equal(layer.arg_max, which.transpose(0, 2, 3, 1).reshape(-1), strict=True)
    dout = rng.normal(size=out.shape)
    dx = layer.backward(dout)
    close(dx, pooled_gradient(x, size, stride, dout))
    assert not unseen(dx).any()


def test_pooling_in_numpy_is_the_same(rng, monkeypatch):
    x, dout = rng.integers(-1, 2, (5, 3, 7, 8)).astype(float), rng.normal(size=(5, 3, 3, 4))
    ours = Pooling(2, 2)
    found = ours.forward(x), ours.arg_max, ours.backward(dout)
    monkeypatch.setattr(image_calls, "POOLED_FROM", 1e30)
    plain = Pooling(2, 2)
    for each, expected in zip(
        found, (plain.forward(x), plain.arg_max, plain.backward(dout)), strict=True
    ):
        assert_array_equal(each, expected)


def test_zeros_around_a_pooling_change_its_windows_but_not_its_shape(rng):
    """As in the book: only where both fit does it work."""
    x = rng.normal(size=(2, 1, 4, 4))
    with pytest.raises(ValueError, match="cannot reshape"):
        Pooling(2, 2, stride=2, pad=1).forward(x)


# Memory -----------------------------------------------------------------------------------


def test_layers_hand_images_on_in_lanes(rng):
    x = rng.normal(size=(10, 1, 8, 8))
    layers = [
        Convolution(rng.normal(size=(4, 1, 3, 3)), np.zeros(4)),
        Relu(),
        Pooling(2, 2),
        Convolution(rng.normal(size=(3, 4, 2, 2)), np.ones(3), pad=1),
        Relu(),
        Affine(rng.normal(size=(48, 5)), np.zeros(5)),
    ]
    out = x
    for layer in layers[:-1]:
        out = layer.forward(out)
        assert lanes.flat(out) is not None
        assert not unseen(out).any()
    rows = out.reshape(len(out), -1)
    dout = layers[-1].backward(np.ones(layers[-1].forward(out).shape))
    assert_array_equal(layers[-1].x, rows)
    for layer in layers[-2::-1]:
        dout = layer.backward(dout)
    assert lanes.flat(dout) is not None
    assert dout.shape == x.shape


def test_lanes_of_no_image_stay_zero(rng):
    """Or gradients would be summed over what lies there."""
    memory = lanes.new((3, 2, 5, 5))
    lanes.flat(memory)[:] = np.nan
    del memory  # the next of this size has it
    layer = Convolution(rng.normal(size=(2, 2, 3, 3)), np.ones(2), pad=1)
    x = rng.normal(size=(3, 2, 5, 5))
    out = layer.forward(x)
    assert np.isfinite(layer.backward(out)).all()
    assert np.isfinite(layer.dW).all()
    assert np.isfinite(layer.db).all()


def test_memory_is_used_again_when_nobody_has_it():
    first = lanes.new((5, 1, 31, 3))
    place = first.ctypes.data
    part = first[1:2]
    del first
    second = lanes.new((5, 1, 31, 3))
    assert second.ctypes.data != place  # a part of it is still there
    del part
    assert lanes.new((5, 1, 31, 3)).ctypes.data == place
    kept = sum(memory.nbytes for memory in lanes._kept)
    assert kept <= lanes.KEPT_BYTES


def test_groups_are_those_of_the_kernels():
    assert lanes.GROUP_BYTES == tiles.GROUP_BYTES


def test_bits_do_not_depend_on_threads(rng):
    x, W, b, _, _ = data(rng, (50, 3, 20, 18, 13, 3, 3, 1, 1))
    dout, bits = rng.normal(size=(50, 13, 20, 18)), []
    for threads in (1, 2):
        fastnn.set_num_threads(threads)
        try:
            layer, pool = Convolution(W, b, 1, 1), Pooling(2, 2)
            out = layer.forward(x)
            small = pool.forward(out)
            dx = layer.backward(dout)
            bits.append([out, dx, layer.dW, layer.db, small, pool.backward(small)])
        finally:
            fastnn.set_num_threads(None)
    for first, second in zip(*bits, strict=True):
        assert_same_bits(first, second)


SCRIPT = """
import sys, os
sys.path.append(os.pardir)
import numpy as np
from collections import OrderedDict
from common.layers import *
from common.gradient import numerical_gradient
from common.optimizer import Adam
from common.util import im2col, conv_output_size, shuffle_dataset

np.random.seed(3)
x, t = np.random.rand(60, 1, 8, 8), np.random.randint(0, 3, 60)
params = {"W1": 0.3 * np.random.randn(4, 1, 3, 3), "b1": np.zeros(4),
          "W2": 0.3 * np.random.randn(36, 3), "b2": np.zeros(3)}
layers = OrderedDict()
layers["Conv1"] = Convolution(params["W1"], params["b1"], 1, 0)
layers["Relu1"] = Relu()
layers["Pool1"] = Pooling(pool_h=2, pool_w=2, stride=2)
layers["Affine1"] = Affine(params["W2"], params["b2"])
last = SoftmaxWithLoss()

def loss(x, t):
    for layer in layers.values():
        x = layer.forward(x)
    return last.forward(x, t)

def gradient(x, t):
    loss(x, t)
    dout = last.backward(1)
    for layer in reversed(list(layers.values())):
        dout = layer.backward(dout)
    return {"W1": layers["Conv1"].dW, "b1": layers["Conv1"].db,
            "W2": layers["Affine1"].dW, "b2": layers["Affine1"].db}

found = gradient(x[:2], t[:2])
slopes = {key: numerical_gradient(lambda w: loss(x[:2], t[:2]), params[key]) for key in params}
print(max(np.abs(found[key] - slopes[key]).max() for key in params) < 1e-5)
print(conv_output_size(8, 3), im2col(x, 3, 3).shape)
optimizer = Adam(lr=0.01)
for _ in range(200):
    optimizer.update(params, gradient(x, t))
print(loss(x, t) < 0.7)
"""


def test_a_script_of_chapter_7_runs_unchanged(book):
    run = book("../ch07/small.py", ch07__small=SCRIPT)
    assert run.stderr == ""
    assert run.stdout.splitlines() == ["True", "6.0 (2160, 9)", "True"]
