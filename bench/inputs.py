"""The arrays that all contestants are given alike, made from a case by fixed seeds."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case
from bench.formulas import LOSSES
from bench.networks import ImageNetwork

# Of `np.random`, from which the documents' loops draw.
SEED_OF_LOOPS = 8


def given(case: Case) -> dict[str, np.ndarray]:
    """Arrays by name for a case; nobody may change them.

    Parameters
    ----------
    case : Case
        The work.

    Returns
    -------
    dict of str to ndarray
        For a layer ``x, W, b`` and ``y, dy``, its outputs and their gradient; for a loss
        ``z, t``; for an activation ``z, dy``; for an optimiser ``params, gradient``.  For
        networks ``x, t`` and the weights ``W1, b1, W2, ...``, and for training the row
        numbers of each step, ``batches``, of shape (steps, batch).  t are labels (N,)
        for cross entropy and rows (N, O) of targets for squared error; of single calls and
        of the documents' loops they are one-hot rows in float64, as the book's `load_mnist`
        gives them.  Networks of images have x of shape (N, C, H, W), and for the whole job
        ``x_test, t_test``.
    """
    return MAKERS[case.kind](case)


def _layer(case: Case) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    I, O = case.sizes
    x, dy = random.standard_normal((case.batch, I)), random.standard_normal((case.batch, O))
    W, b = random.standard_normal((I, O)) * np.sqrt(2 / I), 0.1 * random.standard_normal(O)
    y = np.maximum(x @ W + b, 0)
    return _cast({"x": x, "W": W, "b": b, "y": y, "dy": dy}, case)


def _loss(case: Case) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    (O,) = case.sizes
    z = 3 * random.standard_normal((case.batch, O))
    return _cast({"z": z}, case) | {"t": random.integers(0, O, case.batch)}


def _activation(case: Case) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    shape = (case.batch, *case.sizes)
    return _cast(
        {"z": 2 * random.standard_normal(shape), "dy": random.standard_normal(shape)}, case
    )


def _optimizer(case: Case) -> dict[str, np.ndarray]:
    random = np.random.default_rng(4)
    params, gradient = random.standard_normal((2, *case.sizes))
    return _cast({"params": params, "gradient": gradient}, case)


def _training(case: Case) -> dict[str, np.ndarray]:
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    arrays = _cast({"x": x}, case) | (_cast({"t": t}, case) if t.ndim == 2 else {"t": t})
    batches = draw_batches(case.steps, case.batch, len(x))
    return arrays | weights(case) | {"batches": batches}


def _prediction(case: Case) -> dict[str, np.ndarray]:
    x, _ = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    return _cast({"x": x[: case.batch]}, case) | weights(case)


def _image_training(case: Case) -> dict[str, np.ndarray]:
    x, t = _images(case)
    return (
        {"x": x, "t": t}
        | _image_weights(case)
        | {"batches": draw_batches(case.steps, case.batch, len(x))}
    )


def _image_prediction(case: Case) -> dict[str, np.ndarray]:
    return {"x": _images(case)[0][: case.batch]} | _image_weights(case)


def _image_job(case: Case) -> dict[str, np.ndarray]:
    from fastnn.datasets import load_mnist

    _, (x, t) = load_mnist(normalize=True, flatten=True, one_hot_label=False)
    test = _cast({"x_test": x.reshape(-1, *_network(case).shape)}, case)
    return _image_training(case) | test | {"t_test": t.astype(np.int64)}


def _network(case: Case) -> ImageNetwork:
    if case.network is None:
        raise ValueError(f"the case {case.name!r} has no network of images")
    return case.network


def _images(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, C, H, W) and their labels."""
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    return _cast({"x": x.reshape(-1, *_network(case).shape)}, case)["x"], t


def _image_weights(case: Case) -> dict[str, np.ndarray]:
    """First weights by He's rule, and biases of zero."""
    random, found = np.random.default_rng(7), {}
    for layer, shape in enumerate(_network(case).weights, start=1):
        outputs, inputs = (shape[0], math.prod(shape[1:])) if len(shape) == 4 else shape[::-1]
        found[f"W{layer}"] = random.standard_normal(shape) * np.sqrt(2 / inputs)
        found[f"b{layer}"] = np.zeros(outputs)
    return _cast(found, case)


def _differences(case: Case) -> dict[str, np.ndarray]:
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    return _cast({"x": x[: case.batch]}, case) | {"t": t[: case.batch]} | weights(case)


def _call(case: Case) -> dict[str, np.ndarray]:
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    rows = _cast({"x": x[: case.batch]}, case)
    return rows | {"t": one_hot(case, t[: case.batch])} | weights(case)


def _partial_fit(case: Case) -> dict[str, np.ndarray]:
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    t = t if t.ndim == 1 else _cast({"t": t}, case)["t"]
    return _cast({"x": x}, case) | {"t": t} | weights_of_scikit_learn(case)


