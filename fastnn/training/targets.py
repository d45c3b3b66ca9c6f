"""What is wanted of rows: a kernel looks at it, and `fastnn.gate` says what is wrong with it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import gate
from fastnn.frames import NUMERIC
from fastnn.kernels.given import take_targets
from fastnn.kernels.groups import Targets
from fastnn.kernels.losses import COUNTS, LABELS, PROBABILITIES, SIGNS
from fastnn.kernels.nonzeros import Found

NO_BYTES, NO_LABELS = np.empty((0, 0), np.uint8), np.empty(0, np.int64)
NO_BOUNDS, NO_COLUMN = np.empty((0, 2), np.int64), np.empty(0, np.uint16)
# Types of one-hot rows whose elements kernels can tell apart, and their 1 as a whole number.
ONES = {
    dtype: int.from_bytes(np.ones(1, dtype).tobytes(), sys.byteorder)
    for dtype in map(np.dtype, "?bhilqBHILQefd")
}
# What targets of a kind lie between; of others they are numbers, any.
LIMITS = {PROBABILITIES: (0.0, 1.0), COUNTS: (0.0, math.inf), SIGNS: (-1.0, 1.0)}


class GivenTargets(NamedTuple):
    """Targets as they were given: fields of `groups.Examples`, behind the labels."""

    targets: np.ndarray
    numbers: np.ndarray
    one_hot: np.ndarray
    given: np.ndarray
    classes: int
    size: int
    one: int
    limits: np.ndarray


class TargetsWanted:
    """What a network's loss wants of targets.

    Parameters
    ----------
    kind : str
        Of `fastnn.kernels.losses`.
    outputs : int
    dtype : numpy.dtype
        Of the network.
    numbers : sequence of float
        What the loss has for each output, or nothing.
    loss : str
        Its name, for errors.

    Attributes
    ----------
    none : GivenTargets
        Of no rows.
    """

    def __init__(
        self,
        kind: str,
        outputs: int,
        dtype: np.dtype,
        numbers: Sequence[float] = (),
        loss: str = "",
    ):
        self.kind, self.outputs, self.dtype, self.loss = kind, outputs, dtype, loss
        largest = float(np.finfo(dtype).max)
        limits = np.array(LIMITS.get(kind, (-largest, largest)), dtype).clip(-largest, largest)
        self.numbers = np.array(numbers, dtype)
        self.none = GivenTargets(
            np.empty((0, 1), dtype), self.numbers, NO_BYTES, NO_LABELS, outputs, 1, 1, limits
        )
        self._no_inputs = np.empty((0, 1), dtype), NO_BOUNDS, NO_COLUMN, np.empty(0, dtype)

    def given(self, t: Any, rows: int) -> GivenTargets | None:
        """Targets in arrays that kernels take; None if `check` has to see them."""
        if type(t) is not np.ndarray:
            try:
                t = gate.numbers(t, "t")
            except (TypeError, ValueError):
                return None
        if t.dtype.kind not in NUMERIC:
            return None
        none, numbers, one_hot, labels, classes, _, _, limits = self.none
        targets, size, one = none, 1, 1
        if self.kind != LABELS:
            if t.shape == (rows,) and self.outputs == 1:
                t = t[:, np.newaxis]
            if t.shape != (rows, self.outputs):
                return None
            plain = t.dtype == self.dtype and t.flags.carray
            targets = t if plain else gate.kernel_array(t, self.dtype)
        elif t.shape == (rows, self.outputs) and t.dtype in ONES:
            t = t if t.flags.carray else np.array(t, order="C")
            one_hot, size, one = t.view(np.uint8), t.itemsize, ONES[t.dtype]
        elif t.shape == (rows,) and t.dtype.kind != "f":
            labels = np.array(t, np.int64)
        elif t.shape == (rows,):
            with np.errstate(all="ignore"):
                labels = t.astype(np.int64)
            if not (labels == t).all():
                return None
        else:
            return None
        return GivenTargets(targets, numbers, one_hot, labels, classes, size, one, limits)

    def looked_at(self, t: Any, rows: int) -> Targets | None:
        """Targets as kernels read them, in arrays of their own; None if `check` has to see them."""
        given = self.given(t, rows)
        if given is None:
            return None
        labels = np.empty(rows * (self.kind == LABELS), np.int64)
        found = np.zeros((1, len(Found._fields)), np.int64)
        take_targets.serial(1, *self._no_inputs, labels, *given, found)
        return None if found.any() else Targets(labels, given.targets, self.numbers)

    def check(self, t: Any, rows: int, name: str) -> Targets:
        """`looked_at`, or an error that names the targets."""
        found = self.looked_at(t, rows)
        if found is not None:
            return found
        if self.kind == LABELS:
            labels = gate.labels(t, rows, self.outputs, name)
            return Targets(labels, self.none.targets, self.numbers)
        limits = LIMITS.get(self.kind)
        targets = gate.targets(t, rows, self.outputs, self.dtype, name, limits, self.loss)
        return Targets(NO_LABELS, targets, self.numbers)
