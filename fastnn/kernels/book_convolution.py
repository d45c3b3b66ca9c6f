"""Convolution and pooling on images of anyone's: kernels of `fastnn.book`, in float64.

All images of a batch are the innermost dimension, ``[c, y, x, image]``, up to whole groups of 64
bytes: an array of shape (N, C, H, W) whose strides say so is at once what these kernels read, and a
NumPy array like any other.  Neighbouring vectors are groups of images of one pixel, so windows are
cut exactly where images end.
"""

from typing import NamedTuple

from fastnn.compiler.arithmetic import lane_sum, where_beaten, where_less
from fastnn.compiler.groups import Floats
from fastnn.compiler.jit import inner
from fastnn.compiler.launch import chunked
from fastnn.compiler.tap_products import Filters, Planes, Window, outer_sums, tap_product
from fastnn.compiler.tiles import (
    VECTOR_BYTES,
    element,
    lanes_of,
    like,
    load,
    load_row,
    load_rows,
    put,
    splat,
    store,
    store_rows,
)
from fastnn.kernels.convolution import (
    SUMMED_OUTPUTS,
    SUMMED_TAPS,
    TILE_OUTPUTS,
    filters_at,
    fits,
    planes_at,
)
from fastnn.kernels.groups import rows_at, share_of
from fastnn.kernels.images import clear, images_of, lanes_to_rows, rows_to_lanes

# Vectors side by side in a tile of sums, as many registers as with TILE_OUTPUTS.
TILE_GROUPS = 4 if VECTOR_BYTES == 64 else 2
# Taps of filters whose gradients are a thread's own piece of work.
TAPS_TOGETHER = 32


class Shape(NamedTuple):
    """Images: how many, up to whole groups; their channels, height and width."""

    images: int
    channels: int
    height: int
    width: int


class Move(NamedTuple):
    """A window: lines and pixels of it, how far it goes at a time, and zeros around images."""

    lines: int
    pixels: int
    stride: int
    pad: int


class Reach(NamedTuple):
    """The taps of a filter that meet an image: the first, how many, and where they meet it."""

    first: int
    count: int
    at: int


@inner
def planes_of(array, shape):
    """Images as the products take them."""
    line = shape.width * shape.images
    return Planes(array, 0, shape.height * line, line, shape.images)


@inner
def _reach(out, stride, pad, taps, size):
    """Of an output line (or pixel) the taps that meet lines of the images, not zeros around."""
    at = out * stride - pad
    first = max(-at, 0)
    return Reach(first, max(min(size - at, taps) - first, 0), at + first + pad)


