"""The regression of seed 000: 3 x0**2 + 2 x1, one sample at a time, and beyond the range."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import gate, plots
from fastnn.history import History
from fastnn.network import MLP
from fastnn.optimizers import SGD
from fastnn.recipes import folder as folders

# Points to draw from.
ROWS = 100_000
# The document's learning rate, for inputs in [0, 1).
LR = 0.06
# Widths are compared after more and smaller steps: single samples make noise, and at the rate
# above the noise of a wide layer is as large as what it gains.
STUDY_STEPS, STUDY_LR = 20, 1 / 2
# That rate is meant for so much of the widest layer; half the rate of 50 units still does for 100.
STUDY_SHARE = 0.5
# Inputs beyond this would say nothing more.
LARGEST = 1e3
# Points of a picture, as in the document.
DRAWN = 1000


def truth(x: np.ndarray) -> np.ndarray:
    """``3 x0**2 + 2 x1`` of each row."""
    return 3 * x[:, 0] ** 2 + 2 * x[:, 1]


def learning_rate(low: float, high: float, width: float) -> float:
    """A rate for which training converges: 0.06 for the document's range and width.

    It is divided by m**3 if inputs reach m above 1: the outputs grow with m**2, and with them the
    weights that multiply inputs of size m. It is divided by width / 30 if that is above 1, for
    so many more weights move the output. Found by trial, up to m = 100 and 300 hidden units.
    """
    return LR / max(1.0, -low, high) ** 3 / max(1.0, width / 30)


def run(
    *,
    hidden: Sequence[int] = (30,),
    widths: Sequence[int] = (3, 10, 30, 100),
    activation: str = "relu",
    range: Sequence[float] = (0.0, 1.0),
    lr: float | None = None,
    iterations: int = 2000,
    dtype: str = "float32",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    report: Callable[[str], Any] = print,
) -> tuple[MLP, History]:
    """Train on random points as the document does, then compare widths of the hidden layer.

    Parameters
    ----------
    hidden : sequence of int, default (30,)
        Widths of the hidden layers.
    widths : sequence of int, default (3, 10, 30, 100)
        Widths of a single hidden layer, each trained on the same points, to compare.
    activation, iterations, dtype, seed, progress
        As in `fastnn.MLP` and its `fit`.
    range : tuple of float, default (0, 1)
        Least and greatest input of the training points.
    lr : float, optional
        Learning rate; default see `learning_rate`. Widths are compared at half of it, over
        twenty times as many points.
    out : path, optional
        Folder for ``fit.png`` (against the truth, also beyond the training range) and
        ``widths.png``, and for ``curves.png``, ``history.csv`` and ``model.fastnn``. Without
        matplotlib there are no pictures, and a line says so.
    report : callable, default print
        Takes one line of text at a time.

    Returns
    -------
    MLP
        The network with the layers of `hidden`.
    History
        What happened.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    OSError
        If `out` cannot be written; after training, when all has been written that can be.
    FloatingPointError
        If a loss is not finite; see `fastnn.MLP.fit`.

    Examples
    --------
    >>> from fastnn.recipes import quadratic
    >>> net, history = quadratic.run(widths=[3], report=lambda line: None)
    >>> history.steps, bool(history.loss[-500:].mean() < 0.05)
    (2000, True)
    """
    low, high = _checked_range(range)
    layers = [[gate.positive_integer(width, "hidden") for width in hidden]]
    layers += [[gate.positive_integer(width, "widths")] for width in widths]
    gate.positive_integer(iterations, "iterations")
    rule, study = _rules(lr, low, high, layers)
    nets = [_network(sizes, activation, dtype, seed) for sizes in layers]
    folder = folders.prepared(out, report)
    x = low + (high - low) * np.random.default_rng(seed).random((ROWS, 2))
    line = _Line(low, high)
    report(f"{nets[0]}: {iterations} of {ROWS} points in [{low:g}, {high:g}), lr {rule.lr:.3g}")
    history = nets[0].fit(
        x,
        truth(x),
        iterations=iterations,
        batch_size=1,
        optimizer=rule,
        sampling="replacement",
        evaluate_every=max(1, iterations // 10),
        progress=progress,
        callbacks=[lambda net, history: _report_loss(report, history, max(1, iterations // 10))],
    )
    _report_errors(report, nets[0], x, line)
    if len(widths):
        report(f"one hidden layer, {STUDY_STEPS * iterations} points, lr {study.lr:.3g}:")
    for net in nets[1:]:
        net.fit(
            x,
            truth(x),
            iterations=STUDY_STEPS * iterations,
            batch_size=1,
            optimizer=study,
            sampling="replacement",
            progress=progress,
        )
        _report_errors(report, net, x, line)
    error = folders.write(folder, nets[0], history, _pictures(nets, x, line), report)
    folders.finish(history, error, report)
    return nets[0], history


def _rules(lr: float | None, low: float, high: float, layers: list[list[int]]) -> tuple[SGD, SGD]:
    """For the network, and for the comparison: there one rate for all, so only widths differ."""
    if lr is not None:
        return SGD(lr), SGD(lr * STUDY_LR)
    widest = max((sizes[0] for sizes in layers[1:]), default=1)
    study = learning_rate(low, high, STUDY_SHARE * widest) * STUDY_LR
    return SGD(learning_rate(low, high, max(layers[0], default=1))), SGD(study)


def _network(hidden: list[int], activation: str, dtype: str, seed: int) -> MLP:
    """Weights and biases from N(0, 1)."""
    return MLP(
        [2, *hidden, 1],
        activation,
        output="identity",
        weight_init=1.0,
        bias_init=1.0,
        dtype=dtype,
        seed=seed,
    )


def _checked_range(value: Sequence[float]) -> tuple[float, float]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError(f"range must be two numbers, got {value!r}")
    low, high = (gate.real_number(number, "range", -LARGEST) for number in value)
    if not low < high <= LARGEST:
        raise ValueError(
            f"range must be two numbers from {-LARGEST:g} to {LARGEST:g}, the first below the "
            f"second, got {low:g} and {high:g}"
        )
    return low, high


def _report_loss(report: Callable[[str], Any], history: History, latest: int) -> None:
    mean = history.loss[-latest:].mean()
    report(f"step {history.steps:5}  mean loss {mean:.4f}")


class _Line:
    """Points with x1 = 0 (or the training input next to it), twice as far out as the training."""

    def __init__(self, low: float, high: float):
        self.trained = low, high
        self.x1 = float(np.clip(0.0, low, high))
        self.x0 = np.linspace(min(low, 2 * low), max(high, 2 * high), DRAWN, endpoint=False)
        self.x = np.stack([self.x0, np.full(DRAWN, self.x1)], axis=1)
        self.beyond = self.x[(self.x0 < low) | (self.x0 >= high)]


def _error(net: MLP, x: np.ndarray) -> float:
    """Mean distance from the truth."""
    return float(np.abs(net.predict(x)[:, 0] - truth(x)).mean())


def _report_errors(report: Callable[[str], Any], net: MLP, x: np.ndarray, line: _Line) -> None:
    report(
        f"{_layers(net):>3} hidden units: mean |y - t| {_error(net, x):.3g} in the training range, "
        f"{_error(net, line.beyond):.3g} beyond"
    )


def _pictures(nets: list[MLP], x: np.ndarray, line: _Line) -> dict[str, folders.Draw]:
    """The fit of the first network, and a sheet with the others if there are any."""

    def panel(net: MLP, legend: bool) -> Callable[[Any], Any]:
        def draw(ax: Any) -> None:
            y = net.predict(line.x)[:, 0]
            plots.fit(line.x0, truth(line.x), y, ax, trained=line.trained, legend=legend)
            ax.set_xlabel(f"$x_0$, with $x_1$ = {line.x1:g}")
            ax.set_ylabel("$3x_0^2 + 2x_1$")
            ax.set_title(
                f"{_layers(net)} hidden units, mean error {_error(net, x):.3g} in the range",
                fontsize="medium",
                pad=24 if legend else 6,
            )

        return draw

    def fit(path: Path) -> None:
        plots.save(path / "fit.png", [panel(nets[0], legend=True)])

    def widths(path: Path) -> None:
        panels = [panel(net, legend=False) for net in nets[1:]]
        plots.save(
            path / "widths.png",
            panels,
            columns=min(2, len(panels)),
            size=(4.4, 3.2),
            legend=True,
            same_scales=True,
        )

    return {"fit.png": fit, "widths.png": widths} if len(nets) > 1 else {"fit.png": fit}


def _layers(net: MLP) -> str:
    return "-".join(map(str, net.layer_sizes[1:-1]))
