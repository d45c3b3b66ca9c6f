"""A training step as two sweeps, and the entries that Python calls.

Row sweep: a block of rows goes through the whole network, forwards and back,
while it is in cache; blocks are independent.  Weight sweep: a block of one
layer's weights sums its gradient over the batch and is updated on the spot;
blocks are independent.  So a step is two waits for any depth, and no sum
crosses a thread.  Few rows of a wide network are shared out by columns instead,
with a wait for each layer.

A network is data, not type: ``plan`` has a row of integers per layer (the
columns are named below), so one compiled build per precision serves all.
"""

import numpy as np

from fastnn.compiler.jit import entry, inner
from fastnn.compiler.lanes import (
    GROUP,
    VECTOR_BYTES,
    flat,
    fma,
    lane_sum,
    load,
    load_first,
    prefetch,
    splat,
    store,
)
from fastnn.compiler.launch import Chunked, run_or_pack
from fastnn.compiler.team import assemble, barrier
from fastnn.kernels.activations import activation_backward, activation_forward
from fastnn.kernels.affine import (
    ONE,
    ZERO,
    add_block,
    column_sums,
    multiply,
    multiply_few,
    multiply_transposed,
    multiply_transposed_few,
)
from fastnn.kernels.dropout import dropout_backward, dropout_forward
from fastnn.kernels.epochs import SCALE, STEPS, note_step
from fastnn.kernels.losses import loss_backward, loss_forward, outputs_forward
from fastnn.kernels.narrow_outputs import SCRATCH as NARROW_SCRATCH
from fastnn.kernels.narrow_outputs import (
    is_narrow,
    narrow_loss_forward,
    narrow_outputs_forward,
)
from fastnn.kernels.nonzeros import (
    COLUMN_BLOCK,
    all_finite,
    column_blocks,
    nonzeros_backward,
    nonzeros_forward,
    values_of_column,
)
from fastnn.kernels.updates import DECAY, RATE, SGD, STORE, update_block

# Columns of `plan`.  Offsets and distances count elements of the array named.
INPUTS, OUTPUTS = 0, 1
W, W_ROW, B = 2, 3, 4  # weights and biases in `params`; a row of weights is padded
ACTIVATION = 5
X, X_ROW = 6, 7  # the layer's inputs in `values`, a row per row of the batch
Y, Y_ROW = 8, 9  # its outputs, in `values`
D = 10  # dz in `deltas`, rows as those of Y
DROP = 11  # of dropout.PARTS so many of its outputs are dropped in training
SCRATCH = 12  # of the last layer: in `values`, NARROW_SCRATCH elements for each ROW_BLOCK of rows
PLAN_COLUMNS = 13

# Rows that pass through the network together: a batch of 100 in one piece on one thread, too.
ROW_BLOCK = 128
# In place of a first row: rows lie anywhere.
GATHER = np.int64(-1)
# Rows of data are asked for so long before they are copied; after so many columns the processor's
# own prefetcher follows.
AHEAD, AHEAD_COLUMNS = 8, 256
# Networks of so many weights: batches of few rows are shared out by columns, and for very few
# reading and writing the weights is all that counts.
WIDE_WEIGHTS, COLUMN_ROWS, FEW_ROWS = 200_000, 64, 4
# Rows of weights that stay together when chunks share them out; biases count as so many.
SHARED_ROWS = BIAS_ROWS = np.int64(4)
# Weights whose gradient is summed together, rows and bytes of each.
WEIGHT_ROWS = 96
WEIGHT_VECTORS = 1024 // VECTOR_BYTES
# Those that are updated together.  Pieces of rows of 1024 weights, each in a page of its own, take
# three times as long as whole rows, with SGD as with Adam; but dz is then read anew for each block
# of weights, and of 512 rows of 1024 that costs as much.
UPDATE_VECTORS, UPDATE_BATCH = 4096 // VECTOR_BYTES, 256

