"""Networks of images in float64: every layer's formula, forwards and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bench.formulas import cross_entropy
from bench.networks import Conv, ImageNetwork, Pool

Params = list[np.ndarray]


def outputs(network: ImageNetwork, params: Params, x: np.ndarray) -> list[np.ndarray]:
    """The images, the outputs of each layer, and the scores."""
    found, k = [x], 0
    for layer in network.layers:
        if isinstance(layer, Conv):
            z = _convolved(layer, found[-1], params[k], params[k + 1])
            found.append(np.maximum(z, 0))
            k += 2
        else:
            found.append(_windows(layer, found[-1]).max(axis=-1))
    found.append(found[-1].reshape(len(x), -1))
    for W, b in zip(params[k::2], params[k + 1 :: 2], strict=True):
        z = found[-1] @ W + b
        found.append(z if W is params[-2] else np.maximum(z, 0))
    return found


def gradients(network: ImageNetwork, params: Params, x: Any, t: Any) -> tuple[float, Params]:
    """Loss and gradients of a batch."""
    y = outputs(network, params, x)
    loss, delta = cross_entropy(y.pop(), t)
    found: Params = []
    for k in range(len(params) - 2, len(params) - 2 * len(network.dense) - 1, -2):
        below = y.pop()
        found[:0] = [below.T @ delta, delta.sum(axis=0)]
        delta = delta @ params[k].T * (below > 0)
    delta = delta.reshape(y[-1].shape)
    for layer in reversed(network.layers):
        above, below = y.pop(), y[-1]
        if isinstance(layer, Pool):
            delta = _to_first_of_largest(layer, below, delta)
            continue
        delta = delta * (above > 0)
        seen = _patches(layer, below)
        found[:0] = [np.tensordot(delta, seen, ([0, 2, 3], [0, 2, 3])), delta.sum(axis=(0, 2, 3))]
        if below is not x:
            delta = _to_inputs(layer, delta, params[len(params) - len(found)], below.shape)
    return loss, found


def _patches(layer: Conv, x: np.ndarray) -> np.ndarray:
    """What each filter sees at each place, (N, C, H, W, h, w)."""
    around = ((0, 0), (0, 0), (layer.pad, layer.pad), (layer.pad, layer.pad))
    return sliding_window_view(np.pad(x, around), (layer.size, layer.size), axis=(2, 3))


def _convolved(layer: Conv, x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    z = np.tensordot(_patches(layer, x), W, ([1, 4, 5], [1, 2, 3])) + b
    return z.transpose(0, 3, 1, 2)


def _to_inputs(layer: Conv, delta: np.ndarray, W: np.ndarray, shape: Any) -> np.ndarray:
    """Each output's delta, to all that its filter has seen."""
    (N, C, H, width), pad = shape, layer.pad
    wide = np.zeros((N, H + 2 * pad, width + 2 * pad, C))
    _, _, lines, pixels = delta.shape
    for i in range(layer.size):
        for j in range(layer.size):
            part = np.tensordot(delta, W[:, :, i, j], ([1], [0]))
            wide[:, i : i + lines, j : j + pixels] += part
    return wide[:, pad : pad + H, pad : pad + width].transpose(0, 3, 1, 2)


def _windows(layer: Pool, x: np.ndarray) -> np.ndarray:
    """The pixels of each window, (N, C, H, W, pixels)."""
    N, C, H, W = x.shape
    size, lines, pixels = layer.size, H // layer.size, W // layer.size
    whole = x[:, :, : lines * size, : pixels * size].reshape(N, C, lines, size, pixels, size)
    return whole.transpose(0, 1, 2, 4, 3, 5).reshape(N, C, lines, pixels, size * size)


def _to_first_of_largest(layer: Pool, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Each window's delta, to the first of its largest pixels."""
    seen = _windows(layer, x)
    (N, C, lines, pixels, _), size = seen.shape, layer.size
    spread = np.zeros_like(seen)
    np.put_along_axis(spread, seen.argmax(axis=-1)[..., None], delta[..., None], axis=-1)
    spread = spread.reshape(N, C, lines, pixels, size, size).transpose(0, 1, 2, 4, 3, 5)
    found = np.zeros_like(x)
    found[:, :, : lines * size, : pixels * size] = spread.reshape(N, C, lines * size, -1)
    return found
