"""Convolutions of images in lanes, and what their way back needs: two sums, on register tiles.

Groups of 64 bytes of images are the innermost dimension, see `fastnn.compiler.tap_products`.  One
routine, `convolve`, makes outputs and the deltas of inputs, which are a convolution of the deltas
with the filters turned round; `filter_gradient` sums what images and deltas say of the filters.
"""

from typing import NamedTuple

from fastnn.compiler.arithmetic import lane_sum
from fastnn.compiler.jit import inner
from fastnn.compiler.parts import Choice
from fastnn.compiler.tap_products import Filters, Planes, Window, outer_sums, tap_product
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import (
    GROUP,
    VECTOR_BYTES,
    element,
    lanes_of,
    load,
    load_rows,
    put,
    splat,
    store,
    store_rows,
)
from fastnn.kernels.activations import activation_forward
from fastnn.kernels.groups import ZERO, Place, rows_at, shifted
from fastnn.kernels.places import Places

# Outputs and vectors of a tile of sums: 24 of 32 registers with AVX-512, 12 of 16 with AVX2.
TILE_OUTPUTS, TILE_PIXELS = 6, 4 if VECTOR_BYTES == 64 else 2
# Vectors side by side in short lines, and if pixels are not, which a stride above 1 makes so.
FEW_PIXELS, ONE_PIXEL = 2, min(TILE_PIXELS, GROUP)


class Sums(NamedTuple):
    """What `convolve` sums: sizes of its outputs, of its filters, and where its images are zero."""

    outputs: int
    height: int
    width: int
    channels: int
    lines: int  # of a filter
    pixels: int
    stride_y: int
    stride_x: int
    first_line: int  # lines of the images before this one, and from the end, are zero
    end_line: int
    first_pixel: int
    end_pixel: int
    parts: int  # address of the table of parts,
    activation: int  # of which this one is applied to outputs while they are in cache


@inner
def fits(height, left):
    """Whether a tile of `height` outputs is next, if so many are left: single ones are slow."""
    return left >= height and (height < TILE_OUTPUTS or left < 8 or left > 9)


@inner
def filters_at(filters, at):
    """The same filters, from another place on."""
    return Filters(filters.array, at, filters.output, filters.plane, filters.line, filters.pixel)


@inner
def planes_at(planes, at):
    """The same images, from another place on."""
    return Planes(planes.array, at, planes.plane, planes.line, planes.pixel)


@inner
def _vectors_of_line(sums, images):
    """Vectors of a line of outputs, as many as whole groups have."""
    lanes = GROUP * lanes_of(images.array)
    return (sums.width * images.pixel + lanes - 1) // lanes * GROUP


def _make_line(height, vectors):
    """Code for a line of `height` outputs, so many vectors at a time."""

    @inner
    def line(sums, y, first, end, images, weights, start, out):
        lanes, columns = lanes_of(out.array), _vectors_of_line(sums, images)
        pixels = GROUP * lanes // images.pixel  # of so many vectors as are a group
        begin = images.at + (y * sums.stride_y + first) * images.line
        for v in range(0, columns, vectors):
            v = min(v, columns - vectors)  # the last may overlap the one before
            x, last = v * pixels // GROUP, ((v + vectors) * pixels - 1) // GROUP
            within = v * lanes - x * images.pixel
            low = max(sums.first_pixel - last * sums.stride_x, 0)
            high = max(min(sums.end_pixel - x * sums.stride_x, sums.pixels), low)
            window = Window(sums.channels, end - first, high - low)
            W = filters_at(weights, weights.at + first * weights.line + low * weights.pixel)
            X = planes_at(images, begin + (x * sums.stride_x + low) * images.pixel + within)
            tile = tap_product(height, vectors, window, W, X, start.array, start.at, start.row)
            store_rows(out.array, out.at + x * out.pixel + within, out.plane, tile)

    return line


def _make_tiles(height, narrower):
    """Code for as many outputs as are left, `height` at a time; `narrower` does the rest."""
    wide, narrow = _make_line(height, TILE_PIXELS), _make_line(height, FEW_PIXELS)
    single = _make_line(height, ONE_PIXEL)

    @inner
    def tiles(o, sums, y, first, end, images, weights, start, out):
        lanes, columns = lanes_of(out.array), _vectors_of_line(sums, images)
        side_by_side = sums.stride_x == 1 and out.pixel == images.pixel
        while fits(height, sums.outputs - o):
            W = filters_at(weights, weights.at + o * weights.output)
            before = shifted(start, o, ZERO)
            to = planes_at(out, out.at + o * out.plane + y * out.line)
            if side_by_side and columns >= TILE_PIXELS:
                wide(sums, y, first, end, images, W, before, to)
            elif side_by_side and columns >= FEW_PIXELS:
                narrow(sums, y, first, end, images, W, before, to)
            else:
                single(sums, y, first, end, images, W, before, to)
            done = rows_at(out.array, to.at, out.plane)
            activation_forward(sums.parts, sums.activation, height, columns * lanes, done)
            o += height
        if o < sums.outputs:
            narrower(o, sums, y, first, end, images, weights, start, out)

    return tiles


@inner
def _none(o, sums, y, first, end, images, weights, start, out):
    """Nothing is left after tiles of one output."""
    return


_tiles = _make_tiles(TILE_OUTPUTS, _make_tiles(4, _make_tiles(1, _none)))


