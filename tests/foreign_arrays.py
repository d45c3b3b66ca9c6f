"""What users have: objects of other libraries, as these behave, and the numbers in them."""

import collections
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

ma = np.ma
XY = np.array([[1.0, 2.0], [0.0, 4.0], [1.0, 6.0]])
WHOLE = XY.astype(int)
ROWS = [[1, 2], [0, 4], [1, 6]]


class WithArray:
    """As most do: xarray, h5py, JAX."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class Refuses:
    """As do those that would have to copy, and say so; and broken ones."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error

    def __iter__(self):
        return iter(())


class OnAnotherDevice(Refuses):
    """As CuPy's."""

    def __init__(self):
        super().__init__(TypeError("Implicit conversion is not allowed.\nPlease use `.get()`"))

    def get(self):
        return XY


class OnlyDlpack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnlyToNumpy:
    def __init__(self, array):
        self.array = array

    def to_numpy(self):
        return self.array


class OnlyInterface:
    def __init__(self, array):
        self.array, self.__array_interface__ = array, array.__array_interface__


class MaskedObject(WithArray):
    """As columns of tables of Astropy may be."""

    def __init__(self, array, mask):
        super().__init__(array)
        self.shape, self.mask = array.shape, mask


class Masked(np.ndarray):
    """As Astropy's: a mask of its own that NumPy knows nothing of."""

    mask: np.ndarray


def masked(array, mask):
    found = np.array(array).view(Masked)
    found.mask = np.array(mask)
    return found


class Device:
    def __init__(self, kind):
        self.type = kind


class Tensor(Refuses):
    """As PyTorch's, which refuses whatever it would have to copy."""

    layout, dtype, is_quantized = "torch.strided", "torch.float32", False
    conj = neg = False

    def __init__(self, device="cpu", grad=False, **attributes):
        super().__init__(RuntimeError("Can't call numpy() on Tensor.\nMore of it."))
        self.device, self.requires_grad = Device(device), grad
        self.__dict__.update(attributes)

    def detach(self):
        raise AssertionError("not by us")

    numpy = cpu = to_dense = detach

    def is_conj(self):
        return self.conj

    def is_neg(self):
        return self.neg


class Lookalike:
    """A data frame with the words of pandas, as Modin's."""

    def __init__(self, frame):
        self.columns, self.dtypes, self.iloc, self.index, self._frame = (
            frame.columns, frame.dtypes, frame.iloc, frame.index, frame,
        )  # fmt: skip

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._frame)


def pandas(**columns):
    return pd.DataFrame(columns)


