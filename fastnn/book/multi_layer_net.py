"""A network of any depth with softmax and weight decay: the book's ``common.multi_layer_net``."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.book.gradient import numerical_gradient
from fastnn.book.layers import Affine, Relu, Sigmoid, SoftmaxWithLoss

__all__ = ["MultiLayerNet", "np"]

ACTIVATIONS = {"sigmoid": Sigmoid, "relu": Relu}


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
    if type(first) is Affine:
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
        self.layers: OrderedDict[str, Any] = OrderedDict()
        for layer in range(1, self.hidden_layer_num + 2):
            affine = Affine(self.params[f"W{layer}"], self.params[f"b{layer}"])
            self.layers[f"Affine{layer}"] = affine
            if layer <= self.hidden_layer_num:
                self.layers[f"Activation_function{layer}"] = ACTIVATIONS[activation]()
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
        >>> network, x, t = MultiLayerNet(4, [5], 3), np.eye(4), np.array([0, 1, 2, 0])
        >>> numerical, exact = network.numerical_gradient(x, t), network.gradient(x, t)
        >>> bool(abs(numerical["W2"] - exact["W2"]).max() < 1e-6)
        True
        """

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
    """Gradient of the loss with its weight decay."""
    return dW + decay * W if decay else dW
