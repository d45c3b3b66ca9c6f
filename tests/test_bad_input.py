"""Bad input is refused before anything is computed: what it was, and what is allowed."""

import numpy as np
import pytest
from numpy_mlp import bits, inputs
from refusals import assert_harmless, assert_refused

import fastnn
from fastnn.kernels.activations import ACTIVATIONS

# Every table has rows of: arguments, error, and what the text must hold.


def net_and_data(output="softmax", sizes=(4, 3, 3), dtype="float32"):
    net = fastnn.MLP(sizes, output=output, dtype=dtype, weight_init="he", seed=0)
    rng = np.random.default_rng(1)
    x = inputs(rng, 6, sizes[0])
    t = rng.integers(0, 3, 6) if output == "softmax" else rng.random((6, sizes[-1]))
    return net, x, t


def with_value(array, value, at=(4, 2)):
    array = np.array(array, np.result_type(np.asarray(value), np.asarray(array)))
    array[at] = value
    return array


X = np.ones((6, 4))
BAD_X = {
    "too narrow": (X[:, :3], ValueError, "must have shape (rows, 4), got (6, 3)"),
    "too wide": (np.ones((6, 5)), ValueError, "must have shape (rows, 4), got (6, 5)"),
    "one flat row": (X[0], ValueError, "must have shape (rows, 4), got (4,)", "reshape(1, -1)"),
    "three dimensions": (np.ones((6, 2, 2)), ValueError, "got (6, 2, 2)"),
    "a number": (1.0, ValueError, "got ()"),
    "an empty list": ([], ValueError, "got (0,)"),
    "no rows": (X[:0], ValueError, "must have at least one row, got shape (0, 4)"),
    "no columns": (X[:, :0], ValueError, "must have shape (rows, 4), got (6, 0)"),
    "rows of two lengths": ([[1, 2, 3, 4], [1, 2]], ValueError, "must be an array of numbers"),
    "NaN": (with_value(X, np.nan), ValueError, "must be finite, got nan at", "[4, 2]"),
    "infinity": (with_value(X, np.inf), ValueError, "must be finite, got inf at", "[4, 2]"),
    "minus infinity": (with_value(X, -np.inf), ValueError, "got -inf at", "[4, 2]"),
    "too large": (with_value(X, 1e39), ValueError, "[4, 2] is 1e+39, too large for float32"),
    "a huge integer": ([[10**40, 1, 1, 1]] * 6, ValueError, "[0, 0] is 1e+40, too large for"),
    "a huger integer": ([[1, 1, 10**400, 1]] * 6, TypeError, "at", "[0, 2], too large for float64"),
    "complex": (X + 0j, TypeError, "must hold real numbers, got dtype complex128"),
    "strings": (X.astype(str), TypeError, "must hold real numbers, got dtype <U"),
    "bytes": (X.astype("S"), TypeError, "must hold real numbers, got dtype |S"),
    "objects": (with_value(X.astype(object), {}), TypeError, "real numbers, got {} at", "[4, 2]"),
    "dates": (X.astype("M8[D]"), TypeError, "must hold real numbers, got dtype datetime64"),
    "records": (np.zeros((6, 4), "f4,f4"), TypeError, "must hold real numbers, got dtype"),
    "None": (None, TypeError, "must hold real numbers, got None"),
    "a dict": ({"x": 1}, TypeError, "must hold real numbers, got a dict; call numpy.column_stack"),
    "a generator": ((row for row in X), TypeError, "real numbers, got a generator; call list("),
    "a string": ("1 2 3 4", TypeError, "must hold real numbers, got dtype <U7"),
}  # fmt: skip

METHODS = {
    "loss": lambda net, x, t: net.loss(x, t),
    "accuracy": lambda net, x, t: net.accuracy(x, t),
    "gradient": lambda net, x, t: net.gradient(x, t),
    "numerical_gradient": lambda net, x, t: net.numerical_gradient(x, t),
    "fit": lambda net, x, t: net.fit(x, t, batch_size=2),
}


def possible(method, case, output="softmax"):
    if method == "numerical_gradient":
        return case not in ("too large", "a huge integer")  # float64, which is used, holds them
    return method != "accuracy" or output != "identity"


