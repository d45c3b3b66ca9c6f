"""Convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from fastnn.chain import chain_of
from fastnn.layers import Conv, Dense, Dropout, MaxPool
from fastnn.learning import Learning
from fastnn.losses import Loss
from fastnn.specification import InitialWeights, output_and_loss, precision
from fastnn.training.model import Model
from fastnn.training.parameters import Parameters

__all__ = ["ConvNet"]


class ConvNet(Learning):
    """A convolutional network: layers of images, then dense ones.

    It has all that an `fastnn.MLP` has.  Images are (N, C, H, W), as in the book and PyTorch, or
    rows of as many numbers.

    Parameters
    ----------
    input_shape : sequence of int
        Channels, height and width of the images.
    layers : sequence of Conv, MaxPool, Dense and Dropout
        In their order; the last is a `Dense` with the outputs.  Images become rows before the first
        `Dense`, in the order channel, line, pixel.
    activation : str, default "relu"
        Activation of layers that name none, as of `fastnn.MLP`.
    output : {"softmax", "identity", "sigmoid", "tanh", "softplus"}, default "softmax"
        Activation of the output.
    loss : str or fastnn.losses.Loss, optional
        As of `fastnn.MLP`.
    weight_init : "he", "xavier", "glorot" or float, default "he"
        Standard deviation of the normal initial weights, by the inputs of a filter.  The default
        is not that of `fastnn.MLP`: signals would be lost on the way through many layers.
    dtype : {"float32", "float64"}, default "float32"
        Precision of parameters and arithmetic.
    seed : int, numpy.random.Generator or None, default None
        Source of the initial weights, of the batches of `fit`, and of what it drops.
    bias_init : float, default 0
        Standard deviation of the normal initial biases.

    Attributes
    ----------
    params : mapping
        ``W1, b1, W2, b2, ...``: live, writable views; (filters, C, h, w) of a `Conv`, (I, O) of a
        `Dense`.
    input_shape, layers, activation, output, loss_name, dtype
        What the network is made of; like `params` they cannot be replaced.
    optimizer_state
        What the optimiser remembers; set to None, the next `fit` begins anew.

    Raises
    ------
    TypeError, ValueError
        If an argument is not one of the above; the text names the layer and the shapes before it.
    AttributeError
        If an attribute that cannot be replaced is assigned or deleted.

    Notes
    -----
    x is (N, C, H, W), or (N, H, W) of one channel, or rows of as many numbers.  Images are computed
    in groups of 64 bytes of one pixel (16 in float32), and the last of a batch takes a part of the
    time if it has eight or fewer.  Batch normalisation, dilation and groups of channels are left
    out.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 1, 8, 8))
    >>> t = (x[:, 0, :4].sum(axis=(1, 2)) > x[:, 0, 4:].sum(axis=(1, 2))).astype(int)
    >>> layers = [fastnn.Conv(4, 3), fastnn.MaxPool(2), fastnn.Dense(2)]
    >>> net = fastnn.ConvNet((1, 8, 8), layers, seed=0)
    >>> history = net.fit(x, t, epochs=60, batch_size=20, optimizer=fastnn.Adam(0.01))
    >>> net.accuracy(x, t) > 0.95
    True
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        layers: Iterable[Conv | MaxPool | Dense | Dropout],
        activation: str = "relu",
        output: str = "softmax",
        loss: str | Loss | None = None,
        weight_init: float | str = "he",
        dtype: Any = "float32",
        seed: Any = None,
        *,
        bias_init: float = 0.0,
    ):
        if isinstance(layers, Iterable) and not isinstance(layers, str):
            layers = tuple(layers)
        chain = chain_of(input_shape, layers, activation)
        self.input_shape: tuple[int, ...] = chain.shapes[0]
        self.layers, self.activation = layers, activation
        self._set_end(output, loss, chain.widths[-1])
        self.dtype = precision(dtype)
        self._begin(InitialWeights(weight_init, bias_init, chain.fans, self.dtype), seed)

    def _made_params(self) -> Parameters:
        chain = chain_of(self.input_shape, self.layers, self.activation)
        sizes = math.prod(self.input_shape), *chain.widths
        return Parameters(sizes, self.dtype, chain.images)

    def _made_model(self) -> Model:
        chain = chain_of(self.input_shape, self.layers, self.activation)
        end = output_and_loss(self.output, self._loss, chain.widths[-1])
        return Model(
            self.params, chain.activations, end.output, end.code, chain.dropout, end.numbers
        )

    def summary(self) -> str:
        """The layers, line by line, with the shapes of their outputs and numbers of parameters.

        Returns
        -------
        str
            To be printed.

        Examples
        --------
        >>> import fastnn
        >>> layers = [fastnn.Conv(6, 5), fastnn.MaxPool(2), fastnn.Dense(10)]
        >>> print(fastnn.ConvNet((1, 28, 28), layers).summary())
        layer       output shape  parameters
        input        (1, 28, 28)           0
        Conv(6, 5)   (6, 24, 24)         156
        MaxPool(2)   (6, 12, 12)           0
        Dense(10)          (10,)       8,650
        total                          8,806
        """
        shapes = chain_of(self.input_shape, self.layers, self.activation).shapes
        rows, number, total = [("input", str(shapes[0]), 0)], 0, 0
        for layer, shape in zip(self.layers, shapes[1:], strict=True):
            count = 0
            if isinstance(layer, Conv | Dense):
                number += 1
                count = self.params[f"W{number}"].size + self.params[f"b{number}"].size
            rows.append((repr(layer), str(shape), count))
            total += count
        return _table([*rows, ("total", "", total)])

    def __repr__(self) -> str:
        return (
            f"ConvNet({self.input_shape}, {list(self.layers)}, activation={self.activation!r}, "
            f"output={self.output!r}, loss={self._loss!r}, dtype={self.dtype.name!r})"
        )

    def _description(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "input_shape": list(self.input_shape),
            "layers": [{"layer": type(layer).__name__, **asdict(layer)} for layer in self.layers],
            "activation": self.activation,
            "output": self.output,
            "loss": self._described_loss(),
            "dtype": self.dtype.name,
        }


def _table(rows: list[tuple[str, str, int]]) -> str:
    """Lines of a name, a shape and a number."""
    lines = [("layer", "output shape", "parameters"), *((a, b, f"{c:,}") for a, b, c in rows)]
    first, second, third = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(f"{a:<{first}}  {b:>{second}}  {c:>{third}}" for a, b, c in lines)
