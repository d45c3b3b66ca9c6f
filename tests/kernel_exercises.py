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

from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.layers import KINDS
from fastnn.kernels.losses import LOSSES
from fastnn.kernels.narrow_outputs import NARROW_LOSSES
from fastnn.kernels.rules import RULES


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
        for kind in KINDS:
            calls[f"{kind} update, {few}"] = lambda kind=kind, few=few: layer(kind).update(
                D[:7], few=few
            )[1]
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


def fingerprints(names=None, dtypes=DTYPES):
    """Digests of the bits of all exercises, or of those named, as JSON."""
    digests = {}
    for dtype in map(np.dtype, dtypes):
        for name, call in exercises(dtype).items():
            if names is None or name in names:
                digest = hashlib.sha256(call().tobytes()).hexdigest()
                digests[f"{name} {dtype}"] = digest
    return json.dumps(digests)