@pytest.mark.parametrize("case", BAD_X)
def test_bad_inputs_are_refused_by_predict(case):
    net, x, t = net_and_data()
    bad, error, *texts = BAD_X[case]
    assert_harmless(net, x, t, lambda: net.predict(bad), error, "x", *texts)


@pytest.mark.parametrize(
    ("method", "case"), [(m, case) for m in METHODS for case in BAD_X if possible(m, case)]
)
def test_bad_inputs_are_refused(method, case):
    net, x, t = net_and_data()
    bad, error, *texts = BAD_X[case]
    call = METHODS[method]
    assert_harmless(net, x, t, lambda: call(net, bad, t), error, "x", *texts)


@pytest.mark.parametrize("case", BAD_X)
def test_bad_inputs_are_refused_as_validation_data(case):
    net, x, t = net_and_data()
    bad, error, *texts = BAD_X[case]
    assert_harmless(net, x, t, lambda: net.fit(x, t, batch_size=2, validation_data=(bad, t)),
                    error, "validation_data[0]", *texts)  # fmt: skip


def test_numbers_too_large_for_float32_are_fine_in_float64():
    net, *_ = net_and_data(dtype="float64")
    assert np.isfinite(net.predict(with_value(X, 1e39))).all()
    assert_refused(lambda: net.predict(with_value(X, np.longdouble("1e4000"))), ValueError,
                   "x[4, 2]", "too large for float64")  # fmt: skip


def test_a_flat_column_of_inputs_is_told_how_to_stand_up():
    net = fastnn.MLP([1, 2])
    assert_refused(lambda: net.predict([1, 2, 3]), ValueError, "a column is x.reshape(-1, 1)")


LABELS = np.array([0, 1, 2, 0, 1, 2])
ONE_HOT = np.eye(3)[LABELS]
BAD_LABELS = {
    "too few": (LABELS[:5], ValueError, "labels of shape (6,)", "(6, 3)", "got shape (5,)"),
    "too many": (np.tile(LABELS, 2), ValueError, "got shape (12,)"),
    "one number": (1, ValueError, "got shape ()"),
    "a column": (LABELS[:, np.newaxis], ValueError, "got shape (6, 1)"),
    "too large": (with_value(LABELS, 3, 4), ValueError, "labels from 0 to 2, got 3"),
    "negative": (with_value(LABELS, -1, 4), ValueError, "labels from 0 to 2, got -1"),
    "far too large": (np.full(6, 2**63, np.uint64), ValueError, "labels from 0 to 2, got 9223"),
    "halves": (LABELS + 0.5, ValueError, "must hold integer labels, got 0.5"),
    "NaN": (with_value(LABELS, np.nan, 4), ValueError, "must hold integer labels, got nan"),
    "infinity": (with_value(LABELS, np.inf, 4), ValueError, "got inf"),
    "strings": (LABELS.astype(str), TypeError, "must hold real numbers, got dtype <U"),
    "complex": (LABELS + 0j, TypeError, "must hold real numbers, got dtype complex128"),
    "None": (None, TypeError, "must hold real numbers, got None"),
    "of two lengths": ([[0], [1, 2]], ValueError, "must be an array of numbers"),
    "one-hot, too few": (ONE_HOT[:5], ValueError, "got shape (5, 3)"),
    "one-hot, too narrow": (ONE_HOT[:, :2], ValueError, "got shape (6, 2)"),
    "one-hot, two ones": (with_value(ONE_HOT, 1, (4, 0)), ValueError, "one-hot", "[1. 1. 0.]"),
    "one-hot, no one": (with_value(ONE_HOT, 0, (4, 1)), ValueError, "one-hot", "[0. 0. 0.]"),
    "one-hot, a two": (with_value(ONE_HOT, 2, (4, 1)), ValueError, "one-hot", "[0. 2. 0.]"),
    "one-hot, NaN": (with_value(ONE_HOT, np.nan, (4, 1)), ValueError, "one-hot", "nan"),
    "probabilities": (np.full((6, 3), 1 / 3), ValueError, "one-hot (a single 1 in each row)"),
}  # fmt: skip

