"""What the jobs on handwritten digits have in common: data, lines on the way, pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastnn import datasets, gate, plots
from fastnn.compiler import runtime
from fastnn.convnet import ConvNet
from fastnn.history import History
from fastnn.network import MLP
from fastnn.optimizers import Optimizer
from fastnn.recipes import folder as folders

# Draws on axes; it may need an image.
Drawing = Callable[[Any, Any], Any]
Picture = tuple[Drawing, tuple[float, float]]


def train(
    net: MLP | ConvNet,
    optimizer: Callable[[int], Optimizer],
    pictures: Mapping[str, Picture],
    *,
    threads: int | None,
    data: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    report: Callable[[str], Any],
    began: float,
    **how: Any,
) -> History:
    """Train a network on MNIST, report the accuracies of each epoch, and fill the folder.

    Parameters
    ----------
    net : MLP or ConvNet
    optimizer : callable
        Gives the optimiser for so many training images.
    pictures : mapping of str to tuple
        What is to be drawn beside confusions and misread images: what draws on axes, given these
        and the first test image, and inches.
    threads, data, out, report
        As of `fastnn.recipes.mnist.run`.
    began : float
        When the job did, by `time.perf_counter`.
    **how
        As of the `fit` of networks.

    Returns
    -------
    History
        What happened.
    """
    if threads is not None:
        runtime.set_num_threads(gate.positive_integer(threads, "threads"))
    (x, t), (x_test, t_test) = datasets.load_mnist(path=data)
    folder = folders.prepared(out, report)
    report(f"{net}: {len(x)} images to train on, {len(x_test)} to test")

    def report_epoch(net: Any, history: History) -> None:
        report(
            f"epoch {history.epochs[-1]:5.2f}  loss {history.train_loss[-1]:.4f}  "
            f"train accuracy {history.train_accuracy[-1]:.4f}  "
            f"test accuracy {history.test_accuracy[-1]:.4f}  "
            f"{time.perf_counter() - began:.1f} s"
        )

    how |= {"optimizer": optimizer(len(x)), "callbacks": [report_epoch]}
    history = net.fit(x, t, validation_data=(x_test, t_test), **how)

    def confusion(ax: Any, image: Any) -> Any:
        return plots.confusion(t_test, net.predict(x_test).argmax(axis=1), ax)

    def misread(ax: Any, image: Any) -> Any:
        return plots.misread(x_test, t_test, net.predict(x_test), ax)

    all_pictures = {
        "confusion.png": (confusion, (5.6, 5.6)),
        "misread.png": (misread, (8.4, 7.0)),
        **pictures,
    }
    drawn = {name: _saved(name, *each, x_test[0]) for name, each in all_pictures.items()}
    error = folders.write(folder, net, history, drawn, report)
    report(
        f"{history.steps} steps in {history.seconds:.2f} s, evaluations included; "
        f"{time.perf_counter() - began:.2f} s in all"
    )
    folders.finish(history, error, report)
    return history


def _saved(name: str, drawing: Drawing, size: tuple[float, float], image: Any) -> folders.Draw:
    """What draws a picture of so many inches in a folder."""

    def draw(ax: Any) -> Any:
        return drawing(ax, image)

    return lambda folder: plots.save(folder / name, [draw], size=size, cut=True)
