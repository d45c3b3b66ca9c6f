"""Handwritten digits: the two-layer network of seeds 001 and 004."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn import datasets, gate, plots
from fastnn.compiler import runtime
from fastnn.history import History
from fastnn.network import MLP
from fastnn.optimizers import OPTIMIZERS
from fastnn.recipes import folder as folders

# Width and height of each picture in inches.
SIZES = {"confusion.png": (5.6, 5.6), "misread.png": (8.4, 7.0), "weights.png": (9.6, 6.4)}


def run(
    *,
    hidden: Sequence[int] = (50,),
    activation: str = "relu",
    optimizer: str = "sgd",
    lr: float | None = None,
    batch_size: int = 100,
    epochs: int | None = None,
    iterations: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    report: Callable[[str], Any] = print,
) -> tuple[MLP, History]:
    """Train on MNIST as the book does and report the accuracies of each epoch.

    Parameters
    ----------
    hidden : sequence of int, default (50,)
        Widths of the hidden layers.
    activation, batch_size, epochs, dtype, seed, progress
        As in `fastnn.MLP` and its `fit`.
    optimizer : str, default "sgd"
        Update rule: a name in `fastnn.optimizers.OPTIMIZERS`.
    lr : float, optional
        Learning rate; default that of the rule: 0.1, as in the book, for SGD.
    iterations : int, optional
        Steps; 10,000 if `epochs` is not given either.
    threads : int, optional
        See `fastnn.set_num_threads`.
    data : path, optional
        Folder with the four MNIST files; default the data inside the package.
    out : path, optional
        Folder for ``confusion.png``, ``misread.png`` and ``weights.png`` (of the test
        images and the first layer), ``curves.png``, ``history.csv`` and ``model.fastnn``.
        Without matplotlib there are no pictures, and a line says so.
    report : callable, default print
        Takes one line of text at a time.

    Returns
    -------
    MLP
        The trained network.
    History
        What happened.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    OSError
        If `data` cannot be read or `out` cannot be written; after training, when all has been
        written that can be.
    FloatingPointError
        If a loss is not finite; see `fastnn.MLP.fit`.

    Examples
    --------
    >>> from fastnn.recipes import mnist
    >>> net, history = mnist.run(iterations=100, report=lambda line: None)
    >>> bool(history.test_accuracy[-1] > 0.3)
    True
    """
    began = time.perf_counter()
    if epochs is None and iterations is None:
        iterations = 10_000
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    rule = OPTIMIZERS[optimizer]() if lr is None else OPTIMIZERS[optimizer](lr=lr)
    widths = [gate.positive_integer(width, "hidden") for width in hidden]
    net = MLP([784, *widths, 10], activation, dtype=dtype, seed=seed)
    if threads is not None:
        runtime.set_num_threads(gate.positive_integer(threads, "threads"))
    (x, t), (x_test, t_test) = datasets.load_mnist(path=data)
    folder = folders.prepared(out, report)
    report(f"{net}: {len(x)} images to train on, {len(x_test)} to test")

    def report_epoch(net: MLP, history: History) -> None:
        report(
            f"epoch {history.epochs[-1]:5.2f}  loss {history.train_loss[-1]:.4f}  "
            f"train accuracy {history.train_accuracy[-1]:.4f}  "
            f"test accuracy {history.test_accuracy[-1]:.4f}  "
            f"{time.perf_counter() - began:.1f} s"
        )

    history = net.fit(
        x,
        t,
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        optimizer=rule,
        sampling="replacement",
        validation_data=(x_test, t_test),
        progress=progress,
        callbacks=[report_epoch],
    )
    error = folders.write(folder, net, history, _pictures(net, x_test, t_test), report)
    report(
        f"{history.steps} steps in {history.seconds:.2f} s, evaluations included; "
        f"{time.perf_counter() - began:.2f} s in all"
    )
    folders.finish(history, error, report)
    return net, history


def _pictures(net: MLP, x: np.ndarray, t: np.ndarray) -> dict[str, folders.Draw]:
    """What the network confuses, misreads and looks for."""

    def confusion(ax: Any) -> Any:
        return plots.confusion(t, net.predict(x).argmax(axis=1), ax)

    def misread(ax: Any) -> Any:
        return plots.misread(x, t, net.predict(x), ax)

    def weights(ax: Any) -> Any:
        return plots.hidden_weights(net.params["W1"], ax)

    def saved(name: str, draw: Callable[[Any], Any]) -> folders.Draw:
        return lambda path: plots.save(path / name, [draw], size=SIZES[name], cut=True)

    drawn = {"confusion.png": confusion, "misread.png": misread, "weights.png": weights}
    return {name: saved(name, draw) for name, draw in drawn.items()}
