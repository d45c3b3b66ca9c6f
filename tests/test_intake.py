"""What users have becomes real numbers, or an error that names it and says what helps."""

import collections
import datetime
import subprocess
import sys
import warnings
from decimal import Decimal

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from foreign_arrays import (
    GOOD,
    MASK,
    NA,
    PLAIN,
    ROWS,
    SIZES,
    WHOLE,
    XY,
    Lookalike,
    MaskedObject,
    OnAnotherDevice,
    OnlyDlpack,
    OnlyToNumpy,
    Refuses,
    Tensor,
    WithArray,
    ma,
    masked,
    pandas,
)
from numpy.testing import assert_array_equal
from refusals import assert_refused

from fastnn import frames, intake


@pytest.mark.parametrize("case", GOOD)
def test_real_numbers_are_taken_as_they_are(case):
    given, expected = GOOD[case]
    found, expected = intake.numbers(given, "x"), np.asarray(expected)
    assert type(found) is np.ndarray
    assert found.dtype.kind == expected.dtype.kind
    assert_array_equal(found, expected)


def test_numbers_of_an_array_are_the_array():
    assert intake.numbers(XY, "x") is XY
    assert np.shares_memory(intake.numbers(ma.array(XY), "x"), XY)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", np.float32), ("float8_e4m3", np.float32), ("int4", np.int64)],
)
def test_precisions_that_numpy_does_not_know_are_taken(dtype, expected):
    found = intake.numbers(WHOLE.astype(getattr(ml_dtypes, dtype)), "x")
    assert found.dtype == expected
    assert_array_equal(found, WHOLE)


MASKED = {
    "an array": (ma.array(XY, mask=MASK), "x[2, 1]"),
    "of integers": (ma.array(WHOLE, mask=MASK), "x[2, 1]"),
    "of one dimension": (ma.array([1, 2, 3], mask=[0, 1, 0]), "x[1]"),
    "a number": (ma.masked, "x"),
    "a number in a list": ([1.0, ma.masked], "x[1]"),
    "a number in a list of lists": ([[1.0, 2.0], [3.0, ma.masked]], "x[1, 1]"),
    "rows": ([ma.array([1, 2]), ma.array([3, 4], mask=[1, 0])], "x[1, 0]"),
    "rows in a tuple": ((ma.array([1, 2], mask=True),), "x[0, 0]"),
    "rows in a deque": (collections.deque([ma.array([1, 2], mask=True)]), "x[0, 0]"),
    "elements": ([list(ma.array([1, 2], mask=[0, 1]))], "x[0, 1]"),
    "another array": (masked(XY, MASK), "x[2, 1]"),
    "no array": (MaskedObject(XY, MASK), "x[2, 1]"),
    "rows that are no arrays": ([MaskedObject(WHOLE[0], MASK[2])], "x[0, 1]"),
    "all of another": (masked(XY, True), "x[0, 0]"),
    "what an object gives": (WithArray(ma.array(XY, mask=MASK)), "x[2, 1]"),
    "what to_numpy gives": (OnlyToNumpy(ma.array(XY, mask=MASK)), "x[2, 1]"),
    "what a row gives": ([WithArray(ma.array([1, 2], mask=[0, 1]))], "x[0, 1]"),
}


@pytest.mark.parametrize("case", MASKED)
def test_what_is_masked_is_refused(case):
    given, where = MASKED[case]
    text = f"x must have no masked values, got one at {where}"
    assert_refused(lambda: intake.numbers(given, "x"), ValueError, text)


@pytest.mark.parametrize(
    "case", [case for case in MASKED if "give" not in case and "deque" not in case]
)
def test_masks_are_seen_without_a_conversion(case):
    given, where = MASKED[case]
    assert_refused(lambda: intake.refuse_masked(given, "x"), ValueError, "x must have", where)


def test_a_mask_of_another_kind_is_none():
    for mask in ([1, 2], MASK[2], np.ones((1, 2), bool)):
        assert_array_equal(intake.numbers(masked(XY, mask), "x"), XY)
    intake.refuse_masked(GOOD["a masked array, complete"][0], "x")
    intake.refuse_masked(PLAIN, "x")  # whose `mask` is a method


