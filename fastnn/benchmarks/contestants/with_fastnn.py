"""fastnn itself: networks through the public calls, kernels through entries of a few lines.

The kernels read padded arrays, as they do inside a network, whose weights lie padded from the
start.  Padding is not timed; the entries' checks, Python's call and the threads are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from fastnn import runtime
from fastnn.benchmarks.cases import Case
from fastnn.benchmarks.reference import Arrays, Run, by_name
from fastnn.jit import entry, inner
from fastnn.kernels.activations import ACTIVATION_CODES, activation_backward, activation_forward
from fastnn.kernels.affine import ONE, ZERO, column_sums, multiply, multiply_transposed
from fastnn.kernels.losses import CROSS_ENTROPY, loss_backward, loss_forward
from fastnn.kernels.updates import update_block
from fastnn.lanes import GROUP_BYTES, TILE_VECTORS, VECTOR_BYTES
from fastnn.launch import Chunked, run_or_pack
from fastnn.optimizers import OPTIMIZERS
from fastnn.parameters import aligned_zeros, padded

threads = fastnn.set_num_threads

# Elements of an update that go to a chunk together; the rule is the same whatever their number.
UPDATE_UNIT = 1024
# About what an element costs beside a multiply-add.
ELEMENT_COST = 20


# Networks -----------------------------------------------------------------------------


def network(case: Case, given: Arrays) -> fastnn.MLP:
    """The case's network with its first weights."""
    classes = case.loss == "cross_entropy"
    net = fastnn.MLP(
        case.sizes,
        case.activation,
        output="softmax" if classes else "identity",
        loss=case.loss,
        dtype=case.dtype,
    )
    start(net, given)
    return net


def start(net: fastnn.MLP, given: Arrays) -> None:
    """Begin anew from the first weights."""
    net.optimizer_state = None
    for name in net.params:
        net.params[name] = given[name]


def training(case: Case, given: Arrays) -> Run:
    """`MLP.fit`, with everything that it does around the steps."""
    net, optimizer = network(case, given), OPTIMIZERS[case.optimizer](case.lr)

    def run(steps: int) -> Arrays:
        start(net, given)
        batches = given["batches"][:steps]
        history = net.fit(given["x"], given["t"], batches=batches, optimizer=optimizer)
        return {"losses": np.asarray(history.loss)} | by_name(net.params.values())

    return run


