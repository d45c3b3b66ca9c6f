"""A network of any depth with softmax and weight decay: the book's ``common.multi_layer_net``."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import gate
from fastnn.book import layers as all_layers
from fastnn.book.gradient import STEP, numerical_gradient
from fastnn.book.layers import *  # noqa: F403 -- the book's network hands on its imports
from fastnn.book.layers import Affine, Relu, Sigmoid, SoftmaxWithLoss

if TYPE_CHECKING:
    from fastnn.training.parameters import Parameters

__all__ = [
    *all_layers.__all__,
    "MultiLayerNet",
    "OrderedDict",
    "numerical_gradient",
    "os",
    "sys",
]

ACTIVATIONS = {Sigmoid: "sigmoid", Relu: "relu"}
# What the kernels do, unless the reader replaces a method, or a function that it calls.
BACKWARD = Affine.backward
FORWARD = [kind.forward for kind in (Affine, Sigmoid, Relu, SoftmaxWithLoss)]
DOUBLE = np.dtype(np.float64)
ADDED = 1e-7  # to the probability in the logarithm of cross_entropy_error


def initial_parameters(sizes: list[int], weight_init_std: Any) -> dict[str, np.ndarray]:
    """Normal weights from ``np.random``, layer by layer, and biases of zero."""
    name, params = str(weight_init_std).lower(), {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        scale = weight_init_std
        if name in ("relu", "he"):
            scale = np.sqrt(2.0 / inputs)
        elif name in ("sigmoid", "xavier"):
            scale = np.sqrt(1.0 / inputs)
        params[f"W{layer}"] = scale * np.random.randn(inputs, outputs)
        params[f"b{layer}"] = np.zeros(outputs)
    return params


def half_squares(W: np.ndarray) -> Any:
    """Half the sum of the squares of all elements."""
    flat = W.reshape(-1)
    return 0.5 * np.dot(flat, flat)


def weight_decay(network: Any) -> Any:
    """What the weights add to the loss."""
    weights = (network.params[f"W{i}"] for i in range(1, network.hidden_layer_num + 2))
    return sum(network.weight_decay_lambda * half_squares(W) for W in weights)


def go_back(layers: Any, dout: Any) -> None:
    """Backward passes from the last layer to the first, of which nobody needs dx."""
    first, *others = layers.values()
    for layer in reversed(others):
        dout = layer.backward(dout)
    if getattr(first.backward, "__func__", None) is BACKWARD:
        first.backward_to_data(dout)
    else:
        first.backward(dout)


def share_of(y: np.ndarray, t: np.ndarray) -> Any:
    """Share of the rows whose largest score is at the right class."""
    labels = t if t.ndim == 1 else np.argmax(t, axis=1)
    return np.sum(np.argmax(y, axis=1) == labels) / float(y.shape[0])


class MultiLayerNet:
    """Affine layers with activations between them, and softmax with cross entropy at the end.

    Parameters
    ----------
    input_size : int
        Width of the input.
    hidden_size_list : list of int
        Widths of the hidden layers.
    output_size : int
        Width of the output.
    activation : {"relu", "sigmoid"}, default "relu"
        Activation of the hidden layers.
    weight_init_std : str or float, default "relu"
        Standard deviation of the initial weights: ``"relu"`` or ``"he"`` is the square root of 2 /
        inputs, ``"sigmoid"`` or ``"xavier"`` that of 1 / inputs.
    weight_decay_lambda : float, default 0
        The loss has half the sum of all squared weights, times this.

    Attributes
    ----------
    params : dict of ndarray
        ``W1, b1, W2, b2, ...``, the arrays that the layers hold.
    layers : OrderedDict
        ``Affine1, Activation_function1, Affine2, ...``.
    last_layer : SoftmaxWithLoss
        The end.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.multi_layer_net import MultiLayerNet
    >>> network = MultiLayerNet(784, [100, 50], 10)
    >>> network.params["W2"].shape, network.params["W2"] is network.layers["Affine2"].W
    ((100, 50), True)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: list[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: Any = "relu",
        weight_decay_lambda: float = 0,
    ):
        self.input_size = input_size
        self.output_size = output_size
        self.hidden_size_list = hidden_size_list
        self.hidden_layer_num = len(hidden_size_list)
        self.weight_decay_lambda = weight_decay_lambda
        sizes = [input_size, *hidden_size_list, output_size]
        self.params = initial_parameters(sizes, weight_init_std)
        activations = {"sigmoid": Sigmoid, "relu": Relu}  # also if a reader has replaced them here
        self.layers: OrderedDict[str, Any] = OrderedDict()
        for layer in range(1, self.hidden_layer_num + 2):
            affine = Affine(self.params[f"W{layer}"], self.params[f"b{layer}"])
            self.layers[f"Affine{layer}"] = affine
            if layer <= self.hidden_layer_num:
                self.layers[f"Activation_function{layer}"] = activations[activation]()
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Scores, before the softmax.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.

        Returns
        -------
        ndarray, shape (N, O)
            The scores.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.multi_layer_net import MultiLayerNet
        >>> MultiLayerNet(4, [5], 3).predict(np.ones((2, 4))).shape
        (2, 3)
        """
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x: np.ndarray, t: np.ndarray) -> Any:
        """Mean cross entropy, and the weight decay.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.
        t : ndarray
            Labels (N,) or one-hot rows (N, O).

        Returns
        -------
        float
            The loss.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.multi_layer_net import MultiLayerNet
        >>> network = MultiLayerNet(4, [5], 3, weight_init_std=0.0)
        >>> round(float(network.loss(np.ones((2, 4)), np.array([0, 2]))), 4)
        1.0986
        """
        return self.last_layer.forward(self.predict(x), t) + weight_decay(self)

    def accuracy(self, x: np.ndarray, t: np.ndarray) -> Any:
        """Share of the rows that are classified right.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.
        t : ndarray
            Labels (N,) or one-hot rows (N, O).

        Returns
        -------
        float
            From 0 to 1.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.multi_layer_net import MultiLayerNet
        >>> network = MultiLayerNet(4, [5], 3, weight_init_std=0.0)
        >>> float(network.accuracy(np.ones((2, 4)), np.array([0, 2])))
        0.5
        """
        return share_of(self.predict(x), t)

    def numerical_gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of the loss by central differences.

        A network as it was made is left to a kernel, which agrees with the book's loop up to
        rounding.  If a layer, an array or a method was replaced, the loop runs.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.
        t : ndarray
            Labels (N,) or one-hot rows (N, O).

        Returns
        -------
        dict of ndarray
            New arrays, keys as in `params`.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.multi_layer_net import MultiLayerNet
        >>> np.random.seed(0)  # else now and then a unit is at its kink
        >>> network, x, t = MultiLayerNet(4, [5], 3), np.eye(4), np.array([0, 1, 2, 0])
        >>> numerical, exact = network.numerical_gradient(x, t), network.gradient(x, t)
        >>> bool(abs(numerical["W2"] - exact["W2"]).max() < 1e-6)
        True
        """
        if type(self) is MultiLayerNet:
            found = compiled_differences(self, x, t)
            if found is not None:
                return found

        def loss(_: np.ndarray) -> Any:
            return self.loss(x, t)

        gradients = {}
        for layer in range(1, self.hidden_layer_num + 2):
            for key in (f"W{layer}", f"b{layer}"):
                gradients[key] = numerical_gradient(loss, self.params[key])
        return gradients

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of the loss by backpropagation.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.
        t : ndarray
            Labels (N,) or one-hot rows (N, O).

        Returns
        -------
        dict of ndarray
            Keys as in `params`.

        Examples
        --------
        See `numerical_gradient`.
        """
        self.loss(x, t)
        go_back(self.layers, self.last_layer.backward(1))
        gradients = {}
        for i in range(1, self.hidden_layer_num + 2):
            layer = self.layers[f"Affine{i}"]
            gradients[f"W{i}"] = with_decay(layer.dW, self.weight_decay_lambda, layer.W)
            gradients[f"b{i}"] = layer.db
        return gradients


def with_decay(dW: np.ndarray, decay: float, W: np.ndarray) -> np.ndarray:
    """Gradient of the loss with its weight decay: a new array, as in the book."""
    return dW + decay * W if decay else dW.copy()


def compiled_differences(
    network: Any, x: np.ndarray, t: np.ndarray
) -> dict[str, np.ndarray] | None:
    """Central differences of the loss by the kernel; None where the book's loop has to run."""
    known = is_as_made(network) and type(x) is type(t) is np.ndarray and x.ndim == 2
    params = copied_parameters(network, x) if known and np.can_cast(x.dtype, DOUBLE) else None
    # The loss refuses labels that are too large.  If it is no number, the loop has NaN for all
    # parameters, also for those that do not reach it, where the kernel has 0.
    if params is None or not np.isfinite(network.loss(x, t)):
        return None
    labels = labels_of(t, len(x), params.layer_sizes[-1])
    if labels is None:
        return None
    from fastnn import finite_difference, progress  # noqa: F401  # says what is compiled
    from fastnn.kernels.groups import Targets
    from fastnn.kernels.losses import LOSS_CODES

    rows, wanted = gate.kernel_array(x, DOUBLE), Targets(labels, np.empty((0, 1)), np.empty(0))

    loss = LOSS_CODES["cross_entropy"]
    found = finite_difference.gradient(params, loss, rows, wanted, STEP, ADDED)
    for i in range(1, network.hidden_layer_num + 2):
        # A square's central difference is its slope, up to rounding.
        decay, W = network.weight_decay_lambda, network.params[f"W{i}"]
        found[f"W{i}"] = with_decay(found[f"W{i}"], decay, W)
    return found if all(np.isfinite(slopes).all() for slopes in found.values()) else None


