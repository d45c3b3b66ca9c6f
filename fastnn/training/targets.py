"""What is wanted of rows: a kernel looks at it, and `fastnn.gate` says what is wrong with it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastnn import gate
from fastnn.compiler import runtime
from fastnn.kernels.given import Allowed, GivenTargets, take_targets
from fastnn.kernels.groups import Targets
from fastnn.kernels.losses import COUNTS, LABELS, PROBABILITIES

_NO_BYTES, _NO_LABELS = np.empty((0, 0), np.uint8), np.empty(0, np.int64)
# Types of one-hot rows whose elements kernels can tell apart, and their 1 as a whole number.
_ONES = {
    dtype: int.from_bytes(np.ones(1, dtype).tobytes(), sys.byteorder)
    for dtype in map(np.dtype, "?bhilqBHILQefd")
}


class TargetsWanted:
    """What a network's loss wants of targets.

    Parameters
    ----------
    kind : str
        Of `fastnn.kernels.losses`.
    outputs : int
    dtype : numpy.dtype
        Of the network.
    """

    def __init__(self, kind: str, outputs: int, dtype: np.dtype):
        self.kind, self.outputs, self.dtype = kind, outputs, dtype
        largest = np.finfo(dtype).max
        least = 0 if kind in (PROBABILITIES, COUNTS) else -largest
        self._limits = np.array([least, 1 if kind == PROBABILITIES else largest], dtype)
        self.none = Targets(_NO_LABELS, np.empty((0, 1), dtype))

    def given(self, t: Any, rows: int) -> tuple[GivenTargets, Allowed] | None:
        """Targets as `take_targets` reads them; None if `check` has to see them."""
        if type(t) is not np.ndarray:
            return None
        one_hot, labels, targets, one = _NO_BYTES, _NO_LABELS, self.none.targets, 1
        if self.kind != LABELS:
            if t.shape != (rows, self.outputs) or t.dtype != self.dtype or not t.flags.carray:
                return None
            targets = t
        elif t.shape == (rows, self.outputs):
            if t.dtype not in _ONES or not t.flags.carray:
                return None
            one_hot, one = t.view(np.uint8), _ONES[t.dtype]
        elif t.shape == (rows,) and t.dtype.kind in "iu":
            labels = np.ascontiguousarray(t, np.int64)
        else:
            return None
        allowed = Allowed(self.outputs, t.dtype.itemsize, one, self._limits)
        return GivenTargets(one_hot, labels, targets), allowed

    def take(self, given: tuple[GivenTargets, Allowed], labels: np.ndarray) -> Targets | None:
        """Targets as kernels read them, labels written to an array; None if one is wrong."""
        (one_hot, _, targets), strange = given[0], _new_flag()
        of_labels = self.kind == LABELS
        if not of_labels:
            labels = _NO_LABELS
        runtime.run(take_targets, 0, *given[0], *given[1], labels, strange)
        return None if strange[0] else Targets(labels, targets)

    def check(self, t: Any, rows: int, name: str) -> Targets:
        """Targets as kernels read them, in arrays of their own; or an error that names `t`."""
        given = self.given(t, rows)
        if given is not None:
            found = self.take(given, np.empty(rows, np.int64))
            if found is not None:
                return found
        labels, targets = self.none
        if self.kind == LABELS:
            labels = gate.labels(t, rows, self.outputs, name)
        else:
            unit = self.kind == PROBABILITIES
            targets = gate.targets(t, rows, self.outputs, self.dtype, name, unit)
        return Targets(labels, targets)


def _new_flag() -> np.ndarray:
    return np.empty(1, np.int64)
