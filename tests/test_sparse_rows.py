"""SciPy's sparse matrices: the bits of the dense array, or an error that names row and column."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from refusals import assert_harmless, assert_refused

import fastnn
from fastnn.sparse_rows import SparseRows
from fastnn.training.data import Samples

FORMATS = ["csr", "csc", "coo", "bsr", "dok", "lil", "dia"]
KINDS = ["float64", "float32", "longdouble", "int32", "uint8", "bool"]
CALLS = {
    "predict": lambda net, x, t: net.predict(x),
    "loss": lambda net, x, t: net.loss(x, t),
    "gradient": lambda net, x, t: net.gradient(x, t),
    "numerical_gradient": lambda net, x, t: net.numerical_gradient(x, t),
    "fit": lambda net, x, t: slowly(net, x, t, batch_size=3),
    "one by one": lambda net, x, t: slowly(net, x, t, batch_size=1),
    "one by one, with a memory": lambda net, x, t: net.fit(
        x, t, batch_size=1, optimizer=fastnn.Adam(0.01)
    ),
    "few of many": lambda net, x, t: slowly(net, x, t, batches=[[3, 1]]),
    "evaluated": lambda net, x, t: slowly(net, x, t, batch_size=3, validation_data=(x, t)),
}


def slowly(net, x, t, **options):
    return net.fit(x, t, optimizer=fastnn.SGD(1e-3), **options)


def network(inputs, output="softmax", dtype="float32"):
    return fastnn.MLP([inputs, 5, 3], output=output, dtype=dtype, weight_init="he", seed=1)


def targets(rows, output="softmax"):
    rng = np.random.default_rng(2)
    return rng.integers(0, 3, rows) if output == "softmax" else rng.normal(size=(rows, 3))


def assert_same(call, x, dense, output="softmax", dtype="float32"):
    """The same answer and the same weights, to the bit."""
    answers, nets = [], []
    for given in (x, dense):
        nets.append(network(dense.shape[1], output, dtype))
        answers.append(CALLS[call](nets[-1], given, targets(len(dense), output)))
    found, expected = answers
    if isinstance(found, fastnn.History):
        found, expected = found.loss, expected.loss
    for mine, other in (
        *zip(*(a.values() if isinstance(a, dict) else [a] for a in (found, expected)), strict=True),
        *zip(*(net.params.values() for net in nets), strict=True),
    ):
        assert np.asarray(mine).tobytes() == np.asarray(other).tobytes()


def matrix(rows, columns, kind="float64", density=0.3):
    rng = np.random.default_rng(rows + columns)
    x = rng.normal(size=(rows, columns)) * 3
    x[rng.random(x.shape) >= density] = 0
    x[0], x[1] = 0, 1  # an empty row, a full one
    return x.astype(kind)


# The dense array's bits --------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Constructing a DIA")
@pytest.mark.parametrize("shape", [(7, 4), (12, 50)])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("call", CALLS)
def test_every_method_takes_every_form(call, form, shape):
    dense = matrix(*shape)
    for make in (sp.csr_matrix, sp.csr_array):
        assert_same(call, make(dense).asformat(form), dense)


@pytest.mark.parametrize("output", ["softmax", "identity"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_any_kind_are_taken(kind, dtype, output):
    dense = matrix(9, 40, kind)
    for call in CALLS:
        assert_same(call, sp.csr_array(dense), dense, output, dtype)


@pytest.mark.parametrize("call", CALLS)
def test_wide_rows_and_many_of_them_are_taken(call):
    for shape in [(4, 70_000), (2000, 40)] if call != "numerical_gradient" else []:
        dense = matrix(*shape, density=10 / shape[1])
        assert_same(call, sp.csr_array(dense), dense)


def entries_in_disorder(form, kind):
    """Several entries of a place, with zeros that are stored, and columns in any order."""
    rng = np.random.default_rng(5)
    row, column = rng.integers(0, 6, 800), rng.integers(0, 30, 800)
    value = (rng.normal(size=800) * 10.0 ** rng.integers(-6, 6, 800)).astype(kind)
    value[::7] = 0
    if form == "coo":
        return sp.coo_array((value, (row, column)), shape=(8, 30))
    if form == "bsr":
        blocks = np.array([value[:400].reshape(200, 1, 2), value[400:].reshape(200, 1, 2)])
        begin = np.append(0, np.cumsum(np.repeat(50, 8)))
        return sp.bsr_array(
            (blocks.reshape(400, 1, 2), rng.integers(0, 15, 400), begin), shape=(8, 30)
        )
    major, minor, count = (row, column, 8) if form == "csr" else (column, row, 30)
    order = np.argsort(major, kind="stable")
    begin = np.append(0, np.cumsum(np.bincount(major, minlength=count)))
    make = sp.csr_array if form == "csr" else sp.csc_array
    index = minor[order].astype(np.int64)
    return make((value[order], index, begin.astype(np.int64)), shape=(8, 30))


@pytest.mark.parametrize("kind", ["float64", "float32", "int8", "bool"])
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_entries_of_one_place_are_added_as_in_toarray(form, kind):
    x = entries_in_disorder(form, kind)
    before = [part.tobytes() for part in (x.data, *(x.coords if form == "coo" else [x.indices]))]
    dense = x.toarray()
    for call in CALLS:
        assert_same(call, x, dense, dtype="float64")
    after = [part.tobytes() for part in (x.data, *(x.coords if form == "coo" else [x.indices]))]
    assert after == before


def test_some_rows_are_chosen_from_entries_in_disorder():
    x = entries_in_disorder("csr", "float64")
    part = SparseRows(x, np.dtype(np.float64), "x").entries(np.array([1, 4]))
    dense = x.toarray()[[1, 4]]
    for i in range(2):
        entries = slice(*part.begin[i : i + 2])
        assert_array_equal(dense[i, part.column[entries]], part.value[entries])
        assert (np.diff(part.column[entries]) > 0).all()
        assert np.count_nonzero(dense[i]) == np.count_nonzero(part.value[entries])


def test_an_order_that_scipy_remembers_is_not_believed():
    x = sp.csr_array(matrix(3, 6, density=1))
    assert x.has_canonical_format
    x.indices[:] = x.indices[::-1].copy()  # in place: SciPy does not notice
    assert_same("gradient", x, x.toarray())


def test_a_callback_cannot_lead_the_kernels_astray():
    wide = sp.csr_array(matrix(4, 70_000, density=1e-4)).astype(np.float32)
    samples = Samples.of_csr(SparseRows(wide, np.dtype(np.float32), "x"))
    _, bounds, column, _ = samples.data
    assert not np.shares_memory(column, wide.indices)
    assert not np.shares_memory(bounds, wide.indptr)


# Refused -----------------------------------------------------------------------------------------

EYE = np.eye(6, 4)


def with_value(value, at=(4, 2)):
    x = EYE.copy()
    x[at] = value
    return x


BAD = {
    "NaN": (with_value(np.nan), "must be finite, got nan at", "[4, 2]"),
    "infinity": (with_value(np.inf), "must be finite, got inf at", "[4, 2]"),
    "too large": (with_value(1e39), "[4, 2] is 1e+39, too large for float32"),
    "too wide": (np.eye(6, 5), "must have shape (rows, 4), got (6, 5)"),
    "no rows": (EYE[:0], "must have at least one row, got shape (0, 4)"),
}
NAMES = {"evaluated": "validation_data[0]"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("call", ["predict", "loss", "numerical_gradient", "fit", "evaluated"])
def test_bad_rows_are_refused(call, case, form):
    if (call, case) == ("numerical_gradient", "too large"):
        return  # it is evaluated in float64
    net = fastnn.MLP([4, 3, 3], weight_init="he", seed=0)
    x, t = EYE, np.array([0, 1, 2, 0, 1, 2])
    array, *texts = BAD[case]
    bad = sp.csr_array(array).asformat(form)
    if call == "evaluated":
        do = functools.partial(net.fit, x, t, batch_size=2, validation_data=(bad, t))
    else:
        do = functools.partial(CALLS[call], net, bad, t)
    assert_harmless(net, x, t, do, ValueError, NAMES.get(call, "x"), *texts)


def test_rows_that_no_batch_uses_are_not_looked_at_as_in_an_array():
    for x in (sp.csr_array(with_value(np.nan)), with_value(np.nan)):
        net = fastnn.MLP([4, 3])
        net.fit(x, np.zeros(6, int), batches=[[0, 1]])
        call = functools.partial(net.fit, x, np.zeros(6, int), batches=[[0, 4]])
        assert_refused(call, ValueError, "x must be finite, got nan at x[4, 2]")


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (sp.csr_array(EYE + 0j), TypeError, "x must hold real numbers, got dtype complex128"),
        (sp.coo_array(np.ones(4)), ValueError, "got (4,); one row is x.reshape(1, -1)"),
        (sp.coo_array(np.ones((2, 2, 4))), ValueError, "shape (rows, 4), got (2, 2, 4)"),
    ],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(x, error, text):
    assert_refused(lambda: fastnn.MLP([4, 3]).predict(x), error, text)


def damaged(form, part, value, place=1):
    """A matrix whose index arrays lead out of it; SciPy would follow them."""
    x = sp.csr_array(EYE + 1).asformat(form)
    getattr(x, part)[place] = value
    return x


DAMAGED = [
    *[(form, "indices", value) for form in ("csr", "csc", "bsr") for value in (99, -1)],
    *[(form, "indptr", value) for form in ("csr", "csc", "bsr") for value in (99, -1)],
    *[("coo", part, value) for part in ("row", "col") for value in (99, -1)],
    *[(form, "indptr", 1, 0) for form in ("csr", "csc", "bsr")],
    *[(form, "indptr", 99, -1) for form in ("csr", "csc", "bsr")],
]


@pytest.mark.parametrize("how", DAMAGED)
def test_indices_that_lead_out_of_the_matrix_are_refused(how):
    text, x = "x is a damaged sparse matrix: ", damaged(*how)
    assert_refused(lambda: fastnn.MLP([4, 3]).predict(x), ValueError, text)


def test_an_index_that_is_no_integer_is_refused():
    x = sp.csr_array(EYE)
    x.indices = x.indices.astype(float)
    assert_refused(lambda: fastnn.MLP([4, 3]).predict(x), ValueError, "an index of dtype float64")


@pytest.mark.parametrize("name", ["t", "batches", "params['W1']"])
def test_elsewhere_an_array_is_asked_for(name):
    net, table = fastnn.MLP([4, 3]), sp.csr_array(np.eye(4, 3, dtype=int))
    calls = {
        "t": lambda: net.loss(EYE[:4], table),
        "batches": lambda: net.fit(EYE, [0] * 6, batches=table),
        "params['W1']": lambda: net.params.update(W1=table),
    }
    text = f"{name} must be a dense array, got a csr_array; call {name}.toarray()"
    assert_refused(calls[name], TypeError, text)


def test_rows_in_a_list_are_told_what_to_call():
    assert_refused(lambda: fastnn.MLP([4, 3]).predict([sp.csr_array(EYE)]), TypeError,
                   "x[0] must be a dense array", "call x[0].toarray()")  # fmt: skip
