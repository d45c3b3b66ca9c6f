"""A kind of layer, "convolution": filters over images, and their activation.

Its weights are a row for each tap c, i, j of the filters, a column for each of these; the biases
lie behind them.  Gradients are made on the way back, for each part of a batch, and lie among
deltas.
"""

from fastnn.compiler.arithmetic import lane_sum
from fastnn.compiler.jit import inner
from fastnn.compiler.tap_products import Filters, Planes
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import GROUP, element, load_row, put, splat
from fastnn.kernels.activations import IDENTITY
from fastnn.kernels.convolution import CONVOLVE, FILTER_GRADIENT, FilterSums, Sums
from fastnn.kernels.groups import (
    GRADIENT,
    ONE,
    ZERO,
    Data,
    Layer,
    Network,
    Place,
    Rows,
    Rule,
    Scratch,
    Share,
    biases_of,
    parts_of,
    rows_at,
    shifted,
    weights_of,
)
from fastnn.kernels.images import (
    clear,
    clear_behind_lines,
    clear_border,
    clear_deltas,
    deltas_in_lanes,
    first_group,
    image_of,
    images_of,
    outputs_in_lanes,
    sum_of_group,
    sums_of,
    through_activation,
)
from fastnn.kernels.rules import UPDATE_BY_SUMS, without_decay


@inner
def forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Outputs of a group of images."""
    work, parts, number = scratch.work, parts_of(network), layer.number
    image, below = image_of(network, number), image_of(network, number - 1)
    x = _window_over(image, outputs_in_lanes(network, number - 1, work, rows))
    y = outputs_in_lanes(network, number, work, rows)
    sums = Sums(
        layer.outputs,
        image.height,
        image.width,
        below.channels,
        image.lines,
        image.pixels,
        image.stride_y,
        image.stride_x,
        image.pad_y,
        image.pad_y + below.height,
        image.pad_x,
        image.pad_x + below.width,
        parts,
        image.activation,
    )
    row = layer.weights_row
    size = image.lines * image.pixels * row
    filters = Filters(network.params, layer.weights, ONE, size, image.pixels * row, row)
    CONVOLVE(parts, 0, (sums, x, filters, Matrix(network.params, layer.biases, ONE, ONE), y))
    clear_border(image, y)


@inner
def _window_over(image, x):
    """Images, from the first pixel of the first window on, which may be one of zeros."""
    at = x.at - image.pad_y * x.line - image.pad_x * x.pixel
    return Planes(x.array, at, x.plane, x.line, x.pixel)


@inner
def backward(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """What a group of images says of the weights; and deltas of the layer below, if it has any."""
    _gradients(network, layer, rows, scratch)
    if below.number == 0:
        return
    work, parts, image = scratch.work, parts_of(network), image_of(network, layer.number)
    under, dz = image_of(network, below.number), deltas_in_lanes(network, layer.number, work, rows)
    dx = deltas_in_lanes(network, below.number, work, rows)
    clear_deltas(network, below.number, work, rows)
    # Filters turned round, over deltas that lie a stride apart, with zeros between and around them.
    top, left = image.lines - 1 - image.pad_y, image.pixels - 1 - image.pad_x
    line, pixel = dz.line // image.stride_y, dz.pixel // image.stride_x
    sums = Sums(
        under.channels,
        under.height,
        under.width,
        layer.outputs,
        image.lines,
        image.pixels,
        ONE,
        ONE,
        top,
        top + (image.height - 1) * image.stride_y + 1,
        left,
        left + (image.width - 1) * image.stride_x + 1,
        parts,
        IDENTITY,
    )
    row = layer.weights_row
    size = image.lines * image.pixels * row
    filters = Filters(
        network.params, layer.weights + size - row, size, ONE, -image.pixels * row, -row
    )
    images = Planes(work, dz.at - top * line - left * pixel, dz.plane, line, pixel)
    CONVOLVE(parts, 0, (sums, images, filters, Matrix(work, ZERO, ZERO, ONE), dx))
    clear_behind_lines(under, dx)
    through_activation(network, below.number, work, rows)


@inner
def _gradients(network, layer, rows, scratch):
    """Add what a group of images says of the weights to the sums of its part of the batch."""
    work, image, under = (
        scratch.work,
        image_of(network, layer.number),
        image_of(network, layer.number - 1),
    )
    group = rows.slot // images_of(work)
    part = sum_of_group(group, rows.batch, work)
    at, row = layer.x + part * layer.x_row, layer.weights_row
    if group == first_group(part, rows.batch, work):
        clear(scratch.deltas, at + layer.weights, (layer.inputs + 1) * row)
    deltas = deltas_in_lanes(network, layer.number, work, rows)
    x = _window_over(image, outputs_in_lanes(network, layer.number - 1, work, rows))
    sums = FilterSums(
        layer.outputs,
        image.height,
        image.width,
        under.channels,
        image.lines,
        image.pixels,
        image.stride_y,
        image.stride_x,
    )
    out = rows_at(scratch.deltas, at + layer.weights, row)
    fold = Place(work, GRADIENT)
    FILTER_GRADIENT(parts_of(network), 0, (sums, deltas, x, out, fold))
    _bias_gradients(image, deltas, scratch.deltas, at + layer.biases)


@inner
def _bias_gradients(image, deltas, out, at):
    pixels = max(images_of(deltas.array) // deltas.pixel, 1)  # that are summed together
    for o in range(image.channels):
        total = splat(deltas.array.dtype.type(0), GROUP)
        for i in range(image.height):
            line = deltas.at + o * deltas.plane + i * deltas.line
            for j in range(0, image.width, pixels):
                total = total + load_row(deltas.array, line + j * deltas.pixel, GROUP)
        put(out, at + o, element(out, at + o) + lane_sum(total))


@inner
def update(
    network: Network,
    layer: Layer,
    rule: Rule,
    data: Data,
    rows: Rows,
    scratch: Scratch,
    share: Share,
):
    """Update of rows ``share.low .. share.high`` of the weights, by the sums of all parts.

    And of the biases, if they are part of the share.
    """
    weights = weights_of(network, layer)
    count, first = max(share.high - share.low, 0), shifted(weights, share.low, ZERO)
    _update_rows(network, layer, rule, rows, scratch, count, first)
    if share.biases:
        biases = biases_of(network, layer)
        _update_rows(network, layer, without_decay(rule), rows, scratch, ONE, biases)


@inner
def _update_rows(network, layer, rule, rows, scratch, count, weights):
    sums = sums_of(rows.batch, scratch.work)
    gradients, columns = rows_at(scratch.deltas, layer.x, layer.x_row), layer.weights_row
    arguments = (rule, sums, count, columns, gradients, weights)
    UPDATE_BY_SUMS(parts_of(network), rule.code, arguments)


def forward_parts(layer, by_columns):
    """What `forward` calls, and `backward`."""
    return [(CONVOLVE, 0)]


def update_parts(layer):
    """What the gradients call."""
    return [(FILTER_GRADIENT, 0)]
