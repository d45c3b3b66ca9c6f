"""The gate: arguments are checked and cast here once, so that kernels need not.

Every refusal is one `ValueError` or `TypeError` that names the argument, says
what it was and what is allowed.
"""

from __future__ import annotations

import ctypes
import math
import operator
from typing import Any, NoReturn

import numpy as np

from fastnn import frames
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.intake import numbers
from fastnn.sparse_rows import SparseRows, is_sparse

# Rows so few that a copy of them costs less than a second look.
FEW_ROWS = 8


def plain_rows(x: Any, width: int, dtype: np.dtype) -> np.ndarray | None:
    """What `matrix` returns, if that takes no more than a look or a copy of a few rows."""
    if not (type(x) is np.ndarray and x.ndim == 2 and x.shape[1] == width):
        return None
    if not (len(x) and x.dtype.kind == "f"):
        return None
    if x.dtype == dtype and x.flags.carray:
        return x
    if len(x) >= FEW_ROWS:
        return None  # `matrix` copies only if it must
    with np.errstate(all="ignore"), rounding_to_nearest():
        return x.astype(dtype, "C")


def matrix(x: Any, width: int, dtype: np.dtype, name: str) -> np.ndarray | SparseRows:
    """Numbers of shape (N, width), N > 0, as a C-contiguous array that kernels can take.

    SciPy's sparse rows stay sparse.
    """
    if is_sparse(x):
        _check_shape(x.shape, width, name)
        return SparseRows(x, dtype, name)
    array = numbers(x, name)
    _check_shape(array.shape, width, name)
    return kernel_array(array, dtype)


def image_rows(x: Any, shape: tuple[int, int, int], dtype: np.dtype, name: str) -> np.ndarray:
    """Images (N, C, H, W), or rows of as many numbers, as rows that kernels can take.

    Images of one channel may be (N, H, W), too.
    """
    width = math.prod(shape)
    if is_sparse(x):
        return dense_matrix(x, width, dtype, name)
    array = numbers(x, name)
    allowed = [(width,), shape, *([shape[1:]] if shape[0] == 1 else [])]
    if array.shape[1:] not in allowed:
        hint = f"; one image is {name}[np.newaxis]" if array.shape in allowed[1:] else ""
        listed = ", ".join(map(str, shape))
        raise ValueError(
            f"{name} must have shape (images, {listed}) or (images, {width}), "
            f"got {array.shape}{hint}"
        )
    if len(array) == 0:
        raise ValueError(f"{name} must have at least one image, got shape {array.shape}")
    return kernel_array(array.reshape(len(array), width), dtype)


def dense_matrix(x: Any, width: int, dtype: np.dtype, name: str) -> np.ndarray:
    """`matrix`, in which SciPy's sparse rows are an array, too."""
    rows = matrix(x, width, dtype, name)
    return rows.dense() if isinstance(rows, SparseRows) else rows


def _check_shape(shape: tuple[int, ...], width: int, name: str) -> None:
    if len(shape) != 2 or shape[1] != width:
        hint = ""
        if shape == (width,):
            hint = f"; one row is {name}.reshape(1, -1)"
        elif len(shape) == 1 and width == 1:
            hint = f"; a column is {name}.reshape(-1, 1)"
        raise ValueError(f"{name} must have shape (rows, {width}), got {shape}{hint}")
    if shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {shape}")


