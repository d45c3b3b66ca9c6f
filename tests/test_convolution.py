"""Convolutions of a group of images: each output one chain, each gradient a chain per lane."""

import image_entries as kernels
import image_reference as twins
import numpy as np
import pytest
from activation_entries import activate
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_entries import DTYPES, group_of, normal, of_all_sizes
from reference import assert_same_bits

from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.convolution import SUMMED_PIXELS, SUMMED_TAPS, TILE_OUTPUTS, TILE_PIXELS

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
LAYOUTS = [{}, {"margin": 3, "gap": 5}]
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
WIDEST = 2 * TILE_PIXELS + 2  # pixels: widths below a tile, above, and between whole ones


def problem(rng, dtype, channels, size, outputs, filters):
    """A group of images, filters and biases."""
    return (
        normal(rng, dtype, group_of(dtype), channels, *size),
        normal(rng, dtype, outputs, channels, *filters),
        normal(rng, dtype, outputs),
    )


# convolve -------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("outputs", range(1, 2 * TILE_OUTPUTS + 2))
def test_an_output_is_one_chain_for_any_number_of_outputs(outputs, dtype, rng):
    x, W, b = problem(rng, dtype, 2, (4, 5), outputs, (2, 3))
    assert_same_bits(kernels.convolve(x, W, b), twins.convolve(x, W, b))


@each_dtype
@each_layout
@pytest.mark.parametrize("width", range(1, WIDEST))
def test_an_output_is_one_chain_for_any_width(width, layout, dtype, rng):
    for pixels in {1, 2, width}:
        x, W, b = problem(rng, dtype, 3, (3, width + pixels - 1), 5, (2, pixels))
        assert_same_bits(kernels.convolve(x, W, b, **layout), twins.convolve(x, W, b))


@each_dtype
@settings(max_examples=60)
@given(data=st.data())
def test_an_output_is_one_chain_for_any_strides_and_pads(dtype, data):
    pair = lambda least, most: st.tuples(*[st.integers(least, most)] * 2)  # noqa: E731
    filters, stride = data.draw(pair(1, 5), "filters"), data.draw(pair(1, 3), "stride")
    pad = data.draw(pair(0, 6), "pad")  # beyond the filter, too
    size = tuple(
        data.draw(st.integers(max(f - 2 * p, 1), 9)) for f, p in zip(filters, pad, strict=True)
    )
    channels, outputs = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 13))
    layout = {"margin": data.draw(st.integers(0, 9)), "gap": data.draw(st.integers(0, 9))}
    x, W, b = problem(np.random.default_rng(7), dtype, channels, size, outputs, filters)
    found = kernels.convolve(x, W, b, stride, pad, data.draw(st.integers(1, 2), "step"), **layout)
    assert_same_bits(found, twins.convolve(x, W, b, stride, pad))


@each_dtype
def test_numbers_of_all_sizes_are_summed_in_that_order(dtype, rng):
    x, W, b = problem(rng, dtype, 3, (6, 7), 7, (3, 3))
    x, W = (of_all_sizes(rng, a.size, dtype).reshape(a.shape) for a in (x, W))
    assert_same_bits(kernels.convolve(x, W, b), twins.convolve(x, W, b))


@each_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_that_of_the_outputs(name, dtype, rng):
    x, W, b = problem(rng, dtype, 2, (4, 7), 9, (2, 3))
    found = kernels.convolve(x, W, b, activation=name, margin=3, gap=5)
    assert_same_bits(found, activate(name, twins.convolve(x, W, b)))


# filter_gradient ------------------------------------------------------------------------


def deltas_for(rng, x, outputs, filters, stride):
    size = twins.outputs_of(x.shape[2:], filters, stride)
    return normal(rng, x.dtype, len(x), outputs, *size)


@each_dtype
@each_layout
@pytest.mark.parametrize("outputs", range(1, 2 * TILE_OUTPUTS + 2))
def test_gradients_are_chains_of_lanes_for_any_number_of_outputs(outputs, layout, dtype, rng):
    x = normal(rng, dtype, group_of(dtype), 2, 4, 5)
    d, before = deltas_for(rng, x, outputs, (2, 3), (1, 1)), normal(rng, dtype, outputs, 2, 2, 3)
    found = kernels.filter_gradient(d, x, (2, 3), before, **layout)
    assert_same_bits(found, before + twins.filter_gradient(d, x, (2, 3)))


@each_dtype
@pytest.mark.parametrize("taps", range(1, 2 * SUMMED_TAPS + 2))
def test_gradients_are_chains_of_lanes_for_any_number_of_taps(taps, dtype, rng):
    for channels, size in ((taps, (1, 1)), (1, (taps, 1)), (2, (1, taps))):
        x = normal(rng, dtype, group_of(dtype), channels, 2 + size[0], 1 + size[1])
        d, before = deltas_for(rng, x, 3, size, (1, 1)), normal(rng, dtype, 3, channels, *size)
        found = kernels.filter_gradient(d, x, size, before)
        assert_same_bits(found, before + twins.filter_gradient(d, x, size))


@each_dtype
@pytest.mark.parametrize("width", [1, 5, SUMMED_PIXELS - 1, SUMMED_PIXELS, SUMMED_PIXELS + 1])
def test_gradients_of_many_pixels_are_chains_all_the_same(width, dtype, rng):
    """Some lines at a time, if a group is more than a vector."""
    for stride in ((1, 1), (2, 3)):
        lines = 2 * SUMMED_PIXELS // width + 3
        size = stride[0] * (lines - 1) + 2, stride[1] * (width - 1) + 1
        x = normal(rng, dtype, group_of(dtype), 1, *size)
        d, before = deltas_for(rng, x, 2, (2, 1), stride), np.zeros((2, 1, 2, 1), dtype)
        found = kernels.filter_gradient(d, x, (2, 1), before, stride)
        assert_same_bits(found, twins.filter_gradient(d, x, (2, 1), stride))


@each_dtype
@settings(max_examples=30)
@given(data=st.data())
def test_gradients_are_chains_of_lanes_for_any_strides(dtype, data):
    pair = lambda least, most: st.tuples(*[st.integers(least, most)] * 2)  # noqa: E731
    size, stride = data.draw(pair(1, 4), "filters"), data.draw(pair(1, 3), "stride")
    room, rng = data.draw(pair(0, 5), "room"), np.random.default_rng(8)
    channels, outputs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 13))
    x = normal(rng, dtype, group_of(dtype), channels, size[0] + room[0], size[1] + room[1])
    x = of_all_sizes(rng, x.size, dtype).reshape(x.shape)
    d, before = (
        deltas_for(rng, x, outputs, size, stride),
        np.zeros((outputs, channels, *size), dtype),
    )
    found = kernels.filter_gradient(
        d, x, size, before, stride, data.draw(st.integers(1, 3), "step")
    )
    assert_same_bits(found, before + twins.filter_gradient(d, x, size, stride))


# Rows and lanes -------------------------------------------------------------------------


@each_dtype
@each_layout
def test_rows_become_lanes_and_rows_again(layout, dtype, rng):
    group = group_of(dtype)
    for units in (1, 2, group - 1, group, group + 1, 3 * group + 5):
        rows = normal(rng, dtype, group, units)
        assert_same_bits(kernels.rows_to_lanes(rows, units, **layout), rows.T)
        assert_same_bits(kernels.lanes_to_rows(np.ascontiguousarray(rows.T), **layout), rows)
