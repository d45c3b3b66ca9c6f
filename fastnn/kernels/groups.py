"""What travels through the kernels, in groups with names.

A network is data, not type: `Network.plan` has a row of integers per layer, which is read as a
`Layer`.  So one compiled build per precision serves every depth and width.
"""

from typing import NamedTuple

import numpy as np

from fastnn.compiler.groups import (
    ByteTable,
    Columns,
    Doubles,
    DoubleTable,
    Float,
    Floats,
    FloatTable,
    Ints,
    IntTable,
    read_group,
)
from fastnn.compiler.jit import inner
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import flat

# Rows that pass through a network together: a batch of 100 in one piece on one thread, too.
ROW_BLOCK = 128

# Plain 0 and 1 are types of their own to Numba, and every mix of them one more build.
ZERO, ONE = np.int64(0), np.int64(1)


class Network(NamedTuple):
    """A network."""

    plan: IntTable  # (layers, fields of Layer) of int64
    loss: int  # code of losses.LOSSES
    params: Floats  # all weights and biases


class Layer(NamedTuple):
    """A row of the plan.  Offsets and distances count elements of the array named."""

    kind: int  # code of layers.KINDS
    number: int
    inputs: int
    outputs: int
    vectors: int  # of the outputs, the padding with them
    weights: int  # in `params`, a row for each input,
    weights_row: int  # which is padded; the biases lie behind the last
    biases: int
    activation: int  # code of activations.ACTIVATIONS
    x: int  # the layer's inputs, in `values`, a row per row of the batch
    x_row: int
    y: int  # its outputs, in `values`
    y_row: int
    dz: int  # in `deltas`, rows as those of y
    dropped: int  # of dropout.PARTS so many of its outputs are dropped in training
    parts: int  # address of the table of parts, see `fastnn.compiler.parts`; the same in all layers
    # Of the last layer, in `values`: narrow_outputs.SCRATCH for each ROW_BLOCK rows evaluated.
    scratch: int


_PARTS = Layer._fields.index("parts")


class Data(NamedTuple):
    """Inputs; what is not used is empty."""

    x: FloatTable  # (N, I) of numbers; or, of inputs that are mostly zero, lists of the others:
    bounds: IntTable  # (N, 2): those of row r are the entries bounds[r, 0] .. bounds[r, 1] of
    column: Columns
    value: Floats


class Targets(NamedTuple):
    """What is wanted of the rows; one of them is empty."""

    labels: Ints  # (N,) of int64
    targets: FloatTable  # (N, O)
    numbers: Floats  # (O,): what the loss has for each output, a quantile say; or empty


class Examples(NamedTuple):
    """Inputs and what is wanted of them, as entries take them: `Data`, `Targets`, and more.

    Rows that come with a call are looked at by the kernel that uses them; `found` says so, which is
    empty otherwise.  It then lists nonzeros in the arrays of `Data`, of which x is the rows as they
    were given, and writes labels; see `given.take_rows`.
    """

    x: FloatTable
    bounds: IntTable
    column: Columns
    value: Floats
    labels: Ints
    targets: FloatTable
    numbers: Floats
    one_hot: ByteTable  # of those given, the bytes of one-hot rows, of elements of any type;
    given: Ints  # or their labels (N,) of int64; one of them is empty
    classes: int  # labels are less
    size: int  # bytes of an element of one-hot rows
    one: int  # a 1 of its type, as a number without a sign
    limits: Floats  # (2,): the least and the largest target
    found: IntTable  # (chunks, fields of `nonzeros.Found`)


class Rows(NamedTuple):
    """Rows of data on their way through a network."""

    numbers: Ints  # of the rows
    count: int
    first: int  # of rows that lie one after another, and are read there; or GATHER
    slot: int  # the row of `values` and `deltas` that the first goes to
    salt: int  # what dropout drops depends on it
    few: bool  # so few that reading and writing the weights is all that counts
    share: Floats  # parts of the rows in the loss; if empty, all count the same
    ahead: Ints  # rows of data that come next, and may be asked for
    batch: int  # rows of the whole batch


# In place of a first row: rows lie anywhere, and are copied side by side.
GATHER = np.int64(-1)


class Rule(NamedTuple):
    """How weights change."""

    code: int  # of rules.RULES
    numbers: Floats  # what the rule reads, see rules.Numbers
    memory: Floats  # what it remembers, laid out like the parameters
    rate: Float
    decay: Float


class Batches(NamedTuple):
    """Steps: the batch of step s is ``index[begin[s] : begin[s + 1]]``."""

    index: Ints
    begin: Ints
    share: Floats  # of each of `index` in the loss of its batch; or empty
    rates: FloatTable  # (steps, 2): learning rate and weight decay, see rules.RateAndDecay
    penalty: Doubles  # times the squares of all weights is part of the loss of a step; or empty
    salt: int  # what step s drops depends on ``salt + s``


