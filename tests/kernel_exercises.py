"""All kernels on odd sizes, and the digests of what they make: are bits the same everywhere?"""

import hashlib
import json

import activation_entries
import numpy as np
from activation_entries import (
    activation_backward,
    activation_forward,
    dropout_backward,
    dropout_forward,
)
from image_entries import (
    ImageLayers,
    convolve,
    filter_gradient,
    lanes_to_rows,
    rows_to_lanes,
)
from kernel_entries import DTYPES, group_of, lanes_of, padded
from layer_entries import OneLayer, nonzeros_backward, nonzeros_forward, values_of_columns
from output_entries import loss_backward, loss_forward, outputs_forward
from product_entries import (
    NUMBERS,
    column_sums,
    memory_of,
    multiply,
    multiply_few,
    multiply_transposed,
    multiply_transposed_few,
    update_block,
)

from fastnn.chain import chain_of
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.layers import IMAGES, KIND_CODES
from fastnn.kernels.losses import LOSSES
from fastnn.kernels.narrow_outputs import NARROW_LOSSES
from fastnn.kernels.rules import RULES
from fastnn.layers import Conv, Dense, Dropout, MaxPool


def exercises(dtype):
    """A call of every kernel, by name, on odd sizes in memory with not an element to spare."""
    rng, group = np.random.default_rng(5), group_of(dtype)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    outputs = 4 * group + 3
    z, t = 4 * normal(outputs), rng.uniform(size=outputs).astype(dtype)
    Y, D, S = (padded(normal(15, outputs)) for _ in range(3))
    z2 = np.tanh(Y)
    A, B, W = normal(15, 259), padded(normal(259, outputs)), normal(outputs, Y.shape[1])
    x = np.where(rng.random((7, 197)) < 0.3, normal(7, 197), dtype.type(0))

    def layer(kind, first=True):
        made = OneLayer(kind, x, B[:197], B[197], outputs=outputs, first=first)
        made.forward()
        return made

    calls = {
        name: lambda name=name: getattr(activation_entries, name)(np.abs(z) / 99)
        for name in activation_entries.FUNCTIONS
    }
    for name in ACTIVATIONS:
        calls |= {
            f"{name} forward": lambda name=name: activation_forward(name, Y),
            f"{name} backward": lambda name=name: activation_backward(name, Y, D),
        }
    for name in LOSSES:
        calls |= {
            f"{name} forward": lambda name=name: np.append(*loss_forward(name, 2, t, z)),
            f"{name} backward": lambda name=name: loss_backward(name, 2, t, 0.1, Y[0]),
            f"outputs of {name}": lambda name=name: outputs_forward(name, Y[:, :outputs]),
        }
    narrow = padded(4 * normal(lanes_of(dtype), 11))[:, :11]
    for name in NARROW_LOSSES:
        calls[f"narrow outputs of {name}"] = lambda name=name: outputs_forward(name, narrow)
    for name in RULES:
        calls[f"update_block, {name}"] = lambda name=name: np.append(
            *update_block(name, 0.1, Y, D, memory_of(name, D), decay=0.5, numbers=NUMBERS)
        )
    for few in (False, True):
        calls[f"affine backward, {few}"] = lambda few=few: layer("affine", False).backward(
            D[:7], few
        )
        for kind, code in KIND_CODES.items():
            if code >= IMAGES:
                continue
            calls[f"{kind} update, {few}"] = lambda kind=kind, few=few: layer(kind).update(
                D[:7], few=few
            )[1]
    calls |= _exercises_of_images(dtype, group)
    return calls | {
        "affine forward": lambda: OneLayer("affine", x, B[:197], B[197]).forward(),
        "multiply": lambda: multiply(A, B, S),
        "multiply, bias": lambda: multiply(A, B, S[0]),
        "multiply, by columns": lambda: multiply(A, B, S, by_columns=True),
        "multiply_transposed": lambda: multiply_transposed(Y, W, S),
        "multiply_transposed_few": lambda: multiply_transposed_few(Y[:3], W),
        "multiply_few": lambda: multiply_few(Y, S, 2),
        "column_sums": lambda: column_sums(B),
        "store without decay": lambda: update_block("store", 0.1, Y, D, S)[1],
        "sgd without decay": lambda: update_block("sgd", 0.1, Y, D, S)[0],
        "nonzeros_forward": lambda: nonzeros_forward(x, B[:197], B[0], slot=1),
        "dropout_forward": lambda: dropout_forward(20_000, 3, 1, Y, 8, 5),
        "dropout_backward": lambda: dropout_backward(20_000, 3, 1, "tanh", z2, D),
        "values_of_column": lambda: values_of_columns(x),
        "nonzeros_backward": lambda: nonzeros_backward(x, D[:7])[1],
    }


def _exercises_of_images(dtype, group):
    """Convolutions, and layers of images: each kind forwards, alone and in a group, and back."""
    rng = np.random.default_rng(6)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    x, W, b = normal(group, 3, 7, 9), normal(13, 3, 3, 2), normal(13)
    stride, pad = (2, 1), (1, 2)
    d, taps = normal(group, 13, 3, 8), normal(13, 3, 3, 2)
    rows = normal(group, 37)
    return {
        "convolve": lambda: convolve(x, W, b),
        "convolve, with stride": lambda: convolve(x, W, b, (2, 3)),
        "convolve, with pad": lambda: convolve(x, W, b, stride, pad, activation="tanh"),
        "filter_gradient": lambda: filter_gradient(d, x, (3, 2), taps, stride),
        "rows_to_lanes": lambda: rows_to_lanes(rows, 37),
        "lanes_to_rows": lambda: lanes_to_rows(np.ascontiguousarray(rows.T)),
        "layers of images": lambda: _through_layers(rows.dtype, rows, 2),
        "layers of three images": lambda: _through_layers(rows.dtype, rows[:3], 1),
        "layers of an image": lambda: _through_layers(rows.dtype, rows[:1], 1),
    }


def _through_layers(dtype, rows, strides):
    """Outputs, deltas and gradients of layers that have pads, and gaps between deltas."""
    made = (
        *(MaxPool((1, 2), 1), Conv(5, (2, 3), strides, 1)),
        *(Dropout(0.3), Conv(7, 2, 1, (0, 1), "tanh"), MaxPool(2, 1)),
    )
    chain = chain_of((1, 7, 5), (*made, Dense(3)), "relu").images
    last, found = len(chain) - 1, []
    layers = ImageLayers(chain, dtype, len(rows), dropout=(0, 0, 0, 0.3, 0, 0, 0, 0))
    layers.forward(0, x=np.ascontiguousarray(rows[:, :35]))
    for number in range(1, last + 1):
        layers.forward(number)
    outputs = layers.rows_of_flatten(layers.values)[: len(rows)]
    found.append(outputs.ravel())
    layers.rows_of_flatten(layers.deltas)[: len(rows)] = np.sin(outputs)
    for number in range(last, 1, -1):
        layers.backward(number)
    found += [layers.read(1, deltas=True).ravel(), *map(np.ravel, layers.gradients(2))]
    return np.concatenate([*found, layers.update(4).ravel()])


def fingerprints(names=None, dtypes=DTYPES):
    """Digests of the bits of all exercises, or of those named, as JSON."""
    digests = {}
    for dtype in map(np.dtype, dtypes):
        for name, call in exercises(dtype).items():
            if names is None or name in names:
                digest = hashlib.sha256(call().tobytes()).hexdigest()
                digests[f"{name} {dtype}"] = digest
    return json.dumps(digests)
