"""fastnn itself: networks through the public calls, kernels through entries of a few lines.

The kernels read padded arrays, as they do inside a network, whose weights lie padded from the
start.  Padding is not timed; the entries' checks, Python's call and the threads are.
"""

from typing import Any, NamedTuple

import numpy as np

import fastnn
from bench.cases import Case
from bench.reference import Arrays, Run, by_name
from fastnn.compiler import runtime
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.parts import Table, table_of
from fastnn.compiler.team import assemble, barrier, new_team
from fastnn.compiler.tiles import (
    GROUP_BYTES,
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    lanes_of,
    load,
    store,
)
from fastnn.kernels import losses, rules
from fastnn.kernels.activations import ACTIVATION_CODES, activate, slope
from fastnn.kernels.groups import (
    GRADIENT_ROWS,
    ZERO,
    Place,
    Rule,
    Wanted,
    rows_at,
    shifted,
    transposed,
)
from fastnn.kernels.layers.affine import WEIGHT_VECTORS
from fastnn.kernels.losses import LOSS_CODES, loss_backward, loss_forward
from fastnn.kernels.products import MULTIPLY, column_sums, multiply, multiply_transposed
from fastnn.kernels.rows import ROW_BLOCK
from fastnn.kernels.rules import RULE_CODES, UPDATE_BLOCK
from fastnn.optimizers import OPTIMIZERS
from fastnn.training.plan import aligned_zeros, padded

threads = fastnn.set_num_threads

ACTIVATIONS, RULES = ACTIVATION_CODES, OPTIMIZERS
# The function of the outputs that goes with a loss.
LOSSES = {name: loss.output for name, loss in losses.LOSSES.items() if loss.offered}
CROSS_ENTROPY = LOSS_CODES["cross_entropy"]

# Elements of an update that go to a chunk together; the rule is the same whatever their number.
UPDATE_UNIT = np.int64(1024)
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


def start(net: fastnn.MLP | fastnn.ConvNet, given: Arrays) -> None:
    """Begin anew from the first weights."""
    net.optimizer_state = None
    for name in net.params:
        net.params[name] = given[name]


def training(case: Case, given: Arrays) -> Run:
    """`MLP.fit`, with everything that it does around the steps."""
    return trainings(network(case, given), case, given)


def trainings(net: fastnn.MLP | fastnn.ConvNet, case: Case, given: Arrays) -> Run:
    """Steps from the first weights, each time anew."""

    def run(steps: int) -> Arrays:
        history = fitted(net, case, given, steps)
        return {"losses": np.asarray(history.loss)} | by_name(net.params.values())

    return run


def fitted(
    net: fastnn.MLP | fastnn.ConvNet, case: Case, given: Arrays, steps: int
) -> fastnn.History:
    """Train so many steps from the first weights."""
    start(net, given)
    optimizer, batches = RULES[case.optimizer](case.lr), given["batches"][:steps]
    return net.fit(given["x"], given["t"], batches=batches, optimizer=optimizer)


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
            history = net.fit(
                x,
                t,
                batches=batches[1:],
                optimizer=optimizer,
                validation_data=(x[:1], t[:1]),
                evaluate_every=every,
            )
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


class Layer(NamedTuple):
    """An affine layer and its activation."""

    activation: Any
    inputs: Any
    outputs: Any
    parts: Any  # the address of a table that has their product


def layer_of(sizes: tuple[int, ...], table: Table) -> Layer:
    """A layer with ReLU."""
    table.have(MULTIPLY)
    return Layer(ACTIVATIONS["relu"], *sizes, table.address)


class Block(NamedTuple):
    """Rows of a matrix, padded as in a network."""

    array: Any
    row: Any  # elements from one to the next


class Gradients(NamedTuple):
    """What the way back makes; rows lie as those of what they are gradients of."""

    z: Any
    x: Any
    weights: Any
    biases: Any


class Scratch(NamedTuple):
    """Memory of the way back."""

    panels: Any  # (chunks, elements)
    zeros: Any  # to start sums from


class RowLosses(NamedTuple):
    """What a loss makes of its rows."""

    y: Any
    dz: Any
    each: Any
    mean: Any


@inner
def rows_from(block, first):
    """The matrix of the rows of a block, from one on."""
    return rows_at(block.array, first * block.row, block.row)


@inner
def whole_vectors(columns, array):
    """The columns, and padding up to whole vectors."""
    lanes = lanes_of(array)
    return (columns + lanes - 1) // lanes * lanes


