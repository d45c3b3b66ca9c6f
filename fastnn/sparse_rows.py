"""SciPy's sparse matrices as compressed rows: checked, as compiled code cannot do that, in order.

SciPy need not be there.  It does not look whether the numbers of rows and columns in a matrix are
within its shape, nor does it keep the order of entries that it adds up because they are of one
place; here they are added in the order in which ``toarray`` adds them.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, NoReturn

import numpy as np


def is_sparse(x: Any) -> bool:
    """Whether `x` is a sparse matrix or array of SciPy's."""
    scipy_sparse = sys.modules.get("scipy.sparse")  # without it there is none
    return scipy_sparse is not None and scipy_sparse.issparse(x)


class Entries(NamedTuple):
    """Entries of some rows in ascending order, those of the i-th are ``begin[i] .. begin[i+1]``."""

    begin: np.ndarray
    column: np.ndarray
    value: np.ndarray


class SparseRows:
    """Rows of a sparse matrix of real numbers.

    Parameters
    ----------
    x : SciPy's sparse matrix or array, of two dimensions
    dtype : numpy.dtype
        Precision that the kernels want.
    name : str
        What to call `x` in errors.
    """

    def __init__(self, x: Any, dtype: np.dtype, name: str):
        if x.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {x.dtype}")
        self.shape, self.dtype, self.name = x.shape, dtype, name
        self._begin, self._column, self._value = self._compressed(x)
        self._check_begin(self._begin, len(self), len(self._column), len(self._value))

    def __len__(self) -> int:
        return self.shape[0]

    def entries(self, chosen: np.ndarray | None = None) -> Entries:
        """All entries, or those of the rows `chosen`: each place once, columns ascending."""
        begin, column, value = self._begin, self._column[: self._begin[-1]], self._value
        if chosen is not None:
            count = np.diff(begin)[chosen]
            at = np.repeat(begin[chosen] - np.cumsum(count) + count, count) + np.arange(count.sum())
            begin, column, value = np.append(0, np.cumsum(count)), column[at], value[at]
        value = value[: len(column)]
        self._check_numbers(column, self.shape[1], "column")
        ascends = column[1:] > column[:-1]
        ends = begin[1:-1]
        ascends[ends[(ends > 0) & (ends < len(column))] - 1] = True  # into the next row
        return Entries(begin, column, value) if ascends.all() else _in_order(begin, column, value)

    def dense(self) -> np.ndarray:
        """The same rows as an array."""
        begin, column, value = self.entries()
        array = np.zeros(self.shape, self.dtype)
        with np.errstate(all="ignore"):
            array[np.repeat(np.arange(len(self)), np.diff(begin)), column] = value
        return array

    def refuse_too_large(self, chosen: np.ndarray | None = None) -> None:
        """Name the first finite number that the precision cannot hold, if there is one."""
        entries = self.entries(chosen)
        with np.errstate(all="ignore"):
            lost = ~np.isfinite(entries.value.astype(self.dtype)) & np.isfinite(entries.value)
        if lost.any():
            where, found = self._first(lost, entries, chosen)
            raise ValueError(f"{where} is {found!s}, too large for {self.dtype}")

    def refuse_not_finite(self, chosen: np.ndarray | None = None) -> NoReturn:
        """Name the first number that is not finite."""
        entries = self.entries(chosen)
        where, found = self._first(~np.isfinite(entries.value), entries, chosen)
        raise ValueError(f"{self.name} must be finite, got {found} at {where}")

    def _first(
        self, strange: np.ndarray, entries: Entries, chosen: np.ndarray | None
    ) -> tuple[str, Any]:
        entry = int(np.argmax(strange))
        row = int(np.searchsorted(entries.begin, entry, side="right")) - 1
        row = row if chosen is None else int(chosen[row])
        return f"{self.name}[{row}, {entries.column[entry]}]", entries.value[entry]

    def _compressed(self, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows as SciPy has them, in any order, each entry as often as it is stored."""
        if x.format == "csr":
            return np.asarray(x.indptr), np.asarray(x.indices), np.asarray(x.data)
        self._check_before_conversion(x)
        rows = x.tocsr()
        if x.format in ("coo", "bsr") and rows.nnz < x.nnz:  # it has added some up
            entries = x.tocoo()
            order = np.argsort(entries.row, kind="stable")
            count = np.bincount(entries.row, minlength=len(self))
            return np.append(0, np.cumsum(count)), entries.col[order], entries.data[order]
        return rows.indptr, rows.indices, rows.data

    def _check_before_conversion(self, x: Any) -> None:
        """What SciPy's compiled code relies on when it moves entries."""
        rows, columns = self.shape
        if x.format == "coo":
            self._check_numbers(x.row, rows, "row")
            self._check_numbers(x.col, columns, "column")
            if not len(x.row) == len(x.col) == len(x.data):
                self._refuse_damaged("row, col and data differ in length")
        elif x.format == "csc":
            self._check_begin(x.indptr, columns, len(x.indices), len(x.data))
            self._check_numbers(x.indices, rows, "row")
        elif x.format == "bsr":
            height, width = x.blocksize
            self._check_begin(x.indptr, rows // height, len(x.indices), len(x.data))
            self._check_numbers(x.indices, columns // width, "block")

    def _check_begin(self, begin: np.ndarray, count: int, *lengths: int) -> None:
        self._check_integers(begin)
        right = len(begin) == count + 1 and begin[0] == 0 and begin[-1] <= min(lengths)
        if not right or (np.diff(begin) < 0).any():
            self._refuse_damaged("indptr does not say where rows begin")

    def _check_numbers(self, numbers: np.ndarray, end: int, what: str) -> None:
        self._check_integers(numbers)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < end):
            found = numbers.min() if numbers.min() < 0 else numbers.max()
            self._refuse_damaged(f"{what} {found} of {end}")

    def _check_integers(self, numbers: np.ndarray) -> None:
        if numbers.dtype.kind != "i" or numbers.ndim != 1:
            self._refuse_damaged(f"an index of dtype {numbers.dtype}, {numbers.ndim} dimensions")

    def _refuse_damaged(self, why: str) -> NoReturn:
        raise ValueError(f"{self.name} is a damaged sparse matrix: {why}")


def _in_order(begin: np.ndarray, column: np.ndarray, value: np.ndarray) -> Entries:
    """Columns ascending in each row; entries of one place added up one after the other."""
    row = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
    order = np.lexsort((column, row))
    row, column, value = row[order], column[order], value[order]
    first = np.append(True, (np.diff(row) != 0) | (np.diff(column) != 0))
    if not first.all():
        summed = np.zeros(np.count_nonzero(first), value.dtype)
        with np.errstate(all="ignore"):
            np.add.at(summed, np.cumsum(first) - 1, value)
        row, column, value = row[first], column[first], summed
    count = np.bincount(row, minlength=len(begin) - 1)
    return Entries(np.append(0, np.cumsum(count)), column, value)
