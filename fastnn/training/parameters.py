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
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.compiler.tiles import VECTOR_BYTES
from fastnn.kernels.dropout import PARTS
from fastnn.kernels.groups import Layer
from fastnn.kernels.layers import KIND_CODES
from fastnn.training.images import ImageLayer, weights_of
from fastnn.training.plan import Plan, aligned_zeros, padded

# Plans that a network keeps: fits and predictions of some sizes, in turns.
KEPT_PLANS = 16
# Widths of vectors, the machine's own first.
VECTOR_WIDTHS = (VECTOR_BYTES, *({16, 32, 64} - {VECTOR_BYTES}))


class Parameters(MutableMapping):
    """Weights and biases by name: ``W1, b1, W2, b2, ...``, live views without the padding.

    Assigning an array copies it in; its shape must be that of the parameter, and its finite numbers
    must be finite in the precision of the network.
    Names can be neither added nor removed.
    """

    def __init__(
        self,
        layer_sizes: tuple[int, ...],
        dtype: np.dtype,
        images: tuple[ImageLayer, ...] = (),
    ):
        self.layer_sizes, self.images = layer_sizes, images
        self._layers = _layers(layer_sizes, images, dtype, VECTOR_BYTES)
        weights = [layer.inputs * layer.outputs for layer in self._layers]
        self.weights = sum(weights)
        self.multiply_adds = self.weights  # for a dense row
        for layer, count in zip(weights_of(images), weights, strict=False):
            self.multiply_adds += (layer.uses - 1) * count
        self.block = aligned_zeros(_size(self._layers), dtype)
        self._views = self.views_of(self.block)
        self.places = _places(self._views)
        self._plans: dict[Any, Plan] = {}

    def views_of(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The named parts of a block laid out like this one."""
        return _views(self._layers, self.images, block)

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
            layers = _layers(self.layer_sizes, self.images, self.block.dtype, vector_bytes)
            if memory.dtype != self.block.dtype or memory.shape != (count * _size(layers),):
                continue
            if vector_bytes == VECTOR_BYTES:
                return memory
            ours = aligned_zeros(count * self.block.size, memory.dtype)
            for block, other in zip(np.split(ours, count), np.split(memory, count), strict=True):
                other_views = _views(layers, self.images, other)
                for name, view in self.views_of(block).items():
                    view[...] = other_views[name]
            return ours
        return None

    def set_activations(self, codes: list[int]) -> None:
        """Activation code of each affine layer, for the plans made from now on."""
        self._plans.clear()
        images, affine = len(self.images), self._layers[len(self.images) :]
        pairs = zip(affine, codes, strict=True)
        self._layers[images:] = [layer._replace(activation=code) for layer, code in pairs]

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
            layers, images = list(self._layers), len(self.images)
            if not images:
                layers[0] = layers[0]._replace(kind=KIND_CODES[first])
            for number, rate in enumerate(dropout):
                layers[number] = layers[number]._replace(dropped=round(rate * PARTS))
            plan = Plan(layers, rows, self.block.dtype, gathers, self.images)
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


def _views(
    layers: Sequence[Layer], images: Sequence[ImageLayer], block: np.ndarray
) -> dict[str, np.ndarray]:
    views, number = {}, 0
    for at, layer in enumerate(layers):
        if not layer.inputs:  # it has no weights
            continue
        number += 1
        weights = block[layer.weights : layer.biases].reshape(layer.inputs, layer.weights_row)
        view = weights[:, : layer.outputs]
        if at < len(images):  # taps c, i, j of filters o are rows; they are given as (o, c, i, j)
            size = images[at].size
            view = view.reshape(-1, *size, layer.outputs).transpose(3, 0, 1, 2)
        views[f"W{number}"] = view
        views[f"b{number}"] = block[layer.biases : layer.biases + layer.outputs]
    return views


def _size(layers: Sequence[Layer]) -> int:
    """Elements of the block."""
    return layers[-1].biases + layers[-1].weights_row


def _layers(
    layer_sizes: tuple[int, ...],
    images: Sequence[ImageLayer],
    dtype: np.dtype,
    vector_bytes: int,
) -> list[Layer]:
    """What does not depend on a pass, 0 in place of the rest."""
    layers, at = [], 0
    nothing = dict.fromkeys(Layer._fields, 0)
    sizes = list(pairwise(layer_sizes[1:] if images else layer_sizes))
    all_sizes = [(layer.inputs, layer.outputs) for layer in weights_of(images)] + sizes
    kinds = [image.kind for image in images] + ["affine"] * len(sizes)
    for number, ((inputs, outputs), kind) in enumerate(zip(all_sizes, kinds, strict=True)):
        row = padded(outputs, dtype, vector_bytes)
        own = {
            "kind": KIND_CODES[kind],
            "number": number,
            "inputs": inputs,
            "outputs": outputs,
            "vectors": -(-outputs * dtype.itemsize // vector_bytes),
            "weights": at,
            "weights_row": row,
            "biases": at + inputs * row,
        }
        layers.append(Layer(**nothing | own))
        if inputs:
            at += (inputs + 1) * row
    return layers
