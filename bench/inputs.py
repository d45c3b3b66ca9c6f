"""The rows, labels, mini-batches and starting weights that all contestants are given alike."""

from itertools import pairwise
from pathlib import Path

import numpy as np

ROWS = 60_000
CLASSES = 10


def rows_and_labels(data, inputs, rows=ROWS):
    """Return (x, t): float32 rows (rows, inputs) and integer labels (rows,)."""
    if data == "mnist":
        x, t = mnist()
        return x[:rows], t[:rows]
    if data == "dense":
        random = np.random.default_rng(1)
        x = random.standard_normal((rows, inputs), dtype=np.float32)
        return x, random.integers(0, CLASSES, rows)
    raise ValueError(f"data must be 'mnist' or 'dense', not {data!r}")


def mnist():
    """Return the 60,000 training images in 0..1 and their labels."""
    from fastnn.datasets import load_mnist

    (x, t), _ = load_mnist(normalize=True, flatten=True, one_hot_label=False)
    return np.ascontiguousarray(x, dtype=np.float32), np.asarray(t, dtype=np.int64)


def write(data, inputs, folder):
    """Save x and t once for every process that will read them; return their folder."""
    place = Path(folder) / f"{data}-{inputs}"
    if not place.exists():
        place.mkdir()
        x, t = rows_and_labels(data, inputs)
        np.save(place / "x.npy", x)
        np.save(place / "t.npy", t)
    return place


def read(place):
    """Load what `write` saved."""
    return np.load(Path(place) / "x.npy"), np.load(Path(place) / "t.npy")


def draw_batches(steps, batch, rows=ROWS, seed=2):
    """Return row numbers (steps, batch): shuffled epochs, as most training loops draw them."""
    random = np.random.default_rng(seed)
    epochs = -(-steps * batch // rows)
    order = np.concatenate([random.permutation(rows) for _ in range(epochs)])
    return order[: steps * batch].reshape(steps, batch)


def start_params(layer_sizes, seed=3):
    """Return He-initialised float32 weights W1, b1, W2, b2, ..."""
    random = np.random.default_rng(seed)
    params = {}
    for layer, (inputs, outputs) in enumerate(pairwise(layer_sizes), start=1):
        weights = random.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        params[f"W{layer}"] = weights.astype(np.float32)
        params[f"b{layer}"] = np.zeros(outputs, dtype=np.float32)
    return params
