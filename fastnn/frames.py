"""Data frames and columns of pandas, Polars, Arrow, and of whatever behaves as theirs do.

None of these libraries is imported: what their objects are is seen by what they offer.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

NUMERIC = "biuf"  # kinds of dtypes that hold real numbers


def columns_of(x: Any) -> list[tuple[Any, Any]] | None:
    """Label and contents of each column of a data frame; None if `x` is no data frame."""
    if hasattr(x, "iloc") and hasattr(x, "columns"):  # pandas
        return [(label, x.iloc[:, place]) for place, label in enumerate(x.columns)]
    if hasattr(x, "get_columns") and hasattr(x, "columns"):  # Polars
        return list(zip(x.columns, x.get_columns(), strict=True))
    if hasattr(x, "column_names") and hasattr(x, "columns"):  # Arrow
        return list(zip(x.column_names, x.columns, strict=True))
    return None


def is_plain(x: Any) -> bool:
    """Whether NumPy makes an array of numbers of this data frame of pandas, with none missing."""
    if not (hasattr(x, "iloc") and hasattr(x, "dtypes") and hasattr(x, "columns")):
        return False
    dtypes = set(np.asarray(x.dtypes))
    kinds = {dtype.kind if isinstance(dtype, np.dtype) else "O" for dtype in dtypes}
    return kinds <= set("iuf") or kinds == {"b"}  # of bools beside numbers it makes objects


def first_missing(column: Any) -> int | None:
    """Place of the first missing value of a column, which NaN in plain floats is not."""
    count = getattr(column, "null_count", None)
    count = count() if callable(count) else count
    if isinstance(count, int):  # known without a look
        if count == 0:
            return None
    elif _is_plain_dtype(getattr(column, "dtype", None)):
        return None
    test = getattr(column, "isna", None) or getattr(column, "is_null", None)
    if not callable(test):
        return None
    with contextlib.suppress(NotImplementedError):  # of pandas' MultiIndex
        found = np.flatnonzero(np.asarray(test()))
        return int(found[0]) if found.size else None
    return None


def _is_plain_dtype(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in NUMERIC


def place(x: Any, name: str, at: tuple[int, ...]) -> str:
    """Where an element lies: by row and name of the column, or by numbers as in ``x[3, 1]``."""
    with contextlib.suppress(Exception):  # names are a help, and to have none is no error
        if at and hasattr(x, "columns") and len(at) == 2:
            return f"{_row(x, at[0])} of column {_label(x, at[1])}"
        if at and (hasattr(x, "isna") or hasattr(x, "null_count")):
            return _row(x, at[0]) + name_of(x, " of column ")
    return f"{name}[{', '.join(map(str, at))}]" if at else name


def name_of(column: Any, before: str) -> str:
    """The name of a column with what stands before it; nothing if it has none."""
    if not (hasattr(column, "isna") or hasattr(column, "null_count")):
        return ""
    name = getattr(column, "name", None)
    return "" if name is None or callable(name) else before + shown(name)


def _label(x: Any, column: int) -> str:
    names = x.column_names if hasattr(x, "column_names") else x.columns
    return shown(list(names)[column])


def _row(x: Any, row: int) -> str:
    index = getattr(x, "index", None)
    if index is None or callable(index) or index[row] == row:
        return f"row {row}"
    return f"row {row} (index {shown(index[row])})"


def shown(label: Any) -> str:
    """A label as Python writes it, on one line."""
    label = label.item() if isinstance(label, np.generic) else label
    return " ".join(repr(label).split())