def _book_loop(case: Case) -> dict[str, np.ndarray]:
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    return {"x": x, "t": one_hot(case, t)} | weights(case)  # float32, whatever the weights are


def _neurons_loop(case: Case) -> dict[str, np.ndarray]:
    x, t = rows_and_targets(case.data, case.sizes[0], case.sizes[-1], case.rows, case.loss)
    return _cast({"x": x[:, 0], "t": t[:, 0]}, case) | weights(case)


def one_hot(case: Case, labels: np.ndarray) -> np.ndarray:
    """Rows as `load_mnist` of the book makes them."""
    return np.eye(case.sizes[-1])[labels]


MAKERS = {
    "affine_forward": _layer,
    "affine_backward": _layer,
    "softmax_cross_entropy": _loss,
    "activation": _activation,
    "optimizer": _optimizer,
    "training": _training,
    "mnist_job": _training,
    "prediction": _prediction,
    "image_training": _image_training,
    "image_prediction": _image_prediction,
    "image_job": _image_job,
    "numerical_gradient": _differences,
    "loss_call": _call,
    "accuracy_call": _call,
    "gradient_call": _call,
    "step_call": _call,
    "partial_fit_call": _partial_fit,
    "book_loop": _book_loop,
    "book_program": _book_loop,
    "layers_loop": _book_loop,
    "neurons_loop": _neurons_loop,
}


@lru_cache(maxsize=4)
def rows_and_targets(
    data: str, inputs: int, outputs: int, rows: int, loss: str
) -> tuple[np.ndarray, np.ndarray]:
    """Make x and t of a data set, in its own precision: see `given`."""
    return DATA[data](np.random.default_rng(5), rows, inputs, outputs, LOSSES[loss].of_labels)


def _mnist(random: np.random.Generator, rows: int, *_: int) -> tuple[np.ndarray, np.ndarray]:
    from fastnn.datasets import load_mnist

    (x, t), _test = load_mnist(normalize=True, flatten=True, one_hot_label=False)
    return x[:rows], t[:rows].astype(np.int64)


def _dense(
    random: np.random.Generator, rows: int, inputs: int, outputs: int, labels: bool
) -> tuple[np.ndarray, np.ndarray]:
    x = random.standard_normal((rows, inputs), dtype=np.float32)
    if labels:
        return x, random.integers(0, outputs, rows)
    mixed = x @ random.standard_normal((inputs, outputs), dtype=np.float32)
    return x, np.tanh(mixed)


def _sine(random: np.random.Generator, *_: int) -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(0, np.pi * 2, 0.1)  # of document 003
    return ((angle - np.pi) / np.pi).reshape(-1, 1), np.sin(angle).reshape(-1, 1)


def _quadratic(random: np.random.Generator, rows: int, *_: int) -> tuple[np.ndarray, np.ndarray]:
    x = random.random((rows, 2))  # of document 000
    return x, (3 * x[:, 0] ** 2 + 2 * x[:, 1]).reshape(-1, 1)


DATA: dict[str, Any] = {"mnist": _mnist, "dense": _dense, "sine": _sine, "quadratic": _quadratic}


def draw_batches(steps: int, batch: int, rows: int) -> np.ndarray:
    """Row numbers (steps, batch): shuffled epochs, as most training loops draw them."""
    random = np.random.default_rng(6)
    epochs = -(-steps * batch // rows)
    order = np.concatenate([random.permutation(rows) for _ in range(epochs)])
    return order[: steps * batch].reshape(steps, batch)


def weights(case: Case) -> dict[str, np.ndarray]:
    """First weights by He's rule and biases of zero; small weights for the documents' networks."""
    random, found = np.random.default_rng(7), {}
    for layer, (inputs, outputs) in enumerate(pairwise(case.sizes), start=1):
        found[f"W{layer}"] = random.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        found[f"b{layer}"] = np.zeros(outputs)
    return _cast(found, case)


def weights_of_scikit_learn(case: Case) -> dict[str, np.ndarray]:
    """First weights as its estimators draw them with ``random_state=0``, but for "logistic"."""
    random, found = np.random.RandomState(0), {}
    for layer, (inputs, outputs) in enumerate(pairwise(case.sizes), start=1):
        bound = np.sqrt(6 / (inputs + outputs))
        found[f"W{layer}"] = random.uniform(-bound, bound, (inputs, outputs))
        found[f"b{layer}"] = random.uniform(-bound, bound, outputs)
    return _cast(found, case)


def _cast(arrays: dict[str, np.ndarray], case: Case) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(a, dtype=case.dtype) for name, a in arrays.items()}


# In files, made once for all processes ------------------------------------------------


def write(given: dict[str, np.ndarray], folder: Path) -> None:
    """Save each array under its name."""
    for name, array in given.items():
        np.save(folder / f"{name}.npy", array)


def read(folder: str) -> dict[str, np.ndarray]:
    """What `write` saved, in memory of this process's own."""
    return {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