def mnist_job(case: Case, given: Arrays) -> Run:
    """A step, an evaluation, and then one evaluation an epoch, as the book has them."""
    net, optimizer = network(case, given), OPTIMIZERS[case.optimizer](case.lr)
    x, t, every = given["x"], given["t"], len(given["x"]) // case.batch

    def run(steps: int) -> Arrays:
        start(net, given)
        batches = given["batches"][:steps]
        net.fit(x, t, batches=batches[:1], optimizer=optimizer)
        accuracy = net.accuracy(x, t)
        if steps > every:
            history = net.fit(x, t, batches=batches[1:], optimizer=optimizer,
                              validation_data=(x[:1], t[:1]), evaluate_every=every)  # fmt: skip
            accuracy = history.train_accuracy[(steps - 1) // every - 1]
        return {"accuracy": np.array([accuracy])}

    return run


def prediction(case: Case, given: Arrays) -> Run:
    """`MLP.predict`, with its checks."""
    net, x = network(case, given), given["x"]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            y = net.predict(x)
        return {"y": y}

    return run


def numerical_gradient(case: Case, given: Arrays) -> Run:
    """`MLP.numerical_gradient`."""
    net = network(case, given)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            found = net.numerical_gradient(given["x"], given["t"])
        return dict(found)

    return run


# Kernels ------------------------------------------------------------------------------


@inner
def forward_chunk(chunk, chunks, code, I, O, X, x_row, W, w_row, b, Y, y_row):
    """A chunk's share of the rows of ``f(x @ W + b)``."""
    N, lanes = Y.size // y_row, VECTOR_BYTES // X.itemsize
    first, vectors = N * chunk // chunks, (O + lanes - 1) // lanes
    rows = N * (chunk + 1) // chunks - first
    multiply(rows, vectors * lanes, I, X, first * x_row, x_row, ONE, W, ZERO, w_row, b, ZERO, ZERO,
             Y, first * y_row, y_row)  # fmt: skip
    activation_forward(code, rows, vectors, lanes, Y, first * y_row, y_row)


@Chunked
@entry(parallel=False)
def forward(chunks, context, *args):
    """`forward_chunk` in so many chunks."""
    run_or_pack(chunks, context, forward_chunk, args)


@inner
def inputs_chunk(chunk, chunks, code, I, O, W, w_row, Y, DY, D, y_row, DX, x_row, work):
    """A chunk's share of the rows of ``dz = dy * f'(y)`` and ``dx = dz @ W.T``."""
    N, lanes = Y.size // y_row, VECTOR_BYTES // W.itemsize
    first, vectors = N * chunk // chunks, (O + lanes - 1) // lanes
    rows, at = N * (chunk + 1) // chunks - first, first * y_row
    for i in range(at, at + rows * y_row):
        D[i] = DY[i]
    activation_backward(code, rows, vectors, lanes, Y, at, D, at, y_row)
    zeros = TILE_VECTORS * lanes
    multiply_transposed(rows, I, O, D, at, y_row, W, ZERO, w_row, work[chunk], ZERO, ZERO,
                        DX, first * x_row, x_row, work[chunk][zeros:])  # fmt: skip


@Chunked
@entry(parallel=False)
def inputs_backward(chunks, context, *args):
    """`inputs_chunk` in so many chunks."""
    run_or_pack(chunks, context, inputs_chunk, args)


@inner
def weights_chunk(chunk, chunks, I, O, X, x_row, D, y_row, zeros, DW, w_row, db):
    """A chunk's share of the rows of ``dW = x.T @ dz``; the last one sums db."""
    N, lanes = D.size // y_row, VECTOR_BYTES // X.itemsize
    first, width = I * chunk // chunks, (O + lanes - 1) // lanes * lanes
    multiply(I * (chunk + 1) // chunks - first, width, N, X, first, ONE, x_row, D, ZERO, y_row,
             zeros, ZERO, ZERO, DW, first * w_row, w_row)  # fmt: skip
    if chunk == chunks - 1:
        column_sums(N, width, D, ZERO, y_row, db, ZERO)


@Chunked
@entry(parallel=False)
def weights_backward(chunks, context, *args):
    """`weights_chunk` in so many chunks."""
    run_or_pack(chunks, context, weights_chunk, args)


@inner
def loss_chunk(chunk, chunks, O, labels, Z, Y, D, row, losses):
    """A chunk's share of the rows' losses and of dz."""
    for r in range(labels.size * chunk // chunks, labels.size * (chunk + 1) // chunks):
        for i in range(r * row, (r + 1) * row):
            Y[i] = Z[i]
        losses[r] = loss_forward(CROSS_ENTROPY, O, labels[r], Y, ZERO, Y, r * row)
        loss_backward(CROSS_ENTROPY, O, labels[r], Y, ZERO, Y.dtype.type(1 / labels.size),
                      Y, r * row, D, r * row)  # fmt: skip


@Chunked
@entry(parallel=False)
def loss_rows(chunks, context, *args):
    """`loss_chunk` in so many chunks."""
    run_or_pack(chunks, context, loss_chunk, args)


@inner
def activation_chunk(chunk, chunks, code, Z, DY, Y, D, row):
    """A chunk's share of ``y = f(z)`` and ``dz = dy * f'(y)``."""
    rows, lanes = Z.size // row, VECTOR_BYTES // Z.itemsize
    first, end = rows * chunk // chunks * row, rows * (chunk + 1) // chunks * row
    for i in range(first, end):
        Y[i], D[i] = Z[i], DY[i]
    vectors = (end - first) // lanes
    activation_forward(code, 1, vectors, lanes, Y, first, ZERO)
    activation_backward(code, 1, vectors, lanes, Y, first, D, first, ZERO)


@Chunked
@entry(parallel=False)
def activation_rows(chunks, context, *args):
    """`activation_chunk` in so many chunks."""
    run_or_pack(chunks, context, activation_chunk, args)


@inner
def update_chunk(chunk, chunks, rule, hyper, rate, G, params, memory):
    """A chunk's share of one step of an optimiser."""
    units = params.size // UPDATE_UNIT
    first = units * chunk // chunks
    update_block(rule, hyper, rate, params.dtype.type(0), units * (chunk + 1) // chunks - first,
                 UPDATE_UNIT, G, first * UPDATE_UNIT, UPDATE_UNIT, params, memory,
                 first * UPDATE_UNIT, UPDATE_UNIT)  # fmt: skip


@Chunked
@entry(parallel=False)
def update_step(chunks, context, *args):
    """`update_chunk` in so many chunks."""
    run_or_pack(chunks, context, update_chunk, args)


def affine_forward(case: Case, given: Arrays) -> Run:
    """The product, the biases and the ReLU in one pass."""
    (I, O), N = case.sizes, case.batch
    (X, x_row), (W, w_row) = _rows(given["x"]), _rows(given["W"], VECTOR_BYTES)
    (b, _), (Y, y_row) = _rows(given["b"][np.newaxis]), _rows(given["y"] * 0)
    code = ACTIVATION_CODES[case.activation]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(forward, N * I * O, code, I, O, X, x_row, W, w_row, b, Y, y_row)
        return {"y": Y.reshape(N, y_row)[:, :O].copy()}

    return run


def affine_backward(case: Case, given: Arrays) -> Run:
    """Two passes, as a network has them: over the rows, and over the weights."""
    (I, O), N = case.sizes, case.batch
    (X, x_row), (W, w_row) = _rows(given["x"]), _rows(given["W"], VECTOR_BYTES)
    (Y, y_row), (DY, _) = _rows(given["y"]), _rows(given["dy"])
    D, DX, DW = np.zeros_like(Y), aligned_zeros(X.size, X.dtype), aligned_zeros(W.size, W.dtype)
    zeros, db = aligned_zeros(y_row, X.dtype), aligned_zeros(y_row, X.dtype)
    work, chunks = N * I * O, runtime.most_chunks(N * I * O)
    panel = aligned_zeros(chunks * (O + 1) * TILE_VECTORS * VECTOR_BYTES, X.dtype)
    panel = panel.reshape(chunks, -1)
    code = ACTIVATION_CODES[case.activation]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(inputs_backward, work, code, I, O, W, w_row, Y, DY, D, y_row, DX, x_row,
                        panel)  # fmt: skip
            runtime.run(weights_backward, work, I, O, X, x_row, D, y_row, zeros, DW, w_row, db)
        dx, dW = DX.reshape(N, x_row)[:, :I], DW.reshape(I, w_row)[:, :O]
        return {"dW": dW.copy(), "db": db[:O].copy(), "dx": dx.copy()}

    return run


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """Losses and dz row by row."""
    (O,), N = case.sizes, case.batch
    Z, row = _rows(given["z"])
    Y, D, losses = np.zeros_like(Z), np.zeros_like(Z), np.empty(N, Z.dtype)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(loss_rows, N * O * ELEMENT_COST, O, given["t"], Z, Y, D, row, losses)
            loss = losses.mean()
        return {"loss": np.array([loss]), "dz": D.reshape(N, row)[:, :O].copy()}

    return run


def activation(case: Case, given: Arrays) -> Run:
    """Outputs, then dz from them."""
    Z, row = _rows(given["z"])
    DY, _ = _rows(given["dy"])
    Y, D, code = np.zeros_like(Z), np.zeros_like(Z), ACTIVATION_CODES[case.activation]
    shape = given["z"].shape

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(activation_rows, Z.size * ELEMENT_COST, code, Z, DY, Y, D, row)
        cut = [array.reshape(len(array) // row, row)[:, : shape[1]].copy() for array in (Y, D)]
        return {"y": cut[0], "dz": cut[1]}

    return run


def optimizer(case: Case, given: Arrays) -> Run:
    """The rule over all parameters."""
    rule = OPTIMIZERS[case.optimizer](case.lr)
    size = -(-case.sizes[0] // UPDATE_UNIT) * UPDATE_UNIT
    dtype = given["params"].dtype
    params, gradient = aligned_zeros(size, dtype), aligned_zeros(size, dtype)
    memory = aligned_zeros(max(1, rule.memories) * size, dtype)
    gradient[: case.sizes[0]] = given["gradient"]
    code, hyper = rule.rule(dtype)

    def run(steps: int) -> Arrays:
        params[: case.sizes[0]], memory[:] = given["params"], 0
        for rate in rule.rates(0, steps, dtype):
            runtime.run(update_step, size * ELEMENT_COST, code, hyper, rate, gradient, params,
                        memory)  # fmt: skip
        return {"params": params[: case.sizes[0]].copy()}

    return run


def _rows(array: np.ndarray, unit: int = GROUP_BYTES) -> tuple[np.ndarray, int]:
    """The array in one dimension, its rows padded as in a network, and their distance."""
    rows, columns = array.shape
    row = padded(columns, array.dtype, unit)
    block: Any = aligned_zeros(rows * row, array.dtype)
    block.reshape(rows, row)[:, :columns] = array
    return block, row
