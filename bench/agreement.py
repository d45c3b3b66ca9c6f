"""Whether a contestant computes what it is timed for: a float64 reference and two distances.

Contestants round differently, and each step starts from the weights the last one left, so exact
equality cannot be asked. What to expect of float32 (unit roundoff u = 6e-8):

- A step's loss, relative to the reference's. It ends a chain of sums of up to K = 1024 terms; a sum
  errs by about sqrt(K)·u, 2e-6, of its terms' size, at worst by K·u, 6e-5. `LOSS_TOLERANCE` is
  1e-4. (Mostly 1e-7 is found.)
- Each weight array's distance from the reference's, relative to how far the reference's travelled,
  so that a wrong gradient cannot hide behind weights that hardly moved. Rounding a weight of size
  0.05 that changes by 1e-3 costs 3e-6 of the change at each step. But where a ReLU's input is
  within rounding of zero, its slope may be taken on the other side, and one entry of that layer's
  deltas differs by its whole size: 1 / sqrt(width x batch) of that step's change, some 3e-3 at
  512 x 256. About one step in some dozens of the widest networks meets such an input.
  `PARAMS_TOLERANCE` is 1e-2. (Mostly 1e-6 to 1e-5 is found.)

A wrong sign, a forgotten bias, a sum for a mean or a batch out of order is off by 1e-1 or far more.
"""

import numpy as np

from bench.rivals import by_name, in_order

LOSS_TOLERANCE = 1e-4
PARAMS_TOLERANCE = 1e-2


def reference(layer_sizes, activation, params, x, t, batches, lr):
    """Train in float64, one plain line per formula; return (losses, params)."""
    arrays = [np.array(array, dtype=np.float64) for array in in_order(params)]
    layers = range(len(layer_sizes) - 1)
    losses = []
    for rows in batches:
        y = [x[rows].astype(np.float64)]
        for k in layers:
            z = y[k] @ arrays[2 * k] + arrays[2 * k + 1]
            y.append(z if k == layers[-1] else activated(z, activation))
        loss, delta = cross_entropy(y[-1], t[rows])
        losses.append(loss)
        for k in reversed(layers):
            below = delta @ arrays[2 * k].T * slope(y[k], activation) if k else None
            arrays[2 * k] -= lr * (y[k].T @ delta)
            arrays[2 * k + 1] -= lr * delta.sum(axis=0)
            delta = below
    return np.array(losses), by_name(arrays)


def activated(z, activation):
    return np.maximum(z, 0) if activation == "relu" else 1 / (1 + np.exp(-z))


def slope(y, activation):
    return y > 0 if activation == "relu" else y * (1 - y)


def cross_entropy(logits, labels):
    """Return the mean softmax cross entropy and its derivative by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_probabilities = shifted - log_sums
    rows = np.arange(len(labels))
    delta = np.exp(log_probabilities)
    delta[rows, labels] -= 1
    return -log_probabilities[rows, labels].mean(), delta / len(labels)


def loss_error(losses, expected):
    """Return the largest relative difference of a step's loss."""
    if np.shape(losses) != np.shape(expected):
        return np.inf
    return worst(np.abs(losses - expected) / np.abs(expected))


def params_error(params, expected, start):
    """Return the largest distance from the expected arrays, relative to the way travelled."""
    if params.keys() != expected.keys():
        return np.inf
    distances = [
        np.linalg.norm(params[name] - expected[name])
        / np.linalg.norm(expected[name] - start[name].astype(np.float64))
        for name in expected
    ]
    return worst(distances)


def worst(errors):
    """Return the maximum; a NaN counts as infinitely wrong."""
    return float(np.max(np.nan_to_num(errors, nan=np.inf, posinf=np.inf)))


def agrees(loss_difference, params_difference):
    return loss_difference <= LOSS_TOLERANCE and params_difference <= PARAMS_TOLERANCE
