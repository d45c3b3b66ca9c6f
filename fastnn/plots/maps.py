"""What a convolutional network looks for, and what it makes of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn import gate
from fastnn.plots import figures
from fastnn.plots.digits import with_bad

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastnn.convnet import ConvNet

GAP = 2  # pixels between two images of a sheet
SIDE = 28  # pixels of an image on the sheet, about: small ones are drawn larger
BETWEEN = "#c8d4e0"  # of maps, which may be white
AROUND = "#909090"  # filters, whose zeros are white
# Activations, in float64; the network's own are compiled.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z < 0, 0.01 * z, z),
    "sigmoid": lambda z: np.exp(-np.logaddexp(0, -z)),
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
}


def filters(
    W: ArrayLike, ax: Axes | None = None, *, before: ArrayLike | None = None, most: int = 32
) -> Axes:
    """Draw filters as images, and above them what they were before training.

    Parameters
    ----------
    W : array_like, shape (filters, C, h, w)
        Filters; of more than one channel each channel is an image.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.
    before : array_like, shape (filters, C, h, w), optional
        The filters at the beginning; they have the same colours.
    most : int, default 32
        At most so many images in a row.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from fastnn import plots
    >>> W = np.eye(3).reshape(1, 1, 3, 3)
    >>> plots.filters(W, Figure().add_subplot(), before=0 * W).get_title()
    'the filter, before and after training'
    """
    W = figures.numbers(W, "W", "filters", "C", "h", "w")
    rows = [("after", W)]
    if before is not None:
        rows = [("before", figures.numbers(before, "before", *W.shape)), *rows]
    gate.positive_integer(most, "most")
    if ax is None:
        ax = figures.new_axes()
    count = W.shape[0] * W.shape[1]
    shown = [(name, _enlarged(array.reshape(count, *W.shape[2:])[:most])) for name, array in rows]
    limit = max(float(np.abs(array).max()) for _, array in shown) or 1.0
    image = _draw_rows(ax, shown, cmap=with_bad("RdBu_r", AROUND), vmin=-limit, vmax=limit)
    ax.figure.colorbar(image, ax=ax, label="weight", shrink=0.9)
    if before is None:
        ax.set_yticks([])
    which = "the filter" if count == 1 else f"all {count} filters"
    if W.shape[1] > 1:
        which = f"all {count} channels of {len(W)} filters"
    if count > most:
        which = f"the first {most} of {count} channels of filters"
    ending = "" if before is None else ", before and after training"
    ax.set_title(which + ending, fontsize="medium")
    return ax


def feature_maps(net: ConvNet, x: ArrayLike, ax: Axes | None = None, *, most: int = 16) -> Axes:
    """Draw what the layers of images make of one image, a row for each layer.

    Each channel has its own scale, from white at zero to black at its largest number. Where an
    activation gives numbers below zero, zero is grey, and white is what lies lowest.

    Parameters
    ----------
    net : ConvNet
        A network.
    x : array_like, shape (C, H, W)
        An image, or the row of its numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without it a new figure is made with pyplot.
    most : int, default 16
        At most so many channels of each layer.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> from matplotlib.figure import Figure
    >>> from fastnn import plots
    >>> layers = [fastnn.Conv(4, 3), fastnn.MaxPool(2), fastnn.Dense(2)]
    >>> net = fastnn.ConvNet((1, 8, 8), layers, seed=0)
    >>> ax = plots.feature_maps(net, np.eye(8), Figure().add_subplot())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['image', 'Conv(4, 3)', 'MaxPool(2)']
    """
    if not hasattr(net, "input_shape"):
        raise TypeError(f"net must be a ConvNet, got {net!r}")
    image = gate.numbers(x, "x")
    if image.size != np.prod(net.input_shape):
        raise ValueError(f"x must be an image of shape {net.input_shape}, got {image.shape}")
    image = figures.numbers(image.reshape(net.input_shape), "x", *net.input_shape)
    gate.positive_integer(most, "most")
    if ax is None:
        ax = figures.new_axes()
    stages = [(name, _enlarged(_scaled(maps[:most]))) for name, maps in maps_of(net, image)]
    lowest = min(0.0, *(float(maps.min()) for _, maps in stages))
    _draw_rows(ax, stages, cmap=with_bad("gray_r", BETWEEN), vmin=lowest, vmax=1)
    ax.set_title("what each layer makes of the image, a column for each channel", fontsize="medium")
    return ax


def maps_of(net: ConvNet, given: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Outputs (C, H, W) of the layers of images, in float64, with a name for each."""
    x, number = np.asarray(given, np.float64), 0
    found = [("image", x)]
    for layer, image in zip(net.layers, net.params.images[1:], strict=False):
        if image.kind == "convolution":
            number += 1
            W, b = net.params[f"W{number}"], net.params[f"b{number}"]
            (lines, pixels), windows = image.pad, (image.size, image.stride)
            x = np.pad(x, [(0, 0), (lines, lines), (pixels, pixels)])
            z = np.einsum("cyxij,ocij->oyx", _windows(x, *windows), W)
            x = ACTIVATIONS[image.activation](z + b[:, None, None])
        elif image.kind == "max_pool":
            x = _windows(x, image.size, image.stride).max(axis=(3, 4))
        else:  # a prediction drops nothing
            continue
        found.append((repr(layer), x))
    return found


def _windows(x: np.ndarray, size: Any, stride: tuple[int, int]) -> np.ndarray:
    """Windows (C, OH, OW, h, w) of an image."""
    found = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return found[:, :: stride[0], :: stride[1]]


def _scaled(maps: np.ndarray) -> np.ndarray:
    """Each channel up to 1, or faint ones would not be seen."""
    top = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(top > 0, top, 1)


def _enlarged(images: np.ndarray) -> np.ndarray:
    """Each pixel as a square of some, so that small images are about as large as large ones."""
    times = max(SIDE // max(images.shape[1:]), 1)
    return np.kron(images, np.ones((1, times, times)))


def _draw_rows(ax: Axes, rows: list[tuple[str, np.ndarray]], **style: Any) -> Any:
    """Draw rows of images, side by side as one sheet, with the name of each at its left."""
    high, wide = (max(images.shape[axis] for _, images in rows) for axis in (1, 2))
    columns = max(len(images) for _, images in rows)
    sheet = np.full((len(rows) * (high + GAP) + GAP, columns * (wide + GAP) + GAP), np.nan)
    middles = []
    for row, (_, images) in enumerate(rows):
        top = GAP + row * (high + GAP)
        middles.append(top + images.shape[1] / 2 - 0.5)
        for column, image in enumerate(images):
            left = GAP + column * (wide + GAP)
            sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    drawn = ax.imshow(sheet, interpolation="nearest", **style)
    ax.set_yticks(middles, [name for name, _ in rows])
    ax.set_xticks([])
    ax.tick_params(left=False)
    for side in ax.spines.values():
        side.set_visible(False)
    return drawn
