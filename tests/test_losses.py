"""Losses of one row: outputs, values and deltas, and that nothing overflows."""

import numpy as np
import output_entries as kernels
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_entries import DTYPES, group_of, lanes_of
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_same_bits

from fastnn.kernels.losses import LOSSES
from fastnn.kernels.narrow_outputs import NARROW

each_loss = pytest.mark.parametrize("loss", LOSSES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def sizes(dtype):
    group = group_of(dtype)
    return 1, 2, 3, group - 1, group, group + 1, 2 * group, 2 * group + 3


def rows(rng, dtype):
    """Inputs and targets of one row of each size."""
    for size in sizes(dtype):
        yield rng.normal(0, 4, size).astype(dtype), rng.uniform(size=size).astype(dtype)


def assert_close(found, expected, dtype, size=1.0):
    """Equal up to a few roundings of numbers of this size."""
    assert_allclose(found, expected, 0, 20 * np.finfo(dtype).eps * size)


# Values and deltas against the twins --------------------------------------------------------


@each_loss
@each_dtype
def test_outputs_and_losses_are_those_of_the_twin(loss, dtype, rng):
    for z, t in rows(rng, dtype):
        for label in {0, z.size // 2, z.size - 1}:
            expected_outputs, expected = reference.loss_forward(loss, label, t, z)
            y, value = kernels.loss_forward(loss, label, t, z, margin=3)
            assert_close(y[: z.size], expected_outputs, dtype, np.abs(expected_outputs).max())
            assert_close(value, expected, dtype, np.abs(z).max() + expected)


@each_loss
@each_dtype
def test_deltas_are_those_of_the_twin_and_their_padding_is_zero(loss, dtype, rng):
    for z, t in rows(rng, dtype):
        for label in {0, z.size // 2, z.size - 1}:
            y, _ = kernels.loss_forward(loss, label, t, z)
            dz = kernels.loss_backward(loss, label, t, 0.25, y, margin=3)
            expected = reference.loss_backward(loss, label, t, 0.25, y[: z.size])
            assert_close(dz[: z.size], expected, dtype, np.abs(expected).max())
            assert (dz[z.size :] == 0).all()


@each_loss
def test_deltas_are_those_of_finite_differences(loss, rng):
    for z, t in rows(rng, np.float64):
        label = z.size // 2
        y, _ = kernels.loss_forward(loss, label, t, z)
        dz = kernels.loss_backward(loss, label, t, 3, y)[: z.size]
        expected = reference.numerical_gradient(
            lambda z, t=t, label=label: 3 * kernels.loss_forward(loss, label, t, z)[1], z
        )
        # Differences of a loss are as exact as it is large: exp(12) with counts.
        assert_allclose(dz, expected, 0, 1e-7 * max(1, np.abs(expected).max()))


@each_loss
@each_dtype
def test_outputs_without_a_loss_have_the_same_bits_for_any_number_of_rows(loss, dtype, rng):
    for size in sizes(dtype):
        Z = rng.normal(0, 4, (5, size)).astype(dtype)
        t = np.zeros(size, dtype)
        expected = np.array([kernels.loss_forward(loss, 0, t, z)[0][:size] for z in Z])
        for count in (0, 1, 5):
            for layout in ({}, {"margin": 3, "gap": 5}):
                found = kernels.outputs_forward(loss, Z[:count], **layout)
                assert_same_bits(found, expected[:count])
        twin = reference.outputs_forward(loss, Z)
        assert_close(expected, twin, dtype, np.abs(twin).max())


@each_loss
@each_dtype
def test_many_rows_have_the_bits_of_single_rows(loss, dtype, rng):
    for size in range(1, NARROW + 2):  # of up to NARROW outputs as many at once as there are lanes
        count = 2 * lanes_of(dtype) + 3
        Z = rng.normal(0, 8, (count, size)).astype(dtype)
        Z[0, 0] = 80  # for a clipped loss
        batch = rng.permutation(3 * count)[:count]
        labels, T = rng.integers(0, size, 3 * count), rng.random((3 * count, size)).astype(dtype)
        y, row_loss = kernels.losses_of_rows(loss, batch, labels, T, Z)
        for r, row in enumerate(batch):
            expected, value = kernels.loss_forward(loss, labels[row], T[row], Z[r])
            assert_same_bits(y[r], expected[:size])
            assert row_loss[r] == value
        assert_same_bits(kernels.outputs_forward(loss, Z), y)
        Z[1, -1] = np.nan
        strange = np.isnan(kernels.losses_of_rows(loss, batch, labels, T, Z)[1])
        assert_array_equal(np.flatnonzero(strange), [1])


@each_loss
@each_dtype
def test_deltas_of_many_rows_have_the_bits_of_single_rows(loss, dtype, rng):
    for size in {*sizes(dtype), *range(1, NARROW + 2)}:
        count = lanes_of(dtype) + 3
        Z, share = rng.normal(0, 4, (count, size)).astype(dtype), rng.random(count).astype(dtype)
        batch = rng.permutation(2 * count)[:count]
        labels, T = rng.integers(0, size, 2 * count), rng.random((2 * count, size)).astype(dtype)
        for weights in (None, share):
            found, row_loss = kernels.deltas_of_rows(loss, batch, labels, T, Z, 0.25, weights)
            for r, row in enumerate(batch):
                scale = 0.25 if weights is None else share[r]
                y, value = kernels.loss_forward(loss, labels[row], T[row], Z[r])
                expected = kernels.loss_backward(loss, labels[row], T[row], scale, y)
                assert_same_bits(found[r], expected)
                assert row_loss[r] == value


# Extremes ---------------------------------------------------------------------------------


def is_sum_of_ones(y):
    return abs(y.astype(reference.WIDEST).sum() - 1) <= y.size * np.finfo(y.dtype).eps


@each_dtype
@settings(max_examples=40)
@given(data=st.data())
def test_softmax_and_its_loss_are_finite_for_any_finite_logits(dtype, data):
    # Half the largest number: the loss, a difference of two logits, is a number then.
    largest = float(np.finfo(dtype).max) / 2
    width = 8 * np.dtype(dtype).itemsize
    logits = st.floats(-1e4, 1e4, width=width) | st.floats(-largest, largest, width=width)
    z = data.draw(hnp.arrays(dtype, st.integers(1, 2 * group_of(dtype) + 1), elements=logits))
    label = data.draw(st.integers(0, z.size - 1))
    y, value = kernels.loss_forward("cross_entropy", label, z, z)
    assert np.isfinite(value)
    assert value >= -2 * np.finfo(dtype).eps * np.abs(z).max()
    assert ((y >= 0) & (y <= 1)).all()
    assert is_sum_of_ones(y[: z.size])
    dz = kernels.loss_backward("cross_entropy", label, z, 1, y)
    assert (np.abs(dz) <= 1).all()


@each_dtype
def test_a_clipped_loss_is_that_of_a_probability_of_one_epsilon(dtype):
    most = -np.log(np.finfo(dtype).eps)
    z = np.array([300, -300, 0], dtype)
    _, value = kernels.loss_forward("clipped_cross_entropy", 1, z, z)
    assert_allclose(value, most, 1e-6)
    _, value = kernels.loss_forward(
        "clipped_binary_cross_entropy", 0, np.array([0, 1, 1], dtype), z
    )
    assert_allclose(value, 2 * most + np.log(2), 1e-6)
    z[0] = np.nan
    for loss in ("clipped_cross_entropy", "clipped_binary_cross_entropy"):
        assert np.isnan(kernels.loss_forward(loss, 1, np.ones(3, dtype), z)[1])


@each_dtype
def test_the_deviance_of_counts_knows_zeros_and_what_is_too_large(dtype):
    z = np.array([-200, 1, 2], dtype)
    t = np.array([0, 0, 3], dtype)
    y, value = kernels.loss_forward("poisson", 0, t, z)
    expected = np.exp([1, 2]).sum() + 3 * np.log(3 / np.exp(2)) - 3
    assert_allclose(value, expected, 1e-6)
    assert_allclose(y[1:3], np.exp([1, 2]), 1e-6)
    y, value = kernels.loss_forward("poisson", 0, t, np.array([1e4, 1, 2], dtype))
    assert np.isinf(value)
    assert np.isinf(y[0])


@each_dtype
def test_softmax_of_the_largest_numbers_picks_them(dtype):
    largest = np.finfo(dtype).max
    y, _ = kernels.loss_forward(
        "cross_entropy", 0, np.zeros(3, dtype), np.array([largest, -largest, largest], dtype)
    )
    assert_array_equal(y[:3], np.array([0.5, 0, 0.5], dtype))


@each_dtype
@settings(max_examples=40)
@given(data=st.data())
def test_binary_cross_entropy_is_finite_for_any_finite_inputs(dtype, data):
    # A hundredth of the largest number: the sum of the losses is a number then.
    largest = float(dtype(float(np.finfo(dtype).max) / 100))
    width = 8 * np.dtype(dtype).itemsize
    inputs = st.floats(-1e4, 1e4, width=width) | st.floats(-largest, largest, width=width)
    z = data.draw(hnp.arrays(dtype, st.integers(1, 2 * group_of(dtype) + 1), elements=inputs))
    t = data.draw(hnp.arrays(dtype, z.size, elements=st.sampled_from([0.0, 0.5, 1.0])))
    y, value = kernels.loss_forward("binary_cross_entropy", 0, t, z)
    _, expected = reference.binary_cross_entropy_forward(0, t, z)
    assert np.isfinite(value)
    assert_allclose(value, expected, 0, 8 * np.finfo(dtype).eps * (np.abs(z).sum() + z.size))
    assert ((y[: z.size] >= 0) & (y[: z.size] <= 1)).all()


@each_loss
@each_dtype
def test_nan_in_any_place_shows_in_the_loss(loss, dtype):
    size = 2 * group_of(dtype) + 3
    for place in range(size):
        z = np.zeros(size, dtype)
        z[place] = np.nan
        _, value = kernels.loss_forward(loss, (place + 1) % size, np.zeros(size, dtype), z)
        assert np.isnan(value)


@each_dtype
def test_equal_logits_share_the_probability(dtype):
    for size in sizes(dtype):
        z = np.full(size, -3.5, dtype)
        y, value = kernels.loss_forward("cross_entropy", 0, z, z)
        assert_close(y[:size], 1 / size, dtype, 1 / size)
        assert_close(value, np.log(size), dtype, 4)


@each_dtype
def test_the_padding_of_softmax_is_zero(dtype, rng):
    for z, t in rows(rng, dtype):
        y, _ = kernels.loss_forward("cross_entropy", 0, t, z)
        assert (y[z.size :] == 0).all()
