"""Backpropagation against numerical gradients: the check of seed 004."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import datasets, gate
from fastnn.compiler import runtime
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.network import MLP
from fastnn.recipes.cross_entropy import DELTA

# The largest difference of any two numbers that is still called agreement.
#
# In float64, central differences with h = 1e-4 are off by the rounding of the loss, 2e-16 / h =
# 2e-12 times its size, and by its bend, h**2 / 6 = 2e-9 times its third slope, which a softmax
# keeps below 0.1 in its inputs. A wrong formula is off by about the gradient itself, 1e-4 and
# more. 1e-7 lies well between. Backpropagation in float32 rounds to 6e-8, a few times in a sum.
BOUNDS = {"float64": 1e-7, "float32": 1e-5}

# Where a ReLU bends between w - h and w + h there is no slope to compare with; with a far smaller
# h that is rare. The rounding is then 5e-10, still below the bounds.
#
# The third and later layers of small initial weights get sums of 1e-6 and less, and of exactly 0
# where no unit before them is on: no h is small enough for all. What is still above the bound is
# therefore compared with the slope of the loss with every ReLU held on, or off, as it is; that is
# what backpropagation computes.
SMALLER = 100


class Difference(NamedTuple):
    """Backpropagation minus numerical gradient of one parameter, in absolute values."""

    mean: float
    largest: float
    gradient: float
    """Mean size of the gradient, to compare with."""
    delta: float
    """What the 1e-7 in the book's logarithm adds to the mean; fastnn has none."""


def run(
    *,
    hidden: Sequence[int] = (50,),
    activation: str = "relu",
    rows: int = 3,
    h: float = 1e-4,
    dtype: str = "float64",
    seed: int = 0,
    threads: int | None = None,
    data: str | os.PathLike[str] | None = None,
    report: Callable[[str], Any] = print,
) -> dict[str, Difference]:
    """Compare the gradients of every parameter on the first MNIST images, and report a table.

    Where a ReLU bends between ``w - h`` and ``w + h`` there is no slope to compare with. Numbers
    that differ are therefore computed again with ``h / 100``, and those that still differ with
    every ReLU held on or off as it is without ``h``.

    Parameters
    ----------
    hidden : sequence of int, default (50,)
        Widths of the hidden layers.
    activation, dtype, seed
        As in `fastnn.MLP`. The numerical gradient is always computed in float64.
    rows : int, default 3
        Images of the batch.
    h : float, default 1e-4
        Half the distance of the two evaluations, as in the book.
    threads : int, optional
        See `fastnn.set_num_threads`.
    data : path, optional
        Folder with the four MNIST files; default the data inside the package.
    report : callable, default print
        Takes one line of text at a time.

    Returns
    -------
    dict of Difference
        By the name of the parameter; see `too_large`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    OSError
        If `data` cannot be read.

    Examples
    --------
    >>> from fastnn.recipes import gradcheck
    >>> found = gradcheck.run(hidden=[2], rows=1, report=lambda line: None)
    >>> found["W2"].largest < 1e-7, gradcheck.too_large(found)
    (True, [])
    """
    gate.positive_integer(rows, "rows")
    gate.real_number(h, "h", 0, above=True)
    widths = [gate.positive_integer(width, "hidden") for width in hidden]
    net = MLP([784, *widths, 10], activation, dtype=dtype, seed=seed)
    if threads is not None:
        runtime.set_num_threads(gate.positive_integer(threads, "threads"))
    x, t = datasets.load_mnist(path=data)[0]
    if rows > len(x):
        raise ValueError(f"rows must be at most the number of images, {len(x)}, got {rows}")
    x, t = x[:rows], t[:rows]
    count = sum(view.size for view in net.params.values())
    report(f"{net}: {count} parameters, {rows} images, h {h:g}")
    differences = _compared(net, x, t, h, report)
    _report_table(report, differences, net.dtype.name)
    return differences


def too_large(differences: dict[str, Difference], dtype: str = "float64") -> list[str]:
    """Names of the parameters with a difference above the bound for this precision."""
    return [name for name, found in differences.items() if not found.largest <= BOUNDS[dtype]]


