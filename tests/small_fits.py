"""A small network with data to fit it to, and what is left of it after several fits."""

import numpy as np
from numpy_mlp import bits, bits_of, inputs, targets

import fastnn


def problem(rows=60, output="softmax", dtype="float32", nonzeros=1.0, seed=7, **options):
    """A small network, inputs and targets for it."""
    net = fastnn.MLP([40, 16, 3], output=output, weight_init="he", dtype=dtype, seed=seed,
                     **options)  # fmt: skip
    rng = np.random.default_rng(seed)
    return net, inputs(rng, rows, 40, nonzeros), targets(rng, net, rows)


def batch_table(steps, size, rows=60, seed=3):
    return np.random.default_rng(seed).integers(0, rows, (steps, size))


def trained(calls, **options):
    """Bits of a network, and its losses, after several calls of fit."""
    net, x, t = problem(rows=50)
    losses = [net.fit(x, t, batch_size=20, **options, **call).loss for call in calls]
    return bits_of(net), bits(np.concatenate(losses))
