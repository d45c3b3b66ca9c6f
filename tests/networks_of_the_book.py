"""The book's two networks, and digits for them."""

import book_reference as reference
import numpy as np
import pytest

from fastnn.book.mnist import load_mnist
from fastnn.book.multi_layer_net import MultiLayerNet
from fastnn.book.multi_layer_net_extend import MultiLayerNetExtend

MNIST = load_mnist(normalize=True, one_hot_label=True)
KINDS = [MultiLayerNet, MultiLayerNetExtend]
each_kind = pytest.mark.parametrize("kind", KINDS)


def outputs(params, x, activation, layers):
    """Scores of a network, formula by formula."""
    for layer in range(1, layers + 1):
        x = reference.affine(x, params[f"W{layer}"], params[f"b{layer}"])
        if layer < layers:
            x = np.maximum(x, 0) if activation == "relu" else reference.sigmoid(x)
    return x


def a_batch(rows=100):
    (x, t), _ = MNIST
    return x[:rows], t[:rows]
