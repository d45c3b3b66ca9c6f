"""fastnn, one call at a time: an `MLP`'s, its estimators', the loops that the documents write."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np

import fastnn
from bench.cases import Case
from bench.contestants import as_documented, number, repeated
from bench.contestants.with_fastnn import RULES, network, start
from bench.reference import Arrays, Run, by_name
from fastnn import neurons
from fastnn.book import layers


def loss_call(case: Case, given: Arrays) -> Run:
    """`MLP.loss`."""
    return repeated(number("loss"), network(case, given).loss, given["x"], given["t"])


def accuracy_call(case: Case, given: Arrays) -> Run:
    """`MLP.accuracy`."""
    return repeated(number("accuracy"), network(case, given).accuracy, given["x"], given["t"])


def gradient_call(case: Case, given: Arrays) -> Run:
    """`MLP.gradient`."""
    return repeated(dict, network(case, given).gradient, given["x"], given["t"])


def step_call(case: Case, given: Arrays) -> Run:
    """`MLP.train_step`."""
    net, optimizer = network(case, given), RULES[case.optimizer](case.lr)
    x, t = given["x"], given["t"]

    def run(steps: int) -> Arrays:
        start(net, given)
        for _ in range(steps):
            loss = net.train_step(x, t, optimizer)
        return {"loss": np.array([loss])} | by_name(net.params.values())

    return run


def partial_fit_call(case: Case, given: Arrays) -> Run | None:
    """`partial_fit` of the estimators, in scikit-learn's own loop over them."""
    if find_spec("sklearn") is None:
        return None
    rival = import_module("bench.contestants.with_scikit_learn")
    run: Run = rival.partial_fit_call(case, given, fastnn)
    return run


def book_loop(case: Case, given: Arrays) -> Run:
    """The loop of document 001 with `TwoLayerNet`."""
    net = fastnn.TwoLayerNet(*case.sizes, dtype=case.dtype)

    def run(steps: int) -> Arrays:
        start(net, given)
        return as_documented.train(net, case, given["x"], given["t"], steps)

    return run


book_program = book_loop


def layers_loop(case: Case, given: Arrays) -> Run:
    """The network and the loop of document 004 with the layers of `fastnn.book`."""
    return as_documented.layers_loop(case, given, layers)


def neurons_loop(case: Case, given: Arrays) -> Run:
    """The loop of document 003 with the classes of `fastnn.neurons`."""
    return as_documented.neurons_loop(case, given, neurons)
