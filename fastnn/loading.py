"""Networks from their files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnn import files
from fastnn.network import MLP, TwoLayerNet

__all__ = ["load"]

KINDS = {"MLP": MLP, "TwoLayerNet": TwoLayerNet}


def load(path: str | os.PathLike[str]) -> MLP:
    """Read a network that `MLP.save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.  Nothing in it is executed.

    Returns
    -------
    MLP or TwoLayerNet

    Raises
    ------
    fastnn.ModelFileError
        A `ValueError`: the file is damaged, foreign, or of a newer version.
    OSError
        If the file cannot be read.

    Examples
    --------
    See `MLP.save`.
    """
    description, arrays = files.read_model(path)
    try:
        return _network(description, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise files.ModelFileError(f"{os.fspath(path)!r} holds no network: {error}") from None


def _network(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> MLP:
    net: MLP = MLP.__new__(KINDS.get(description["kind"], MLP))
    MLP.__init__(
        net,
        description["layer_sizes"],
        description["activation"],
        description["output"],
        description["loss"],
        weight_init=0.0,
        dtype=description["dtype"],
    )
    if set(arrays) != set(net.params):
        raise ValueError(f"its arrays are {sorted(arrays)}, not {sorted(net.params)}")
    for name, array in arrays.items():
        net.params[name] = array
    return net