T = np.full((6, 2), 0.5)
BAD_TARGETS = {
    "too few": (T[:5], ValueError, "must have shape (6, 2), got (5, 2)"),
    "too narrow": (T[:, :1], ValueError, "must have shape (6, 2), got (6, 1)"),
    "flat": (T[:, 0], ValueError, "must have shape (6, 2), got (6,)"),
    "one number": (0.5, ValueError, "must have shape (6, 2), got ()"),
    "NaN": (with_value(T, np.nan, (4, 1)), ValueError, "must be finite, got nan at", "[4, 1]"),
    "infinity": (with_value(T, np.inf, (4, 1)), ValueError, "got inf at", "[4, 1]"),
    "complex": (T + 0j, TypeError, "must hold real numbers, got dtype complex128"),
    "strings": (T.astype(str), TypeError, "must hold real numbers, got dtype <U"),
    "None": (None, TypeError, "must hold real numbers, got None"),
}
TOO_LARGE = {
    "too large": (with_value(T, 1e39, (4, 1)), ValueError, "[4, 1] is 1e+39, too large for float32")
}
BEYOND_ONE = {
    "above one": (with_value(T, 1.5, (4, 1)), ValueError, "must lie in 0 .. 1", "got 1.5"),
    "below zero": (with_value(T, -0.5, (4, 1)), ValueError, "must lie in 0 .. 1", "got -0.5"),
}


BAD_T = {
    "softmax": BAD_LABELS,
    "identity": BAD_TARGETS | TOO_LARGE,
    "sigmoid": BAD_TARGETS | TOO_LARGE | BEYOND_ONE,
}
CASES = [(output, case) for output, cases in BAD_T.items() for case in cases]


def problem_for_targets(output):
    return net_and_data(output, (4, 3, 3 if output == "softmax" else 2))


@pytest.mark.parametrize(
    ("method", "output", "case"),
    [(m, output, case) for m in METHODS for output, case in CASES if possible(m, case, output)],
)
def test_bad_targets_are_refused(method, output, case):
    net, x, t = problem_for_targets(output)
    bad, error, *texts = BAD_T[output][case]
    call = METHODS[method]
    assert_harmless(net, x, t, lambda: call(net, x, bad), error, "t", *texts)


@pytest.mark.parametrize(("output", "case"), CASES)
def test_bad_targets_are_refused_as_validation_data(output, case):
    net, x, t = problem_for_targets(output)
    bad, error, *texts = BAD_T[output][case]
    assert_harmless(net, x, t, lambda: net.fit(x, t, batch_size=2, validation_data=(x, bad)),
                    error, "validation_data[1]", *texts)  # fmt: skip