@inner
def _reach_back(line, stride, pad, taps, outputs):
    """Of a line of the images the taps that have met it, and of outputs the first that did.

    Taps lie `stride` apart, the outputs side by side, in the other direction.
    """
    at = line + pad
    first, last = at - (outputs - 1) * stride, min(taps - 1, at)  # that meets the last output
    if first < 0:
        first = at % stride
    return Reach(first, max((last - first) // stride + 1, 0), (at - first) // stride)


def _make_sums(height, vectors):
    @inner
    def sums(window, W, X, start, begin, step, out, to, plane):
        tile = tap_product(height, vectors, window, W, X, start, begin, step)
        store_rows(out, to, plane, tile)

    return sums


def _make_outputs(height, narrower):
    """Code for one pixel of as many outputs as are left; `narrower` does the rest."""
    wide, single = _make_sums(height, TILE_GROUPS), _make_sums(height, 1)

    @inner
    def outputs(o, sums, is_wide, window, W, X, out):
        while fits(height, sums.outputs - o):
            filters = filters_at(W, W.at + o * W.output)
            to, begin = out.at + o * out.plane, o * sums.step
            if is_wide:
                wide(window, filters, X, sums.start, begin, sums.step, out.array, to, out.plane)
            else:
                single(window, filters, X, sums.start, begin, sums.step, out.array, to, out.plane)
            o += height
        if o < sums.outputs:
            narrower(o, sums, is_wide, window, W, X, out)

    return outputs


@inner
def _none(o, sums, is_wide, window, W, X, out):
    """Nothing is left after single outputs."""
    return


outputs_of_pixel = _make_outputs(TILE_OUTPUTS, _make_outputs(4, _make_outputs(1, _none)))


class Sums(NamedTuple):
    """How many outputs there are, and what their sums start from, `step` apart."""

    outputs: int
    start: Floats
    step: int


@inner
def images_together(n, images, lanes):
    """How many images from n on pass together: a tile of groups of them, or a vector.

    They are the outermost loop: what filters reach of so few stays in a second-level cache.
    """
    return TILE_GROUPS * lanes if n + TILE_GROUPS * lanes <= images else lanes


@chunked
def convolve(
    chunk, chunks, x: Floats, shape: Shape, W: Floats, b: Floats, move: Move, y: Floats, made: Shape
):
    """A chunk's share of the lines of all outputs, of images with zeros around them."""
    images, out, taps = planes_of(x, shape), planes_of(y, made), move.lines * move.pixels
    height, width = shape.height - 2 * move.pad, shape.width - 2 * move.pad
    (low, high), lanes, n = share_of(made.height, chunk, chunks), lanes_of(x), 0
    while n < shape.images:
        together = images_together(n, shape.images, lanes)
        for i in range(low, high):
            lines = _reach(i, move.stride, move.pad, move.lines, height)
            for j in range(made.width):
                pixels = _reach(j, move.stride, move.pad, move.pixels, width)
                window = Window(shape.channels, lines.count, pixels.count)
                first = lines.first * move.pixels + pixels.first
                weights = Filters(W, first, shape.channels * taps, taps, move.pixels, 1)
                at = n + lines.at * images.line + pixels.at * images.pixel
                here = planes_at(images, at)
                there = planes_at(out, n + i * out.line + j * out.pixel)
                sums, is_wide = Sums(made.channels, b, 1), together > lanes
                outputs_of_pixel(0, sums, is_wide, window, weights, here, there)
        n += together


@chunked
def input_gradient(
    chunk,
    chunks,
    dy: Floats,
    made: Shape,
    W: Floats,
    zero: Floats,
    move: Move,
    dx: Floats,
    shape: Shape,
):
    """A chunk's share of the lines of the gradient of the images."""
    deltas, out, taps = planes_of(dy, made), planes_of(dx, shape), move.lines * move.pixels
    (low, high), lanes, n = share_of(shape.height, chunk, chunks), lanes_of(dy), 0
    while n < shape.images:
        together = images_together(n, shape.images, lanes)
        for i in range(low, high):
            lines = _reach_back(i, move.stride, move.pad, move.lines, made.height)
            for j in range(shape.width):
                pixels = _reach_back(j, move.stride, move.pad, move.pixels, made.width)
                window = Window(made.channels, lines.count, pixels.count)
                first, step = lines.first * move.pixels + pixels.first, move.stride
                weights = Filters(W, first, taps, shape.channels * taps, step * move.pixels, step)
                at = n + lines.at * deltas.line + pixels.at * deltas.pixel
                here = Planes(dy, at, deltas.plane, -deltas.line, -deltas.pixel)
                there = planes_at(out, n + i * out.line + j * out.pixel)
                sums, is_wide = Sums(shape.channels, zero, 0), together > lanes
                outputs_of_pixel(0, sums, is_wide, window, weights, here, there)
        n += together


# Gradients of filters


def _make_gradients(height, taps):
    """Code for the sums of so many outputs and taps over a line of all images, added to `sums`."""

    @inner
    def gradients(tap, window, stride, deltas, images, together, made, sums, at):
        lanes = lanes_of(sums)
        tile = load_rows(sums, at, TAPS_TOGETHER * lanes, height, taps)
        size, strides = (1, made.width), (1, stride)
        for n in range(0, together, lanes):
            D, X = planes_at(deltas, deltas.at + n), planes_at(images, images.at + n)
            tile = outer_sums(tile, size, strides, D, X, window, tap)
        store_rows(sums, at, TAPS_TOGETHER * lanes, tile)

    return gradients


def _make_taps(height):
    """Code for the gradients of taps first .. end of so many outputs."""
    many, single = _make_gradients(height, SUMMED_TAPS), _make_gradients(height, 1)

    @inner
    def taps(o, first, end, x, shape, dy, made, move, dW, sums):
        deltas, images, lanes = planes_of(dy, made), planes_of(x, shape), lanes_of(sums)
        window = Window(shape.channels, move.lines, move.pixels)
        whole = end - (end - first) % SUMMED_TAPS
        clear(sums, 0, height * TAPS_TOGETHER * lanes)
        n = 0
        while n < shape.images:
            together = images_together(n, shape.images, lanes)
            for i in range(made.height):
                D = planes_at(deltas, n + o * deltas.plane + i * deltas.line)
                X = planes_at(images, n + i * move.stride * images.line)
                for tap in range(first, whole, SUMMED_TAPS):
                    at = (tap - first) * lanes
                    many(tap, window, move.stride, D, X, together, made, sums, at)
                for tap in range(whole, end):
                    at = (tap - first) * lanes
                    single(tap, window, move.stride, D, X, together, made, sums, at)
            n += together
        all_taps = shape.channels * move.lines * move.pixels
        for r in range(height):
            for tap in range(first, end):
                found = load(sums, (r * TAPS_TOGETHER + tap - first) * lanes)
                put(dW, (o + r) * all_taps + tap, lane_sum(found))

    return taps


_taps_6, _taps_4, _taps_1 = _make_taps(SUMMED_OUTPUTS), _make_taps(4), _make_taps(1)


@chunked
def filter_gradients(
    chunk,
    chunks,
    x: Floats,
    shape: Shape,
    dy: Floats,
    made: Shape,
    move: Move,
    dW: Floats,
    db: Floats,
    sums,
):
    """A chunk's share of the gradients of filters and biases, of images with zeros around them."""
    taps, o, unit, mine = shape.channels * move.lines * move.pixels, 0, 0, sums[chunk]
    while o < made.channels:
        left = made.channels - o
        height = 1
        if fits(SUMMED_OUTPUTS, left):
            height = SUMMED_OUTPUTS
        elif left >= 4:
            height = 4
        for first in range(0, taps, TAPS_TOGETHER):
            end = min(first + TAPS_TOGETHER, taps)
            if unit % chunks == chunk:
                if height == SUMMED_OUTPUTS:
                    _taps_6(o, first, end, x, shape, dy, made, move, dW, mine)
                elif height == 4:
                    _taps_4(o, first, end, x, shape, dy, made, move, dW, mine)
                else:
                    _taps_1(o, first, end, x, shape, dy, made, move, dW, mine)
                if first == 0:
                    _bias_gradients(o, height, dy, made, db)
            unit += 1
        o += height


@inner
def _bias_gradients(o, height, dy, made, db):
    """Sums of planes of deltas."""
    size, lanes = made.height * made.width * made.images, lanes_of(dy)
    for r in range(o, o + height):
        total, at, n = splat(dy.dtype.type(0), 4), r * size, 0
        while n + 4 * lanes <= size:
            total = total + load_row(dy, at + n, 4)
            n += 4 * lanes
        rest = splat(dy.dtype.type(0), 1)
        while n < size:
            rest = rest + load(dy, at + n)
            n += lanes
        db[r] = lane_sum(total) + lane_sum(rest)


@chunked
def with_border(chunk, chunks, x: Floats, shape: Shape, pad, out: Floats):
    """A chunk's share of the channels, with `pad` lines and pixels of zeros around images."""
    row = shape.width * shape.images
    line, side = row + 2 * pad * shape.images, pad * shape.images
    low, high = share_of(shape.channels, chunk, chunks)
    for c in range(low, high):
        to = c * (shape.height + 2 * pad) * line
        clear(out, to, pad * line)
        clear(out, to + (pad + shape.height) * line, pad * line)
        for i in range(shape.height):
            at, here = (c * shape.height + i) * row, to + (pad + i) * line
            clear(out, here, side)
            clear(out, here + side + row, side)
            for n in range(0, row, lanes_of(x)):
                store(out, here + side + n, load(x, at + n))


# Pooling


@chunked
def max_pool(
    chunk, chunks, x: Floats, shape: Shape, move: Move, y: Floats, made: Shape, index: Floats
):
    """A chunk's share of the channels: the largest pixel of each window, and which that is.

    The first, if several are; the first that is not a number, if one is.
    """
    images, out = planes_of(x, shape), planes_of(y, made)
    low, high = share_of(made.channels, chunk, chunks)
    for c in range(low, high):
        for i in range(made.height):
            for j in range(made.width):
                first = c * images.plane
                first += i * move.stride * images.line + j * move.stride * images.pixel
                to = c * out.plane + i * out.line + j * out.pixel
                for n in range(0, shape.images, lanes_of(x)):
                    _largest(x, first + n, images, move, y, index, to + n)


@inner
def _largest(x, at, images, move, y, index, to):
    largest = load(x, at)
    which = like(largest, 0)
    for k in range(move.lines):
        for m in range(move.pixels):
            pixel = load(x, at + k * images.line + m * images.pixel)
            number = like(largest, k * move.pixels + m)
            which = where_beaten(largest, pixel, number, which)
            largest = where_beaten(largest, pixel, pixel, largest)
    store(y, to, largest)
    store(index, to, which)


@chunked
def max_pool_gradient(
    chunk, chunks, dy: Floats, made: Shape, index: Floats, move: Move, dx: Floats, shape: Shape
):
    """A chunk's share of the channels of the gradient of the images."""
    deltas, images = planes_of(dy, made), planes_of(dx, shape)
    adds = move.stride < move.lines or move.stride < move.pixels
    low, high = share_of(made.channels, chunk, chunks)
    for c in range(low, high):
        covers = move.stride == move.lines and move.stride == move.pixels
        covers = covers and made.height * move.lines == shape.height
        if adds or not (covers and made.width * move.pixels == shape.width):
            clear(dx, c * images.plane, images.plane)
        for i in range(made.height):
            for j in range(made.width):
                first = c * images.plane
                first += i * move.stride * images.line + j * move.stride * images.pixel
                at = c * deltas.plane + i * deltas.line + j * deltas.pixel
                for n in range(0, shape.images, lanes_of(dx)):
                    _to_largest(dy, index, at + n, move, images, dx, first + n, adds)


@inner
def _to_largest(dy, index, at, move, images, dx, first, adds):
    delta, which = load(dy, at), load(index, at)
    zero = like(delta, 0)
    for k in range(move.lines):
        for m in range(move.pixels):
            number = like(delta, k * move.pixels + m)
            to = first + k * images.line + m * images.pixel
            taken = where_less(which, number, zero, where_less(number, which, zero, delta))
            store(dx, to, load(dx, to) + taken if adds else taken)


# Rows and lanes


@chunked
def to_lanes(chunk, chunks, rows: Floats, count, units, out: Floats, images):
    """A chunk's share of the units of so many rows, side by side, as lanes of so many images.

    Lanes without a row are zero.
    """
    group, (low, high) = images_of(out), share_of(units, chunk, chunks)
    whole = count - count % group
    for first in range(0, whole, group):
        here = rows_at(rows, first * units + low, units)
        rows_to_lanes(high - low, here, rows_at(out, low * images + first, images))
    for first in range(whole, images, group):
        for n in range(low, high):
            for r in range(first, first + group):
                put(out, n * images + r, element(rows, r * units + n) if r < count else 0.0)


@chunked
def to_rows(chunk, chunks, lanes: Floats, images, units, out: Floats, count):
    """What `to_lanes` has turned round, turned back."""
    group, (low, high) = images_of(out), share_of(units, chunk, chunks)
    whole = count - count % group
    for first in range(0, whole, group):
        here = rows_at(lanes, low * images + first, images)
        lanes_to_rows(high - low, here, rows_at(out, first * units + low, units))
    for r in range(whole, count):
        for n in range(low, high):
            put(out, r * units + n, element(lanes, n * images + r))
