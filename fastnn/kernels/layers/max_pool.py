"""A kind of layer, "max_pool": the largest pixel of each window of each channel.

On the way back a window's delta goes to the first of its pixels that is the largest, as in the
book.  What does not fit in a window is left out, and has a delta of zero.
"""

from fastnn.compiler.arithmetic import where_beaten, where_less
from fastnn.compiler.jit import inner
from fastnn.compiler.tiles import element, lanes_of, like, load, load_first, put, store
from fastnn.kernels.groups import Data, Layer, Network, Rows, Scratch, parts_of
from fastnn.kernels.images import (
    clear_border,
    clear_deltas,
    deltas_in_lanes,
    image_of,
    images_of,
    multiply_slopes,
    outputs_in_lanes,
)


@inner
def forward(
    network: Network, layer: Layer, data: Data, rows: Rows, scratch: Scratch, low: int, high: int
):
    """The largest pixels for a group of images; NaN if one is."""
    work, image = scratch.work, image_of(network, layer.number)
    x = outputs_in_lanes(network, layer.number - 1, work, rows)
    y = outputs_in_lanes(network, layer.number, work, rows)
    if y.pixel == 1:
        _largest_numbers(image, x, y)
    else:
        _largest_pixels(image, x, y)
    clear_border(image, y)


@inner
def _largest_pixels(image, x, y):
    """What is written of a pixel that has few images goes beyond it, and the next overwrites it."""
    for c in range(image.channels):
        for i in range(image.height):
            for j in range(image.width):
                window = _window(image, x, c, i, j)
                to = y.at + c * y.plane + i * y.line + j * y.pixel
                for g in range(0, images_of(y.array), lanes_of(y.array)):
                    if g < y.pixel:
                        store(y.array, to + g, _largest(image, x, window + g))


@inner
def _largest_numbers(image, x, y):
    """Of one image: half the time."""
    for c in range(image.channels):
        for i in range(image.height):
            for j in range(image.width):
                largest = _largest_number(image, x, _window(image, x, c, i, j))
                put(y.array, y.at + c * y.plane + i * y.line + j, largest)


@inner
def _window(image, planes, c, i, j):
    """Where the window of an output begins."""
    at = planes.at + c * planes.plane
    return at + i * image.stride_y * planes.line + j * image.stride_x * planes.pixel


@inner
def _largest(image, x, window):
    largest = load(x.array, window)
    for i in range(image.lines):
        for j in range(image.pixels):
            pixel = load(x.array, window + i * x.line + j * x.pixel)
            largest = where_beaten(largest, pixel, pixel, largest)
    return largest


@inner
def _largest_number(image, x, window):
    largest = element(x.array, window)
    for i in range(image.lines):
        for j in range(image.pixels):
            pixel = element(x.array, window + i * x.line + j * x.pixel)
            if pixel > largest or pixel != pixel:
                largest = pixel
    return largest


@inner
def backward(
    network: Network, layer: Layer, below: Layer, rows: Rows, scratch: Scratch, low: int, high: int
):
    """Deltas of the layer below, through its activation, of which y are outputs, too."""
    work, image = scratch.work, image_of(network, layer.number)
    x = outputs_in_lanes(network, below.number, work, rows)
    dx = deltas_in_lanes(network, below.number, work, rows)
    y = outputs_in_lanes(network, layer.number, work, rows)
    dy = deltas_in_lanes(network, layer.number, work, rows)
    activation = image_of(network, below.number).activation
    multiply_slopes(parts_of(network), activation, image, y, dy)
    clear_deltas(network, below.number, work, rows)
    for c in range(image.channels):
        for i in range(image.height):
            for j in range(image.width):
                at = y.at + c * y.plane + i * y.line + j * y.pixel
                delta = dy.at + c * dy.plane + i * dy.line + j * dy.pixel
                here, there = _window(image, x, c, i, j), _window(image, dx, c, i, j)
                for g in range(0, images_of(work), lanes_of(work)):
                    if g < y.pixel:
                        largest, left = load(work, at + g), load(work, delta + g)
                        if y.pixel < lanes_of(work):  # the others are of pixels that lie beside it
                            left = load_first(work, delta, y.pixel, 1)
                        _to_largest(image, x, here + g, dx, there + g, largest, left)


@inner
def _to_largest(image, x, window, dx, there, largest, left):
    """Add a delta to that of the first pixel of a window that is the largest."""
    for i in range(image.lines):
        for j in range(image.pixels):
            pixel = load(x.array, window + i * x.line + j * x.pixel)
            taken = where_less(pixel, largest, like(left, 0), left)
            to = there + i * dx.line + j * dx.pixel
            store(dx.array, to, load(dx.array, to) + taken)
            left = left - taken
