"""Lists of nonzeros: what is in them, and the rows' inspection."""

import layer_entries as kernels
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kernel_entries import DTYPES, lanes_of, sparse
from numpy.testing import assert_array_equal

from fastnn.compiler.tiles import LIST_SLACK
from fastnn.kernels.nonzeros import NO_ROOM, NOT_FINITE

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def shares(rows, room, chunks):
    """The rows of each chunk and how many nonzeros it has room for."""
    for c in range(chunks):
        yield (
            range(rows * c // chunks, rows * (c + 1) // chunks),
            range(room * c // chunks, room * (c + 1) // chunks),
        )


@each_dtype
@settings(max_examples=50)
@given(data=st.data())
def test_compression_lists_the_nonzeros_of_each_row_that_it_has_room_for(dtype, data):
    # -0.0 is a zero; the smallest and the largest numbers are not.
    limits = np.finfo(dtype)
    elements = st.sampled_from([0.0, 0.0, -0.0, 1.5, -limits.smallest_subnormal, limits.max])
    shape = data.draw(st.tuples(st.integers(0, 5), st.integers(1, 2 * lanes_of(dtype) + 1)))
    x = data.draw(hnp.arrays(dtype, shape, elements=elements))
    room, chunks = (
        data.draw(st.integers(0, 4 * (x.size + LIST_SLACK))),
        data.draw(st.integers(1, 4)),
    )
    bounds, column, value = kernels.compress_rows(x, room, chunks)
    expected = reference.compress_rows(x)
    for rows, entries in shares(len(x), room, chunks):
        used = entries.start
        for r in rows:
            first, end = bounds[r]
            assert first == used
            if used + x.shape[1] + LIST_SLACK > entries.stop:
                assert end == NO_ROOM
                continue
            columns, values = expected[r]
            assert_array_equal(column[first:end], columns)
            assert_array_equal(value[first:end], values)
            used = end
        assert np.isnan(value[used : entries.stop]).all()


@each_dtype
def test_the_values_of_each_column_are_found_in_the_lists(dtype, rng):
    for rows in range(5):
        x = sparse(rng, rows, 40, dtype)
        x[:, 7] = 0
        assert_array_equal(kernels.values_of_columns(x), x)


@each_dtype
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("room", [0, 1000])
def test_a_row_with_a_number_that_is_not_finite_is_marked(strange, room, dtype, rng):
    for inputs in (1, lanes_of(dtype) - 1, lanes_of(dtype), 2 * lanes_of(dtype) + 1):
        for place in range(inputs):
            x = sparse(rng, 3, inputs, dtype)
            x[1, place] = strange
            bounds, _, _ = kernels.compress_rows(x, room)
            assert_array_equal(bounds[:, 1] == NOT_FINITE, [False, True, False])
