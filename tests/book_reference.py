"""What the layers and rules of the book compute, in plain NumPy and one formula each."""

import numpy as np
from numpy.testing import assert_allclose


def close(found, expected):
    expected = np.asarray(expected)
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * largest)


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def cross_entropy(y, t):
    """`t` is a list of labels."""
    return -sum(np.log(y[row, label] + 1e-7) for row, label in enumerate(t)) / len(y)


def affine(x, W, b):
    rows = x.reshape(len(x), -1)
    return np.einsum("ni,io->no", rows.astype(float), W) + b


def affine_gradients(x, W, dout):
    rows = x.reshape(len(x), -1).astype(float)
    dW = np.einsum("ni,no->io", rows, dout)
    return np.einsum("no,io->ni", dout, W).reshape(x.shape), dW, dout.sum(axis=0)


def one_hot(labels, classes):
    return np.eye(classes)[labels]


# Update rules: p, g and what is remembered in m and v; the new p, m and v, after step number i.


def sgd(p, g, m, v, i, lr=0.01):
    return p - lr * g, m, v


def momentum(p, g, m, v, i, lr=0.01, kept=0.9):
    m = kept * m - lr * g
    return p + m, m, v


def nesterov(p, g, m, v, i, lr=0.01, kept=0.9):
    new = kept * m - lr * g
    return p + kept * new - lr * g, new, v


def adagrad(p, g, m, v, i, lr=0.01):
    m = m + g**2
    return p - lr * g / (np.sqrt(m) + 1e-7), m, v


def rmsprop(p, g, m, v, i, lr=0.01, kept=0.99):
    m = kept * m + (1 - kept) * g**2
    return p - lr * g / (np.sqrt(m) + 1e-7), m, v


def adam(p, g, m, v, i, lr=0.001, beta1=0.9, beta2=0.999):
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    rate = lr * np.sqrt(1 - beta2**i) / (1 - beta1**i)
    return p - rate * m / (np.sqrt(v) + 1e-7), m, v
