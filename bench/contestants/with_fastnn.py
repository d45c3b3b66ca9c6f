"""fastnn itself: networks through the public calls, kernels through entries of a few lines.

The kernels read padded arrays, as they do inside a network, whose weights lie padded from the
start.  Padding is not timed; the entries' checks, Python's call and the threads are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastnn
from bench.cases import Case
from bench.reference import Arrays, Run, by_name
from fastnn.compiler import runtime
from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import GROUP_BYTES, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, load, store
from fastnn.compiler.launch import Chunked, run_or_pack
from fastnn.compiler.team import assemble, barrier, new_team
from fastnn.kernels.activations import ACTIVATION_CODES, activate, activation_forward, slope
from fastnn.kernels.affine import ONE, ZERO, column_sums, multiply, multiply_transposed
from fastnn.kernels.losses import CROSS_ENTROPY, loss_backward, loss_forward
from fastnn.kernels.sweeps import ROW_BLOCK, WEIGHT_ROWS, WEIGHT_VECTORS
from fastnn.kernels.updates import update_block
from fastnn.optimizers import OPTIMIZERS
from fastnn.training.parameters import aligned_zeros, padded

threads = fastnn.set_num_threads

ACTIVATIONS, RULES = ACTIVATION_CODES, OPTIMIZERS
# The function of the outputs that goes with a loss.
LOSSES = {"cross_entropy": "softmax", "squared_error": "identity"}

# Elements of an update that go to a chunk together; the rule is the same whatever their number.
UPDATE_UNIT = 1024
# About what an element costs beside a multiply-add.  What more threads gain at two sizes of an
# update is in the column "1 thread" of `python -m bench --cases "optimizer *"`.
ELEMENT_COST = 20


# Networks -----------------------------------------------------------------------------


def network(case: Case, given: Arrays) -> fastnn.MLP:
    """The case's network with its first weights."""
    output = LOSSES[case.loss]
    net = fastnn.MLP(case.sizes, case.activation, output=output, loss=case.loss, dtype=case.dtype)
    start(net, given)
    return net


def start(net: fastnn.MLP, given: Arrays) -> None:
    """Begin anew from the first weights."""
    net.optimizer_state = None
    for name in net.params:
        net.params[name] = given[name]


def training(case: Case, given: Arrays) -> Run:
    """`MLP.fit`, with everything that it does around the steps."""
    net, optimizer = network(case, given), RULES[case.optimizer](case.lr)

    def run(steps: int) -> Arrays:
        start(net, given)
        batches = given["batches"][:steps]
        history = net.fit(given["x"], given["t"], batches=batches, optimizer=optimizer)
        return {"losses": np.asarray(history.loss)} | by_name(net.params.values())

    return run


def mnist_job(case: Case, given: Arrays) -> Run:
    """A step, an evaluation, and then one evaluation an epoch, as the book has them."""
    net, optimizer = network(case, given), RULES[case.optimizer](case.lr)
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
# Entries name their arguments: in a tuple they cost Numba time, which a small call shows.