@inner
def convolve(sums: Sums, images: Planes, weights: Filters, start: Matrix, out: Planes):
    """Outputs (o, y, x) of a group of images, or of as few as their pixels have room for.

    ``start[o] + weights[o, c, i, j] * images[c, y * stride_y + i, x * stride_x + j] + ...``, in the
    order c, i, j.  Start has one number for each output, in rows.
    """
    for y in range(sums.height):
        first = max(sums.first_line - y * sums.stride_y, 0)
        end = max(min(sums.end_line - y * sums.stride_y, sums.lines), first)
        _tiles(0, sums, y, first, end, images, weights, start, out)


CONVOLVE = Choice(Places.CONVOLVE, {0: convolve})


class FilterSums(NamedTuple):
    """What `filter_gradient` sums: sizes of the deltas and of the filters, and their steps."""

    outputs: int
    height: int
    width: int
    channels: int
    lines: int
    pixels: int
    stride_y: int
    stride_x: int


# Outputs and taps of filters whose gradients are summed together.
SUMMED_OUTPUTS, SUMMED_TAPS = (6, 4) if VECTOR_BYTES == 64 else (4, 3)
# Pixels that are summed before the next vector of their groups, if a group is more than one: lines
# of the cache that the first has read are there for the next.
SUMMED_PIXELS = 64
# Elements of scratch in which the lanes of their sums are folded.
FOLD = SUMMED_OUTPUTS * SUMMED_TAPS * 64 // 4


def _make_gradients(height, taps):
    """Code for `height` outputs and so many taps."""

    @inner
    def gradients(o, tap, sums, deltas, images, out, fold):
        lanes, half = lanes_of(fold.array), height * taps * GROUP // 2
        window, at = Window(sums.channels, sums.lines, sums.pixels), deltas.at + o * deltas.plane
        for n in range(fold.at, fold.at + height * taps * GROUP * lanes, lanes):
            store(fold.array, n, splat(fold.array.dtype.type(0), 1))
        together = max(SUMMED_PIXELS // sums.width, 1) if GROUP > 1 else sums.height
        for y in range(0, sums.height, together):
            size = min(together, sums.height - y), sums.width
            for g in range(GROUP):
                D = planes_at(deltas, at + y * deltas.line + g * lanes)
                first = images.at + y * sums.stride_y * images.line
                X = planes_at(images, first + g * lanes)
                to = fold.at + g * height * taps * lanes
                tile = load_rows(fold.array, to, taps * lanes, height, taps)
                strides = sums.stride_y, sums.stride_x
                tile = outer_sums(tile, size, strides, D, X, window, tap)
                store_rows(fold.array, to, taps * lanes, tile)
        while half >= height * taps:  # as `lane_sum` does
            for n in range(fold.at, fold.at + half * lanes, lanes):
                store(fold.array, n, load(fold.array, n) + load(fold.array, n + half * lanes))
            half //= 2
        _add_sums(height, taps, shifted(out, tap, o), fold)

    return gradients


@inner(separate=True)
def _add_sums(height, taps, out, fold):
    """Add the sums over the lanes of so many outputs and taps to their gradients."""
    for r in range(height):
        for t in range(taps):
            at = fold.at + (r * taps + t) * lanes_of(fold.array)
            to = out.at + t * out.row + r
            put(out.array, to, element(out.array, to) + lane_sum(load(fold.array, at)))


def _make_outputs(height, narrower):
    """Code for as many outputs as are left, `height` at a time; `narrower` does the rest."""
    many, single = _make_gradients(height, SUMMED_TAPS), _make_gradients(height, 1)

    @inner
    def outputs(o, sums, deltas, images, out, fold):
        taps = sums.channels * sums.lines * sums.pixels
        while fits(height, sums.outputs - o):
            whole = taps - taps % SUMMED_TAPS
            for tap in range(0, whole, SUMMED_TAPS):
                many(o, tap, sums, deltas, images, out, fold)
            for tap in range(whole, taps):
                single(o, tap, sums, deltas, images, out, fold)
            o += height
        if o < sums.outputs:
            narrower(o, sums, deltas, images, out, fold)

    return outputs


@inner
def _no_outputs(o, sums, deltas, images, out, fold):
    """Nothing is left after single outputs."""
    return


_outputs = _make_outputs(4, _make_outputs(1, _no_outputs))
if SUMMED_OUTPUTS > 4:
    _outputs = _make_outputs(SUMMED_OUTPUTS, _outputs)


@inner
def filter_gradient(sums: FilterSums, deltas: Planes, images: Planes, out: Matrix, fold: Place):
    """Add gradients of filters over a group of images to ``out[c, i, j ; o]``.

    A sum over all pixels for each lane, in their order; then over the lanes.  Where a pixel has
    fewer images than a group, neighbours are summed together; what is then read behind a line has
    to be zero in deltas and a number in images.
    """
    together = GROUP * lanes_of(images.array) // images.pixel
    width = (sums.width + together - 1) // together
    vectors = FilterSums(
        sums.outputs,
        sums.height,
        width,
        sums.channels,
        sums.lines,
        sums.pixels,
        sums.stride_y,
        sums.stride_x * together,
    )
    pixel = deltas.pixel * together
    deltas = Planes(deltas.array, deltas.at, deltas.plane, deltas.line, pixel)
    _outputs(0, vectors, deltas, images, out, fold)


FILTER_GRADIENT = Choice(Places.FILTER_GRADIENT, {0: filter_gradient})