# Words of `call`: what one of `train` makes, of which steps, and which piece of how many.
STAGE, FIRST, END, PIECE, PIECES = range(5)
WHOLE_STEPS, SOME_ROWS, SOME_GRADIENTS, UPDATE = range(4)
# How a step goes on when its loss is known.
GO_ON, STOP_BEFORE_UPDATE, STOP_AFTER_UPDATE = range(3)

# Rows of a batch whose gradient is one sum; sums of more are added up.  A single chain of 3,000,000
# float32 terms was wrong by 3e-3, as each is rounded to the sum so far.
SUM_ROWS = np.int64(16384)

# Parts that the sum of the squares of all weights is made of.
SQUARES = 16
# `work`, scratch of a thread: zeros to start sums from, a block of gradients, another, a panel.
# Offsets in elements, large enough for either precision.
GRADIENT = np.int64(1024)
ANOTHER = GRADIENT + WEIGHT_ROWS * 4096 // 4
PANEL = ANOTHER + WEIGHT_ROWS * 1024 // 4


@inner
def _vectors(plan, layer, lanes):
    """Vectors of a layer's outputs, the padding with them."""
    return (plan[layer, OUTPUTS] + lanes - 1) // lanes


@inner
def _forward_layer(layer, low, high, plan, params, sparse, x, row, bounds, column, value, batch,
                   rows, slot, salt, values, cursor):  # fmt: skip
    """Vectors low .. high of a layer's outputs, for rows as `forward_rows` has them."""
    lanes, p = VECTOR_BYTES // params.itemsize, plan[layer]
    I, at = p[INPUTS], low * lanes
    y = p[Y] + slot * p[Y_ROW] + at
    if layer == 0 and sparse:
        nonzeros_forward(batch, I, high - low, bounds, column, value, params, p[W] + at, p[W_ROW],
                         p[B] + at, values, y, p[Y_ROW], cursor, slot)  # fmt: skip
    else:
        A, a, step = values, p[X] + slot * p[X_ROW], p[X_ROW]
        if layer == 0 and row == GATHER:
            _gather(x, batch, values, a, step)
        elif layer == 0:
            A, a, step = flat(x), row * I, I
        multiply(rows, (high - low) * lanes, I, A, a, step, ONE, params, p[W] + at, p[W_ROW],
                 params, p[B] + at, ZERO, values, y, p[Y_ROW])  # fmt: skip
    activation_forward(p[ACTIVATION], rows, high - low, lanes, values, y, p[Y_ROW])
    if p[DROP] > 0:
        dropout_forward(p[DROP], salt, layer, slot, rows, at, min(p[OUTPUTS], high * lanes), values,
                        y, p[Y_ROW])  # fmt: skip


@inner
def forward_rows(plan, params, sparse, x, row, bounds, column, value, batch, rows, slot, salt,
                 values, cursor):  # fmt: skip
    """Send `rows` rows of the data, `batch`, through all layers, in rows ``slot ..`` of `values`.

    Rows of dense data are copied there first, but if `row` is not GATHER they are those from `row`
    on, and read where they lie.  The last layer's activation is left to the loss.
    """
    lanes = VECTOR_BYTES // params.itemsize
    for layer in range(plan.shape[0]):
        _forward_layer(layer, ZERO, _vectors(plan, layer, lanes), plan, params, sparse, x, row,
                       bounds, column, value, batch, rows, slot, salt, values,
                       cursor)  # fmt: skip