@chunked
def forward(chunk, chunks, layer: Layer, x: Block, weights: Block, biases, y: Block):
    """A chunk's share of the rows of ``f(x @ W + b)``."""
    N, columns = y.array.size // y.row, whole_vectors(layer.outputs, y.array)
    end = N * (chunk + 1) // chunks
    for first in range(N * chunk // chunks, end, ROW_BLOCK):
        rows, out = min(ROW_BLOCK, end - first), rows_from(y, first)
        multiply(
            rows,
            columns,
            layer.inputs,
            rows_from(x, first),
            rows_from(weights, ZERO),
            rows_at(biases, ZERO, ZERO),
            out,
        )
        for i in range(out.at, out.at + rows * out.row, lanes_of(out.array)):
            store(out.array, i, activate(layer.activation, load(out.array, i)))


@inner
def inputs_backward(low, high, layer, weights, y, dy, dz, dx, zeros, panel):
    """Rows `low` to `high` of ``dz = dy * f'(y)`` and ``dx = dz @ W.T``."""
    for first in range(low, high, ROW_BLOCK):
        rows = min(ROW_BLOCK, high - first)
        for i in range(first * y.row, (first + rows) * y.row, lanes_of(y.array)):
            store(dz.array, i, load(dy, i) * slope(layer.activation, load(y.array, i)))
        multiply_transposed(
            layer.parts,
            rows,
            layer.inputs,
            layer.outputs,
            rows_from(dz, first),
            rows_from(weights, ZERO),
            rows_at(zeros, ZERO, ZERO),
            rows_from(dx, first),
            Place(panel, ZERO),
        )


@inner
def weights_backward(low, high, columns, depth, x, dz, zeros, gradient):
    """Rows `low` to `high` of ``dW = x.T @ dz``."""
    left, right = transposed(rows_from(x, ZERO)), rows_from(dz, ZERO)
    most = WEIGHT_VECTORS * lanes_of(dz.array)
    for n in range(0, columns, most):
        for i in range(low, high, GRADIENT_ROWS):
            multiply(
                min(GRADIENT_ROWS, high - i),
                min(most, columns - n),
                depth,
                shifted(left, i, ZERO),
                shifted(right, ZERO, n),
                rows_at(zeros, ZERO, ZERO),
                shifted(rows_from(gradient, i), ZERO, n),
            )


@chunked
def backward(
    chunk,
    chunks,
    layer: Layer,
    x: Block,
    weights: Block,
    y: Block,
    dy,
    gradients: Gradients,
    scratch: Scratch,
    team,
):
    """A chunk's share of the rows of the batch, and then of those of the weights."""
    chunks = assemble(team, chunk, chunks)
    if chunks == 0:
        return
    N, zeros = y.array.size // y.row, scratch.zeros
    dz, dx = Block(gradients.z, y.row), Block(gradients.x, x.row)
    low, high = N * chunk // chunks, N * (chunk + 1) // chunks
    inputs_backward(low, high, layer, weights, y, dy, dz, dx, zeros, scratch.panels[chunk])
    barrier(team, chunks)
    tiles, columns = (layer.inputs + TILE_ROWS - 1) // TILE_ROWS, whole_vectors(layer.outputs, dy)
    low = tiles * chunk // chunks * TILE_ROWS
    high = min(layer.inputs, tiles * (chunk + 1) // chunks * TILE_ROWS)
    dW = Block(gradients.weights, weights.row)
    weights_backward(low, high, columns, N, x, dz, zeros, dW)
    if chunk == chunks - 1:
        column_sums(N, columns, rows_from(dz, ZERO), rows_at(gradients.biases, ZERO, ZERO))


@chunked
def loss_rows(chunk, chunks, outputs, labels, z: Block, made: RowLosses, team):
    """A chunk's share of the rows' losses and of dz; the first takes the mean."""
    chunks = assemble(team, chunk, chunks)
    if chunks == 0:
        return
    N, number = labels.size, z.array.dtype.type
    for r in range(N * chunk // chunks, N * (chunk + 1) // chunks):
        at = r * z.row
        for i in range(at, at + z.row, lanes_of(z.array)):
            store(made.y, i, load(z.array, i))
        wanted, y = Wanted(labels[r], made.y, ZERO, made.y), Place(made.y, at)
        made.each[r] = loss_forward(CROSS_ENTROPY, outputs, wanted, y)
        loss_backward(CROSS_ENTROPY, outputs, wanted, number(1 / N), y, Place(made.dz, at))
    barrier(team, chunks)
    if chunk == 0:
        total = 0.0
        for r in range(N):
            total += made.each[r]
        made.mean[0] = total / N


@chunked
def activation_rows(chunk, chunks, code, z, dy, y, dz):
    """A chunk's share of ``y = f(z)`` and ``dz = dy * f'(y)``."""
    lanes = lanes_of(z)
    vectors = z.size // lanes
    for v in range(vectors * chunk // chunks, vectors * (chunk + 1) // chunks):
        found = activate(code, load(z, v * lanes))
        store(y, v * lanes, found)
        store(dz, v * lanes, load(dy, v * lanes) * slope(code, found))


@chunked
def update_step(chunk, chunks, parts, rule: Rule, gradient, params):
    """A chunk's share of one step of an optimiser."""
    units = params.size // UPDATE_UNIT
    first, end = units * chunk // chunks, units * (chunk + 1) // chunks
    at = first * UPDATE_UNIT
    block = rows_at(gradient, at, UPDATE_UNIT), rows_at(params, at, UPDATE_UNIT)
    UPDATE_BLOCK(parts, rule.code, (rule, end - first, UPDATE_UNIT, block[0], block[1]))


def affine_forward(case: Case, given: Arrays) -> Run:
    """The product, the biases and the ReLU in one pass."""
    (I, O), N = case.sizes, case.batch
    layer, x = layer_of(case.sizes, _table(given["x"])), _block(given["x"])
    weights, biases = _block(given["W"], VECTOR_BYTES), _block(given["b"][np.newaxis]).array
    y = _block(given["y"] * 0)
    args = (*layer, *x, *weights, biases, *y)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(forward, N * I * O, *args)
        return {"y": _matrix(y.array, N, O)}

    return run


def affine_backward(case: Case, given: Arrays) -> Run:
    """Over the rows, then over the weights, with a wait between them, as in a network."""
    (I, O), N = case.sizes, case.batch
    layer, x = layer_of(case.sizes, _table(given["x"])), _block(given["x"])
    weights = _block(given["W"], VECTOR_BYTES)
    y, dy = _block(given["y"]), _block(given["dy"]).array
    dtype, work = x.array.dtype, N * I * O
    sizes = y.array.size, x.array.size, weights.array.size, y.row
    made = Gradients(*(aligned_zeros(size, dtype) for size in sizes))
    width = TILE_VECTORS * VECTOR_BYTES // dtype.itemsize
    size = y.row * width  # O of them, up to a whole vector
    panels: Any = aligned_zeros(runtime.most_chunks(work) * size, dtype)
    scratch = Scratch(panels.reshape(-1, size), aligned_zeros(max(y.row, width), dtype))
    args = (*layer, *x, *weights, *y, dy, *made, *scratch)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(backward, work, *args, new_team())
        dx, dW = _matrix(made.x, N, I), _matrix(made.weights, I, O)
        return {"dW": dW, "db": made.biases[:O], "dx": dx}

    return run


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """Losses and dz row by row."""
    (O,), N = case.sizes, case.batch
    z = _block(given["z"])
    y, dz = np.zeros_like(z.array), np.zeros_like(z.array)
    made = RowLosses(y, dz, np.empty(N, z.array.dtype), np.empty(1))
    args = (O, given["t"], *z, *made)

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(loss_rows, N * O * ELEMENT_COST, *args, new_team())
        return {"loss": made.mean, "dz": _matrix(dz, N, O)}

    return run


def activation(case: Case, given: Arrays) -> Run:
    """Outputs and dz in one pass."""
    z, dy = _block(given["z"]).array, _block(given["dy"]).array
    y, dz, code = np.zeros_like(z), np.zeros_like(z), ACTIVATIONS[case.activation]

    def run(calls: int) -> Arrays:
        for _ in range(calls):
            runtime.run(activation_rows, z.size * ELEMENT_COST, code, z, dy, y, dz)
        return {"y": _matrix(y, *given["z"].shape), "dz": _matrix(dz, *given["z"].shape)}

    return run


def optimizer(case: Case, given: Arrays) -> Run:
    """The rule over all parameters."""
    described, size = RULES[case.optimizer](case.lr), case.sizes[0]
    units, dtype = -(-size // int(UPDATE_UNIT)), given["params"].dtype
    params, gradient = (aligned_zeros(units * int(UPDATE_UNIT), dtype) for _ in range(2))
    gradient[:size] = given["gradient"]
    memory = aligned_zeros(max(1, rules.RULES[case.optimizer].memories) * params.size, dtype)
    _, numbers, decay = described.rule(dtype)
    code, decay, work = RULE_CODES[case.optimizer], dtype.type(decay), params.size * ELEMENT_COST

    table = _table(given["params"])
    table.have(UPDATE_BLOCK, code)

    def run(steps: int) -> Arrays:
        params[:size], memory[:] = given["params"], 0
        for rate in described.rates(0, steps, dtype):
            rule = Rule(code, numbers, memory, rate, decay)
            runtime.run(update_step, work, table.address, *rule, gradient, params)
        return {"params": params[:size]}

    return run


def _table(array: np.ndarray) -> Table:
    return table_of(array.dtype, np.dtype(np.uint16))


def _block(array: np.ndarray, unit: int = GROUP_BYTES) -> Block:
    """The array in one dimension, its rows padded as in a network."""
    rows, columns = array.shape
    row = padded(columns, array.dtype, unit)
    block: Any = aligned_zeros(rows * row, array.dtype)
    _matrix(block, rows, columns)[:] = array
    return Block(block, row)


def _matrix(block: Any, rows: int, columns: int) -> np.ndarray:
    """The matrix in such a block, a view without the padding."""
    return block.reshape(rows, -1)[:, :columns]