BATCHES = np.array([[0, 1], [2, 3]])
BAD_FIT = [
    ({"batches": with_value(BATCHES, 6, (1, 0))}, ValueError, "row numbers from 0 to 5, got 6"),
    ({"batches": with_value(BATCHES, -1, (1, 0))}, ValueError, "row numbers from 0 to 5, got -1"),
    ({"batches": BATCHES.astype(np.uint64) + 2**63}, ValueError, "row numbers from 0 to 5, got 92"),
    ({"batches": BATCHES.astype(float)}, TypeError, "must hold integers, got dtype float64"),
    ({"batches": BATCHES > 0}, TypeError, "must hold integers, got dtype bool"),
    ({"batches": [["0"]]}, TypeError, "must hold real numbers, got dtype <U1"),
    ({"batches": [[0, 1], [2]]}, ValueError, "must be an array of numbers"),
    ({"batches": BATCHES[0]}, ValueError, "must have shape (iterations, batch_size)", "got (2,)"),
    ({"batches": BATCHES[:0]}, ValueError, "both positive, got (0, 2)"),
    ({"batches": BATCHES[:, :0]}, ValueError, "both positive, got (2, 0)"),
    ({"batches": np.zeros((1, 1, 1), int)}, ValueError, "got (1, 1, 1)"),
    ({"epochs": 0}, ValueError, "must be a positive integer, got 0"),
    ({"epochs": -3}, ValueError, "must be a positive integer, got -3"),
    ({"epochs": 2.0}, TypeError, "must be a positive integer, got 2.0"),
    ({"epochs": "2"}, TypeError, "must be a positive integer, got '2'"),
    ({"epochs": True}, TypeError, "must be a positive integer, got True"),
    ({"iterations": 0}, ValueError, "must be a positive integer, got 0"),
    ({"iterations": np.float64(3)}, TypeError, "must be a positive integer, got np.float64(3.0)"),
    ({"batch_size": 0}, ValueError, "must be a positive integer, got 0"),
    ({"batch_size": 7}, ValueError, "must be at most the number of rows, 6, got 7"),
    ({"batch_size": None}, TypeError, "must be a positive integer, got None"),
    ({"sampling": "random"}, ValueError, "must be one of 'shuffle', 'replacement', got 'random'"),
    ({"sampling": None}, TypeError, "must be one of 'shuffle', 'replacement', got None"),
    ({"optimizer": "sgd"}, TypeError, "must be one of fastnn's, such as SGD(0.1), got 'sgd'"),
    ({"optimizer": fastnn.SGD}, TypeError, "must be one of fastnn's", "got <class"),
    ({"optimizer": 0.1}, TypeError, "must be one of fastnn's, such as SGD(0.1), got 0.1"),
    ({"validation_data": X}, TypeError, "must be a pair (x, t), got ndarray"),
    ({"validation_data": (X,)}, TypeError, "must be a pair (x, t), got"),
    ({"validation_data": (X, LABELS, 1)}, TypeError, "must be a pair (x, t), got"),
    ({"evaluate_every": 0}, ValueError, "must be a positive integer, got 0"),
    ({"evaluate_every": 0.5}, TypeError, "must be a positive integer, got 0.5"),
    ({"seed": -1}, ValueError, "must be a non-negative integer or a Generator", "-1"),
    ({"seed": 1.5}, TypeError, "must be a non-negative integer or a Generator", "1.5"),
    ({"seed": "abc"}, TypeError, "must be a non-negative integer or a Generator", "abc"),
    ({"callbacks": print}, TypeError, "must be a sequence of callables, got <built-in"),
    ({"callbacks": None}, TypeError, "must be a sequence of callables, got None"),
    ({"callbacks": [print, 5]}, TypeError, "callbacks[1] must be callable, got 5"),
    ({"callbacks": "ab"}, TypeError, "callbacks[0] must be callable, got 'a'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "texts"), [(a, e, t) for a, e, *t in BAD_FIT])
def test_bad_arguments_of_fit_are_refused(arguments, error, texts):
    net, x, t = net_and_data()
    (name,) = arguments
    arguments = arguments if name in ("batch_size", "batches") else {"batch_size": 2, **arguments}
    assert_harmless(net, x, t, lambda: net.fit(x, t, **arguments), error, name, *texts)


@pytest.mark.parametrize(
    "names", [("epochs", "iterations"), ("epochs", "batches"), ("iterations", "batches")]
)
def test_only_one_length_may_be_given(names):
    net, x, t = net_and_data()
    given = {name: {"batches": BATCHES}.get(name, 1) for name in names}
    assert_harmless(net, x, t, lambda: net.fit(x, t, batch_size=2, **given), ValueError,
                    "give only one of epochs, iterations, batches", *names)  # fmt: skip


BAD_SIZES = [
    ("ab", TypeError, "a sequence of integers, got 'ab'"),
    (5, TypeError, "a sequence of integers, got 5"),
    (None, TypeError, "a sequence of integers, got None"),
    ([], ValueError, "an input and an output width, got ()"),
    ([3], ValueError, "an input and an output width, got (3,)"),
    ([3, 0, 2], ValueError, "layer_sizes[1] must be a positive integer, got 0"),
    ([3, 4, -2], ValueError, "layer_sizes[2] must be a positive integer, got -2"),
    ([3.0, 2], TypeError, "layer_sizes[0] must be a positive integer, got 3.0"),
    ([3, "2"], TypeError, "layer_sizes[1] must be a positive integer, got '2'"),
    ([3, True], TypeError, "layer_sizes[1] must be a positive integer, got True"),
    ([3, None], TypeError, "layer_sizes[1] must be a positive integer, got None"),
    ([[3, 2]], ValueError, "got ([3, 2],)"),
    ([10**10, 10**10], ValueError, "10000000000"),
    ([2**63, 1], ValueError, "9223372036854775808"),
]


@pytest.mark.parametrize(("sizes", "error", "text"), BAD_SIZES)
def test_bad_layer_sizes_are_refused(sizes, error, text):
    assert_refused(lambda: fastnn.MLP(sizes), error, "layer_sizes", text)


NAMES = "one of " + ", ".join(map(repr, ACTIVATIONS))
BAD_MLP = [
    ({"activation": "swish"}, ValueError, f"must be {NAMES}", "got 'swish'"),
    ({"activation": "ReLU"}, ValueError, f"must be {NAMES}", "got 'ReLU'"),
    ({"activation": None}, TypeError, f"must be {NAMES}", "got None"),
    ({"activation": ["relu", "relu"]}, ValueError, "one per hidden layer (1)", "('relu', 'relu')"),
    ({"activation": []}, ValueError, "one per hidden layer (1)", "got ()"),
    ({"activation": ["swish"]}, ValueError, f"activation[0] must be {NAMES}", "got 'swish'"),
    ({"activation": [1]}, TypeError, f"activation[0] must be {NAMES}", "got 1"),
    ({"output": "linear"}, ValueError, "'sigmoid', 'tanh', 'softplus', got 'linear'"),
    ({"output": None}, TypeError, "'softmax', 'identity', 'sigmoid', 'tanh', 'softplus', got None"),
    ({"loss": "mae"}, ValueError, "with output='softmax' must be one of 'cross_entropy', ",
     "got 'mae', which goes with output='identity', 'sigmoid', 'tanh', 'softplus'"),
    ({"loss": "l2"}, ValueError, "one of 'cross_entropy', 'squared_error', 'mse', got 'l2'"),
    ({"loss": fastnn.losses.Huber()}, ValueError, "got 'huber', which goes with output='identity'"),
    ({"loss": 3}, TypeError, "with output='softmax' must be one of 'cross_entropy', ", "got 3"),
    ({"weight_init": "lecun"}, ValueError, "one of 'he', 'xavier', 'glorot', got 'lecun'"),
    ({"weight_init": -0.1}, ValueError, "must be a finite number at least 0, got -0.1"),
    ({"weight_init": np.nan}, ValueError, "must be a finite number at least 0, got nan"),
    ({"weight_init": np.inf}, ValueError, "must be a finite number at least 0, got inf"),
    ({"weight_init": None}, TypeError, "must be a number, got None"),
    ({"weight_init": True}, TypeError, "must be a number, got True"),
    ({"weight_init": [0.1, 0.1]}, TypeError, "must be a number, got [0.1, 0.1]"),
    ({"bias_init": -1}, ValueError, "must be a finite number at least 0, got -1"),
    ({"bias_init": "he"}, TypeError, "must be a number, got 'he'"),
    ({"dtype": "float16"}, ValueError, "must be one of 'float32', 'float64', got 'float16'"),
    ({"dtype": np.int32}, ValueError, "must be one of 'float32', 'float64', got 'int32'"),
    ({"dtype": "double precision"}, ValueError, "'float32', 'float64', got 'double precision'"),
    ({"dtype": 32}, TypeError, "must be one of 'float32', 'float64', got 32"),
    ({"dtype": None}, TypeError, "must be one of 'float32', 'float64', got None"),
    ({"seed": -1}, ValueError, "must be a non-negative integer or a Generator", "-1"),
    ({"seed": 0.5}, TypeError, "must be a non-negative integer or a Generator", "0.5"),
    ({"seed": np.random}, TypeError, "must be a non-negative integer or a Generator"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "texts"), [(a, e, t) for a, e, *t in BAD_MLP])
def test_bad_arguments_of_a_network_are_refused(arguments, error, texts):
    (name,) = arguments
    assert_refused(lambda: fastnn.MLP([3, 4, 2], **arguments), error, name, *texts)


BAD_BOOK = [
    ({"input_size": 0}, ValueError, "must be a positive integer, got 0"),
    ({"hidden_size": 2.5}, TypeError, "must be a positive integer, got 2.5"),
    ({"output_size": "3"}, TypeError, "must be a positive integer, got '3'"),
    ({"weight_init_std": -1}, ValueError, "must be a finite number at least 0, got -1"),
    ({"weight_init_std": "he"}, TypeError, "must be a number, got 'he'"),
    ({"activation": "step"}, ValueError, f"must be {NAMES}", "got 'step'"),
    ({"dtype": "float8"}, ValueError, "must be one of 'float32', 'float64', got 'float8'"),
    ({"seed": "one"}, TypeError, "must be a non-negative integer or a Generator"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "texts"), [(a, e, t) for a, e, *t in BAD_BOOK])
def test_bad_arguments_of_the_books_network_are_refused(arguments, error, texts):
    (name,) = arguments
    sizes = {"input_size": 4, "hidden_size": 3, "output_size": 2}
    assert_refused(lambda: fastnn.TwoLayerNet(**(sizes | arguments)), error, name, *texts)


@pytest.mark.parametrize(
    ("lr", "error", "text"),
    [
        (0, ValueError, "must be a finite number above 0, got 0"),
        (-0.1, ValueError, "must be a finite number above 0, got -0.1"),
        (np.nan, ValueError, "must be a finite number above 0, got nan"),
        (np.inf, ValueError, "must be a finite number above 0, got inf"),
        ("0.1", TypeError, "must be a number, got '0.1'"),
        (None, TypeError, "must be a number, got None"),
        (True, TypeError, "must be a number, got True"),
        (1j, TypeError, "must be a number, got 1j"),
        ([0.1], TypeError, "must be a number, got [0.1]"),
    ],
)
def test_bad_learning_rates_are_refused(lr, error, text):
    assert_refused(lambda: fastnn.SGD(lr), error, "lr", text)


@pytest.mark.parametrize("lr", [1, 1e-3, np.float32(0.1), np.int64(2)])
def test_learning_rates_may_be_numbers_of_any_kind(lr):
    assert fastnn.SGD(lr).lr == lr


def test_a_learning_rate_too_large_for_float32_is_refused():
    net, x, t = net_and_data()
    call = lambda: net.fit(x, t, batch_size=2, optimizer=fastnn.SGD(1e39))  # noqa: E731
    assert_harmless(net, x, t, call, ValueError, "lr", "1e+39", "float32")


@pytest.mark.parametrize(
    ("h", "error", "text"),
    [
        (0, ValueError, "must be a finite number above 0, got 0"),
        (-1e-4, ValueError, "must be a finite number above 0, got -0.0001"),
        (np.nan, ValueError, "must be a finite number above 0, got nan"),
        ("1e-4", TypeError, "must be a number, got '1e-4'"),
    ],
)
def test_bad_steps_of_the_numerical_gradient_are_refused(h, error, text):
    net, x, t = net_and_data()
    assert_harmless(net, x, t, lambda: net.numerical_gradient(x, t, h), error, "h", text)


@pytest.mark.parametrize(
    ("dtype", "error", "text"),
    [
        ("float16", ValueError, "must be one of 'float32', 'float64', got 'float16'"),
        (32, TypeError, "must be one of 'float32', 'float64', got 32"),
    ],
)
def test_bad_precisions_of_warmup_are_refused(dtype, error, text):
    assert_refused(lambda: fastnn.warmup(dtype), error, "dtype", text)


def test_a_misspelt_option_is_refused_by_python():
    net, x, t = net_and_data()
    with pytest.raises(TypeError, match="epoch"):
        net.fit(x, t, epoch=3)


def test_the_users_floating_point_settings_make_no_difference():
    net, x, t = net_and_data()
    tiny = np.full((2, 4), 1e-310)
    expected = net.predict(tiny)
    with np.errstate(all="raise"):
        assert bits(net.predict(tiny)) == bits(expected)
        net.fit(x, t, batch_size=2)
        assert_refused(lambda: net.predict(with_value(X, 1e39)), ValueError, "too large")
        assert_refused(lambda: net.predict(with_value(X, np.nan)), ValueError, "finite")
