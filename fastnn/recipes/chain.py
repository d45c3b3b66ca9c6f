"""Seed 002: cross entropies by hand, and the chain of factors of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.network import MLP
from fastnn.recipes.cross_entropy import cross_entropy_error

# Outputs for which the text computes the cross entropy; class 1 is right.
OUTPUTS = ([0.1, 0.6, 0.2, 0.0, 0.0], [0.1, 0.2, 0.05, 0.0, 0.0])
RIGHT = [0, 1, 0, 0, 0]

X = np.array([[2.0, 3.0, 1.0]])
T = np.array([[20.0]])
# As the text writes them, a row for each output; W of fastnn has a row for each input.
W1 = np.array([[3.0, 1.0, 2.0], [-2.0, -3.0, -1.0]])
W2 = np.array([[3.0, 2.0]])


def run(
    *, dtype: str = "float64", report: Callable[[str], Any] = print
) -> dict[str, np.ndarray | float]:
    """Report the cross entropies, then the factors of the gradient and their products.

    Parameters
    ----------
    dtype : {"float64", "float32"}, default "float64"
        As in `fastnn.MLP`.
    report : callable, default print
        Takes one line of text at a time.

    Returns
    -------
    dict
        The outputs and every factor and product by name, shaped as in the text.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> from fastnn.recipes import chain
    >>> chain.run(report=lambda line: None)["dL/dw1"]
    array([[156., 234.,  78.],
           [  0.,   0.,   0.]])
    """
    found = factors(dtype)
    for y in OUTPUTS:
        error = cross_entropy_error(y, RIGHT)
        report(f"cross entropy of {_shown(np.array(y))} if class 1 is right: {error:.15g}")
    report(f"3-2-1, relu, x = [2 3 1], t = 20: y = {_shown(found['y'])}, L = (y - t)^2")
    for name, formula in FORMULAS.items():
        report(f"{name:7} = {formula:27} = {_shown(found[name])}")
    return found


FORMULAS = {
    "dL/dy": "2 (y - t)",
    "dy/dw2": "h1",
    "dL/dw2": "dL/dy dy/dw2",
    "dy/dh1": "w2",
    "dh1/du1": "1 where u1 > 0, else 0",
    "dL/du1": "dL/dy dy/dh1 dh1/du1",
    "du1/dw1": "x",
    "dL/dw1": "dL/du1 du1/dw1",
}


def factors(dtype: str = "float64") -> dict[str, np.ndarray | float]:
    """Every factor and product, by `MLP.gradient`.

    The slope in a bias is the slope in what it is added to. With a target one below y, half
    the squared error has the slope 1 in y, so its gradient is that of y itself.
    """
    net, itself = (_network(loss, dtype) for loss in ("mse", "squared_error"))
    y = net.predict(X)
    of_L, of_y = net.gradient(X, T), itself.gradient(X, y - 1)
    h1 = of_y["W2"][:, 0]
    return {
        "y": float(y[0, 0]),
        "dL/dy": float(of_L["b2"][0]),
        "dy/dw2": h1,
        "dL/dw2": of_L["W2"][:, 0],
        "dy/dh1": net.params["W2"][:, 0].copy(),
        "dh1/du1": np.where(h1 > 0, 1.0, 0.0),
        "dL/du1": of_L["b1"],
        "du1/dw1": X[0],
        "dL/dw1": of_L["W1"].T,
    }


def _network(loss: str, dtype: str) -> MLP:
    net = MLP([3, 2, 1], "relu", "identity", loss, dtype=dtype)
    net.params["W1"], net.params["W2"] = W1.T, W2.T
    return net


def _shown(value: np.ndarray | float) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    inside = value.tolist() if value.ndim == 1 else [_shown(row) for row in value]
    return f"[{' '.join(v if isinstance(v, str) else f'{v:g}' for v in inside)}]"