class AllScratch(NamedTuple):
    """Memory of steps; what is in it when one begins means nothing."""

    values: Floats
    deltas: Floats
    work: FloatTable  # a row for each chunk
    cursor: IntTable
    row_loss: Doubles
    squares: (
        Doubles  # (2 * steps.SQUARES,): parts of the sum of the squares of all weights, both turns
    )
    gradient: Floats  # like the parameters: of a step that takes many calls; or empty
    # Of networks of few weights, see row_groups.py; of others empty.
    partial: FloatTable  # (2 * groups, parameters): the gradient of each group of rows, both turns
    group_loss: Doubles  # (2 * groups * LINE,)
    own: FloatTable  # (chunks, OWN_BLOCKS * parameters): a row for each chunk


class Scratch(NamedTuple):
    """What a chunk has of it, for a pass."""

    values: Floats  # inputs and outputs of layers, see Layer
    deltas: Floats  # dz of layers, before that dy; written by sweeps over rows
    work: Floats  # the chunk's own, see GRADIENT, ANOTHER and PANEL
    cursor: IntTable  # (blocks, rows): a row's place in its list at each block of columns
    row_loss: Doubles  # (rows,)


# `work`: zeros to start sums from, a block of gradients, another, a panel.  Offsets in elements,
# large enough for either precision.
GRADIENT_ROWS = 96
GRADIENT = np.int64(1024)
ANOTHER = GRADIENT + GRADIENT_ROWS * 4096 // 4
PANEL = ANOTHER + GRADIENT_ROWS * 1024 // 4


class Record(NamedTuple):
    """What training tells Python."""

    step_loss: Doubles  # (steps,)
    watch: DoubleTable  # (chunks, epochs.WATCH_COLUMNS)
    epoch_loss: Doubles
    done: Ints  # numbers of updates, and of losses, that were made


class Share(NamedTuple):
    """A chunk's share of the weights of a layer."""

    low: int  # rows of those that are shared out with other layers'
    high: int
    part: int  # of what a kind of layer shares out by itself
    parts: int
    biases: bool  # whether they are part of it, if a kind updates them itself


class Call(NamedTuple):
    """What one call of `train` makes: steps first .. end, or a piece of one of them."""

    stage: int
    first: int
    end: int
    piece: int
    pieces: int
    team: Ints  # words by which its chunks wait for each other


class Place(NamedTuple):
    """The elements of an array from one on."""

    array: Floats
    at: int


class Wanted(NamedTuple):
    """What is wanted of a row: a label, or targets from ``targets[at]`` on."""

    label: int
    targets: Floats
    at: int
    numbers: Floats  # see `Targets`


@inner
def share_of(count, part, parts):
    """First and end of a part of so many things, of equal parts that stand in a row."""
    return count * part // parts, count * (part + 1) // parts


@inner
def data_of(examples):
    """The inputs."""
    return Data(examples.x, examples.bounds, examples.column, examples.value)


@inner
def targets_of(examples):
    """What is wanted of them."""
    return Targets(examples.labels, examples.targets, examples.numbers)


@inner
def layer_of(network, number):
    """A layer of a network, counted from 0."""
    return read_group(Layer, network.plan, number)


@inner
def parts_of(network):
    """The address of the table of parts that it needs."""
    return network.plan[0, _PARTS]


@inner
def has_weights(layer):
    """Whether a layer has any: some have no inputs that are multiplied."""
    return layer.inputs > 0


@inner
def last_layer(network):
    """The layer with the outputs."""
    return layer_of(network, network.plan.shape[0] - 1)


@inner
def part_of(rows, first, end):
    """Some of the rows of a batch."""
    share = rows.share[first:end] if rows.share.size else rows.share
    return Rows(
        rows.numbers[first:end],
        end - first,
        GATHER if rows.first == GATHER else rows.first + first,
        rows.slot + first,
        rows.salt,
        rows.few,
        share,
        rows.ahead,
        rows.batch,
    )


@inner
def shifted(matrix, rows, columns):
    """The part of a matrix below so many rows, and right of so many columns."""
    at = matrix.at + rows * matrix.row + columns * matrix.column
    return Matrix(matrix.array, at, matrix.row, matrix.column)


@inner
def transposed(matrix):
    """Rows as columns."""
    return Matrix(matrix.array, matrix.at, matrix.column, matrix.row)


@inner
def rows_at(array, at, row):
    """The matrix whose rows lie `row` elements apart."""
    return Matrix(array, at, row, ONE)


@inner
def weights_of(network, layer):
    """W (inputs, outputs) in the parameters."""
    return rows_at(network.params, layer.weights, layer.weights_row)


@inner
def biases_of(network, layer):
    """Biases, as a matrix of which all rows are the same."""
    return rows_at(network.params, layer.biases, ZERO)


@inner
def inputs_of(layer, values, slot):
    """X (rows, inputs) of a layer, from a row on."""
    return rows_at(values, layer.x + slot * layer.x_row, layer.x_row)


@inner
def outputs_of(layer, values, slot):
    """Y (rows, outputs) of a layer, from a row on."""
    return rows_at(values, layer.y + slot * layer.y_row, layer.y_row)


@inner
def deltas_of(layer, deltas, slot):
    """Dz (rows, outputs) of a layer, from a row on."""
    return rows_at(deltas, layer.dz + slot * layer.y_row, layer.y_row)


@inner
def wanted_of(targets, row, outputs):
    """What is wanted of a row of data."""
    label = targets.labels[row] if targets.labels.size else 0
    return Wanted(label, flat(targets.targets), row * outputs, targets.numbers)
