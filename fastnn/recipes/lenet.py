"""Handwritten digits again: LeNet, a convolutional network of 44,426 parameters."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

from fastnn import gate, plots
from fastnn.convnet import ConvNet
from fastnn.history import History
from fastnn.layers import Conv, Dense, MaxPool
from fastnn.optimizers import Adam
from fastnn.recipes import digits
from fastnn.schedules import Cosine

IMAGE = (1, 28, 28)
LAYERS = (
    *(Conv(6, 5), MaxPool(2), Conv(16, 5), MaxPool(2)),
    *(Dense(120), Dense(84), Dense(10)),
)


def run(
    *,
    lr: float = 0.003,
    batch_size: int = 64,
    epochs: int = 3,
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    report: Callable[[str], Any] = print,
) -> tuple[ConvNet, History]:
    """Train LeNet on MNIST and report the accuracies of each epoch.

    The learning rate of Adam falls as a cosine to zero.  With the defaults 98.9 % or more of the
    test images are read right, whatever the seed of 0 to 4.

    Parameters
    ----------
    lr : float, default 0.003
        Learning rate of the first step.
    batch_size, epochs, dtype, seed, progress
        As in `fastnn.ConvNet` and its `fit`; 64 images a step, 3 epochs.
    threads : int, optional
        See `fastnn.set_num_threads`.
    data : path, optional
        Folder with the four MNIST files; default the data inside the package.
    out : path, optional
        Folder for ``confusion.png``, ``misread.png``, ``filters.png`` (of the first layer, before
        and after) and ``maps.png`` (what the layers make of a test image), ``curves.png``,
        ``history.csv`` and ``model.fastnn``.
    report : callable, default print
        Takes one line of text at a time.

    Returns
    -------
    ConvNet
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
        If a loss is not finite; see `fastnn.ConvNet.fit`.

    References
    ----------
    LeCun et al., Gradient-based learning applied to document recognition, Proceedings of the IEEE
    86 (11), 1998; with ReLU and maxima, as SimpleChains.jl and PyTorch's examples have it.

    Examples
    --------
    >>> from fastnn.recipes import lenet
    >>> net, history = lenet.run(epochs=1, batch_size=500, report=lambda line: None)
    >>> bool(history.test_accuracy[-1] > 0.9)
    True
    """
    began = time.perf_counter()
    gate.positive_integer(batch_size, "batch_size")
    gate.positive_integer(epochs, "epochs")
    Adam(lr)  # refuses what is no rate
    net = ConvNet(IMAGE, LAYERS, dtype=dtype, seed=seed)
    before = net.params["W1"].copy()

    def falling(images: int) -> Adam:
        return Adam(Cosine(lr, math.ceil(images / batch_size) * epochs))

    def filters(ax: Any, image: Any) -> Any:
        return plots.filters(net.params["W1"], ax, before=before)

    def maps(ax: Any, image: Any) -> Any:
        return plots.feature_maps(net, image, ax)

    history = digits.train(
        net,
        falling,
        {"filters.png": (filters, (8.4, 3.2)), "maps.png": (maps, (9.6, 4.0))},
        threads=threads,
        data=data,
        out=out,
        report=report,
        began=began,
        epochs=epochs,
        batch_size=batch_size,
        progress=progress,
    )
    return net, history