def kernel_array(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` contiguous, aligned, native and of `dtype`: one type for the kernels.

    A read-only array would be a type, so a build, of its own: it is handed on
    through an alias that may be written, which the kernels never do.
    """
    with np.errstate(all="ignore"), rounding_to_nearest():
        array = np.require(array, dtype, ["C", "A"])
    if array.flags.writeable or array.size == 0:
        return array
    memory = (ctypes.c_byte * array.nbytes).from_address(array.ctypes.data)
    alias = np.asarray(memory).view(dtype).reshape(array.shape)
    memory._owner = array  # type: ignore[attr-defined]  # keeps the memory alive
    return alias


def refuse_not_finite(x: Any, array: np.ndarray, name: str) -> NoReturn:
    """Say which number of `x`, of which `array` was made, is not finite."""
    if is_sparse(x):
        rows = SparseRows(x, array.dtype, name)
        rows.refuse_too_large()
        rows.refuse_not_finite()
    given = numbers(x, name)  # a column may be given as (N,)
    if given.ndim > 2:  # images
        array = array.reshape(given.shape)
    at = tuple(np.argwhere(~np.isfinite(array))[0].tolist())[: given.ndim]
    found, where = given[at], frames.place(x, name, at)
    if np.isfinite(found):
        _refuse_as_too_large(found, where, array.dtype, name)
    raise ValueError(f"{name} must be finite, got {found!s} at {where}")


def refuse_too_large(x: Any, dtype: np.dtype, name: str) -> None:
    """Refuse finite numbers, of an array or a sparse matrix, that are infinite in `dtype`."""
    values = x.data if is_sparse(x) else x
    if values.dtype.kind != "f" or values.dtype.itemsize <= dtype.itemsize:
        return
    if is_sparse(x):
        SparseRows(x, dtype, name).refuse_too_large()
        return
    with np.errstate(all="ignore"):
        lost = ~np.isfinite(x.astype(dtype)) & np.isfinite(x)
    for at in np.argwhere(lost)[:1].tolist():
        _refuse_as_too_large(x[tuple(at)], frames.place(x, name, tuple(at)), dtype, name)


def _refuse_as_too_large(found: Any, where: str, dtype: np.dtype, name: str) -> NoReturn:
    what = where if where.startswith(name) else f"{name} at {where}"
    # Without !s a long number would be written as an infinite one.
    raise ValueError(f"{what} is {found!s}, too large for {dtype}")


def labels(t: Any, rows: int, classes: int, name: str = "t") -> np.ndarray:
    """Class numbers, shape (rows,), from labels (rows,) or one-hot rows (rows, classes)."""
    array = numbers(t, name)
    if array.shape == (rows, classes):
        return _labels_of_one_hot(array, name)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} must be labels of shape ({rows},) or one-hot of shape ({rows}, {classes}), "
            f"got shape {array.shape}"
        )
    if array.dtype.kind == "f" and not np.all(array == np.floor(array)):
        bad = array[~(array == np.floor(array))][0]
        raise ValueError(f"{name} must hold integer labels, got {bad!s}")
    low, high = array.min(), array.max()
    if low < 0 or high >= classes:
        bad = low if low < 0 else high
        raise ValueError(f"{name} must hold labels from 0 to {classes - 1}, got {bad!s}")
    # A copy: the kernels rely on what was checked, whatever a callback does to t.
    return np.array(array, np.int64, order="C")


def _labels_of_one_hot(array: np.ndarray, name: str) -> np.ndarray:
    right = ((array == 0) | (array == 1)).all(axis=1) & (np.count_nonzero(array, axis=1) == 1)
    if not right.all():
        row = int(np.argmin(right))
        found = " ".join(str(array[row]).split())  # a long one would take several lines
        raise ValueError(f"{name} must be one-hot (a single 1 in each row), got {found}")
    return array.argmax(axis=1)


def targets(
    t: Any,
    rows: int,
    outputs: int,
    dtype: np.dtype,
    name: str = "t",
    limits: tuple[float, float] | None = None,
    loss: str = "",
) -> np.ndarray:
    """Real targets of shape (rows, outputs), also given as (rows,) for one output.

    If the loss of this name wants them so, between two limits.
    """
    array = numbers(t, name)
    if array.ndim == 1 and outputs == 1:
        array = array[:, np.newaxis]
    if array.shape != (rows, outputs):
        also = f" or ({rows},)" if outputs == 1 else ""
        found = numbers(t, name).shape
        raise ValueError(f"{name} must have shape ({rows}, {outputs}){also}, got {found}")
    ready = kernel_array(array, dtype)
    if not np.isfinite(ready).all():
        refuse_not_finite(t, ready, name)
    if limits is not None and (ready.min() < limits[0] or ready.max() > limits[1]):
        bad = ready.min() if ready.min() < limits[0] else ready.max()
        where = (
            f"lie in {limits[0]:g} .. {limits[1]:g}" if limits[1] < math.inf else "be at least 0"
        )
        raise ValueError(f"{name} must {where} for loss={loss!r}, got {bad!s}")
    return ready


def batches(value: Any, rows: int) -> np.ndarray:
    """Row numbers of every batch, shape (iterations, batch_size)."""
    array = numbers(value, "batches")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"batches must have shape (iterations, batch_size), both positive, got {array.shape}"
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"batches must hold integers, got dtype {array.dtype}")
    low, high = array.min(), array.max()
    if low < 0 or high >= rows:
        bad = low if low < 0 else high
        raise ValueError(f"batches must hold row numbers from 0 to {rows - 1}, got {bad!s}")
    return np.array(array, np.int64, order="C")  # a copy, as for labels


def positive_integer(value: Any, name: str) -> int:
    """A whole number of at least 1."""
    return whole_number(value, name, 1)


def whole_number(value: Any, name: str, least: int) -> int:
    """A whole number of at least 1, or another."""
    wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be {wanted}, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be {wanted}, got {number}")
    return number


def real_number(value: Any, name: str, low: float, above: bool = False) -> float:
    """A finite number of at least (or above) `low`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # of an integer of hundreds of digits
        number = math.inf
    if not np.isfinite(number) or number < low or (above and number == low):
        bound = "above" if above else "at least"
        raise ValueError(f"{name} must be a finite number {bound} {low:g}, got {value!r}")
    return number


def choice(value: Any, allowed: Any, name: str) -> Any:
    """One of the names in `allowed`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {_listed(allowed)}, got {value!r}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {_listed(allowed)}, got {value!r}")
    return value


def _listed(allowed: Any) -> str:
    return ", ".join(repr(name) for name in allowed)