@inner
def forward_chunk(chunk, chunks, code, I, O, X, x_row, W, w_row, b, Y, y_row):
    """A chunk's share of the rows of ``f(x @ W + b)``."""
    N, lanes = Y.size // y_row, VECTOR_BYTES // X.itemsize
    vectors, end = (O + lanes - 1) // lanes, N * (chunk + 1) // chunks
    for first in range(N * chunk // chunks, end, ROW_BLOCK):
        rows = min(ROW_BLOCK, end - first)
        multiply(rows, vectors * lanes, I, X, first * x_row, x_row, ONE, W, ZERO, w_row,
                 b, ZERO, ZERO, Y, first * y_row, y_row)  # fmt: skip
        activation_forward(code, rows, vectors, lanes, Y, first * y_row, y_row)


@Chunked
@entry(parallel=False)
def forward(chunks, context, code, I, O, X, x_row, W, w_row, b, Y, y_row):
    """`forward_chunk` in so many chunks."""
    args = code, I, O, X, x_row, W, w_row, b, Y, y_row
    run_or_pack(chunks, context, forward_chunk, args)


@inner
def inputs_backward(low, high, code, I, O, W, w_row, Y, DY, D, y_row, DX, x_row, panel):
    """Rows `low` to `high` of ``dz = dy * f'(y)`` and ``dx = dz @ W.T``."""
    lanes = VECTOR_BYTES // W.itemsize
    zeros = TILE_VECTORS * lanes
    for first in range(low, high, ROW_BLOCK):
        rows = min(ROW_BLOCK, high - first)
        for i in range(first * y_row, (first + rows) * y_row, lanes):
            store(D, i, 0, load(DY, i, 0, 1, 1) * slope(code, load(Y, i, 0, 1, 1)))
        multiply_transposed(rows, I, O, D, first * y_row, y_row, W, ZERO, w_row, panel, ZERO,
                            ZERO, DX, first * x_row, x_row, panel[zeros:])  # fmt: skip


@inner
def weights_backward(low, high, vectors, N, X, x_row, D, y_row, zeros, DW, w_row):
    """Rows `low` to `high` of ``dW = x.T @ dz``."""
    lanes = VECTOR_BYTES // X.itemsize
    for v in range(0, vectors, WEIGHT_VECTORS):
        width = min(WEIGHT_VECTORS, vectors - v) * lanes
        for i in range(low, high, WEIGHT_ROWS):
            multiply(min(WEIGHT_ROWS, high - i), width, N, X, i, ONE, x_row, D, v * lanes, y_row,
                     zeros, ZERO, ZERO, DW, i * w_row + v * lanes, w_row)  # fmt: skip


@inner
def backward_chunk(chunk, chunks, code, I, O, X, x_row, W, w_row, Y, DY, D, y_row, DX, panels,
                   zeros, DW, db, team):  # fmt: skip
    """A chunk's share of the rows of the batch, and then of those of the weights."""
    chunks = assemble(team, chunk, chunks)
    if chunks == 0:
        return
    N, lanes = Y.size // y_row, VECTOR_BYTES // X.itemsize
    inputs_backward(N * chunk // chunks, N * (chunk + 1) // chunks, code, I, O, W, w_row,
                    Y, DY, D, y_row, DX, x_row, panels[chunk])  # fmt: skip
    barrier(team, chunks)
    vectors, tiles = (O + lanes - 1) // lanes, (I + TILE_ROWS - 1) // TILE_ROWS
    high = min(I, tiles * (chunk + 1) // chunks * TILE_ROWS)
    weights_backward(tiles * chunk // chunks * TILE_ROWS, high, vectors, N, X, x_row, D, y_row,
                     zeros, DW, w_row)  # fmt: skip
    if chunk == chunks - 1:
        column_sums(N, vectors * lanes, D, ZERO, y_row, db, ZERO)


@Chunked
@entry(parallel=False)
def backward(chunks, context, code, I, O, X, x_row, W, w_row, Y, DY, D, y_row, DX, panels, zeros,
             DW, db, team):  # fmt: skip
    """`backward_chunk` in so many chunks."""
    args = (code, I, O, X, x_row, W, w_row, Y, DY, D, y_row, DX, panels, zeros, DW, db, team)
    run_or_pack(chunks, context, backward_chunk, args)


@inner
def loss_chunk(chunk, chunks, O, labels, Z, Y, D, row, losses, mean, team):
    """A chunk's share of the rows' losses and of dz; the first takes the mean."""
    chunks = assemble(team, chunk, chunks)
    if chunks == 0:
        return
    N, lanes = labels.size, VECTOR_BYTES // Z.itemsize
    for r in range(N * chunk // chunks, N * (chunk + 1) // chunks):
        for i in range(r * row, (r + 1) * row, lanes):
            store(Y, i, 0, load(Z, i, 0, 1, 1))
        losses[r] = loss_forward(CROSS_ENTROPY, O, labels[r], Y, ZERO, Y, r * row)
        loss_backward(CROSS_ENTROPY, O, labels[r], Y, ZERO, Y.dtype.type(1 / N),
                      Y, r * row, D, r * row)  # fmt: skip
    barrier(team, chunks)
    if chunk == 0:
        total = 0.0
        for r in range(N):
            total += losses[r]
        mean[0] = total / N


@Chunked
@entry(parallel=False)
def loss_rows(chunks, context, O, labels, Z, Y, D, row, losses, mean, team):
    """`loss_chunk` in so many chunks."""
    args = O, labels, Z, Y, D, row, losses, mean, team
    run_or_pack(chunks, context, loss_chunk, args)


@inner
def activation_chunk(chunk, chunks, code, Z, DY, Y, D):
    """A chunk's share of ``y = f(z)`` and ``dz = dy * f'(y)``."""
    lanes = VECTOR_BYTES // Z.itemsize
    vectors = Z.size // lanes
    for v in range(vectors * chunk // chunks, vectors * (chunk + 1) // chunks):
        y = activate(code, load(Z, v * lanes, 0, 1, 1))
        store(Y, v * lanes, 0, y)
        store(D, v * lanes, 0, load(DY, v * lanes, 0, 1, 1) * slope(code, y))


@Chunked
@entry(parallel=False)
def activation_rows(chunks, context, code, Z, DY, Y, D):
    """`activation_chunk` in so many chunks."""
    args = code, Z, DY, Y, D
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
def update_step(chunks, context, rule, hyper, rate, G, params, memory):
    """`update_chunk` in so many chunks."""
    args = rule, hyper, rate, G, params, memory
    run_or_pack(chunks, context, update_chunk, args)


def affine_forward(case: Case, given: Arrays) -> Run:
    """The product, the biases and the ReLU in one pass."""
    (I, O), N = case.sizes, case.batch
    (X, x_row), (W, w_row) = _rows(given["x"]), _rows(given["W"], VECTOR_BYTES)
    (b, _), (Y, y_row) = _rows(given["b"][np.newaxis]), _rows(given["y"] * 0)
    code = ACTIVATIONS["relu"]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(forward, N * I * O, code, I, O, X, x_row, W, w_row, b, Y, y_row)
        return {"y": Y.reshape(N, y_row)[:, :O]}

    return run


def affine_backward(case: Case, given: Arrays) -> Run:
    """Over the rows, then over the weights, with a wait between them, as in a network."""
    (I, O), N = case.sizes, case.batch
    (X, x_row), (W, w_row) = _rows(given["x"]), _rows(given["W"], VECTOR_BYTES)
    (Y, y_row), (DY, _) = _rows(given["y"]), _rows(given["dy"])
    D, DX, DW = np.zeros_like(Y), aligned_zeros(X.size, X.dtype), aligned_zeros(W.size, W.dtype)
    zeros, db = aligned_zeros(y_row, X.dtype), aligned_zeros(y_row, X.dtype)
    work = N * I * O
    chunks, panel = runtime.most_chunks(work), (O + 1) * TILE_VECTORS * VECTOR_BYTES
    panels: Any = aligned_zeros(chunks * panel, X.dtype).reshape(chunks, panel)
    code = ACTIVATIONS["relu"]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(backward, work, code, I, O, X, x_row, W, w_row, Y, DY, D, y_row, DX,
                        panels, zeros, DW, db, new_team())  # fmt: skip
        dx, dW = DX.reshape(N, x_row)[:, :I], DW.reshape(I, w_row)[:, :O]
        return {"dW": dW, "db": db[:O], "dx": dx}

    return run


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """Losses and dz row by row."""
    (O,), N = case.sizes, case.batch
    Z, row = _rows(given["z"])
    Y, D, losses, mean = np.zeros_like(Z), np.zeros_like(Z), np.empty(N, Z.dtype), np.empty(1)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(loss_rows, N * O * ELEMENT_COST, O, given["t"], Z, Y, D, row, losses,
                        mean, new_team())  # fmt: skip
        return {"loss": mean, "dz": D.reshape(N, row)[:, :O]}

    return run


def activation(case: Case, given: Arrays) -> Run:
    """Outputs and dz in one pass."""
    (Z, row), (DY, _) = _rows(given["z"]), _rows(given["dy"])
    Y, D, code = np.zeros_like(Z), np.zeros_like(Z), ACTIVATIONS[case.activation]
    rows, columns = given["z"].shape

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(activation_rows, Z.size * ELEMENT_COST, code, Z, DY, Y, D)
        y, dz = (array.reshape(rows, row)[:, :columns] for array in (Y, D))
        return {"y": y, "dz": dz}

    return run


def optimizer(case: Case, given: Arrays) -> Run:
    """The rule over all parameters."""
    rule = RULES[case.optimizer](case.lr)
    size = -(-case.sizes[0] // UPDATE_UNIT) * UPDATE_UNIT
    dtype = given["params"].dtype
    params, gradient = aligned_zeros(size, dtype), aligned_zeros(size, dtype)
    memory = aligned_zeros(max(1, rule.memories) * size, dtype)
    gradient[: case.sizes[0]] = given["gradient"]
    code, hyper, _ = rule.rule(dtype)

    def run(steps: int) -> Arrays:
        params[: case.sizes[0]], memory[:] = given["params"], 0
        for rate in rule.rates(0, steps, dtype):
            runtime.run(update_step, size * ELEMENT_COST, code, hyper, rate, gradient, params,
                        memory)  # fmt: skip
        return {"params": params[: case.sizes[0]]}

    return run


def _rows(array: np.ndarray, unit: int = GROUP_BYTES) -> tuple[np.ndarray, int]:
    """The array in one dimension, its rows padded as in a network, and their distance."""
    rows, columns = array.shape
    row = padded(columns, array.dtype, unit)
    block: Any = aligned_zeros(rows * row, array.dtype)
    block.reshape(rows, row)[:, :columns] = array
    return block, row
