"""What travels through the kernels, in groups with names.

A network is data, not type: `Network.plan` has a row of integers per layer, which is read as a
`Layer`.  So one compiled build per precision serves every depth and width.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.compiler.groups import read_group
from fastnn.compiler.jit import inner
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import flat

# Plain 0 and 1 are types of their own to Numba, and every mix of them one more build.
ZERO, ONE = np.int64(0), np.int64(1)


class Network(NamedTuple):
    """A network."""

    plan: Any  # (layers, fields of Layer) of int64
    loss: Any  # code of losses.LOSSES
    params: Any  # all weights and biases


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
    # Of the last layer, in `values`: narrow_outputs.SCRATCH for each ROW_BLOCK rows evaluated.
    scratch: int


class Data(NamedTuple):
    """Inputs; what is not used is empty."""

    x: Any  # (N, I) of numbers; or, of inputs that are mostly zero, lists of the others:
    bounds: Any  # (N, 2): those of row r are the entries bounds[r, 0] .. bounds[r, 1] of
    column: Any
    value: Any


class Targets(NamedTuple):
    """What is wanted of the rows; one of them is empty."""

    labels: Any  # (N,) of int64
    targets: Any  # (N, O)


class Examples(NamedTuple):
    """Inputs and what is wanted of them, as entries take them: `Data`, `Targets`, and more.

    Rows that come with a call are looked at by the kernel that uses them; `found` says so, which is
    empty otherwise.  It then lists nonzeros in the arrays of `Data`, of which x is the rows as they
    were given, and writes labels; see `given.take_rows`.
    """

    x: Any
    bounds: Any
    column: Any
    value: Any
    labels: Any
    targets: Any
    one_hot: Any  # of those given, the bytes of one-hot rows, of elements of any type;
    given: Any  # or their labels (N,) of int64; one of them is empty
    classes: int  # labels are less
    size: int  # bytes of an element of one-hot rows
    one: int  # a 1 of its type, as a number without a sign
    limits: Any  # (2,): the least and the largest target
    found: Any  # (chunks, fields of `nonzeros.Found`)


class Rows(NamedTuple):
    """Rows of data on their way through a network."""

    numbers: Any  # of the rows
    count: int
    first: int  # of rows that lie one after another, and are read there; or GATHER
    slot: int  # the row of `values` and `deltas` that the first goes to
    salt: int  # what dropout drops depends on it
    few: bool  # so few that reading and writing the weights is all that counts
    share: Any  # parts of the rows in the loss; if empty, all count the same


# In place of a first row: rows lie anywhere, and are copied side by side.
GATHER = np.int64(-1)


class Rule(NamedTuple):
    """How weights change."""

    code: int  # of rules.RULES
    numbers: Any  # what the rule reads, see rules.Numbers
    memory: Any  # what it remembers, laid out like the parameters
    rate: Any
    decay: Any


class Batches(NamedTuple):
    """Steps: the batch of step s is ``index[begin[s] : begin[s + 1]]``."""

    index: Any
    begin: Any
    share: Any  # of each of `index` in the loss of its batch; or empty
    rates: Any  # (steps, 2): learning rate and weight decay, see rules.RateAndDecay
    penalty: Any  # times the squares of all weights is part of the loss of a step; or empty
    salt: int  # what step s drops depends on ``salt + s``


class AllScratch(NamedTuple):
    """Memory of steps; what is in it when one begins means nothing."""

    values: Any
    deltas: Any
    work: Any  # a row for each chunk
    cursor: Any
    row_loss: Any
    squares: Any  # (train.SQUARES,): parts of the sum of the squares of all weights
    gradient: Any  # like the parameters: of a step that takes many calls; or empty
    # Of networks of few weights, see row_groups.py; of others empty.
    partial: Any  # (2 * groups, parameters): the gradient of each group of rows, in both turns
    group_loss: Any  # (2 * groups * LINE,)
    own: Any  # (chunks, OWN_BLOCKS * parameters): a row for each chunk


class Scratch(NamedTuple):
    """What a chunk has of it, for a pass."""

    values: Any  # inputs and outputs of layers, see Layer
    deltas: Any  # dz of layers, before that dy; sweeps over rows write it, over weights read it
    work: Any  # the chunk's own, see GRADIENT, ANOTHER and PANEL
    cursor: Any  # (blocks, rows): where in its list of nonzeros a row is, for each block of columns
    row_loss: Any  # (rows,)


# `work`: zeros to start sums from, a block of gradients, another, a panel.  Offsets in elements,
# large enough for either precision.
GRADIENT_ROWS = 96
GRADIENT = np.int64(1024)
ANOTHER = GRADIENT + GRADIENT_ROWS * 4096 // 4
PANEL = ANOTHER + GRADIENT_ROWS * 1024 // 4


class Record(NamedTuple):
    """What training tells Python."""

    step_loss: Any  # (steps,)
    watch: Any  # (chunks, epochs.WATCH_COLUMNS)
    epoch_loss: Any
    done: Any  # numbers of updates, and of losses, that were made


class Share(NamedTuple):
    """A chunk's share of the weights of a layer."""

    low: int  # rows of those that are shared out with other layers'
    high: int
    part: int  # of what a kind of layer shares out by itself
    parts: int


class Call(NamedTuple):
    """What one call of `train` makes: steps first .. end, or a piece of one of them."""

    stage: int
    first: int
    end: int
    piece: int
    pieces: int
    team: Any  # words by which its chunks wait for each other


class Place(NamedTuple):
    """The elements of an array from one on."""

    array: Any
    at: int


class Wanted(NamedTuple):
    """What is wanted of a row: a label, or targets from ``targets[at]`` on."""

    label: int
    targets: Any
    at: int


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
    return Targets(examples.labels, examples.targets)


@inner
def layer_of(network, number):
    """A layer of a network, counted from 0."""
    return read_group(Layer, network.plan, number)


@inner
def last_layer(network):
    """The layer with the outputs."""
    return layer_of(network, network.plan.shape[0] - 1)


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
    return Wanted(label, flat(targets.targets), row * outputs)
