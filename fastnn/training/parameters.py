"""The parameter block: all weights of a network in one aligned buffer.

Rows of W (inputs x outputs, as in the book) are padded to whole
vectors.  The padding is zero and stays zero, so kernels never treat the last
columns apart.  `plan` describes the block, and the scratch of a pass through
the network, as the integers that the kernels read.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn import gate
from fastnn.compiler.lanes import GROUP_BYTES, TILE_VECTORS, VECTOR_BYTES
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels import sweeps


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin on a 64-byte boundary, so that no vector lies across two cache lines."""
    nbytes = size * dtype.itemsize
    buffer = np.zeros(nbytes + GROUP_BYTES, np.uint8)
    start = -buffer.ctypes.data % GROUP_BYTES
    return buffer[start : start + nbytes].view(dtype)


def padded(width: int, dtype: np.dtype, unit: int = VECTOR_BYTES) -> int:
    """Elements of a row of `width` in memory.

    Whole units of so many bytes, and an odd number of them: rows a power of two
    apart would share a few sets of the cache.
    """
    units = -(-width * dtype.itemsize // unit)
    if units > 1:
        units |= 1
    return units * unit // dtype.itemsize


class Parameters(MutableMapping):
    """Weights and biases by name: ``W1, b1, W2, b2, ...``, live views without the padding.

    Assigning an array copies it in; its shape must be that of the parameter, and its finite numbers
    must be finite in the precision of the network.
    Names can be neither added nor removed.
    """

    def __init__(self, layer_sizes: tuple[int, ...], dtype: np.dtype):
        self.layer_sizes = layer_sizes
        self.multiply_adds = sum(i * o for i, o in pairwise(layer_sizes))  # for a dense row
        self._plan = _plan(layer_sizes, dtype)
        last = self._plan[-1]
        self.block = aligned_zeros(int(last[sweeps.B] + last[sweeps.W_ROW]), dtype)
        self._views = self.views_of(self.block)
        # Scratch of short calls; one that is at work is not in the list, so threads share none.
        self.kept_scratch: list[tuple[Any, ...]] = []

    def views_of(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The named parts of a block laid out like this one."""
        views = {}
        for layer, p in enumerate(self._plan, start=1):
            I, O, row = p[sweeps.INPUTS], p[sweeps.OUTPUTS], p[sweeps.W_ROW]
            W, b = p[sweeps.W], p[sweeps.B]
            views[f"W{layer}"] = block[W : W + I * row].reshape(I, row)[:, :O]
            views[f"b{layer}"] = block[b : b + O]
        return views

    def set_activations(self, codes: list[int]) -> None:
        """Activation code of each layer, for the plans made from now on."""
        self._plan[:, sweeps.ACTIVATION] = codes

    def plan(self, rows: int, gathers: bool = True) -> Plan:
        """The integers of a pass of up to `rows` rows through the network.

        Without `gathers` there is no room for copies of the inputs.
        """
        return Plan(self._plan, rows, self.block.dtype, gathers)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._views:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self._views)}")
        view = self._views[name]
        array = gate.numbers(value, f"params[{name!r}]")
        if array.shape != view.shape:
            raise ValueError(f"params[{name!r}] must have shape {view.shape}, got {array.shape}")
        gate.refuse_too_large(array, view.dtype, f"params[{name!r}]")
        with np.errstate(all="ignore"), rounding_to_nearest():
            # A bias of -0.0 would be 0.0 after a product with zeros, but not if they are skipped.
            view[...] = array + 0.0

    def __delitem__(self, name: str) -> None:
        raise TypeError("parameters cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {view.shape}" for name, view in self._views.items())
        return f"<Parameters {shapes}>"


class Plan:
    """A network and the scratch of one pass, as the kernels read them."""

    def __init__(self, layers: np.ndarray, rows: int, dtype: np.dtype, gathers: bool):
        self.table = layers.copy()
        at = padded(int(layers[0, sweeps.INPUTS]), dtype, GROUP_BYTES) if gathers else 0
        x, x_row, values, deltas = 0, at, rows * at, 0
        for p in self.table:
            p[sweeps.X], p[sweeps.X_ROW] = x, x_row
            x, x_row = values, padded(int(p[sweeps.OUTPUTS]), dtype, GROUP_BYTES)
            p[sweeps.Y], p[sweeps.Y_ROW], p[sweeps.D] = x, x_row, deltas
            values += rows * x_row
            deltas += rows * x_row
        self.table[-1, sweeps.SCRATCH] = values
        values += -(-rows // sweeps.ROW_BLOCK) * sweeps.NARROW_SCRATCH
        self.values_size, self.deltas_size = values, deltas
        widest = int(layers[:, : sweeps.OUTPUTS + 1].max())
        self.work_size = sweeps.PANEL + widest * TILE_VECTORS * VECTOR_BYTES // dtype.itemsize


def _plan(layer_sizes: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    plan = np.zeros((len(layer_sizes) - 1, sweeps.PLAN_COLUMNS), np.int64)
    at = 0
    for p, (inputs, outputs) in zip(plan, pairwise(layer_sizes), strict=True):
        row = padded(outputs, dtype)
        p[sweeps.INPUTS], p[sweeps.OUTPUTS] = inputs, outputs
        p[sweeps.W], p[sweeps.W_ROW] = at, row
        p[sweeps.B] = at + inputs * row
        at += (inputs + 1) * row
    return plan
