"""The parameter block: all weights of a network in one aligned buffer.

Rows of W (inputs x outputs, as in the book) are padded to whole
vectors.  The padding is zero and stays zero, so kernels never treat the last
columns apart.  `plan` describes the block, and the scratch of a pass through
the network, as the integers that the kernels read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastnn import gate
from fastnn.compiler.parts import table_of
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.compiler.tiles import GROUP_BYTES, TILE_VECTORS, VECTOR_BYTES
from fastnn.kernels import narrow_outputs
from fastnn.kernels.dropout import PARTS
from fastnn.kernels.groups import PANEL, Layer
from fastnn.kernels.layers import AFFINE, KIND_CODES, KINDS
from fastnn.kernels.rows import ROW_BLOCK
from fastnn.training.data import column_kind
from fastnn.training.parts import Parts

# Plans that a network keeps: fits and predictions of some sizes, in turns.
KEPT_PLANS = 16
# Widths of vectors, the machine's own first.
VECTOR_WIDTHS = (VECTOR_BYTES, *({16, 32, 64} - {VECTOR_BYTES}))


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
        self._layers = _layers(layer_sizes, dtype, VECTOR_BYTES)
        self.block = aligned_zeros(_size(self._layers), dtype)
        self._views = self.views_of(self.block)
        self.places = _places(self._views)
        self._plans: dict[Any, Plan] = {}

    def views_of(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The named parts of a block laid out like this one."""
        return _views(self._layers, block)

    def to_vector(self, arrays: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """All parameters in one vector, as optimisers of others want them.

        Parameters
        ----------
        arrays : mapping of str to ndarray, optional
            Arrays of the same names and shapes to put there instead, such as gradients.

        Returns
        -------
        ndarray, shape (P,)
            New: ``W1`` row by row, ``b1``, ``W2``, ...

        Raises
        ------
        TypeError, ValueError
            If `arrays` are not as above.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([2, 1], output="identity", weight_init=0.0)
        >>> net.params["b1"] = [3.0]
        >>> net.params.to_vector()
        array([0., 0., 3.], dtype=float32)
        >>> net.params.to_vector(net.gradient([[1.0, 2.0]], [0.0]))
        array([3., 6., 3.], dtype=float32)
        """
        if arrays is None:
            arrays = self._views
        if not isinstance(arrays, Mapping):
            raise TypeError(f"arrays must be a mapping, got {type(arrays).__name__}")
        if set(arrays) != set(self._views):
            got = ", ".join(map(str, arrays))
            raise ValueError(f"arrays must have the names {', '.join(self._views)}, got {got}")
        found = [gate.numbers(arrays[name], f"arrays[{name!r}]") for name in self._views]
        for array, (name, view) in zip(found, self._views.items(), strict=True):
            if array.shape != view.shape:
                raise ValueError(
                    f"arrays[{name!r}] must have shape {view.shape}, got {array.shape}"
                )
        return np.concatenate([array.ravel() for array in found])

    def from_vector(self, vector: ArrayLike) -> None:
        """Set all parameters to what `to_vector` would give.

        Parameters
        ----------
        vector : array_like, shape (P,)
            Numbers, which are cast to the precision of the network.

        Raises
        ------
        TypeError, ValueError
            If it is not as above, or a number is too large; the parameters are unchanged.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([2, 1], seed=0)
        >>> net.params.from_vector([1.0, 2.0, 3.0])
        >>> net.params["b1"]
        array([3.], dtype=float32)
        """
        array = gate.numbers(vector, "vector")
        if array.shape != (self.places[-1].end,):
            raise ValueError(f"vector must have shape ({self.places[-1].end},), got {array.shape}")
        gate.refuse_too_large(array, self.block.dtype, "vector")
        with np.errstate(all="ignore"), rounding_to_nearest():
            array = array + 0.0  # see __setitem__
            for name, first, end, shape in self.places:
                self._views[name][...] = array[first:end].reshape(shape)

    def in_layout(self, memory: np.ndarray, count: int) -> np.ndarray | None:
        """What a rule remembers, so many blocks; None if they are of no network like this one.

        A pickle may have been made where vectors, to which rows are padded, have another width.
        """
        for vector_bytes in VECTOR_WIDTHS:
            layers = _layers(self.layer_sizes, self.block.dtype, vector_bytes)
            if memory.dtype != self.block.dtype or memory.shape != (count * _size(layers),):
                continue
            if vector_bytes == VECTOR_BYTES:
                return memory
            ours = aligned_zeros(count * self.block.size, memory.dtype)
            for block, other in zip(np.split(ours, count), np.split(memory, count), strict=True):
                other_views = _views(layers, other)
                for name, view in self.views_of(block).items():
                    view[...] = other_views[name]
            return ours
        return None

    def set_activations(self, codes: list[int]) -> None:
        """Activation code of each layer, for the plans made from now on."""
        self._plans.clear()
        pairs = zip(self._layers, codes, strict=True)
        self._layers = [layer._replace(activation=code) for layer, code in pairs]

    def plan(
        self,
        rows: int,
        *,
        gathers: bool = True,
        first: str = "affine",
        dropout: Sequence[float] = (),
    ) -> Plan:
        """The integers of a pass of up to `rows` rows through the network.

        Without `gathers` there is no room for copies of the inputs.  `first` is the kind of the
        first layer, `dropout` the share of each hidden layer's outputs that is dropped.
        """
        asked = (rows, gathers, first, tuple(dropout))
        plan = self._plans.get(asked)
        if plan is None:  # to make one takes as long as a short call
            layers = [self._layers[0]._replace(kind=KIND_CODES[first]), *self._layers[1:]]
            for number, rate in enumerate(dropout):
                layers[number] = layers[number]._replace(dropped=round(rate * PARTS))
            plan = Plan(layers, rows, self.block.dtype, gathers)
            if len(self._plans) >= KEPT_PLANS:
                self._plans.clear()
            self._plans[asked] = plan
        return plan

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self._views:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self._views)}")
        view = self._views[name]
        if value is view:  # of `params[name] -= ...`, which has changed it
            if view.ndim == 1:
                view += 0.0  # -0.0, see below
            return
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
    """A network and the scratch of one pass, as the kernels read them.

    Attributes
    ----------
    table : ndarray of int64
        A row for each layer, in the order of `Layer`.
    values_size, deltas_size, work_size : int
        Elements of the arrays of `Scratch`; `work` is for one chunk.
    parts : Parts
        Of the kernels, those that are at hand.
    fused : bool
        Whether steps on single rows can be made in a loop that fuses all layers.
    """

    def __init__(self, layers: Sequence[Layer], rows: int, dtype: np.dtype, gathers: bool):
        at = padded(layers[0].inputs, dtype, GROUP_BYTES) if gathers else 0
        x, x_row, values, deltas = 0, at, rows * at, 0
        placed = []
        for layer in layers:
            y, y_row = values, padded(layer.outputs, dtype, GROUP_BYTES)
            placed.append(layer._replace(x=x, x_row=x_row, y=y, y_row=y_row, dz=deltas))
            x, x_row = y, y_row
            values += rows * y_row
            deltas += rows * y_row
        placed[-1] = placed[-1]._replace(scratch=values)
        values += -(-rows // ROW_BLOCK) * narrow_outputs.SCRATCH
        table = table_of(dtype, column_kind(layers[0].inputs))
        placed = [layer._replace(parts=table.address) for layer in placed]
        self.table, self.parts = np.array(placed, np.int64), Parts(table, placed)
        kinds = list(KINDS.values())
        self.fused = all(kinds[layer.kind].fused for layer in layers)
        self.values_size, self.deltas_size = values, deltas
        widest = max(padded(max(layer.inputs, layer.outputs), dtype) for layer in layers)
        self.work_size = int(PANEL) + widest * TILE_VECTORS * VECTOR_BYTES // dtype.itemsize


class Parameter(NamedTuple):
    """Where a parameter is in a vector of all of them, without padding."""

    name: str
    first: int
    end: int
    shape: tuple[int, ...]


def _places(views: Mapping[str, np.ndarray]) -> list[Parameter]:
    places, at = [], 0
    for name, view in views.items():
        places.append(Parameter(name, at, at + view.size, view.shape))
        at += view.size
    return places


def _views(layers: Sequence[Layer], block: np.ndarray) -> dict[str, np.ndarray]:
    views = {}
    for number, layer in enumerate(layers, start=1):
        weights = block[layer.weights : layer.biases].reshape(layer.inputs, layer.weights_row)
        views[f"W{number}"] = weights[:, : layer.outputs]
        views[f"b{number}"] = block[layer.biases : layer.biases + layer.outputs]
    return views


def _size(layers: Sequence[Layer]) -> int:
    """Elements of the block."""
    return layers[-1].biases + layers[-1].weights_row


def _layers(layer_sizes: tuple[int, ...], dtype: np.dtype, vector_bytes: int) -> list[Layer]:
    """What does not depend on a pass, 0 in place of the rest."""
    layers, at = [], 0
    nothing = dict.fromkeys(Layer._fields, 0)
    for number, (inputs, outputs) in enumerate(pairwise(layer_sizes)):
        row = padded(outputs, dtype, vector_bytes)
        own = {
            "kind": AFFINE,
            "number": number,
            "inputs": inputs,
            "outputs": outputs,
            "vectors": -(-outputs * dtype.itemsize // vector_bytes),
            "weights": at,
            "weights_row": row,
            "biases": at + inputs * row,
        }
        layers.append(Layer(**nothing | own))
        at += (inputs + 1) * row
    return layers
