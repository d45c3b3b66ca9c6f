"""Handwritten digits: the two-layer network of seeds 001 and 004."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastnn import gate, plots
from fastnn.history import History
from fastnn.network import MLP
from fastnn.optimizers import OPTIMIZERS
from fastnn.recipes import digits


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

    def weights(ax: Any, image: Any) -> Any:
        return plots.hidden_weights(net.params["W1"], ax)

    history = digits.train(
        net,
        lambda images: rule,
        {"weights.png": (weights, (9.6, 6.4))},
        threads=threads,
        data=data,
        out=out,
        report=report,
        began=began,
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        sampling="replacement",
        progress=progress,
    )
    return net, history
