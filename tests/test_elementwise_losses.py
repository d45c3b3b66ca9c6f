"""Losses of each output on its own, with every output that they are offered with."""

import numpy as np
import output_entries as kernels
import pytest
import reference
from kernel_entries import DTYPES, group_of, lanes_of
from numpy.testing import assert_allclose
from reference import assert_same_bits

from fastnn.kernels.elementwise_losses import ELEMENTWISE, PAIRS
from fastnn.kernels.losses import COUNTS, LOSSES, SIGNS

OWN = {(row.output, name) for name, row in LOSSES.items()}
each_pair = pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if pair not in OWN], ids=":".join
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
LABELS = np.empty(0, np.int64)


def sizes(dtype):
    group = group_of(dtype)
    return 1, 2, 3, group - 1, group, group + 1, 2 * group + 3


def targets_for(rng, pair, shape, dtype):
    kind = PAIRS[pair].targets
    if kind == SIGNS:
        return rng.choice([-1, 1], shape).astype(dtype)
    if kind == COUNTS:
        return rng.poisson(2, shape).astype(dtype)
    return rng.uniform(-1, 2, shape).astype(dtype)


def rows(rng, pair, dtype):
    """Inputs of the output's function, targets, and the loss's numbers, for rows of each size."""
    for size in sizes(dtype):
        count = lanes_of(dtype) + 3
        Z, T = rng.normal(0, 2, (count, size)), targets_for(rng, pair, (count, size), dtype)
        yield Z.astype(dtype), T, rng.uniform(0.1, 0.9, size).astype(dtype)


def losses(pair, Z, T, numbers):
    return kernels.losses_of_rows(pair, np.arange(len(Z)), LABELS, T, Z, numbers)


def deltas(pair, Z, T, numbers, scale=0.25):
    batch = np.arange(len(Z))
    return kernels.deltas_of_rows(pair, batch, LABELS, T, Z, scale, numbers=numbers)[0]


@each_pair
@each_dtype
def test_outputs_and_losses_are_those_of_the_twin(pair, dtype, rng):
    for Z, T, numbers in rows(rng, pair, dtype):
        y, row_loss = losses(pair, Z, T, numbers)
        assert_same_bits(kernels.outputs_forward(pair, Z), y)
        for r, z in enumerate(Z):
            expected, value = reference.pair_forward(pair, T[r], z, numbers)
            assert_allclose(y[r], expected, 0, 20 * np.finfo(dtype).eps * np.abs(expected).max())
            assert_allclose(row_loss[r], value, 0, 40 * np.finfo(dtype).eps * (1 + abs(value)))


@each_pair
@each_dtype
def test_deltas_are_those_of_the_twin_and_their_padding_is_zero(pair, dtype, rng):
    for Z, T, numbers in rows(rng, pair, dtype):
        dz = deltas(pair, Z, T, numbers)
        assert (dz[:, Z.shape[1] :] == 0).all()
        for r, z in enumerate(Z):
            expected = reference.pair_backward(pair, T[r], 0.25, z, numbers)
            size = max(1, np.abs(expected).max())
            assert_allclose(dz[r, : z.size], expected, 0, 40 * np.finfo(dtype).eps * size)


@each_pair
def test_deltas_are_those_of_finite_differences(pair, rng):
    for Z, T, numbers in rows(rng, pair, np.float64):
        Z, T = Z[:2], T[:2]
        dz = deltas(pair, Z, T, numbers, scale=3)[:, : Z.shape[1]]
        expected = reference.numerical_gradient(
            lambda Z, T=T, numbers=numbers: 3 * losses(pair, Z, T, numbers)[1].sum(), Z
        )
        assert_allclose(dz, expected, 0, 1e-7 * max(1, np.abs(expected).max()))


@each_pair
@each_dtype
def test_nothing_overflows_within_ten_thousand(pair, dtype):
    """Squares of larger numbers may; saturated outputs have losses and deltas that are numbers."""
    z = np.array([-1e4, 1e4, -90, 90, -20, 20, 0, -0.0], dtype)
    for t in ([1, 0, 1, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1, 1, 0]):
        T, numbers = np.array([t], dtype), np.full(z.size, 0.5, dtype)
        y, row_loss = losses(pair, z[np.newaxis], T, numbers)
        assert np.isfinite(y).all()
        assert np.isfinite(row_loss).all()
        assert np.isfinite(deltas(pair, z[np.newaxis], T, numbers)).all()


@each_pair
@each_dtype
def test_nan_in_any_place_shows_in_the_loss(pair, dtype):
    size = 2 * group_of(dtype) + 3
    Z = np.zeros((size, size), dtype)
    np.fill_diagonal(Z, np.nan)
    T, numbers = np.ones_like(Z), np.full(size, 0.5, dtype)
    assert np.isnan(losses(pair, Z, T, numbers)[1]).all()
    found = deltas(pair, Z, T, numbers)[:, :size]
    assert np.isnan(found.diagonal()).all()


@each_dtype
@pytest.mark.parametrize("name", ["mae", "quantile", "huber"])
def test_what_is_right_has_a_slope_of_zero(name, dtype):
    z = np.array([[0.5, -3, 7]], dtype)
    assert not deltas(("identity", name), z, z, np.full(3, 0.3, dtype)).any()


def test_every_loss_goes_with_an_output():
    assert {name for _, name in PAIRS} == {*LOSSES, *ELEMENTWISE}
