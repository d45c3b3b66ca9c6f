"""fastnn's networks of images through their public calls."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from bench.cases import Case
from bench.contestants.with_fastnn import fitted, start, trainings
from bench.networks import Conv
from bench.reference import Arrays, Run


def network(case: Case, given: Arrays) -> fastnn.ConvNet:
    """The case's network with its first weights."""
    assert case.network is not None
    layers: list[Any] = [
        fastnn.Conv(layer.filters, layer.size, pad=layer.pad)
        if isinstance(layer, Conv)
        else fastnn.MaxPool(layer.size)
        for layer in case.network.layers
    ]
    layers += [fastnn.Dense(units) for units in case.network.dense]
    net = fastnn.ConvNet(case.network.shape, layers, case.activation, dtype=case.dtype)
    start(net, given)
    return net


def image_training(case: Case, given: Arrays) -> Run:
    """`ConvNet.fit`, with everything that it does around the steps."""
    return trainings(network(case, given), case, given)


def image_job(case: Case, given: Arrays) -> Run:
    """One `ConvNet.fit`, and its accuracy."""
    net = network(case, given)

    def run(steps: int) -> Arrays:
        fitted(net, case, given, steps)
        return {"accuracy": np.array([net.accuracy(given["x_test"], given["t_test"])])}

    return run


def image_prediction(case: Case, given: Arrays) -> Run:
    """`ConvNet.predict`, with its checks."""
    net, x = network(case, given), given["x"]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            y = net.predict(x)
        return {"y": y}

    return run