def _compared(
    net: MLP, x: np.ndarray, t: np.ndarray, h: float, report: Callable[[str], Any]
) -> dict[str, Difference]:
    by_backprop = net.gradient(x, t)

    def apart(h: float) -> dict[str, np.ndarray]:
        numerical = net.numerical_gradient(x, t, h=h)
        return {name: np.abs(by_backprop[name] - numerical[name]) for name in by_backprop}

    found, bound = apart(h), BOUNDS[net.dtype.name]
    above = sum(int(np.count_nonzero(~(array <= bound))) for array in found.values())
    if above and any(ACTIVATIONS[name].kink is not None for name in net.activations):
        report(
            f"{above} numbers differ by more than {bound:g}, as they may where a ReLU bends: "
            f"again with h {h / SMALLER:g}"
        )
        again = apart(h / SMALLER)
        found = {name: np.fmin(found[name], again[name]) for name in found}
        wrong = {name: np.argwhere(~(array <= bound)) for name, array in found.items()}
        left = sum(map(len, wrong.values()))
        if left:
            report(f"{left} still do: again with every ReLU held on or off as it is")
            held_loss, params = _held(net, x, t)
            for name, places in wrong.items():
                for place in map(tuple, places):
                    slope = _slope(held_loss, params[name], place, h)
                    apart_held = abs(by_backprop[name][place] - slope)
                    found[name][place] = np.fmin(found[name][place], apart_held)
    added = _added_by_delta(net, x, t)
    return {
        name: Difference(
            float(array.mean()),
            float(array.max()),
            float(np.abs(by_backprop[name]).mean()),
            float(np.abs(added[name]).mean()),
        )
        for name, array in found.items()
    }


def _held(
    net: MLP, x: np.ndarray, t: np.ndarray
) -> tuple[Callable[[], float], dict[str, np.ndarray]]:
    """The loss, in float64, with each unit's slope held as it is; and the parameters to move."""
    params = {name: view.astype(np.float64) for name, view in net.params.items()}
    x, layers, rows = x.astype(np.float64), len(net.activations), np.arange(len(t))
    off = ACTIVATIONS[net.activations[0]].kink or 0.0
    slopes: list[np.ndarray] = []

    def sums() -> np.ndarray:
        """Those of the last layer; the first call fixes the slopes."""
        units = x
        for k in range(1, layers + 1):
            z = units @ params[f"W{k}"] + params[f"b{k}"]
            if len(slopes) < k:
                slopes.append(np.where(z > 0, 1.0, off))
            units = z * slopes[k - 1]
        return units @ params[f"W{layers + 1}"] + params[f"b{layers + 1}"]

    def loss() -> float:
        z = sums()
        z -= z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[rows, t]).mean())

    loss()
    return loss, params


def _slope(
    loss: Callable[[], float], values: np.ndarray, place: tuple[int, ...], h: float
) -> float:
    """Central difference of the loss in one number."""
    was = values[place]
    values[place] = was + h
    above = loss()
    values[place] = was - h
    below = loss()
    values[place] = was
    return (above - below) / (2 * h)


def _added_by_delta(net: MLP, x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    """How far the slope of ``-log(y + 1e-7)`` is from backpropagation, which has no 1e-7.

    The slope of a row's loss is then smaller by the factor ``y / (y + 1e-7)``.
    """
    right = net.predict(x).astype(np.float64)[np.arange(len(t)), t]
    added = {name: np.zeros(view.shape) for name, view in net.params.items()}
    for row, share in enumerate(DELTA / (right + DELTA) / len(t)):
        for name, gradient in net.gradient(x[row : row + 1], t[row : row + 1]).items():
            added[name] += share * gradient
    return added


def _report_table(
    report: Callable[[str], Any], differences: dict[str, Difference], dtype: str
) -> None:
    report("    mean difference  largest difference  mean gradient  the book's 1e-7 would add")
    for name, found in differences.items():
        report(
            f"{name:3} {found.mean:15.1e}  {found.largest:18.1e}  {found.gradient:13.1e}  "
            f"{found.delta:25.1e}"
        )
    failed = too_large(differences, dtype)
    verdict = f"{', '.join(failed)} differ by more than" if failed else "all agree within"
    report(f"{verdict} {BOUNDS[dtype]:g}")
