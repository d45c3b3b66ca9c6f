"""What comes with a call, looked at by kernels; and what is handed out."""

import numpy as np
import pytest
import reference
from kernel_entries import DTYPES, entry_of
from numpy.testing import assert_array_equal

import fastnn
from fastnn.kernels import given as kernels
from fastnn.kernels.groups import Examples, Targets
from fastnn.kernels.nonzeros import Found, count_nonzeros
from fastnn.training.targets import ONES, TargetsWanted

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
KINDS = {"labels": [0, 2, 1], "numbers": [-3, 0.5, 1e30], "probabilities": [0, 0.25, 1],
         "counts": [0, 3, 1e30]}  # fmt: skip


def looked_at(kind, t, outputs=3, dtype=np.float32):
    return TargetsWanted(kind, outputs, np.dtype(dtype)).looked_at(np.asarray(t), len(t))


# Targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ONES, ids=str)
def test_one_hot_rows_of_any_type_become_labels(dtype):
    labels = np.array([2, 0, 1, 1, 2])
    found = looked_at("labels", np.eye(3, dtype=dtype)[labels])
    assert_array_equal(found.labels, labels)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_of_any_type_are_copied(dtype):
    t = np.array([2, 0, 1], dtype)
    found = looked_at("labels", t)
    assert found.labels.dtype == np.int64
    assert_array_equal(found.labels, t)
    t[:] = 0
    assert_array_equal(found.labels, [2, 0, 1])


@pytest.mark.parametrize(
    "row", [[0, 0, 0], [1, 1, 0], [0, 2, 0], [0, 0.5, 0.5], [0, np.nan, 1], [-1, 1, 0], [1, 0, 2]]
)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_rows_that_are_not_one_hot_are_strange(row, place):
    t = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    t[place] = row
    assert looked_at("labels", t) is None


@pytest.mark.parametrize("label", [-1, 3, 2**40, -(2**40)])
@pytest.mark.parametrize("place", [0, 1, 4])
def test_labels_that_are_no_class_are_strange(label, place):
    t = np.zeros(5, np.int64)
    t[place] = label
    assert looked_at("labels", t) is None


def test_a_label_too_large_for_a_signed_number_is_strange():
    assert looked_at("labels", np.array([0, 2**64 - 1], np.uint64)) is None


@each_dtype
@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_targets_in_range_are_taken_as_they_are(kind, dtype):
    t = np.array([KINDS[kind]] * 7, dtype)
    assert looked_at(kind, t, 3, dtype).targets is t


STRANGE = {"numbers": [np.nan, np.inf, -np.inf],
           "probabilities": [np.nan, np.inf, -np.inf, -1e-30, np.nextafter(1, 2)],
           "counts": [np.nan, np.inf, -np.inf, -1e-30]}  # fmt: skip


@each_dtype
@pytest.mark.parametrize(("kind", "bad"), [(k, bad) for k in STRANGE for bad in STRANGE[k]])
def test_targets_out_of_range_are_strange_wherever_they_are(kind, bad, dtype):
    bad = np.nextafter(dtype(1), dtype(2)) if bad == np.nextafter(1, 2) else dtype(bad)
    for place in np.ndindex(7, 3):
        t = np.zeros((7, 3), dtype)
        t[place] = bad
        assert looked_at(kind, t, 3, dtype) is None


# Rows ------------------------------------------------------------------------------------------

_take_rows = entry_of(kernels.take_rows)
POISON = -(10**9)


def take_rows(x, lists, chunks=1, room=None, labels=None, classes=3):
    """Examples after all chunks have taken their rows, from memory that was poisoned."""
    rows, dtype = len(x), x.dtype
    room = x.size + 1000 if room is None else room
    given = np.zeros(rows, np.int64) if labels is None else labels
    column, value = np.full(room, 9999, np.uint16), np.full(room, np.nan, dtype)
    examples = Examples(
        x, np.full((rows, 2), POISON), column, value, np.full(rows, POISON),
        np.empty((0, 1), dtype), value[:0], np.empty((0, 0), np.uint8), given, classes, 1, 1,
        np.zeros(2, dtype), np.zeros((chunks, len(Found._fields)), np.int64),
    )  # fmt: skip
    for chunk in range(chunks):
        first, end = rows * chunk // chunks, rows * (chunk + 1) // chunks
        _take_rows(chunk, chunks, lists, examples, first, end)
    return examples, Found(*examples.found.sum(axis=0))


