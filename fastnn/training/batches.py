"""Batches of a fit: how many there are, and which rows make each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastnn import gate
from fastnn.training.evaluation import spans

# Share of the rows up to which those that the batches use are chosen from the others.
FEW_ROWS = 0.5
# Row numbers drawn at once; also bounds the first, untimed call.
INDEX_BLOCK = 1 << 18

# Row numbers, and where in them each batch begins and the last one ends.
Piece = tuple[np.ndarray, np.ndarray]


class Sampling(NamedTuple):
    """How long and on what to train: arguments of `MLP.fit`, as they are given."""

    epochs: Any = None
    iterations: Any = None
    batch_size: Any = 100
    sampling: Any = "shuffle"
    batches: Any = None


@dataclass
class Schedule:
    """Batches of one fit, as pieces of row numbers.

    `pieces` yields ``(index, begin)``: batch s is ``index[begin[s] : begin[s + 1]]``.
    """

    iterations: int
    per_epoch: int
    batch_size: int
    pieces: Iterable[Piece]

    def few_rows(self, rows: int) -> np.ndarray | None:
        """The rows that the batches use, in ascending order, if they are few of so many.

        One step on 60,000 images would else begin with a look at all of them: 40 ms.
        """
        if self.iterations * self.batch_size > rows * FEW_ROWS:
            return None
        self.pieces = list(self.pieces)
        used = np.zeros(rows, bool)
        for index, begin in self.pieces:
            used[index[: begin[-1]]] = True
        return np.flatnonzero(used)


def make_schedule(rows: int, wanted: Sampling, random: np.random.Generator) -> Schedule:
    """Check what is wanted of so many rows, and make the batches of it."""
    length = {"epochs": wanted.epochs, "iterations": wanted.iterations, "batches": wanted.batches}
    given = [name for name, value in length.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"give only one of epochs, iterations, batches, got {', '.join(given)}")
    if wanted.batches is not None:
        table = gate.batches(wanted.batches, rows)
        count, size = table.shape
        return Schedule(count, -(-rows // size), size, _replayed(table))
    size = gate.positive_integer(wanted.batch_size, "batch_size")
    if size > rows:
        raise ValueError(f"batch_size must be at most the number of rows, {rows}, got {size}")
    gate.choice(wanted.sampling, ("shuffle", "replacement"), "sampling")
    per_epoch = -(-rows // size)
    if wanted.iterations is not None:
        count = gate.positive_integer(wanted.iterations, "iterations")
    else:
        epochs = 1 if wanted.epochs is None else gate.positive_integer(wanted.epochs, "epochs")
        count = per_epoch * epochs
    draw = _shuffled if wanted.sampling == "shuffle" else _drawn
    return Schedule(count, per_epoch, size, draw(rows, size, count, random))


def _replayed(table: np.ndarray) -> Iterator[Piece]:
    yield table.ravel(), np.arange(len(table) + 1) * table.shape[1]


def _shuffled(rows: int, size: int, count: int, random: np.random.Generator) -> Iterator[Piece]:
    """Whole epochs, as many at once as fit a block; the rest of the last is dropped."""
    per_epoch = -(-rows // size)
    cuts = np.minimum(np.arange(per_epoch) * size, rows)
    while count > 0:
        epochs = min(-(-count // per_epoch), max(1, INDEX_BLOCK // rows))
        order = np.arange(rows)[np.newaxis]
        if epochs > 1:
            order = np.broadcast_to(order, (epochs, rows))
            starts = (cuts + rows * np.arange(epochs)[:, np.newaxis]).ravel()
        else:
            starts = cuts
        index = random.permuted(order, axis=1).ravel()
        begin = np.append(starts, index.size)[: count + 1]
        yield index, begin
        count -= begin.size - 1


def _drawn(rows: int, size: int, count: int, random: np.random.Generator) -> Iterator[Piece]:
    for first, end in spans(0, count, max(1, INDEX_BLOCK // size)):
        index = random.integers(0, rows, (end - first) * size)
        yield index, np.arange(end - first + 1) * size
