"""The folder of a training job: checked before training, filled after it."""

from __future__ import annotations

import os
from pathlib import Path

from fastnn import plots
from fastnn.history import History
from fastnn.network import MLP

# What `write` writes.
FILES = ["curves.png", "history.csv", "model.fastnn"]


def prepared(out: str | os.PathLike[str] | None) -> Path | None:
    """The output folder, if one is wanted; what would fail after training fails before."""
    if out is None:
        return None
    plots.require_matplotlib()
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(
            f"out must be a folder, but {folder} is or lies in a file"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"out must be a folder that can be written, not {folder}")
    return folder


def write(folder: Path, net: MLP, history: History) -> None:
    """The curves, the losses as a table, and the network."""
    sizes = "-".join(map(str, net.layer_sizes))
    plots.save_history(history, folder / "curves.png", title=f"{sizes}, {history.steps} steps")
    history.to_csv(folder / "history.csv")
    net.save(folder / "model.fastnn")


def written(folder: Path, pictures: list[str]) -> str:
    """The line that says what has been written."""
    *names, last = [*pictures, *FILES]
    return f"wrote {', '.join(names)} and {last} in {folder}"