MISSING = {
    "pandas: nullable": (pandas(b=SIZES, age=pd.array(NA, "Int64")), "row 1 of column 'age'"),
    "pandas: all nullable": (pandas(age=NA).astype("Float64"), "row 1 of column 'age'"),
    "pandas: flags": (pandas(b=pd.array([True, False, None])), "row 2 of column 'b'"),
    "pandas: Arrow": (pandas(b=SIZES, a=pd.array(NA, "int64[pyarrow]")), "row 1 of column 'a'"),
    "pandas: categories": (pandas(a=pd.Categorical(NA)), "row 1 of column 'a'"),
    "pandas: objects": (pandas(a=pd.Series(NA, dtype=object)), "row 1 of column 'a'"),
    "pandas: by position": (
        pandas(a=pd.array(NA, "Int64")).set_axis([*"pqr"]), "row 1 (index 'q') of column 'a'"),
    "pandas: rows in another order": (
        pandas(a=pd.array(NA)).set_axis([7, 8, 9])[::-1][1:], "row 0 (index 8) of column 'a'"),
    "pandas: two columns of one name": (
        pd.DataFrame([[1, None]], columns=["a", "a"], dtype="Int64"), "row 0 of column 'a'"),
    "pandas: numbers for names": (
        pd.DataFrame([[1, None]], dtype="Int64"), "row 0 of column 1"),
    "pandas: two levels of names": (
        pandas(a=pd.array(NA)).set_axis([("a", "b")], axis=1), "row 1 of column ('a', 'b')"),
    "pandas: a column": (pd.Series(NA, dtype="Int64", name="t"), "row 1 of column 't'"),
    "pandas: a column without a name": (pd.Series(NA, dtype="Int64"), "row 1"),
    "pandas: its index": (pd.Index(NA, dtype="Int64"), "row 1"),
    "pandas: an array": (pd.array(NA), "row 1"),
    "pandas: rows": ([pd.array([1, 2]), pd.array([3, None])], "x[1, 1]"),
    "pandas: a lookalike": (Lookalike(pandas(a=pd.array(NA))), "row 1 of column 'a'"),
    "Polars": (pl.DataFrame({"b": [1, 2, 3], "a": NA}), "row 1 of column 'a'"),
    "Polars: flags": (pl.DataFrame({"b": [1, 2], "a": [True, None]}), "row 1 of column 'a'"),
    "Polars: a column": (pl.Series("a", NA), "row 1 of column 'a'"),
    "Arrow": (pa.table({"b": [1, 2, 3], "a": NA}), "row 1 of column 'a'"),
    "Arrow: a batch": (pa.RecordBatch.from_pydict({"a": NA}), "row 1 of column 'a'"),
    "Arrow: an array": (pa.array(NA), "row 1"),
    "Arrow: chunks": (pa.chunked_array([[1, 2], [None]]), "row 2"),
    "Arrow: nothing at all": (pa.nulls(2), "row 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_refused_by_row_and_column(case):
    given, where = MISSING[case]
    with pytest.raises(ValueError, match="missing") as caught:
        intake.numbers(given, "x")
    assert str(caught.value) == f"x must have no missing values, got one at {where}"


BAD = {
    "None": (None, "got None"),
    "an object": (object(), "got an object"),
    "a function": (len, "got a builtin_function_or_method"),
    "a class": (np.ndarray, "got the class ndarray"),
    "a generator": ((row for row in ROWS), "got a generator; call list(x)"),
    "a map": (map(int, "12"), "got a map; call list(x)"),
    "a zip": (zip("12", "34", strict=True), "got a zip; call list(x)"),
    "an iterator": (iter(ROWS), "got a list_iterator; call list(x)"),
    "a set": ({1, 2}, "got a set; call list(x)"),
    "keys": ({1: 2}.keys(), "got a dict_keys; call list(x)"),
    "values": ({1: 2}.values(), "got a dict_values; call list(x)"),
    "a dict": ({"a": [1]}, "got a dict; call numpy.column_stack(list(x.values()))"),
    "another mapping": (collections.UserDict(a=1), "got a UserDict; call numpy.column_stack("),
    "a text": ("12", "got dtype <U2: x is '12'"),
    "texts": (["1", "2"], "got dtype <U1: x[0] is '1'"),
    "a text among numbers": ([[1, 2], [3, "a"]], "x[1, 1] is 'a'"),
    "texts of NumPy's": (np.array(["a"], np.dtypes.StringDType()), "x[0] is 'a'"),
    "complex numbers": ([1j], "got dtype complex128"),
    "dates": (np.array(["2020"], "M8[Y]"), "got dtype datetime64[Y]"),
    "voids": (np.zeros(2, "V2"), "got dtype |V2"),
    "records": (np.zeros(2, "f4,f4"), "call numpy.lib.recfunctions.structured_to_unstructured(x)"),
    "masked records": (ma.zeros(2, "f4,f4"), "structured_to_unstructured(x)"),
    "None among numbers": ([[1, 2], [None, 4]], "got None at x[1, 0]"),
    "pandas' NA": ([1.0, pd.NA], "got <NA> at x[1]"),
    "a day": ([datetime.date(2020, 2, 3)], "got datetime.date(2020, 2, 3) at x[0]"),
    "pandas' time": ([pd.Timestamp(2020, 2, 3)], "got dtype datetime64"),
    "a complex object": (np.array([1, 2j], object), "got 2j at x[1]"),
    "a dict among numbers": ([1, {"a": 2}], "got {'a': 2} at x[1]"),
    "an integer beyond float64": ([1, 10**400], "at x[1], too large for float64"),
    "one that Python does not write": ([10**9999], "got an int at x[0], too large for float64"),
    "a decimal beyond float64": ([Decimal("1e400")], "at x[0], too large for float64"),
    "a decimal that raises": ([Decimal("sNaN")], "got Decimal('sNaN') at x[0]"),
    "a long number beyond float64": (
        np.array([np.longdouble("1e4000"), 1], object), "at x[0], too large for float64"),
    "arrays in an array": (
        pd.Series([np.ones(2)]), "got array([1., 1.]) at row 0; call numpy.stack(x)"),
    "tables in an array": (pd.Series([np.ones((2, 2))]), "got array([[1., 1.], [1., 1.]]) at row"),
    "pandas: texts": (pandas(b=SIZES, city=list("uvw")), "got 'u' at row 0 of column 'city'"),
    "pandas: texts as categories": (
        pandas(city=pd.Categorical(list("uv"))), "got 'u' at row 0 of column 'city'"),
    "pandas: dates": (
        pandas(b=[1], day=pd.to_datetime(["2020"])), "got dtype datetime64", "in column 'day'"),
    "pandas: only dates": (pandas(day=pd.to_datetime(["2020"])), "in column 'day'"),
    "pandas: times": (pandas(b=pd.to_timedelta([1])), "got dtype timedelta64[ns] in column 'b'"),
    "pandas: a column of texts": (
        pd.Series(["u"], index=["p"], name="a"), "got 'u' at row 0 (index 'p') of column 'a'"),
    "pandas: a column of dates": (pd.Series(pd.to_datetime(["2020"]), name="day"), "column 'day'"),
    "pandas: pairs": (pd.MultiIndex.from_tuples([(1, 2)]), "got (1, 2) at row 0"),
    "pandas: groups": (PLAIN.groupby("a"), "DataFrameGroupBy"),
    "Polars: texts": (pl.DataFrame({"b": [1], "city": ["u"]}), "row 0 of column 'city' is 'u'"),
    "Polars: dates": (pl.DataFrame({"day": [datetime.date(2020, 2, 3)]}), "in column 'day'"),
    "Polars: lists": (pl.DataFrame({"a": [[1, 2]]}), "row 0 of column 'a'; call numpy.stack(x)"),
    "Polars: arrays": (
        pl.DataFrame({"a": pl.Series([[1, 2]], dtype=pl.Array(int, 2))}), "a number a row in"),
    "Polars: lazy": (pl.LazyFrame({"a": [1]}), "got a LazyFrame; call x.collect()"),
    "Polars: an expression": (pl.col("a"), "Expr refuses to become an array (TypeError: the truth"),
    "Arrow: texts": (pa.table({"city": ["u"]}), "got 'u' at row 0 of column 'city'"),
    "Arrow: a number": (pa.scalar(1), "got an Int64Scalar"),
    "it raises": (Refuses(KeyError("no")), "a Refuses refuses to become an array (KeyError: 'no')"),
    "it raises nothing known": (Refuses(ValueError()), "(ValueError: it says no more)"),
    "it gives no array": (WithArray([1, 2]), "(ValueError: object __array__ method not producing"),
    "it gives objects": (WithArray(np.array([None])), "got None at x[0]"),
    "an element raises": ([1, Refuses(KeyError("no"))], "x[1] must hold", "(KeyError: 'no')"),
    "to_numpy gives no array": (OnlyToNumpy([1]), "got an OnlyToNumpy; call x.to_numpy()"),
    "it is on a device": (
        OnAnotherDevice(), "(TypeError: Implicit conversion is not allowed.); call x.get()"),
    "DLPack refuses": (OnlyDlpack(np.array(["a"])), "an OnlyDlpack refuses", "(BufferError: "),
    "a tensor": (Tensor(), "(RuntimeError: Can't call numpy() on Tensor.)"),
    "with a gradient": (Tensor(grad=True), "Tensor refuses", "; call x.detach()"),
    "on a GPU": (Tensor("cuda"), "; call x.cpu()"),
    "on a GPU with a gradient": (Tensor("cuda", grad=True), "; call x.detach().cpu()"),
    "of bfloat16": (Tensor(dtype="torch.bfloat16"), "; call x.float()"),
    "of float8": (Tensor(dtype="torch.float8_e5m2"), "; call x.float()"),
    "a sparse tensor": (Tensor(layout="torch.sparse_csr"), "; call x.to_dense()"),
    "a quantized one": (Tensor(is_quantized=True), "; call x.dequantize()"),
    "a conjugate one": (Tensor(conj=True), "; call x.resolve_conj()"),
    "a negative one": (Tensor(neg=True), "; call x.resolve_neg()"),
    "tensors": ([Tensor(grad=True)], "x[0] must hold", "; call x[0].detach()"),
    "tensors in lists": ([[1], [Tensor(grad=True)]], "; call x[1][0].detach()"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_holds_no_real_numbers_is_refused_with_what_to_call(case):
    given, *texts = BAD[case]
    assert_refused(lambda: intake.numbers(given, "x"), TypeError, "must", *texts)


def test_no_call_is_named_that_does_not_help():
    with pytest.raises(TypeError) as caught:
        intake.numbers(Tensor("meta"), "x")
    assert str(caught.value).endswith("on Tensor.)")


def test_a_quoted_decimal_is_not_called_too_large_for_being_no_number():
    with pytest.raises(TypeError) as caught:
        intake.numbers([Decimal("sNaN")], "x")
    assert str(caught.value).endswith("got Decimal('sNaN') at x[0]")


def test_a_list_is_not_advised_of_what_is_an_array():
    with pytest.raises(TypeError) as caught:
        intake.numbers(Refuses(KeyError("no")), "x")
    assert str(caught.value).endswith("(KeyError: 'no')")


def test_the_error_of_an_object_stays_the_cause():
    error = KeyError("no")
    with pytest.raises(TypeError) as caught:
        intake.numbers(Refuses(error), "x")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_end_of_memory_or_of_patience_is_handed_on(error):
    with pytest.raises(error):
        intake.numbers(Refuses(error()), "x")


def test_a_list_that_holds_itself_is_refused():
    rows = []
    rows.append(rows)
    assert_refused(lambda: intake.numbers(rows, "x"), ValueError, "x must be an array of numbers")


def test_a_frame_that_cannot_name_its_rows_is_refused_all_the_same():
    class Nameless:
        columns = property(lambda self: 1 / 0)

    assert frames.place(Nameless(), "x", (3, 1)) == "x[3, 1]"


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, np.float64(1e308), np.float64(1e308)]],
        [[1, np.int8(127), np.int8(127)]],
        [[np.longdouble("1e4000"), Decimal(1)]],
    ],
)
def test_no_warning_leaks_from_a_look_at_a_list(rows):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        intake.refuse_masked(rows, "x")
    assert not seen
    with np.errstate(all="raise"):
        intake.refuse_masked(rows, "x")
    if "1e+4000" not in str(rows):
        assert np.shape(intake.numbers(rows, "x")) == (1, 3)


def test_no_library_is_imported_to_look_for_its_objects():
    program = (
        "import sys, fastnn\n"
        "fastnn.MLP([1, 2]).loss([[1.0]], [0])\n"
        "print({'pandas', 'polars', 'pyarrow', 'torch', 'jax', 'scipy.sparse'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
