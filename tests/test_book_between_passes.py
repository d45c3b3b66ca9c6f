"""What happens to arrays and layers of fastnn.book between a pass forwards and the way back."""

import copy
import pickle

import numpy as np
import pytest
from book_reference import close
from numpy.testing import assert_array_equal
from reference import assert_same_bits
from test_book_convolution import (  # the fixture is for all tests here, too
    convolved,
    data,
    gradients,
    in_lanes,
    kernels_of_any_size,  # noqa: F401
    unseen,
)

import fastnn
from fastnn.book import compiled, kernel_calls, lanes
from fastnn.book.layers import Affine, Convolution, Pooling, Relu

SHAPE = (9, 2, 8, 7, 5, 3, 3, 1, 1)
COPIES = {"copy": copy.deepcopy, "pickle": lambda layer: pickle.loads(pickle.dumps(layer))}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("form", [in_lanes, np.copy], ids=["in lanes", "in rows"])
def test_images_may_be_written_to_after_they_have_passed(form, pad, rng):
    """In the book the layer has a copy of its own, `col`."""
    x, W, b, stride, _ = data(rng, SHAPE)
    given, layer = form(x), Convolution(W, b, stride, pad)
    dout = rng.normal(size=layer.forward(given).shape)
    col = layer.col
    given += 1
    dx = layer.backward(dout)
    expected = gradients(x, W, dout, stride, pad)
    for found, one in zip((dx, layer.dW, layer.db), expected, strict=True):
        close(found, one)
    assert_array_equal(layer.col, col)


def test_the_largest_pixels_are_those_of_the_pass(rng):
    x = in_lanes(rng.normal(size=(9, 2, 6, 6)))
    pool, untouched = Pooling(2, 2), Pooling(2, 2)
    dout = rng.normal(size=pool.forward(x).shape)
    untouched.forward(x.copy())
    x *= -1
    assert_array_equal(pool.backward(dout), untouched.backward(dout))


@each_copy
def test_a_copy_of_a_layer_goes_the_same_way_back(copied, rng):
    x, W, b, stride, pad = data(rng, SHAPE)
    layer, pool, relu = Convolution(W, b, stride, pad), Pooling(2, 2), Relu()
    out = relu.forward(layer.forward(x))
    small = pool.forward(out)
    dout, dsmall = rng.normal(size=out.shape), rng.normal(size=small.shape)
    other = copied(layer)
    assert_same_bits(other.backward(dout), layer.backward(dout))
    assert_same_bits(other.dW, layer.dW)
    assert_array_equal(other.col, layer.col)
    assert_same_bits(copied(pool).backward(dsmall), pool.backward(dsmall))
    assert_array_equal(copied(pool).arg_max, pool.arg_max)
    assert_same_bits(copied(relu).backward(in_lanes(dout)), relu.backward(in_lanes(dout)))


@each_copy
def test_a_copy_of_images_is_an_array_like_any_other(copied, rng):
    x, W, b, stride, pad = data(rng, SHAPE)
    out = Convolution(W, b, stride, pad).forward(x)
    assert_array_equal(copied(out), out, strict=True)
    assert lanes.flat(out[:4]) is None
    assert lanes.flat(out[:, :, ::2]) is None


def test_what_must_not_be_written_to_is_not(rng):
    relu, x = Relu(), in_lanes(rng.normal(size=(9, 4, 8, 8)))
    relu.forward(x)
    dout = in_lanes(rng.normal(size=x.shape))
    before = dout.copy()
    dout.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        relu.backward(dout)
    assert_array_equal(dout, before)


@pytest.mark.parametrize("count", [120, 121, 128, 129, 256])
def test_pixels_of_many_images_do_not_meet_in_the_cache(count, rng):
    images = lanes.images_up(count)
    assert images % lanes.GROUP == 0
    assert count <= images < count + 2 * lanes.GROUP
    assert images // lanes.GROUP % lanes.MEETING
    x, W, b, stride, pad = data(rng, (count, *SHAPE[1:]))
    layer = Convolution(W, b, stride, pad)
    out = layer.forward(x)
    close(out, convolved(x, W, b, stride, pad))
    dx = layer.backward(out)  # whose unseen lanes must not count
    for found, one in zip((dx, layer.dW, layer.db), gradients(x, W, out, stride, pad), strict=True):
        close(found, one)
    for array in (out, dx):
        assert not unseen(array).any()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 3), (3, 1)])
@pytest.mark.usefixtures("both_builds")
def test_gradients_of_images_of_few_channels(channels, stride, pad, rng):
    x, W, b, _, _ = data(rng, (37, channels, 9, 8, 11, 4, 3, stride, pad))
    dout, bits = None, []
    for threads in (1, 2):
        fastnn.set_num_threads(threads)
        try:
            layer = Convolution(W, b, stride, pad)
            out = layer.forward(x)
            dout = rng.normal(size=out.shape) if dout is None else dout
            bits.append(layer.backward(dout))
        finally:
            fastnn.set_num_threads(None)
    assert_same_bits(*bits)
    close(bits[0], gradients(x, W, dout, stride, pad)[0])
    assert not unseen(bits[0]).any()


# Affine layers of many weights, behind images


@pytest.fixture
def many_weights(monkeypatch):
    monkeypatch.setattr(compiled, "PRODUCT_FROM", 1)
    monkeypatch.setattr(compiled, "LISTED_WEIGHTS_UP_TO", 0)


@pytest.mark.parametrize(
    "shape", [(1, 3, 2), (100, 433, 100), (7, 70, 9), (150, 40, 300), (129, 271, 17)], ids=str
)
@pytest.mark.usefixtures("both_builds", "many_weights")
def test_many_weights_have_the_bits_of_few(shape, rng):
    N, inputs, outputs = shape
    x, W, b = rng.normal(size=(N, inputs)), rng.normal(size=(inputs, outputs)), None
    x *= rng.random(x.shape) < 0.6
    b, dout = rng.normal(size=outputs), rng.normal(size=(N, outputs))
    layer = Affine(W, b)
    out, dx = layer.forward(x), layer.backward(dout)
    assert_same_bits(out, kernel_calls.affine(x, W, b))
    listed = kernel_calls.affine_gradients(x, W, dout, True)
    for found, expected in zip((dx, layer.dW, layer.db), listed, strict=True):
        assert_same_bits(found, expected)
    layer.backward_to_data(dout)
    assert_same_bits(layer.dW, listed[1])
    close(out, x @ W + b)


@pytest.mark.usefixtures("many_weights")
def test_gradients_that_somebody_has_are_not_written_over(rng):
    x, W = rng.normal(size=(20, 30)), rng.normal(size=(30, 40))
    layer, held = Affine(W, np.zeros(40)), []
    for k in range(4):
        layer.forward(x)
        held.append((layer.backward(np.full((20, 40), float(k))), layer.dW))
    for k, (dx, dW) in enumerate(held):
        close(dx, np.full((20, 40), float(k)) @ W.T)
        close(dW, x.T @ np.full((20, 40), float(k)))


def test_weights_of_single_precision_inputs_are_numpys_if_many(rng):
    x, W = rng.normal(size=(100, 300)).astype(np.float32), rng.normal(size=(300, 1000))
    assert W.size > compiled.LISTED_WEIGHTS_UP_TO
    assert compiled.affine(x, W, np.zeros(1000)) is None
    assert compiled.affine(x.astype(float), W, np.zeros(1000)) is not None
