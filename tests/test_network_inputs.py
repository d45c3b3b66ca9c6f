"""A row's answer is the same in any company, any form of array and any number of threads."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy_mlp import (
    DTYPES,
    OUTPUTS_AND_LOSSES,
    assert_same_answers,
    bits,
    bits_of,
    inputs,
    targets,
    unaligned,
)

import fastnn
from fastnn.compiler import runtime
from fastnn.gate import matrix
from fastnn.training import evaluation
from fastnn.training.data import samples_of
from fastnn.training.evaluation import evaluate


@settings(max_examples=50)
@given(
    width=st.sampled_from([1, 5, 31, 32, 33, 98, 99, 130]),
    hidden=st.sampled_from([1, 16, 17, 33, 65, 130]),
    rows=st.integers(1, 120),
    dtype=st.sampled_from(DTYPES),
    nonzeros=st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0]),
    parallel=st.booleans(),
    data=st.data(),
)
def test_a_row_does_not_depend_on_the_rows_beside_it(
    width, hidden, rows, dtype, nonzeros, parallel, data
):
    rng = np.random.default_rng(rows)
    net = fastnn.MLP([width, hidden, 3], "tanh", weight_init="he", dtype=dtype, seed=0)
    x = inputs(rng, rows, width, nonzeros)
    some = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=20))
    with runtime.forced(parallel=parallel):
        together = net.predict(x)
        assert bits(net.predict(x[some])) == bits(together[some])
        dense_company = np.vstack([x[some], np.ones_like(x)])
        assert bits(net.predict(dense_company)[: len(some)]) == bits(together[some])
    assert bits(net.predict(x[some[:1]])[0]) == bits(together[some[0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_with_negative_zeros_around_does_not_depend_on_the_rows_beside_it(dtype):
    net = fastnn.MLP([40, 2], output="identity", dtype=dtype, seed=0)
    net.params["b1"] = [-0.0, -0.0]
    x = np.zeros((9, 40))
    x[8, 0] = 1
    assert bits(net.predict(x)[:7]) == bits(net.predict(x[:7]))


@pytest.mark.parametrize("sizes", [[40, 3], [40, 5, 3]])
def test_inputs_of_nothing_but_zeros_give_the_biases(sizes):
    net = fastnn.MLP(sizes, output="identity", seed=0)
    net.params[f"b{len(sizes) - 1}"] = [1, 2, 3]
    assert_array_equal(net.predict(np.zeros((20, 40))), np.tile([1.0, 2.0, 3.0], (20, 1)))
    assert net.loss(np.zeros((20, 40)), np.tile([1.0, 2.0, 3.0], (20, 1))) == 0
    assert not net.gradient(np.zeros((20, 40)), np.zeros((20, 3)))["W1"].any()


def misleading(rng, rows, width, dense_rows):
    """Mostly zero in every fourth row, and in all that are not `dense_rows`."""
    x = inputs(rng, rows, width, 0.1)
    x[dense_rows] = inputs(rng, *x[dense_rows].shape)
    x[::4] = 0
    return x


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("nonzeros", [0.36, 0.39, 0.4, 0.41, 0.44])
def test_rows_about_as_full_as_pays_give_the_same_answers(nonzeros, rng):
    net = fastnn.MLP([50, 7, 3], weight_init="he", dtype="float64", seed=0)
    assert_same_answers(net, inputs(rng, 300, 50, nonzeros), targets(rng, net, 300))


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize(
    "dense_rows", [slice(None), slice(500), slice(500, None), slice(1020, None), slice(1, 1)]
)
def test_rows_that_are_not_as_empty_as_the_first_looks_give_the_same_answers(dense_rows, rng):
    net = fastnn.MLP([50, 7, 3], weight_init="he", dtype="float64", seed=0)
    x = misleading(rng, 1024, 50, dense_rows)
    assert_same_answers(net, x, targets(rng, net, 1024))


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("dense_rows", [slice(None), slice(500), slice(500, None), slice(1, 1)])
@pytest.mark.parametrize("at", [0, 1, 511, 512, 1023])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_that_is_not_finite_is_overlooked(value, at, dense_rows, rng):
    x = misleading(rng, 1024, 50, dense_rows)
    x[at, 49] = value
    with pytest.raises(ValueError, match=rf"x must be finite, got {value} at x\[{at}, 49\]"):
        fastnn.MLP([50, 3]).predict(x)


FORMS = {
    "a list": lambda a: a.tolist(),
    "a tuple of lists": lambda a: tuple(a.tolist()),
    "Fortran order": np.asfortranarray,
    "every second column of more": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "the other float": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
    "long double": lambda a: a.astype(np.longdouble),
    "float16": lambda a: a.astype(np.float16),
    "int8": lambda a: a.astype(np.int8),
    "int64": lambda a: a.astype(np.int64),
    "big-endian int16": lambda a: a.astype(">i2"),
    "a subclass": lambda a: a.view(np.memmap),
}


@pytest.mark.parametrize("nonzeros", [1.0, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_any_form_give_the_same_answer(form, dtype, nonzeros, rng):
    net = fastnn.MLP([40, 5, 3], output="identity", weight_init="he", dtype=dtype, seed=0)
    x = np.rint(5 * inputs(rng, 12, 40, nonzeros)).astype(dtype)
    t = np.rint(5 * inputs(rng, 12, 3)).astype(dtype)
    change = FORMS[form]
    assert bits(net.predict(change(x))) == bits(net.predict(x))
    assert net.loss(change(x), change(t)) == net.loss(x, t)
    changed, plain = net.gradient(change(x), change(t)), net.gradient(x, t)
    assert bits(*changed.values()) == bits(*plain.values())


LABEL_FORMS = {
    "a list": lambda t: t.tolist(),
    "uint8": lambda t: t.astype(np.uint8),
    "big-endian": lambda t: t.astype(">i4"),
    "floats that are integers": lambda t: t.astype(np.float32),
    "every second of more": lambda t: np.repeat(t, 2)[::2],
    "one-hot floats": lambda t: np.eye(3)[t],
    "one-hot integers": lambda t: np.eye(3, dtype=np.uint8)[t],
    "one-hot bools": lambda t: np.eye(3, dtype=bool)[t],
    "one-hot lists": lambda t: np.eye(3)[t].tolist(),
    "one-hot in Fortran order": lambda t: np.asfortranarray(np.eye(3)[t]),
    "one-hot and read-only": lambda t: np.broadcast_to(np.eye(3), (4, 3, 3))[0][t],
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_of_any_form_give_the_same_answer(form, rng):
    net = fastnn.MLP([5, 4, 3], weight_init="he", seed=0)
    x, t = inputs(rng, 12, 5), rng.integers(0, 3, 12)
    changed = LABEL_FORMS[form](t)
    assert net.loss(x, changed) == net.loss(x, t)
    assert net.accuracy(x, changed) == net.accuracy(x, t)
    assert bits(*net.gradient(x, changed).values()) == bits(*net.gradient(x, t).values())


def test_targets_of_one_output_may_be_flat(rng):
    net = fastnn.MLP([5, 4, 1], output="identity", weight_init="he", seed=0)
    x, t = inputs(rng, 12, 5), rng.normal(size=12)
    assert net.loss(x, t) == net.loss(x, t[:, np.newaxis])


@pytest.mark.parametrize("name", ["predict", "loss", "accuracy", "gradient", "numerical_gradient"])
def test_asking_changes_neither_network_nor_data(name, rng):
    net = fastnn.MLP([5, 4, 3], weight_init="he", seed=0)
    data = [inputs(rng, 12, 5), rng.integers(0, 3, 12)][: 1 if name == "predict" else 2]
    net_before, data_before = bits_of(net), bits(*data)
    first, second = (getattr(net, name)(*data) for _ in range(2))
    assert bits_of(net) == net_before
    assert bits(*data) == data_before
    if isinstance(first, dict):
        assert not any(np.shares_memory(first[key], second[key]) for key in first)
        assert list(first) == list(net.params)
        first, second = list(first.values()), list(second.values())
        assert [a.shape for a in first] == [view.shape for view in net.params.values()]
    assert bits(*first) == bits(*second) if isinstance(first, list) else np.all(first == second)


def test_predictions_are_new_arrays_of_the_networks_dtype(rng):
    for dtype in DTYPES:
        net = fastnn.MLP([5, 4, 3], dtype=dtype, seed=0)
        y = net.predict(inputs(rng, 12, 5))
        assert (y.shape, y.dtype.name) == ((12, 3), dtype)
        assert_allclose(y.sum(axis=1), 1, rtol=1e-6)


def outputs_by_evaluation(net, x):
    """The outputs by the kernel that measures losses too."""
    samples = samples_of(matrix(x, net.layer_sizes[0], net.dtype, "x"), x, "x")
    outputs = np.empty((len(x), net.layer_sizes[-1]), net.dtype)
    nothing = net._model.no_targets()
    evaluate(net.params, net._model.loss, samples, nothing, outputs, np.empty(0))
    return outputs


@pytest.mark.usefixtures("both_builds")
@pytest.mark.parametrize("rows", [1, 2, 7, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", OUTPUTS_AND_LOSSES)
def test_dense_rows_have_the_bits_that_they_have_in_an_evaluation(rows, dtype, kind, rng):
    """They take a shorter way: it must not show, in whatever array they come."""
    net = fastnn.MLP([21, 9, 70, 5], "tanh", *kind, dtype=dtype, seed=1)
    x = inputs(rng, 340, 21, 1.0).astype(dtype)
    expected = outputs_by_evaluation(net, x)[:rows]
    few = x[:rows].copy()
    read_only, doubled = few.copy(), np.repeat(few, 2, axis=1)
    read_only.flags.writeable = False
    for same in (few, few.astype(np.float64), few.tolist(), np.asfortranarray(few), read_only,
                 doubled[:, ::2], few.astype(few.dtype.newbyteorder())):  # fmt: skip
        found = net.predict(same)
        assert found.flags.owndata
        assert bits(found) == bits(expected)
    assert bits(copy.deepcopy(net).predict(few)) == bits(expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("rows", [3, 300])
@pytest.mark.usefixtures("both_builds")
def test_dense_rows_that_are_not_finite_are_refused(value, rows):
    net = fastnn.MLP([30, 4, 2], seed=0)
    x = np.ones((rows, 30))
    for row, column in [(0, 0), (1, 29), (rows - 1, 13)]:
        x[row, column] = value
        with pytest.raises(ValueError, match=rf"x\[{row}, {column}\]"):
            net.predict(x)
        x[row, column] = 1
        assert np.isfinite(net.predict(x)).all()


def test_dense_rows_are_predicted_in_calls_that_ctrl_c_can_wait_for(monkeypatch, rng):
    net = fastnn.MLP([21, 9, 5], seed=1)
    x = inputs(rng, 340, 21, 1.0)
    expected = net.predict(x)
    monkeypatch.setattr(evaluation, "EVALUATION_WORK", 50 * net.params.multiply_adds)
    assert bits(net.predict(x)) == bits(expected)


def test_threads_that_predict_few_rows_at_once_do_not_disturb_each_other(rng):
    net = fastnn.MLP([50, 200, 3], seed=0)
    x = inputs(rng, 64, 50, 1.0)
    expected = net.predict(x)

    def all_right(first):
        return all(
            np.array_equal(net.predict(x[r : r + n]), expected[r : r + n])
            for r in range(first, 56)
            for n in (1, 3, 7)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(all_right, range(16)))
