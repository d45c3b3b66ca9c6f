"""Networks from their files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnn import files
from fastnn.convnet import ConvNet
from fastnn.layers import LAYERS
from fastnn.losses import DESCRIBED
from fastnn.network import MLP, TwoLayerNet

__all__ = ["load"]

KINDS = {"MLP": MLP, "TwoLayerNet": TwoLayerNet}


def load(path: str | os.PathLike[str]) -> MLP | ConvNet:
    """Read a network that `MLP.save` wrote, or that of a `ConvNet`.

    Parameters
    ----------
    path : str or path-like
        The file.  Nothing in it is executed.

    Returns
    -------
    MLP, TwoLayerNet or ConvNet

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


def _mlp(description: dict[str, Any]) -> MLP:
    net: MLP = MLP.__new__(KINDS.get(description["kind"], MLP))
    MLP.__init__(
        net,
        description["layer_sizes"],
        description["activation"],
        description["output"],
        _loss(description["loss"]),
        weight_init=0.0,
        dtype=description["dtype"],
    )
    return net


def _conv_net(description: dict[str, Any]) -> ConvNet:
    layers = [_layer(**layer) for layer in description["layers"]]
    return ConvNet(
        description["input_shape"],
        layers,
        description["activation"],
        description["output"],
        _loss(description["loss"]),
        weight_init=0.0,
        dtype=description["dtype"],
    )


def _loss(loss: Any) -> Any:
    """A loss by its name, or with numbers of its own."""
    if not isinstance(loss, dict):
        return loss
    return DESCRIBED[loss["name"]](**{name: v for name, v in loss.items() if name != "name"})


def _layer(layer: str, **arguments: Any) -> Any:
    kind: Any = LAYERS[layer]
    pairs = {name: tuple(v) if isinstance(v, list) else v for name, v in arguments.items()}
    return kind(**pairs)


def _network(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> MLP | ConvNet:
    net = (_conv_net if description["kind"] == "ConvNet" else _mlp)(description)
    if set(arrays) != set(net.params):
        raise ValueError(f"its arrays are {sorted(arrays)}, not {sorted(net.params)}")
    for name, array in arrays.items():
        net.params[name] = array
    return net
