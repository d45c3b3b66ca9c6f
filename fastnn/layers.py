"""Layers of a `fastnn.ConvNet`: plain descriptions."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Conv", "Dense", "Dropout", "MaxPool"]

# A number of pixels, or one of lines and one of pixels.
Size: TypeAlias = int | tuple[int, int]


def _plain(value: Any) -> Any:
    """Numbers of NumPy and pairs of any kind as Python's own; all else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1:
        return tuple(map(_plain, value))
    return value


class _Described:
    """A description that is written as it was given, without what is left to be usual."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))

    def __repr__(self) -> str:
        parts = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is MISSING:
                parts.append(repr(value))
            elif value != field.default:
                parts.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False)
class Conv(_Described):
    """Filters that move over images: each output pixel is a sum over a window of all channels.

    ``y[o, i, j] = b[o] + sum of W[o, c, k, l] * x[c, i * stride + k, j * stride + l]``, as in the
    book and PyTorch (which is a correlation).  `fastnn.ConvNet` checks the arguments.

    Parameters
    ----------
    filters : int
        How many, and so channels of the output.
    size : int or pair of int
        Lines and pixels of a filter.
    stride : int or pair of int, default 1
        Lines and pixels from one window to the next.
    pad : int or pair of int, default 0
        Lines and pixels of zeros above and below, left and right of the images.
    activation : str, optional
        As of `fastnn.MLP`; default that of the network.

    Notes
    -----
    The output is of ``1 + (H + 2 * pad - size) // stride`` lines.  Dilation, groups of channels,
    one and three dimensions are left out: each would need kernels of its own.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Conv(16, 3, pad=1)
    Conv(16, 3, pad=1)
    """

    filters: int
    size: Size
    stride: Size = 1
    pad: Size = 0
    activation: str | None = None


@dataclass(frozen=True, repr=False)
class MaxPool(_Described):
    """The largest pixel of each window of each channel.

    The gradient goes to the first of the largest, as in the book.  What does not fill a window is
    left out.

    Parameters
    ----------
    size : int or pair of int
        Lines and pixels of a window.
    stride : int or pair of int, optional
        From one window to the next; default `size`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.MaxPool(2)
    MaxPool(2)
    """

    size: Size
    stride: Size | None = None


@dataclass(frozen=True, repr=False)
class Dense(_Described):
    """Units that read all outputs of the layer below; images in the order channel, line, pixel.

    Parameters
    ----------
    units : int
    activation : str, optional
        As of `fastnn.MLP`; default that of the network.  The last layer has the network's
        `output`.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Dense(120)
    Dense(120)
    """

    units: int
    activation: str | None = None


@dataclass(frozen=True, repr=False)
class Dropout(_Described):
    """Outputs of the layer below of which some are zero for a step, the others so much larger.

    Predictions, losses and gradients that are asked for drop nothing.

    Parameters
    ----------
    rate : float
        Share that is dropped, at least 0 and less than 1.  A Dropout does not follow another.

    References
    ----------
    Srivastava et al., Dropout, Journal of Machine Learning Research 15, 2014

    Examples
    --------
    >>> import fastnn
    >>> fastnn.Dropout(0.5)
    Dropout(0.5)
    """

    rate: float


LAYERS = {kind.__name__: kind for kind in (Conv, MaxPool, Dense, Dropout)}
