"""Dropout: what is dropped is a pure function, and the way back takes the way of the outputs."""

import activation_entries as kernels
import numpy as np
import pytest
import reference
from kernel_entries import DTYPES
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_same_bits

from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.dropout import PARTS

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
LAYOUTS = [{}, {"margin": 3, "gap": 5}]


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("drop", [1, PARTS // 5, PARTS // 2, PARTS - 1])
def test_units_are_dropped_by_number_and_the_others_made_up_for(drop, layout, dtype, rng):
    Y = rng.normal(size=(6, 45)).astype(dtype)
    scale = dtype(PARTS / (PARTS - drop))
    for salt, layer in ((0, 0), (1, 0), (0, 1), (2**40 + 7, 3)):
        out = np.array([reference.dropped(drop, salt, layer, r, 45) for r in range(6)])
        found = kernels.dropout_forward(drop, salt, layer, Y, **layout)
        assert_same_bits(found, np.where(out, dtype(0), Y * scale))


@each_dtype
def test_a_piece_is_dropped_as_it_is_in_the_whole(dtype, rng):
    Y = rng.normal(size=(9, 70)).astype(dtype)
    whole = kernels.dropout_forward(PARTS // 3, 5, 1, Y)
    piece = kernels.dropout_forward(PARTS // 3, 5, 1, Y[4:, 32:], low=32, first=4)
    assert_same_bits(piece, whole[4:, 32:])


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_way_back_drops_the_same_units(name, layout, dtype, rng):
    drop = PARTS // 4
    before = reference.activate(name, rng.normal(size=(7, 45))).astype(dtype)
    Y = kernels.dropout_forward(drop, 9, 2, before)
    D = rng.normal(size=Y.shape).astype(dtype)
    out = np.array([reference.dropped(drop, 9, 2, r, 45) for r in range(7)])
    expected = np.where(out, 0, D * reference.slope(name, before) / (1 - drop / PARTS))
    found = kernels.dropout_backward(drop, 9, 2, name, Y, D, **layout)
    assert_array_equal(found[out], 0)
    assert_allclose(found, expected.astype(dtype), 0, 30 * np.finfo(dtype).eps)


def test_as_many_are_dropped_as_was_asked_and_no_two_steps_layers_or_rows_alike():
    shares, masks = [], set()
    for salt in range(8):
        for layer in range(3):
            for row in range(40):
                out = reference.dropped(PARTS // 5, salt, layer, row, 50)
                shares.append(out.mean())
                masks.add(out.tobytes())
    assert len(masks) == 960
    assert_allclose(np.mean(shares), 0.2, 0, 0.01)  # 48,000 units: a deviation of 0.002
