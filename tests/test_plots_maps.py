"""The pictures of filters, and of what layers make of an image."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

import fastnn
from fastnn import plots
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.plots import maps

mpl.use("agg")
rng = np.random.default_rng(0)
W = rng.normal(size=(4, 1, 3, 5))


def new_axes():
    return Figure(figsize=(6, 4), layout="constrained").add_subplot()


def sheet_of(ax):
    return ax.images[0].get_array()


def net_of(activation="relu", **options):
    layers = [
        fastnn.MaxPool((1, 2), 1),
        fastnn.Conv(5, 3, pad=(0, 2)),
        fastnn.Dropout(0.5),
        fastnn.Conv(3, (2, 3), stride=(2, 1), activation="tanh"),
        fastnn.MaxPool(2),
        fastnn.Dense(4),
    ]
    return fastnn.ConvNet((2, 9, 8), layers, activation, dtype="float64", seed=1, bias_init=0.3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_maps_are_those_that_the_network_computes(activation):
    net, image = net_of(activation), rng.normal(size=(2, 9, 8))
    names, found = zip(*maps.maps_of(net, image), strict=True)
    assert names == (
        "image",
        *(repr(layer) for layer in net.layers[:-1] if "Drop" not in repr(layer)),
    )
    assert_array_equal(found[0], image)
    scores = found[-1].ravel() @ net.params["W3"] + net.params["b3"]
    expected = np.exp(scores - scores.max())
    assert_allclose(net.predict(image[np.newaxis])[0], expected / expected.sum(), rtol=1e-12)


def test_a_row_of_maps_for_each_layer_small_ones_larger():
    net = fastnn.ConvNet(
        (1, 28, 28), [fastnn.Conv(2, 5), fastnn.MaxPool(4), fastnn.Dense(2)], seed=0
    )
    ax = plots.feature_maps(net, rng.random(784), new_axes())
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "image",
        "Conv(2, 5)",
        "MaxPool(4)",
    ]
    sheet = sheet_of(ax).filled(-1)
    assert sheet.shape == (3 * 30 + 2, 2 * 30 + 2)
    pooled = maps.maps_of(net, rng.random((1, 28, 28)))[2][1]
    assert pooled.shape == (2, 6, 6)
    assert (np.diff(sheet[62:66, 2:6]) == 0).all()  # a pixel of it is a square of four by four
    assert sheet.max() == 1


def test_numbers_below_zero_are_not_cut_off():
    layers = [fastnn.Conv(2, 3), fastnn.Dense(2)]
    image = rng.random((1, 8, 8))
    for activation, below in (("relu", False), ("tanh", True)):
        net = fastnn.ConvNet((1, 8, 8), layers, activation, seed=0)
        picture = plots.feature_maps(net, image, new_axes()).images[0]
        shown = picture.get_array().compressed()
        assert (shown.min() < 0) == below
        assert picture.get_clim() == (shown.min(), 1)


def test_most_so_many_channels():
    net = fastnn.ConvNet((1, 6, 6), [fastnn.Conv(9, 2), fastnn.Dense(2)], seed=0)
    few, all_ = (
        sheet_of(plots.feature_maps(net, np.eye(6), new_axes(), most=most)) for most in (3, 9)
    )
    assert few.shape[1] < all_.shape[1]


def test_filters_have_the_colours_of_those_before():
    ax = plots.filters(W, new_axes(), before=3 * W)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["before", "after"]
    limit = 3 * np.abs(W).max()
    assert_allclose(ax.images[0].get_clim(), (-limit, limit))
    sheet = sheet_of(ax)
    # A pixel is a square of five by five: filters are 15 by 25 of them, 2 apart.
    assert_allclose(sheet[2:17:5, 2:27:5], 3 * W[0, 0])
    assert_allclose(sheet[19:34:5, 29:54:5], W[1, 0])
    assert (np.diff(sheet[2:7, 2:7]) == 0).all()
    assert ax.get_title() == "all 4 filters, before and after training"


def test_filters_alone_have_no_names():
    ax = plots.filters(np.zeros((2, 3, 2, 2)), new_axes())
    assert not ax.get_yticklabels()
    assert ax.get_title() == "all 6 channels of 2 filters"
    assert (
        plots.filters(W, new_axes(), most=2).get_title() == "the first 2 of 4 channels of filters"
    )


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda: plots.filters(W[0]), r"W must have shape \(filters, C, h, w\), got \(1, 3, 5\)"),
        (lambda: plots.filters(W, before=W[:2]), r"before must have shape \(4, 1, 3, 5\)"),
        (lambda: plots.filters(W * np.nan), "W must be finite"),
        (lambda: plots.filters(W, most=0), "most must be a positive integer"),
        (
            lambda: plots.feature_maps(net_of(), np.eye(8)),
            r"x must be an image of shape \(2, 9, 8\)",
        ),
        (lambda: plots.feature_maps(net_of(), np.full(144, np.inf)), "x must be finite"),
    ],
)
def test_a_wrong_argument_is_named(draw, text):
    with pytest.raises(ValueError, match=text):
        draw()
