"""Images on their way through a network: where they lie, and how rows become lanes and back.

A group of images, 64 bytes of them, is the innermost dimension: ``[c, y, x, image]``.  Rows of a
batch go through the layers of images a group at a time, in a chunk's own `work`.  Outputs of all
groups of a block stay there until the block's way back; deltas are those of one group.

The last group of a batch has as many rows as are left, and a pixel room for as few as will do, a
power of two: a vector then holds neighbouring pixels, too, and one image or four take a part of the
time of sixteen.  Lines have room for whole vectors from their first pixel on.
"""

from typing import NamedTuple

from fastnn.compiler.groups import read_group_behind
from fastnn.compiler.jit import inner
from fastnn.compiler.tap_products import Planes
from fastnn.compiler.tile_products import load_transposed
from fastnn.compiler.tiles import GROUP, element, lanes_of, load, put, splat, store, store_rows
from fastnn.kernels.activations import activation_backward
from fastnn.kernels.groups import ZERO, Layer, layer_of, parts_of, rows_at, share_of


class Image(NamedTuple):
    """What the plan says of a layer of images, behind its `Layer`; of other layers nothing."""

    channels: int  # of its outputs
    height: int
    width: int
    lines: int  # of its filters, or windows
    pixels: int
    stride_y: int
    stride_x: int
    pad_y: int  # lines and pixels of zeros around what it reads
    pad_x: int
    activation: int
    dropped: int  # of dropout.PARTS so many of its outputs are dropped in training
    # Its outputs, from ``Layer.y`` on, with lines and pixels of zeros around that are read above.
    border_y: int
    border_x: int
    # Their deltas, from ``Layer.dz`` on, in the same array, for one group: lines and pixels of a
    # plane, how many are zeros before the first that is none, and steps from one to the next.
    deltas_lines: int
    deltas_pixels: int
    deltas_left: int
    deltas_step_y: int
    deltas_step_x: int
    # The same in all layers: how many images a pixel has room for at least, rows whose outputs have
    # room, and where in `values` a chunk has its `work`, and of which size, if a pass makes no
    # deltas.
    fewest: int
    block: int
    work: int
    work_size: int


FIELDS = len(Layer._fields)
# Gradients of filters are summed over so many parts of a batch at most, one after the other.
MOST_SUMS = 16


@inner
def image_of(network, number):
    """What the plan says of a layer of images."""
    return read_group_behind(Image, network.plan, number, FIELDS)


@inner
def images_of(array):
    """How many images are a group."""
    return GROUP * lanes_of(array)


@inner
def groups_of(rows, array):
    """How many groups so many rows make."""
    images = images_of(array)
    return (rows + images - 1) // images


@inner
def _pixel(network, rows):
    """How many images a pixel of a group has room for."""
    images = image_of(network, ZERO).fewest
    while images < rows.count:
        images *= 2
    return images