def is_as_made(network: Any) -> bool:
    """Whether it has affine layers with activations between them, and no method of its own."""
    layers = list(network.layers.values())
    affines, activations = layers[::2], layers[1::2]
    return (
        len(affines) == network.hidden_layer_num + 1 == len(activations) + 1
        and {type(layer) for layer in affines} == {Affine}
        and {type(layer) for layer in activations} <= set(ACTIVATIONS)
        and type(network.last_layer) is SoftmaxWithLoss
        and [kind.forward for kind in (Affine, Sigmoid, Relu, SoftmaxWithLoss)] == FORWARD
        and all_layers.has_all_functions()
        and not any(
            callable(value)
            for thing in (network, network.last_layer, *layers)
            for value in vars(thing).values()
        )
    )


def copied_parameters(network: Any, x: np.ndarray) -> Parameters | None:
    """What the layers hold as the kernel reads it, if that is what the loop would change."""
    layers = list(network.layers.values())
    arrays = [array for affine in layers[::2] for array in (affine.W, affine.b)]
    for array in arrays:
        known = type(array) is np.ndarray and array.dtype == DOUBLE and array.flags.carray
        if not (known and array.size):
            return None
    if any(np.may_share_memory(a, b) for a, b in combinations([x, *arrays], 2)):
        return None
    from fastnn.kernels.activations import ACTIVATION_CODES as CODES
    from fastnn.training.parameters import Parameters  # late: with Numba

    params = Parameters((x.shape[1], *(b.size for b in arrays[1::2])), DOUBLE)
    for (name, view), array in zip(params.items(), arrays, strict=True):
        if array is not network.params[name] or array.shape != view.shape:
            return None
        view[...] = array
    names = [*(ACTIVATIONS[type(layer)] for layer in layers[1::2]), "identity"]
    params.set_activations([CODES[name] for name in names])
    return params


def labels_of(t: np.ndarray, rows: int, classes: int) -> np.ndarray | None:
    """Class numbers; None where NumPy has its own view of them, such as -1 for the last."""
    if t.shape == (rows, classes):
        return t.argmax(axis=1)
    known = t.shape == (rows,) and t.dtype.kind in "iu" and t.min() >= 0
    return t.astype(np.int64) if known else None
