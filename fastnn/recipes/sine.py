"""One period of a sine: the 1-3-1 network of seed 003, trained one sample at a time."""

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

# More panels than this, and a sheet could not be read.
MOST_PICTURES = 100


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0 to 2 pi in steps of 0.1, scaled to -1 .. 1, and their sines."""
    angle = np.arange(0, np.pi * 2, 0.1)
    return (angle - np.pi) / np.pi, np.sin(angle)


def run(
    *,
    hidden: Sequence[int] = (3,),
    activation: str = "sigmoid",
    lr: float = 0.1,
    epochs: int = 2001,
    every: int = 200,
    dtype: str = "float32",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    report: Callable[[str], Any] = print,
) -> tuple[MLP, History]:
    """Train on a sine as the document does, and report the error of every 200th epoch.

    The error is the document's: the mean over the samples of an epoch of half the squared
    difference, each taken before its update.

    Parameters
    ----------
    hidden : sequence of int, default (3,)
        Widths of the hidden layers.
    activation, lr, epochs, dtype, seed, progress
        As in `fastnn.MLP` and its `fit`.
    every : int, default 200
        Epochs between two lines, and between two pictures.
    out : path, optional
        Folder for a picture of each reported epoch before its first update
        (``epoch-0000.png`` ...) and all of them on one ``sheet.png``, and for ``curves.png``,
        ``history.csv`` and ``model.fastnn``. Without matplotlib there are no pictures, and a
        line says so.
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
        If `out` cannot be written; after training, when all has been written that can be.
    FloatingPointError
        If a loss is not finite; see `fastnn.MLP.fit`.

    Examples
    --------
    >>> from fastnn.recipes import sine
    >>> net, history = sine.run(epochs=201, report=lambda line: None)
    >>> history.steps, bool(history.loss[-63:].mean() < 0.1)
    (12663, True)
    """
    x, t = samples()
    widths = [gate.positive_integer(width, "hidden") for width in hidden]
    gate.positive_integer(epochs, "epochs")
    gate.positive_integer(every, "every")
    if out is not None and len(range(0, epochs, every)) > MOST_PICTURES:
        raise ValueError(
            f"every must be so that there are at most {MOST_PICTURES} pictures, "
            f"got {every} of {epochs} epochs"
        )
    rule = SGD(lr=lr)
    net = MLP(
        [1, *widths, 1], activation, output="identity", bias_init=0.01, dtype=dtype, seed=seed
    )
    folder = folders.prepared(out, report)
    report(f"{net}: {len(x)} angles, lr {lr}, one sample a step")
    outputs = {0: net.predict(x[:, np.newaxis])[:, 0]}
    errors: dict[int, float] = {}

    def look(net: MLP, history: History) -> None:
        done = history.steps // len(x)
        if (done - 1) % every == 0:
            errors[done - 1] = float(history.loss[-len(x) :].mean())
            report(f"Epoch:{done - 1}/{epochs} Error:{errors[done - 1]:.9f}")
        if done % every == 0 and done < epochs:
            outputs[done] = net.predict(x[:, np.newaxis])[:, 0]

    history = net.fit(
        x[:, np.newaxis],
        t,
        epochs=epochs,
        batch_size=1,
        optimizer=rule,
        progress=progress,
        callbacks=[look],
    )
    error = folders.write(folder, net, history, _pictures(x, t, outputs, errors), report)
    worst = float(np.abs(net.predict(x[:, np.newaxis])[:, 0] - t).max())
    report(f"{history.steps} steps in {history.seconds:.2f} s; largest error {worst:.3f}")
    folders.finish(history, error, report)
    return net, history


def _pictures(
    x: np.ndarray, t: np.ndarray, outputs: dict[int, np.ndarray], errors: dict[int, float]
) -> dict[str, folders.Draw]:
    """A picture of each epoch, and all on one sheet."""
    lowest = min(-1.2, *(float(y.min()) - 0.1 for y in outputs.values()))
    highest = max(1.2, *(float(y.max()) + 0.1 for y in outputs.values()))

    def panel(epoch: int, legend: bool) -> Callable[[Any], Any]:
        def draw(ax: Any) -> None:
            plots.fit(x, t, outputs[epoch], ax, legend=legend)
            ax.set_ylim(lowest, highest)
            ax.set_xlabel("x = (angle − π) / π")
            trained = "before training" if epoch == 0 else f"after {epoch} epochs"
            title, pad = f"{trained}, error {errors[epoch]:.4f}", 24 if legend else 6
            ax.set_title(title, fontsize="medium", pad=pad)

        return draw

    def each(path: Path) -> None:
        for epoch in outputs:
            plots.save(path / f"epoch-{epoch:04d}.png", [panel(epoch, legend=True)])

    def sheet(path: Path) -> None:
        panels = [panel(epoch, legend=False) for epoch in outputs]
        plots.save(
            path / "sheet.png",
            panels,
            columns=min(4, len(panels)),
            size=(3.2, 2.6),
            legend=True,
            same_scales=True,
        )

    return {f"{len(outputs)} pictures epoch-*.png": each, "sheet.png": sheet}