@inner
def _line(pixels, left, width, pixel, array):
    """Elements of a line of so many pixels, with room for whole groups from one of them on."""
    group = images_of(array)
    return max(pixels * pixel, left * pixel + (width * pixel + group - 1) // group * group)


@inner
def outputs_in_lanes(network, number, work, rows):
    """Outputs of a layer of images for a group of rows."""
    layer, image = layer_of(network, number), image_of(network, number)
    pixel = _pixel(network, rows)
    left = image.border_x
    line = _line(image.width + 2 * left, left, image.width, pixel, work)
    at = layer.y + rows.slot % image.block * layer.y_row
    at += image.border_y * line + left * pixel
    return Planes(work, at, (image.height + 2 * image.border_y) * line, line, pixel)


@inner
def deltas_in_lanes(network, number, work, rows):
    """Deltas of a layer of images for a group of rows."""
    layer, image = layer_of(network, number), image_of(network, number)
    pixel = _pixel(network, rows)
    left, steps = image.deltas_left, (image.deltas_step_y, image.deltas_step_x)
    line = _line(image.deltas_pixels, left, image.width, pixel, work)
    at, plane = layer.dz + left * pixel, image.deltas_lines * line
    return Planes(work, at, plane, steps[0] * line, steps[1] * pixel)


@inner
def has_border(image):
    """Whether there are zeros around a layer's outputs."""
    return image.border_y > 0 or image.border_x > 0


@inner
def clear_border(image, y):
    """Zeros around a layer's outputs; and, if deltas will meet it, what is behind their lines."""
    group = images_of(y.array)
    goes_back = image.work_size == 0
    if not has_border(image) and (y.pixel == group or not goes_back):
        return
    left, above = image.border_x * y.pixel, image.border_y * y.line
    inside = image.width * y.pixel
    for c in range(image.channels):
        first = y.at + c * y.plane - left
        clear(y.array, first - above, above)
        clear(y.array, first + image.height * y.line, above)
        for i in range(image.height):
            line = first + i * y.line
            clear(y.array, line, left)
            clear(y.array, line + left + inside, y.line - left - inside)
    if y.pixel < group:  # read with the last line
        clear(y.array, y.at - left - above + image.channels * y.plane, group)


@inner
def clear(array, at, count):
    """Zeros."""
    lanes, end = lanes_of(array), at + count
    zero = splat(array.dtype.type(0), 1)
    while at + lanes <= end:
        store(array, at, zero)
        at += lanes
    while at < end:
        put(array, at, array.dtype.type(0))
        at += 1


@inner
def clear_behind_lines(image, planes):
    """Zeros behind lines of a layer's deltas, as far as whole vectors were written there."""
    inside = image.width * planes.pixel
    count = -inside % images_of(planes.array)
    if count == 0:
        return
    for c in range(image.channels):
        for i in range(image.height):
            at = planes.at + c * planes.plane + i * planes.line
            clear(planes.array, at + inside, count)


@inner
def clear_deltas(network, number, work, rows):
    """Zeros wherever deltas of a layer of images may be, and between them."""
    planes = deltas_in_lanes(network, number, work, rows)
    clear(work, layer_of(network, number).dz, image_of(network, number).channels * planes.plane)


@inner
def through_activation(network, number, work, rows):
    """Turn dy of a layer of images into ``dz = dy * slope(y)``."""
    image, y = image_of(network, number), outputs_in_lanes(network, number, work, rows)
    dy = deltas_in_lanes(network, number, work, rows)
    multiply_slopes(parts_of(network), image.activation, image, y, dy)


@inner
def multiply_slopes(parts, code, image, y, dy):
    """Turn dy into ``dz = dy * slope(y)``, for an image's channels, height and width."""
    for c in range(image.channels):
        here, there = y.at + c * y.plane, dy.at + c * dy.plane
        if dy.pixel == y.pixel:
            columns = image.width * y.pixel
            lines = rows_at(y.array, here, y.line), rows_at(dy.array, there, dy.line)
            activation_backward(parts, code, image.height, columns, lines[0], lines[1])
            continue
        for i in range(image.height):
            pixels = (
                rows_at(y.array, here + i * y.line, y.pixel),
                rows_at(dy.array, there + i * dy.line, dy.pixel),
            )
            activation_backward(parts, code, image.width, y.pixel, pixels[0], pixels[1])


@inner(separate=True)
def rows_to_lanes(units, rows, out):
    """Rows, as many as a group has, of so many units as lanes; unit n at ``out.at + n * row``."""
    lanes = lanes_of(out.array)
    for first in range(0, images_of(out.array), lanes):
        begin, to = rows.at + first * rows.row, out.at + first
        n = 0
        while n + lanes <= units:
            square = load_transposed(rows.array, begin + n, rows.row)
            store_rows(out.array, to + n * out.row, out.row, square)
            n += lanes
        while n < units:
            for r in range(lanes):
                one = element(rows.array, begin + r * rows.row + n)
                put(out.array, to + n * out.row + r, one)
            n += 1


@inner(separate=True)
def lanes_to_rows(units, lanes_in, out):
    """What `rows_to_lanes` has turned round, turned back; for whole groups of rows."""
    lanes = lanes_of(out.array)
    for first in range(0, images_of(out.array), lanes):
        begin, to = lanes_in.at + first, out.at + first * out.row
        n = 0
        while n + lanes <= units:
            square = load_transposed(lanes_in.array, begin + n * lanes_in.row, lanes_in.row)
            store_rows(out.array, to + n, out.row, square)
            n += lanes
        while n < units:
            for r in range(lanes):
                one = element(lanes_in.array, begin + n * lanes_in.row + r)
                put(out.array, to + r * out.row + n, one)
            n += 1


@inner(separate=True)
def rows_to_pixels(units, rows, out):
    """Rows, as many as a pixel has room for, of so many units; unit n at ``out.at + n * row``."""
    for r in range(out.row):
        for n in range(units):
            one = element(rows.array, rows.at + r * rows.row + n)
            put(out.array, out.at + n * out.row + r, one)


@inner(separate=True)
def pixels_to_rows(units, pixels, out):
    """What `rows_to_pixels` has turned round, turned back."""
    for r in range(pixels.row):
        for n in range(units):
            one = element(pixels.array, pixels.at + n * pixels.row + r)
            put(out.array, out.at + r * out.row + n, one)


@inner
def copy_planes(image, planes, out):
    """Copy pixels of a group, one by one; what is written behind a line is not read."""
    for c in range(image.channels):
        for i in range(image.height):
            for j in range(image.width):
                at = planes.at + c * planes.plane + i * planes.line + j * planes.pixel
                to = out.at + c * out.plane + i * out.line + j * out.pixel
                for g in range(0, planes.pixel, lanes_of(out.array)):
                    store(out.array, to + g, load(planes.array, at + g))


# Gradients of filters


@inner
def sums_of(batch, array):
    """How many parts of so many rows have sums of their own."""
    return min(groups_of(batch, array), MOST_SUMS)


@inner
def first_group(sum_, batch, array):
    """The first group of a part, which is cut by the number of rows alone."""
    groups, sums = groups_of(batch, array), sums_of(batch, array)
    return (sum_ * groups + sums - 1) // sums


@inner
def sum_of_group(group, batch, array):
    """The part that a group is in."""
    return group * sums_of(batch, array) // groups_of(batch, array)


@inner
def rows_of_part(count, part, parts, array):
    """First and end of a part of so many rows: of whole parts that have sums of their own."""
    low, high = share_of(sums_of(count, array), part, parts)
    first, end = first_group(low, count, array), first_group(high, count, array)
    return min(first * images_of(array), count), min(end * images_of(array), count)


@inner
def block_of(network):
    """Rows that pass through a network together, there and back."""
    return image_of(network, ZERO).block
