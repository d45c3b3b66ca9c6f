"""The folder of a training job: checked before training, filled after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastnn import command, plots
from fastnn.convnet import ConvNet
from fastnn.history import History
from fastnn.network import MLP
from fastnn.plots.figures import no_pictures

# Draws a picture, or some, in a folder.
Draw = Callable[[Path], Any]


@dataclass
class Folder:
    """Where a job puts its files, and why there are to be no pictures among them, if so."""

    path: Path
    lack: tuple[str, str] | None


def prepared(out: str | os.PathLike[str] | None, report: Callable[[str], Any]) -> Folder | None:
    """The output folder, if one is wanted; what would fail after training fails before.

    Without matplotlib there are no pictures, and a line that says so: that is no reason not to
    train.
    """
    if out is None:
        return None
    path = Path(out)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"out must be a folder, but {path} is or lies in a file") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"out must be a folder that can be written, not {path}")
    folder = Folder(path, no_pictures())
    if folder.lack is not None:
        report(": ".join(folder.lack))
    return folder


def write(
    folder: Folder | None,
    net: MLP | ConvNet,
    history: History,
    pictures: Mapping[str, Draw],
    report: Callable[[str], Any],
) -> command.NotWrittenError | None:
    """Write the network, the losses as a table and the pictures, whatever one of them raises.

    Parameters
    ----------
    folder : Folder, optional
        None if nothing is to be written.
    net : MLP or ConvNet
    history : History
    pictures : mapping of str to callable
        Those of this job, by the names to report.
    report : callable
        Takes the line that says what has been written.

    Returns
    -------
    NotWrittenError or None
        For `finish`, if something could not be written.
    """
    if folder is None:
        return None
    if isinstance(net, ConvNet):
        what = f"{len(net.layers)} layers"
    else:
        what = "-".join(map(str, net.layer_sizes))
    title = f"{what}, {history.steps} steps"
    files: dict[str, Draw] = {
        "history.csv": lambda path: history.to_csv(path / "history.csv"),
        "model.fastnn": lambda path: net.save(path / "model.fastnn"),
    }
    drawn: dict[str, Draw] = {
        **pictures,
        "curves.png": lambda path: plots.save_history(history, path / "curves.png", title=title),
    }
    if folder.lack is not None:
        drawn = {}
    with suppress(OSError):  # which the files will meet too
        folder.path.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
    # The files first: a picture takes longer, and more can go wrong with it.
    writers = {name: partial(make, folder.path) for name, make in {**files, **drawn}.items()}
    written, error = command.write_each(writers)
    if written:
        names = [name for name in [*drawn, *files] if name in written]
        line = f"wrote {command.listed(names)} in {folder.path}"
        report(line if folder.lack is None else f"{line}; {folder.lack[0]}")
    return error


def finish(
    history: History, error: command.NotWrittenError | None, report: Callable[[str], Any]
) -> None:
    """Say what there is to say of the training, then raise what `write` returned."""
    if history.hint:
        report(history.hint)
    if error is not None:
        raise error