@each_dtype
@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("inputs", [1, 7, 16, 33, 100])
def test_rows_are_listed_as_by_the_twin(inputs, chunks, dtype, rng):
    x = (rng.normal(size=(11, inputs)) * (rng.random((11, inputs)) < 0.3)).astype(dtype)
    examples, found = take_rows(x, True, chunks, chunks * (x.size + 1000), np.arange(11) % 3)
    for r, (columns, values) in enumerate(reference.compress_rows(x)):
        first, end = examples.bounds[r]
        assert_array_equal(examples.column[first:end], columns)
        assert_array_equal(examples.value[first:end], values)
    assert_array_equal(examples.labels, np.arange(11) % 3)
    assert found == Found(np.count_nonzero(x), 0, 0, 0)


@each_dtype
@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_rows_with_numbers_that_are_not_finite_are_found_and_their_lists_empty(
    strange, lists, dtype, rng
):
    for place in np.ndindex(4, 35):
        x = rng.normal(size=(4, 35)).astype(dtype)
        x[place] = strange
        examples, found = take_rows(x, lists)
        assert (found.not_finite, found.without_room, found.not_wanted) == (1, 0, 0)
        if lists:
            assert examples.bounds[place[0], 0] == examples.bounds[place[0], 1]


def test_rows_without_room_are_found_and_their_lists_empty(rng):
    x = rng.normal(size=(4, 35)).astype(np.float32)
    examples, found = take_rows(x, True, room=10)
    assert found == Found(0, 4, 0, 0)
    assert_array_equal(examples.bounds, np.zeros((4, 2)))


def test_labels_that_are_no_class_are_found_and_stand_for_one_that_is(rng):
    x = rng.normal(size=(4, 35)).astype(np.float32)
    examples, found = take_rows(x, True, labels=np.array([1, -1, 3, 2]))
    assert found.not_wanted == 2
    assert_array_equal(examples.labels, [1, 0, 0, 2])


@each_dtype
@pytest.mark.parametrize("step", [1, 2, 5, 20])
def test_nonzeros_of_some_rows_are_counted(step, dtype, rng):
    x = (rng.normal(size=(17, 37)) * (rng.random((17, 37)) < 0.5)).astype(dtype)
    found = np.array([POISON])
    count_nonzeros.serial(1, x, step, found)
    assert found[0] == np.count_nonzero(x[::step])


# Sums and gradients ----------------------------------------------------------------------------


@each_dtype
def test_losses_are_added_one_after_the_other_and_right_rows_counted(dtype, rng):
    losses, labels = rng.normal(size=40), rng.integers(0, 3, 40)
    losses[[3, 9]] = np.nan
    outputs = rng.integers(0, 3, (40, 3)).astype(dtype)  # with ties: the first wins
    sums = np.array([1.5, 2.0, 0.0])
    nothing = np.empty((0, 1), dtype)
    kernels.add_up.serial(
        1, losses[:3], outputs[:0], *Targets(labels, nothing, nothing[:0, 0]), sums
    )
    assert sums.tolist() == [np.add.accumulate([1.5, *losses[:3]])[-1], 2, 3]
    kernels.add_up.serial(1, losses, outputs, *Targets(labels, nothing, nothing[:0, 0]), sums)
    right = (outputs.argmax(axis=1) == labels) & ~np.isnan(losses)
    assert np.isnan(sums[0])
    assert sums[1:].tolist() == [2 + right.sum(), 43]


@each_dtype
def test_rows_with_probabilities_are_right_if_all_are_on_their_side(dtype, rng):
    outputs, targets = rng.random((2, 40, 3)).astype(dtype)
    outputs[:20] = targets[:20]
    outputs[5, 1] = 0.5
    sums = np.zeros(3)
    wanted = Targets(np.empty(0, np.int64), targets, targets[0, :0])
    kernels.add_up.serial(1, np.zeros(40), outputs, *wanted, sums)
    assert sums[1] == ((outputs > 0.5) == (targets > 0.5)).all(axis=1).sum() > 15


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [[1, 1], [3, 5, 2], [20, 33, 17, 4], [4, 64, 1]])
def test_padding_is_left_out_of_what_is_handed_out(sizes, dtype):
    net = fastnn.MLP(sizes, dtype=dtype, seed=0, bias_init=1.0)
    size = sum(view.size for view in net.params.values())
    out = np.full(size + 64, np.nan, net.dtype)
    kernels.without_padding.serial(1, net.params.plan(1).table, net.params.block, out)
    assert_array_equal(out[:size], np.concatenate([v.ravel() for v in net.params.values()]))


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_seen(strange):
    block, finite = np.zeros(77, np.float32), np.empty(1, np.int64)
    kernels.look_at_weights.serial(1, block, finite)
    assert finite[0]
    for place in range(77):
        block[:] = 3e38
        block[place] = strange
        kernels.look_at_weights.serial(1, block, finite)
        assert not finite[0]