@inner
def _gather(x, batch, values, at, x_row):
    """Copy rows `batch` of x side by side."""
    X, I = flat(x), x.shape[1]
    lanes = VECTOR_BYTES // X.itemsize
    whole = I - I % lanes
    for r in range(batch.size):
        if r + AHEAD < batch.size:  # rows lie anywhere in memory
            ahead = batch[r + AHEAD] * I
            for i in range(0, min(I, AHEAD_COLUMNS), 64 // X.itemsize):
                prefetch(X, ahead + i)
        row, to = batch[r] * I, at + r * x_row
        for i in range(0, whole, lanes):
            store(values, to + i, 0, load(X, row + i, 0, 1, 1))
        if whole < I:
            store(values, to + whole, 0, load_first(X, row + whole, I - whole, 1))


@inner
def _ask_for(batch, bounds, labels, targets):
    """Ask for what there is of rows of data beside their inputs; they lie anywhere in memory."""
    for row in batch:
        prefetch(flat(bounds), 2 * row)
        prefetch(labels, row)
        prefetch(flat(targets), row * targets.shape[1])


@inner
def loss_rows(plan, loss, labels, targets, batch, slot, share, scale, values, deltas, row_loss,
              with_deltas, scratch, at):  # fmt: skip
    """Outputs, losses and, if asked for, deltas of rows that have come through.

    A row counts its `share` in the loss of the batch, or `scale` if there are no shares.
    """
    p, lanes = plan[plan.shape[0] - 1], VECTOR_BYTES // values.itemsize
    O, T, done = p[OUTPUTS], flat(targets), 0
    if is_narrow(loss, O):
        while done + lanes <= batch.size:
            narrow_loss_forward(loss, O, labels, T, batch[done : done + lanes], values,
                                p[Y] + (slot + done) * p[Y_ROW], p[Y_ROW], scratch, at,
                                row_loss[done:])  # fmt: skip
            done += lanes
    for r in range(batch.size):
        label = labels[batch[r]] if labels.size else 0
        t, y = batch[r] * O, p[Y] + (slot + r) * p[Y_ROW]
        if r >= done:
            row_loss[r] = loss_forward(loss, O, label, T, t, values, y)
        if with_deltas:
            d = p[D] + (slot + r) * p[Y_ROW]
            weight = share[r] if share.size else scale
            loss_backward(loss, O, label, T, t, weight, values, y, deltas, d)


@inner
def output_rows(p, loss, rows, slot, values, at):
    """Outputs of rows that have come through, if no loss is asked for."""
    lanes, y, done = VECTOR_BYTES // values.itemsize, p[Y] + slot * p[Y_ROW], 0
    if is_narrow(loss, p[OUTPUTS]):
        while done + lanes <= rows:
            narrow_outputs_forward(loss, p[OUTPUTS], values, y + done * p[Y_ROW], p[Y_ROW], values,
                                   at)  # fmt: skip
            done += lanes
    outputs_forward(loss, rows - done, p[OUTPUTS], values, y + done * p[Y_ROW], p[Y_ROW])


@inner
def _backward_layer(layer, low, high, plan, params, slot, rows, salt, few, values, deltas, work):
    """Deltas of vectors low .. high of a layer's inputs, which are the outputs of that below."""
    lanes, p, below = VECTOR_BYTES // params.itemsize, plan[layer], plan[layer - 1]
    at = low * lanes
    d, y = below[D] + slot * below[Y_ROW] + at, below[Y] + slot * below[Y_ROW] + at
    N, dz, w = min(p[INPUTS], high * lanes) - at, p[D] + slot * p[Y_ROW], p[W] + at * p[W_ROW]
    if few:
        multiply_transposed_few(rows, N, p[OUTPUTS], deltas, dz, p[Y_ROW], params, w, p[W_ROW],
                                deltas, d, below[Y_ROW])  # fmt: skip
    else:
        multiply_transposed(rows, N, p[OUTPUTS], deltas, dz, p[Y_ROW], params, w, p[W_ROW],
                            work, ZERO, ZERO, deltas, d, below[Y_ROW], work[PANEL:])  # fmt: skip
    if below[DROP] > 0:
        dropout_backward(below[DROP], salt, layer - 1, slot, rows, at, at + N, below[ACTIVATION],
                         values, y, deltas, d, below[Y_ROW])  # fmt: skip
    else:
        activation_backward(below[ACTIVATION], rows, high - low, lanes, values, y, deltas, d,
                            below[Y_ROW])  # fmt: skip


@inner
def backward_rows(plan, params, slot, rows, salt, few, values, deltas, work):
    """Deltas of all layers but the last, whose deltas are given."""
    lanes = VECTOR_BYTES // params.itemsize
    for layer in range(plan.shape[0] - 1, 0, -1):
        _backward_layer(layer, ZERO, _vectors(plan, layer - 1, lanes), plan, params, slot, rows,
                        salt, few, values, deltas, work)  # fmt: skip


@inner
def row_sweep(part, parts, plan, loss, params, sparse, x, bounds, column, value, labels, targets,
              batch, share, salt, few, values, deltas, work, cursor, row_loss):  # fmt: skip
    """A part of the rows of a batch: outputs, losses and deltas, with a chunk's own `work`."""
    scale = params.dtype.type(1) / params.dtype.type(batch.size)
    end = batch.size * (part + 1) // parts
    for first in range(batch.size * part // parts, end, ROW_BLOCK):
        rows = batch[first : min(first + ROW_BLOCK, end)]
        _ask_for(rows, bounds, labels, targets)
        forward_rows(plan, params, sparse, x, GATHER, bounds, column, value, rows, rows.size,
                     first, salt, values, cursor)  # fmt: skip
        loss_rows(plan, loss, labels, targets, rows, first, share[first:], scale, values, deltas,
                  row_loss[first:], True, work, GRADIENT)  # fmt: skip
        backward_rows(plan, params, first, rows.size, salt, few, values, deltas, work)


@inner
def column_sweep(chunk, chunks, plan, loss, params, sparse, x, bounds, column, value, labels,
                 targets, batch, share, salt, few, values, deltas, work, cursor, row_loss,
                 team):  # fmt: skip
    """What `row_sweep` does, but a chunk has its share of each layer's columns, for all rows.

    So each reads its own weights only: with 16 rows of 784-1024-1024-10 that is most of the work.
    The price is a wait for each layer, forwards and back.
    """
    lanes, layers, rows = VECTOR_BYTES // params.itemsize, plan.shape[0], batch.size
    scale = params.dtype.type(1) / params.dtype.type(rows)
    for layer in range(layers):
        vectors = _vectors(plan, layer, lanes)
        _forward_layer(layer, vectors * chunk // chunks, vectors * (chunk + 1) // chunks, plan,
                       params, sparse, x, GATHER, bounds, column, value, batch, rows, ZERO, salt,
                       values, cursor)  # fmt: skip
        barrier(team, chunks)
    first, end = rows * chunk // chunks, rows * (chunk + 1) // chunks
    loss_rows(plan, loss, labels, targets, batch[first:end], first, share[first:], scale, values,
              deltas, row_loss[first:], True, work[chunk], GRADIENT)  # fmt: skip
    for layer in range(layers - 1, 0, -1):
        barrier(team, chunks)
        vectors = _vectors(plan, layer - 1, lanes)
        _backward_layer(layer, vectors * chunk // chunks, vectors * (chunk + 1) // chunks, plan,
                        params, ZERO, rows, salt, few, values, deltas, work[chunk])  # fmt: skip


@inner
def _weights(plan):
    """Number of weights of the network."""
    weights = ZERO
    for layer in range(plan.shape[0]):
        weights += plan[layer, INPUTS] * plan[layer, OUTPUTS]
    return weights


@inner
def _first_row(cost, rows, vectors):
    """First row of a layer for the chunk that begins so many vectors after it begins."""
    unit = SHARED_ROWS * vectors
    return min(max(cost + unit - 1, 0) // unit * SHARED_ROWS, rows)


@inner
def weight_sweep(part, parts, plan, rule, hyper, rate, decay, params, memory, sparse, column,
                 value, index, few, values, deltas, work, cursor):  # fmt: skip
    """A part of all weights, with a chunk's own `work`: gradient and update.

    Compressed inputs are shared out by columns.  All other weights, and biases, stand in one row,
    of which all take equal parts: single layers may be too small to be cut evenly.
    """
    lanes, total = VECTOR_BYTES // params.itemsize, ZERO
    for layer in range(plan.shape[0]):
        rows = BIAS_ROWS if layer == 0 and sparse else plan[layer, INPUTS] + BIAS_ROWS
        total += rows * _vectors(plan, layer, lanes)
    begin, end = total * part // parts, total * (part + 1) // parts
    for layer in range(plan.shape[0]):
        p, vectors = plan[layer], _vectors(plan, layer, lanes)
        I = ZERO if layer == 0 and sparse else p[INPUTS]
        rows = I + BIAS_ROWS
        low, high = _first_row(begin, rows, vectors), _first_row(end, rows, vectors)
        begin -= rows * vectors
        end -= rows * vectors
        if few:  # a row costs more than its vectors, and any cut is even; biases alternate
            share = part if layer % 2 == 0 else parts - 1 - part
            low, high = rows * share // parts, rows * (share + 1) // parts
        if layer == 0 and sparse:
            _sparse_weights(part, parts, p, vectors, lanes, rule, hyper, rate, decay, params,
                            memory, column, value, index.size, few, deltas, work,
                            cursor)  # fmt: skip
        elif few:
            for i in range(low, min(high, I)):
                _row_of_few(i, p, values, p[X] + i, p[X_ROW], vectors, lanes, rule, hyper, rate,
                            decay, params, memory, index.size, deltas, work)  # fmt: skip
        else:
            _dense_weights(p, low, min(high, I), vectors, lanes, rule, hyper, rate, decay, params,
                           memory, index.size, values, deltas, work)  # fmt: skip
        if low <= I < high:
            _biases(p, vectors, lanes, rule, hyper, rate, params, memory, index.size, deltas,
                    work)  # fmt: skip


@inner
def _sparse_weights(part, parts, p, vectors, lanes, rule, hyper, rate, decay, params, memory,
                    column, value, batch, few, deltas, work, cursor):  # fmt: skip
    """A part of the weights of compressed inputs."""
    blocks = column_blocks(p[INPUTS])
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        if few:
            _nonzeros_of_few(block, p, vectors, lanes, rule, hyper, rate, decay, params, memory,
                             batch, column, value, deltas, work, cursor)  # fmt: skip
        else:
            nonzeros_backward(block, p[INPUTS], batch, vectors, column, value, deltas, p[D],
                              p[Y_ROW], rule, hyper, rate, decay, params, memory, p[W], p[W_ROW],
                              work, GRADIENT, SUM_ROWS, cursor)  # fmt: skip


@inner
def _dense_weights(p, low, high, vectors, lanes, rule, hyper, rate, decay, params, memory, batch,
                   values, deltas, work):  # fmt: skip
    most = UPDATE_VECTORS if batch <= UPDATE_BATCH else WEIGHT_VECTORS
    for first in range(0, vectors, most):
        end = min(first + most, vectors)
        width = (end - first) * lanes
        for i in range(low, high, WEIGHT_ROWS):
            M = min(WEIGHT_ROWS, high - i)
            for v in range(first, end, WEIGHT_VECTORS):
                N, g = min(WEIGHT_VECTORS, end - v) * lanes, GRADIENT + (v - first) * lanes
                x, d = p[X] + i, p[D] + v * lanes
                multiply(M, N, min(batch, SUM_ROWS), values, x, ONE, p[X_ROW], deltas, d, p[Y_ROW],
                         work, ZERO, ZERO, work, g, width)  # fmt: skip
                for r in range(SUM_ROWS, batch, SUM_ROWS):
                    multiply(M, N, min(batch - r, SUM_ROWS), values, x + r * p[X_ROW], ONE,
                             p[X_ROW], deltas, d + r * p[Y_ROW], p[Y_ROW], work, ZERO, ZERO, work,
                             ANOTHER, N)  # fmt: skip
                    add_block(M, N, work, ANOTHER, N, g, width)
            update_block(rule, hyper, rate, decay, M, width, work, GRADIENT, width,
                         params, memory, p[W] + i * p[W_ROW] + first * lanes,
                         p[W_ROW])  # fmt: skip


@inner
def _nonzeros_of_few(block, p, vectors, lanes, rule, hyper, rate, decay, params, memory, batch,
                     column, value, deltas, work, cursor):  # fmt: skip
    """`_row_of_few` for a block of columns of compressed inputs."""
    first, last = cursor[block, :batch], cursor[column_blocks(p[INPUTS]), :batch]
    for i in range(block * COLUMN_BLOCK, min(p[INPUTS], (block + 1) * COLUMN_BLOCK)):
        values_of_column(i, batch, first, last, column, value, work, PANEL)
        _row_of_few(i, p, work, PANEL, ONE, vectors, lanes, rule, hyper, rate, decay, params,
                    memory, batch, deltas, work)  # fmt: skip


@inner
def _row_of_few(i, p, x, at, step, vectors, lanes, rule, hyper, rate, decay, params, memory, batch,
                deltas, work):  # fmt: skip
    """Gradient and update of row i of W for few samples, whose inputs i are ``x[at]`` and so on."""
    some = rule != SGD or decay != 0  # or a gradient of zero moves nothing
    for r in range(batch):
        some |= x[at + r * step] != 0
    if some:
        for v in range(0, vectors, UPDATE_VECTORS):
            N = min(UPDATE_VECTORS, vectors - v) * lanes
            multiply_few(N, batch, x, at, step, deltas, p[D] + v * lanes, p[Y_ROW], work, GRADIENT)
            update_block(rule, hyper, rate, decay, ONE, N, work, GRADIENT, N,
                         params, memory, p[W] + i * p[W_ROW] + v * lanes, ZERO)  # fmt: skip


@inner
def _biases(p, vectors, lanes, rule, hyper, rate, params, memory, batch, deltas, work):
    no_decay = params.dtype.type(0)
    for v in range(0, vectors, WEIGHT_VECTORS):
        N = min(WEIGHT_VECTORS, vectors - v) * lanes
        d = p[D] + v * lanes
        column_sums(min(batch, SUM_ROWS), N, deltas, d, p[Y_ROW], work, GRADIENT)
        for r in range(SUM_ROWS, batch, SUM_ROWS):
            column_sums(min(batch - r, SUM_ROWS), N, deltas, d + r * p[Y_ROW], p[Y_ROW], work,
                        ANOTHER)  # fmt: skip
            add_block(ONE, N, work, ANOTHER, N, GRADIENT, N)
        update_block(rule, hyper, rate, no_decay, ONE, N, work, GRADIENT, N,
                     params, memory, p[B] + v * lanes, ZERO)  # fmt: skip


@inner
def update_from(gradient, part, parts, plan, rule, hyper, rate, decay, params, memory):
    """A part of the rows of all weights, and of the biases: the update by a gradient at hand."""
    no_decay = params.dtype.type(0)
    for layer in range(plan.shape[0]):
        p = plan[layer]
        rows, row = p[INPUTS] + 1, p[W_ROW]  # the biases lie behind the weights
        for i in range(rows * part // parts, rows * (part + 1) // parts):
            at = p[W] + i * row
            update_block(rule, hyper, rate, decay if i < p[INPUTS] else no_decay, ONE, row,
                         gradient, at, ZERO, params, memory, at, ZERO)  # fmt: skip


@inner
def squares_of_weights(chunk, chunks, plan, params, squares):
    """A chunk's share of the parts of the sum of all weights' squares; not of the biases.

    The parts are the same for any number of chunks, and so is their sum.
    """
    lanes, parts = VECTOR_BYTES // params.itemsize, squares.size
    for part in range(parts * chunk // chunks, parts * (chunk + 1) // chunks):
        total = splat(params.dtype.type(0), 1, GROUP)
        for layer in range(plan.shape[0]):
            p = plan[layer]
            for i in range(p[INPUTS] * part // parts, p[INPUTS] * (part + 1) // parts):
                w, end = p[W] + i * p[W_ROW], p[OUTPUTS]
                for n in range(0, end, GROUP * lanes):
                    row = load_first(params, w + n, end - n, GROUP)
                    total = fma(row, row, total)
        squares[part] = lane_sum(total)


@inner
def _note_loss(chunk, s, rows, share, row_loss, squares, penalty, step_loss, watch, epoch_loss,
               done):  # fmt: skip
    """Record the loss of step s, whose rows all chunks have finished, and say how to go on.

    The sum is made by every chunk, and the same in each.
    """
    total = 0.0
    for r in range(rows):
        total += row_loss[r] * share[r] if share.size else row_loss[r]
    mean = total if share.size else total / rows
    ends = False
    if watch[chunk, STEPS]:
        mean *= watch[chunk, SCALE]
        if penalty.size:
            mean += penalty[s] * squares.sum()
        ends = note_step(watch[chunk], epoch_loss, mean, rows, chunk == 0)
    if chunk == 0:
        step_loss[s] = mean
        done[0], done[1] = s + np.isfinite(total), s + 1
    if not np.isfinite(total):
        return STOP_BEFORE_UPDATE
    return STOP_AFTER_UPDATE if ends else GO_ON


@inner
def train_chunk(chunk, chunks, call, gradient, plan, loss, rule, hyper, params, memory, sparse, x,
                bounds, column, value, labels, targets, index, begin, share, rates, values, deltas,
                work, cursor, row_loss, squares, penalty, step_loss, watch, epoch_loss, salt, done,
                team):  # fmt: skip
    """A chunk's share of some of the steps whose batches are ``index[begin[s] : begin[s + 1]]``.

    Rows count their `share`, as long as `index`, in their batch's loss, or all the same if it is
    empty.  Step s has the learning rate ``rates[s, RATE]`` and the weight decay
    ``rates[s, DECAY]``.  Records the mean loss of each batch before its update in `step_loss`, with
    ``penalty[s]`` times the squares of all weights (if it is not empty), the means of epochs as
    `watch` says (see `note_step`), and the numbers of updates and of losses in `done`.  Stops
    before the update of a step whose loss is not finite, unless the rule is STORE, or after the one
    that ends training.
    What a step drops depends on ``salt + s``.

    The steps are ``call[FIRST] .. call[END]``, and whole; or there are many calls for one: of all
    pieces of SOME_ROWS, then of all of SOME_GRADIENTS, which go to `gradient`, and last UPDATE.
    """
    chunks = assemble(team, chunk, chunks)
    if chunks == 0:
        return
    stage, wide = call[STAGE], _weights(plan) >= WIDE_WEIGHTS
    part, parts = call[PIECE] * chunks + chunk, call[PIECES] * chunks
    for s in range(call[FIRST], call[END]):
        batch = index[begin[s] : begin[s + 1]]
        counts = share[begin[s] : begin[s + 1]] if share.size else share
        few = wide and batch.size <= FEW_ROWS
        if stage == WHOLE_STEPS and wide and chunks > 1 and batch.size <= COLUMN_ROWS:
            column_sweep(chunk, chunks, plan, loss, params, sparse, x, bounds, column, value,
                         labels, targets, batch, counts, salt + s, few, values, deltas, work,
                         cursor, row_loss, team)  # fmt: skip
        elif stage <= SOME_ROWS:
            row_sweep(part, parts, plan, loss, params, sparse, x, bounds, column, value, labels,
                      targets, batch, counts, salt + s, few, values, deltas, work[chunk], cursor,
                      row_loss)  # fmt: skip
        if stage == SOME_ROWS:
            return
        then = GO_ON
        if stage != SOME_GRADIENTS:
            if penalty.size:
                squares_of_weights(chunk, chunks, plan, params, squares)
            barrier(team, chunks)
            then = _note_loss(chunk, s, batch.size, counts, row_loss, squares, penalty, step_loss,
                              watch, epoch_loss, done)  # fmt: skip
        if then == STOP_BEFORE_UPDATE and rule != STORE:  # a gradient is what it is
            return
        if stage == UPDATE:
            update_from(gradient, chunk, chunks, plan, rule, hyper, rates[s, RATE], rates[s, DECAY],
                        params, memory)  # fmt: skip
        else:
            of, into, decay = rule, memory, rates[s, DECAY]
            if stage == SOME_GRADIENTS:  # the update adds the decay
                of, into, decay = STORE, gradient, params.dtype.type(0)
            weight_sweep(part, parts, plan, of, hyper, rates[s, RATE], decay, params, into, sparse,
                         column, value, batch, few, values, deltas, work[chunk],
                         cursor)  # fmt: skip
        if stage == SOME_GRADIENTS:
            return
        barrier(team, chunks)
        if then == STOP_AFTER_UPDATE:
            return


@Chunked
@entry(parallel=False)
def train(chunks, context, *args):
    """`train_chunk` in so many chunks."""
    run_or_pack(chunks, context, train_chunk, args)


@inner
def _hand_out(values, y, y_row, rows, outputs, first):
    """Copy the last layer's outputs, without the padding."""
    for r in range(rows):
        for o in range(outputs.shape[1]):
            outputs[first + r, o] = values[y + r * y_row + o]


@inner
def evaluate_rows(chunk, chunks, plan, loss, params, sparse, x, bounds, column, value, labels,
                  targets, index, values, cursor, outputs, row_loss):  # fmt: skip
    """A chunk's share of rows `index`: outputs and losses; an empty array of either is left out.

    `index` counts upwards by one.
    """
    p = plan[plan.shape[0] - 1]
    slot, scratch = chunk * ROW_BLOCK, p[SCRATCH] + chunk * NARROW_SCRATCH
    y = p[Y] + slot * p[Y_ROW]
    end = index.size * (chunk + 1) // chunks
    for first in range(index.size * chunk // chunks, end, ROW_BLOCK):
        rows = index[first : min(first + ROW_BLOCK, end)]
        forward_rows(plan, params, sparse, x, rows[0], bounds, column, value, rows, rows.size,
                     slot, ZERO, values, cursor)  # fmt: skip
        if row_loss.size:
            loss_rows(plan, loss, labels, targets, rows, slot, params[:0], params.dtype.type(0),
                      values, values, row_loss[first:], False, values, scratch)  # fmt: skip
        else:
            output_rows(p, loss, rows.size, slot, values, scratch)
        if outputs.size:
            _hand_out(values, y, p[Y_ROW], rows.size, outputs, first)


@Chunked
@entry(parallel=False)
def evaluate(chunks, context, *args):
    """`evaluate_rows` in so many chunks."""
    run_or_pack(chunks, context, evaluate_rows, args)


@inner
def predict_rows(chunk, chunks, plan, loss, params, x, column, values, outputs, strange):
    """A chunk's share of the rows of dense x: outputs; ``strange[chunk]`` if some are not finite.

    `column` is empty and stands for lists of nonzeros that there are not.
    """
    p, X, I = plan[plan.shape[0] - 1], flat(x), x.shape[1]
    never = plan[0, INPUTS] < 0  # a plain False would be a type, so a build, of its own
    slot, scratch = chunk * ROW_BLOCK, p[SCRATCH] + chunk * NARROW_SCRATCH
    end = x.shape[0] * (chunk + 1) // chunks
    y = p[Y] + slot * p[Y_ROW]
    for first in range(x.shape[0] * chunk // chunks, end, ROW_BLOCK):
        rows = min(ROW_BLOCK, end - first)
        forward_rows(plan, params, never, x, first, plan, column, params, p, rows, slot, ZERO,
                     values, plan)  # fmt: skip
        output_rows(p, loss, rows, slot, values, scratch)
        _hand_out(values, y, p[Y_ROW], rows, outputs, first)
        # Now, as the rows are in cache.
        strange[chunk] |= not all_finite(X, first * I, rows * I)


@Chunked
@entry(parallel=False)
def predict(chunks, context, plan, loss, params, x, column, values, outputs, strange):
    """`predict_rows` in so many chunks.

    Arguments by name: to look through a tuple of them takes Numba longer than a row of 4-16-3.
    """
    args = plan, loss, params, x, column, values, outputs, strange
    run_or_pack(chunks, context, predict_rows, args)
