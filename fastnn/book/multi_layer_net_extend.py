"""A network with dropout and batch normalisation: the book's ``common.multi_layer_net_extend``."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from typing import Any

import numpy as np

from fastnn.book import layers as all_layers
from fastnn.book.gradient import numerical_gradient
from fastnn.book.layers import *  # noqa: F403 -- the book's network hands on its imports
from fastnn.book.layers import Affine, BatchNormalization, Dropout, Relu, Sigmoid, SoftmaxWithLoss
from fastnn.book.multi_layer_net import (
    compiled_differences,
    go_back,
    initial_parameters,
    share_of,
    weight_decay,
    with_decay,
)

__all__ = [
    *all_layers.__all__,
    "MultiLayerNetExtend",
    "OrderedDict",
    "numerical_gradient",
    "os",
    "sys",
]


class MultiLayerNetExtend:
    """A `MultiLayerNet` that can have dropout and batch normalisation.

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
        Standard deviation of the initial weights, as for `MultiLayerNet`.
    weight_decay_lambda : float, default 0
        The loss has half the sum of all squared weights, times this.
    use_dropout : bool, default False
        Whether a `Dropout` follows every activation.
    dropout_ration : float, default 0.5
        Its ratio; the name is spelled as in the book.
    use_batchnorm : bool, default False
        Whether a `BatchNormalization` comes before every activation.

    Attributes
    ----------
    params : dict of ndarray
        ``W1, b1, W2, b2, ...`` and ``gamma1, beta1, ...``, the arrays that the layers hold.
    layers : OrderedDict
        ``Affine1, BatchNorm1, Activation_function1, Dropout1, Affine2, ...``.
    last_layer : SoftmaxWithLoss
        The end.

    Examples
    --------
    >>> from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
    >>> network = MultiLayerNetExtend(4, [5], 3, use_dropout=True, use_batchnorm=True)
    >>> list(network.layers)
    ['Affine1', 'BatchNorm1', 'Activation_function1', 'Dropout1', 'Affine2']
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: list[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: Any = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
    ):
        self.input_size = input_size
        self.output_size = output_size
        self.hidden_size_list = hidden_size_list
        self.hidden_layer_num = len(hidden_size_list)
        self.use_dropout = use_dropout
        self.weight_decay_lambda = weight_decay_lambda
        self.use_batchnorm = use_batchnorm
        sizes = [input_size, *hidden_size_list, output_size]
        self.params = initial_parameters(sizes, weight_init_std)
        activations = {"sigmoid": Sigmoid, "relu": Relu}  # also if a reader has replaced them here
        self.layers: OrderedDict[str, Any] = OrderedDict()
        for layer in range(1, self.hidden_layer_num + 2):
            affine = Affine(self.params[f"W{layer}"], self.params[f"b{layer}"])
            self.layers[f"Affine{layer}"] = affine
            if layer <= self.hidden_layer_num:
                self._add_hidden(layer, activations[activation](), dropout_ration)
        self.last_layer = SoftmaxWithLoss()

    def _add_hidden(self, layer: int, activation: Any, dropout_ration: float) -> None:
        if self.use_batchnorm:
            width = self.hidden_size_list[layer - 1]
            gamma = self.params[f"gamma{layer}"] = np.ones(width)
            beta = self.params[f"beta{layer}"] = np.zeros(width)
            self.layers[f"BatchNorm{layer}"] = BatchNormalization(gamma, beta)
        self.layers[f"Activation_function{layer}"] = activation
        if self.use_dropout:
            self.layers[f"Dropout{layer}"] = Dropout(dropout_ration)

    def predict(self, x: np.ndarray, train_flg: bool = False) -> np.ndarray:
        """Scores, before the softmax.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.
        train_flg : bool, default False
            Whether dropout and batch normalisation work as in training.

        Returns
        -------
        ndarray, shape (N, O)
            The scores.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
        >>> MultiLayerNetExtend(4, [5], 3).predict(np.ones((2, 4))).shape
        (2, 3)
        """
        for key, layer in self.layers.items():
            if "Dropout" in key or "BatchNorm" in key:
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x: np.ndarray, t: np.ndarray, train_flg: bool = False) -> Any:
        """Mean cross entropy, and the weight decay.

        Parameters
        ----------
        x : ndarray, shape (N, I)
            Inputs.
        t : ndarray
            Labels (N,) or one-hot rows (N, O).
        train_flg : bool, default False
            As for `predict`.

        Returns
        -------
        float
            The loss.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
        >>> network = MultiLayerNetExtend(4, [5], 3, weight_init_std=0.0)
        >>> round(float(network.loss(np.ones((2, 4)), np.array([0, 2]))), 4)
        1.0986
        """
        return self.last_layer.forward(self.predict(x, train_flg), t) + weight_decay(self)

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
        >>> from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
        >>> network = MultiLayerNetExtend(4, [5], 3, weight_init_std=0.0)
        >>> float(network.accuracy(np.ones((2, 4)), np.array([0, 2])))
        0.5
        """
        return share_of(self.predict(x, train_flg=False), t)

    def numerical_gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of the training loss by central differences.

        As for `MultiLayerNet`; with dropout or batch normalisation the book's loop runs.

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
        >>> from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend
        >>> network = MultiLayerNetExtend(4, [5], 3, "sigmoid", use_batchnorm=True)
        >>> x, t = np.eye(4), np.array([0, 1, 2, 0])
        >>> numerical, exact = network.numerical_gradient(x, t), network.gradient(x, t)
        >>> bool(abs(numerical["gamma1"] - exact["gamma1"]).max() < 1e-6)
        True
        """
        if type(self) is MultiLayerNetExtend:
            found = compiled_differences(self, x, t)
            if found is not None:
                return found

        def loss(_: np.ndarray) -> Any:
            return self.loss(x, t, train_flg=True)

        gradients = {}
        for i in range(1, self.hidden_layer_num + 2):
            keys = [f"W{i}", f"b{i}"]
            if self.use_batchnorm and i <= self.hidden_layer_num:
                keys += [f"gamma{i}", f"beta{i}"]
            for key in keys:
                gradients[key] = numerical_gradient(loss, self.params[key])
        return gradients

    def gradient(self, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of the training loss by backpropagation.

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
        self.loss(x, t, train_flg=True)
        go_back(self.layers, self.last_layer.backward(1))
        gradients = {}
        for i in range(1, self.hidden_layer_num + 2):
            layer, W = self.layers[f"Affine{i}"], self.params[f"W{i}"]
            gradients[f"W{i}"] = with_decay(layer.dW, self.weight_decay_lambda, W)
            gradients[f"b{i}"] = layer.db
            if self.use_batchnorm and i <= self.hidden_layer_num:
                norm = self.layers[f"BatchNorm{i}"]
                gradients[f"gamma{i}"], gradients[f"beta{i}"] = norm.dgamma, norm.dbeta
        return gradients
