"""Every method of a network takes what holds numbers, and refuses what does not."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from foreign_arrays import FLAGS, GOOD, MASK, NA, SIZES, XY, OnlyDlpack, Tensor, ma, pandas
from numpy.testing import assert_array_equal
from refusals import assert_harmless, assert_refused

import fastnn


def network(output="softmax", sizes=(2, 4, 3)):
    net = fastnn.MLP(sizes, output=output, weight_init="he", seed=0)
    t = np.array([0, 2, 1]) if output == "softmax" else np.linspace(0, 1, 3)
    return net, XY, t


WIDE = [case for case, (_, expected) in GOOD.items() if np.shape(expected) == (3, 2)]
CALLS = {
    "predict": lambda net, x, t: net.predict(x),
    "loss": lambda net, x, t: net.loss(x, t),
    "accuracy": lambda net, x, t: net.accuracy(x, t),
    "gradient": lambda net, x, t: net.gradient(x, t)["W1"],
    "numerical_gradient": lambda net, x, t: net.numerical_gradient(x, t)["W1"],
    "fit": lambda net, x, t: net.fit(x, t, batch_size=2).loss,
    "validation": lambda net, x, t: net.fit(
        XY, [0, 1, 2], batch_size=2, validation_data=(x, t)).test_loss,
}  # fmt: skip
COLUMNS = {
    "masked, complete": ma.array,
    "objects": lambda t: np.array(t, object),
    "nullable": lambda t: pd.array(t, "Int64"),
    "a column of pandas": lambda t: pd.Series(t, dtype="int64[pyarrow]"),
    "a column of Polars": pl.Series,
    "Arrow": pa.array,
    "__dlpack__": OnlyDlpack,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", WIDE)
def test_every_method_takes_what_holds_numbers(call, case):
    t = network()[2]
    found, expected = (CALLS[call](network()[0], x, t) for x in (GOOD[case][0], XY))
    assert_array_equal(found, expected)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "predict"])
@pytest.mark.parametrize("case", COLUMNS)
def test_every_method_takes_labels_of_any_kind(call, case):
    labels = np.array([0, 2, 1])
    found, expected = (CALLS[call](network()[0], XY, t) for t in (COLUMNS[case](labels), labels))
    assert_array_equal(found, expected)


@pytest.mark.parametrize("case", ["masked, complete", "objects", "__dlpack__"])
def test_batches_and_parameters_may_be_of_any_kind(case):
    net, x, t = network()
    net.fit(x, t, batches=COLUMNS[case](np.array([[0, 1], [2, 0]])))
    net.params["b1"] = COLUMNS[case](np.arange(4))
    assert_array_equal(net.params["b1"], np.arange(4))


REFUSED = {
    "masked": (ma.array(XY, mask=MASK), ValueError, "must have no masked values, got one at"),
    "missing": (pandas(b=SIZES, age=pd.array(NA, "Int64")), ValueError, "at row 1 of column 'age'"),
    "a text": (pandas(b=SIZES, city=list("uvw")), TypeError, "'u' at row 0 of column 'city'"),
    "NaN": (pandas(a=[1.0, 2.0, 3.0], age=[4.0, np.nan, 6.0]), ValueError,
            "must be finite, got nan at row 1 of column 'age'"),
    "infinity": (pl.DataFrame({"a": [1.0, 2.0], "age": [4.0, np.inf]}), ValueError,
                 "must be finite, got inf at row 1 of column 'age'"),
    "NaN beside flags": (pandas(a=FLAGS, b=[1.0, 2.0, np.nan]).set_axis(list("pqr")), ValueError,
                         "must be finite, got nan at row 2 (index 'r') of column 'b'"),
    "too large": (pandas(a=FLAGS, b=[1.0, 2.0, 1e39]), ValueError,
                  "at row 2 of column 'b' is 1e+39, too large for float32"),
    "a tensor": (Tensor(grad=True), TypeError, ".detach()"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("call", CALLS)
def test_every_method_refuses_before_anything_changes(call, case):
    if (call, case) == ("numerical_gradient", "too large"):
        return  # it is evaluated in float64
    net, x, t = network()
    bad, error, text = REFUSED[case]
    name = "validation_data[0]" if call == "validation" else "x"
    assert_harmless(net, x, t, lambda: CALLS[call](net, bad, t), error, name, text)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "predict"])
@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (ma.array([0, 1, 2], mask=[0, 0, 1]), ValueError, "no masked values, got one at"),
        (pd.Series([0, 1, None], dtype="Int64", name="kind"), ValueError, "row 2 of column 'kind'"),
        (pl.Series("kind", [0, 1, None]), ValueError, "row 2 of column 'kind'"),
        (["0", "1", "2"], TypeError, "got dtype <U1"),
        ((i for i in range(3)), TypeError, "; call list("),
    ],
)
def test_every_method_refuses_labels_before_anything_changes(call, bad, error, text):
    net, x, t = network()
    name = "validation_data[1]" if call == "validation" else "t"
    assert_harmless(net, x, t, lambda: CALLS[call](net, x, bad), error, name, text)


def test_targets_are_named_by_column():
    for bad, text in (
        (pd.Series([1.0, np.nan, 2.0], name="price"), "got nan at row 1 of column 'price'"),
        (pandas(price=[1.0, np.nan, 2.0]), "got nan at row 1 of column 'price'"),
        (pd.Series([1.0, 1e39, 2.0], name="price"), "t at row 1 of column 'price' is 1e+39, too"),
        ([1.0, np.nan, 2.0], "got nan at t[1]"),
        ([[1.0], [np.nan], [2.0]], "got nan at t[1, 0]"),
    ):
        net, x, t = network("identity", (2, 4, 1))
        call = functools.partial(net.loss, x, bad)
        assert_harmless(net, x, t, call, ValueError, "t", text)


def test_masked_batches_and_parameters_are_refused():
    net, x, t = network()
    batches = ma.array([[0, 1], [2, 0]], mask=[[0, 0], [0, 1]])
    assert_harmless(net, x, t, lambda: net.fit(x, t, batches=batches), ValueError, "batches[1, 1]")
    bad, (net, x, t) = ma.array(np.zeros(4), mask=[0, 0, 1, 0]), network()
    assert_harmless(net, x, t, lambda: net.params.update(b1=bad), ValueError, "params['b1'][2]")


def test_a_long_row_of_a_one_hot_table_is_quoted_on_one_line():
    net = fastnn.MLP([2, 60])
    assert_refused(lambda: net.loss(XY[:1], np.zeros((1, 60))), ValueError, "one-hot", "0. 0.]")


@pytest.mark.parametrize("t", [[[np.inf, -np.inf, 0]], np.full((1, 3), 6e4, np.float16)])
def test_no_warning_leaks_from_labels_of_no_meaning(t):
    net = fastnn.MLP([2, 3])
    assert_refused(lambda: net.loss(XY[:1], t), ValueError, "must be one-hot")