FLAGS, SIZES = [True, False, True], [2.0, 4.0, 6.0]
PLAIN = pandas(a=[1.0, 0.0, 1.0], b=SIZES)
GOOD = {
    "an array": (XY, XY),
    "a matrix": (XY.view(np.matrix), XY),
    "a masked array, complete": (ma.array(XY, mask=XY > 9), XY),
    "a masked array without a mask": (ma.array(WHOLE), WHOLE),
    "rows that are masked arrays": ([ma.array(row) for row in WHOLE], WHOLE),
    "another masked array, complete": (masked(XY, XY > 9), XY),
    "an object that gives a masked array": (WithArray(ma.array(XY)), XY),
    "objects": (XY.astype(object), XY),
    "objects that are integers": (WHOLE.astype(object), WHOLE),
    "objects of many kinds": (
        [[True, Decimal(2)], [Fraction(0), np.float32(4)], [np.int8(1), 6.0]], XY),
    "booleans beside integers": (
        np.array([[True, 2], [False, np.uint8(4)], [1, 6]], object), WHOLE),
    "a large integer beside floats": ([[1.0, 10**30]], [[1.0, 1e30]]),
    "a deque": (collections.deque(ROWS), WHOLE),
    "a range": (range(3), [0, 1, 2]),
    "named tuples": (list(PLAIN.itertuples(index=False)), XY),
    "__array__": (WithArray(XY), XY),
    "__dlpack__": (OnlyDlpack(XY), XY),
    "to_numpy": (OnlyToNumpy(WHOLE), WHOLE),
    "__array_interface__": (OnlyInterface(XY), XY),
    "rows with __dlpack__": ([OnlyDlpack(row) for row in XY], XY),
    "rows with to_numpy": (tuple(OnlyToNumpy(row) for row in WHOLE), WHOLE),
    "elements with __array__": ([[WithArray(np.array(e)) for e in row] for row in XY], XY),
    "pandas": (PLAIN, XY),
    "pandas: a row of each": ([row for _, row in pandas(a=FLAGS, b=SIZES).iterrows()], XY),
    "pandas: bools and floats": (pandas(a=FLAGS, b=SIZES), XY),
    "pandas: bools and integers": (pandas(a=FLAGS, b=[2, 4, 6]), WHOLE),
    "pandas: bools": (pandas(a=FLAGS), np.array(FLAGS)[:, np.newaxis]),
    "pandas: nullable": (pandas(a=[1, 0, 1], b=[2, 4, 6]).astype("Int64"), WHOLE),
    "pandas: nullable of several kinds": (
        PLAIN.astype({"a": "boolean", "b": "Float64"}), XY),
    "pandas: Arrow": (PLAIN.astype({"a": "bool[pyarrow]", "b": "double[pyarrow]"}), XY),
    "pandas: Arrow's decimals": (
        pandas(a=[1, 0, 1], b=pd.array([2, 4, 6], pd.ArrowDtype(pa.decimal128(9)))), XY),
    "pandas: numbers as categories": (PLAIN.astype({"a": "category"}), XY),
    "pandas: sparse": (PLAIN.astype({"a": pd.SparseDtype(float)}), XY),
    "pandas: objects": (PLAIN.astype(object), XY),
    "pandas: two columns of one name": (pandas(a=FLAGS, b=SIZES).set_axis(["a", "a"], axis=1), XY),
    "pandas: two levels of names": (
        pandas(a=FLAGS, b=SIZES).set_axis([("a", "b"), ("a", "c")], axis=1), XY),
    "pandas: no rows": (pandas(a=pd.array([], "Int64")), np.empty((0, 1), int)),
    "pandas: an index": (pd.Index([1, 0, 1]), [1, 0, 1]),
    "pandas: an array": (pd.array([1, 0, 1]), [1, 0, 1]),
    "pandas: a lookalike": (Lookalike(pandas(a=FLAGS, b=SIZES)), XY),
    "Polars": (pl.DataFrame({"a": FLAGS, "b": SIZES}), XY),
    "Polars: integers": (pl.DataFrame({"a": [1, 0, 1], "b": [2, 4, 6]}), WHOLE),
    "Polars: decimals": (pl.DataFrame({"a": [Decimal(2), Decimal(3)]}), [[2.0], [3.0]]),
    "Polars: decimals beside flags": (
        pl.DataFrame({"a": FLAGS, "b": [Decimal(2), Decimal(4), Decimal(6)]}), XY),
    "Polars: columns": ([pl.Series([1, 2]), pl.Series([3, 4])], [[1, 2], [3, 4]]),
    "Arrow": (pa.table({"a": FLAGS, "b": SIZES}), XY),
    "Arrow: a batch": (pa.RecordBatch.from_pydict({"a": FLAGS, "b": SIZES}), XY),
    "Arrow: chunks": (pa.chunked_array([[1, 2], [3]]), [1, 2, 3]),
    "Arrow: flags": (pa.array(FLAGS), FLAGS),
    "Arrow: a dictionary": (pa.array([5, 6, 5]).dictionary_encode(), [5, 6, 5]),
}  # fmt: skip


MASK = np.array([[0, 0], [0, 0], [0, 1]], bool)


NA = [1, None, 3]
