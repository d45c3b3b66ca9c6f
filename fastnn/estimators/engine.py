"""A network of fastnn under the face of scikit-learn: its weights, data and epochs.

Weights live in fastnn's block; an estimator's ``coefs_`` and ``intercepts_`` are views of it, so
there is one copy of them, whoever writes it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import gate
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.history import Losses
from fastnn.kernels import activations as kernels
from fastnn.kernels.groups import Targets
from fastnn.kernels.losses import COUNTS, LABELS, LOSS_CODES, LOSSES
from fastnn.rules import Rule
from fastnn.sparse_rows import SparseRows
from fastnn.training import calls
from fastnn.training.data import Examples, Samples
from fastnn.training.model import Model
from fastnn.training.pace import Pacer
from fastnn.training.parameters import Parameters
from fastnn.training.plan import aligned_zeros
from fastnn.training.steps import StepCount, Steps

# Multiply-adds a second, and seconds that a step takes longer, of a slow machine.
SLOW_MULTIPLY_ADDS, SLOW_STEP = 1e9, 1e-5

# Codes of losses by scikit-learn's names of the outputs, and our names of activations by its.
CODES = {row.scikit_learn: LOSS_CODES[name] for name, row in LOSSES.items() if row.scikit_learn}
ACTIVATIONS = {row.scikit_learn or name: name for name, row in kernels.ACTIVATIONS.items()}


class Engine:
    """The weights of an estimator in fastnn's form.

    Parameters
    ----------
    coefs, intercepts : sequence of ndarray
        Weights (I, O) and biases (O,) of each layer, copied.
    activations : sequence of str
        Activation of each hidden layer.
    output : {"softmax", "logistic", "identity", "exp"}
        Activation of the output, which stands for the loss.
    """

    def __init__(
        self,
        coefs: Sequence[np.ndarray],
        intercepts: Sequence[np.ndarray],
        activations: Sequence[str],
        output: str,
    ):
        coefs, intercepts = (
            [gate.numbers(array, f"{name}[{layer}]") for layer, array in enumerate(part)]
            for name, part in (("coefs_", coefs), ("intercepts_", intercepts))
        )
        self.dtype = np.dtype(np.float32 if coefs[0].dtype == np.float32 else np.float64)
        if any(W.ndim != 2 for W in coefs):
            raise ValueError(f"coefs_ must be matrices, got shapes {[W.shape for W in coefs]}")
        sizes = (coefs[0].shape[0], *(W.shape[1] for W in coefs))
        self.activations = list(activations)
        self.params = Parameters(sizes, self.dtype)
        ours = [ACTIVATIONS[name] for name in activations]
        self.model = Model(self.params, ours, output, CODES[output])
        layers = range(1, len(sizes))
        self.coefs = [self.params[f"W{layer}"] for layer in layers]
        self.intercepts = [self.params[f"b{layer}"] for layer in layers]
        self.take(coefs, intercepts)

    def take(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> None:
        """`assign`, but numbers too large for this precision are refused."""
        for name, arrays in (("coefs_", coefs), ("intercepts_", intercepts)):
            for layer, array in enumerate(arrays):
                gate.refuse_too_large(np.asarray(array), self.dtype, f"{name}[{layer}]")
        self.assign(coefs, intercepts)

    def assign(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> None:
        """Copy other weights in, of the same shapes; what is too large becomes infinite."""
        given = [np.shape(array) for array in (*coefs, *intercepts)]
        views = [*self.coefs, *self.intercepts]
        if given != [view.shape for view in views]:
            raise ValueError(
                f"coefs_ and intercepts_ must have the shapes {[view.shape for view in views]}, "
                f"got {given}"
            )
        for view, array in zip(views, (*coefs, *intercepts), strict=True):
            with np.errstate(all="ignore"):
                view[...] = array

    def holds(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> bool:
        """Whether these are the views, not arrays that somebody put in their place."""
        pairs = ((self.coefs, coefs), (self.intercepts, intercepts))
        return all(
            len(views) == len(found) and all(a is b for a, b in zip(views, found, strict=True))
            for views, found in pairs
        )

    def samples(self, X: Any) -> Samples:
        """Inputs that scikit-learn has checked, dense or sparse, as the kernels read them."""
        if X.shape[1] != self.params.layer_sizes[0]:
            raise ValueError(
                f"X has {X.shape[1]} features, but coefs_[0] has {self.params.layer_sizes[0]} rows"
            )
        if hasattr(X, "tocsr"):
            return Samples.of_csr(SparseRows(X, self.dtype, "X"))
        return Samples(gate.kernel_array(X, self.dtype))

    def outputs(self, X: Any) -> np.ndarray:
        """Outputs (N, O) for inputs that scikit-learn has checked."""
        if hasattr(X, "tocsr"):
            return self.model.outputs(self.samples(X))
        rows = gate.kernel_array(X, self.dtype)
        if rows.shape[1] != self.params.layer_sizes[0]:
            self.samples(X)  # raises
        found = calls.outputs(self.model, rows)
        if found is None:
            gate.refuse_too_large(X, self.dtype, "X")
            # scikit-learn was told not to look.
            found = np.full((len(rows), self.params.layer_sizes[-1]), np.nan, self.dtype)
            finite = np.isfinite(rows).all(axis=1)
            if finite.any():
                found[finite] = calls.outputs(self.model, np.ascontiguousarray(rows[finite]))
        return found

    def examples(self, samples: Samples, Y: np.ndarray) -> Examples:
        """Inputs with their targets (N, O), which for softmax are rows of zeros and a one."""
        labels, targets, numbers = self.model.no_targets()
        if Y.shape[1] != self.params.layer_sizes[-1]:
            raise ValueError(
                f"y has {Y.shape[1]} outputs, but the network has {self.params.layer_sizes[-1]}"
            )
        if Y.dtype.kind not in "biufO":
            raise ValueError(f"y must hold numbers, got dtype {Y.dtype}")
        kind = self.model.targets
        if kind == COUNTS and Y.min() < 0:
            raise ValueError(f"y must be at least 0 with loss='poisson', got {Y.min()}")
        if kind == LABELS:
            labels = Y.argmax(axis=1)
        else:
            targets = gate.kernel_array(Y, self.dtype)
        return Examples(samples, Targets(labels, targets, numbers))


class Dropout(NamedTuple):
    """Share of each hidden layer's outputs that is dropped in a step, if any is.

    Which are depends on `salt`, and on the steps made since.
    """

    shares: Sequence[float] = ()
    salt: int = 0


NO_DROPOUT = Dropout()


class Training:
    """Epochs of an engine on one set of examples.

    Parameters
    ----------
    engine : Engine
    examples : Examples
        Of `Engine.examples`.
    weights : ndarray or None
        Of the samples.
    alpha : float
        ``alpha / 2`` times the squares of all weights is added to the sum of the rows' losses.
    batch_size : int
    rule : Rule
        Of the optimiser.
    numbers : mapping of str to float
        What it reads.
    memory : ndarray, optional
        What it remembers; without it the optimiser begins anew.
    dropout : Dropout, default none

    Attributes
    ----------
    count : StepCount
        Steps that are in the weights.
    losses : history.Losses
        Mean losses of the epochs that are in them.
    diverged : bool
        Whether the loss of a step was not finite.  The weights are NaN then.
    orders : list of ndarray or None
        The order of the rows in the next epoch, if it is known.
    """

    def __init__(
        self,
        engine: Engine,
        examples: Examples,
        weights: Any,
        alpha: float,
        batch_size: int,
        rule: Rule,
        numbers: Mapping[str, float],
        memory: np.ndarray | None = None,
        dropout: Dropout = NO_DROPOUT,
    ):
        self.engine, self.alpha, self.rows = engine, alpha, examples.rows
        self.weights = None if weights is None else np.asarray(weights, np.float64)
        self.begin = np.append(np.arange(0, self.rows, batch_size), self.rows)
        self.counts = np.diff(self.begin)
        model, dtype = engine.model, engine.dtype
        # scikit-learn's squared error is a mean over the outputs, its gradient is not.
        self.scale = 1 / model.layer_sizes[-1] if model.loss_name == "squared_error" else 1.0
        self._way, hyper = (alpha, batch_size, (rule, numbers)), rule.hyper(dtype, **numbers)
        size = rule.memories * model.params.block.size
        self.memory = aligned_zeros(size, dtype) if memory is None else memory
        self.steps = Steps(
            model.params,
            model.loss,
            examples,
            batch_size,
            (rule.code, hyper, float(alpha)),
            self.memory,
            dropout.shares,
        )
        self.steps.watch(self.counts.size, self.rows, self.scale)
        self.salt, self.diverged = dropout.salt, False
        self.orders: list[np.ndarray] | None = None
        self.count, self.losses = StepCount(), Losses()
        work = model.params.multiply_adds * batch_size
        self.pacer = Pacer(1 / (work / SLOW_MULTIPLY_ADDS + SLOW_STEP))

    def is_of(
        self, engine: Engine, alpha: float, batch_size: int, rule: tuple[Rule, Mapping[str, float]]
    ) -> bool:
        """Whether this trains an engine in this way."""
        return self.engine is engine and self._way == (alpha, batch_size, rule)

    def take(self, examples: Examples) -> bool:
        """Go on with other examples, of the same number and kind; False if they are not."""
        if examples.rows != self.rows or self.weights is not None or not self.steps.take(examples):
            return False
        self.count, self.losses, self.diverged = StepCount(), Losses(), False
        return True

    def packed(self, block: np.ndarray) -> np.ndarray:
        """What lies in a block like that of the weights, in a row: coefs, then intercepts."""
        views = self.engine.params.views_of(block)
        names = [f"{kind}{layer + 1}" for kind in "Wb" for layer in range(len(self.engine.coefs))]
        return np.concatenate([views[name].ravel() for name in names])

    def unpacked(self, packed: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Coefs and intercepts that stand in a row."""
        views = [*self.engine.coefs, *self.engine.intercepts]
        parts = np.split(packed, np.cumsum([view.size for view in views])[:-1])
        parts = [part.reshape(view.shape) for part, view in zip(parts, views, strict=True)]
        return parts[: len(self.engine.coefs)], parts[len(self.engine.coefs) :]

    def loss_and_gradient(self, packed: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss of all rows, and its gradient, for weights that stand in a row."""
        self.engine.assign(*self.unpacked(packed))
        self.diverged = False
        (loss,) = self.epochs([np.arange(self.rows)], np.zeros(1))
        if self.diverged:
            return float("inf"), np.full(len(packed), np.nan)
        return loss, self.packed(self.memory)

    def epochs(self, orders: Sequence[np.ndarray], rates: np.ndarray) -> list[float]:
        """Make the steps of epochs that take the rows in these orders; their mean losses.

        ``rates`` are the learning rates of all the steps.  There are fewer losses than orders if
        training has ended as ``steps.stop_when`` says.
        """
        count, index = len(orders), np.concatenate(orders)
        begin = np.append(
            (self.begin[:-1] + self.rows * np.arange(count)[:, np.newaxis]).ravel(), index.size
        )
        dtype = self.engine.dtype
        sums, share = np.tile(self.counts.astype(np.float64), count), None
        with rounding_to_nearest():
            if self.weights is not None:
                weights = self.weights[index]
                sums = np.add.reduceat(weights, begin[:-1])
                if not sums.all():
                    raise ZeroDivisionError("Weights sum to zero, can't be normalized")
                share = (weights / np.repeat(sums, np.diff(begin))).astype(dtype)
            decays, rates = self.alpha / sums, rates.astype(dtype)
            both = decays.astype(dtype), 0.5 * decays if self.alpha else None
        made = self._make(index, begin, rates, *both, share)
        return made + [float("nan")] * (count - len(made)) if self.diverged else made

    def _make(
        self,
        index: np.ndarray,
        begin: np.ndarray,
        rates: np.ndarray,
        decays: np.ndarray,
        penalty: np.ndarray | None,
        share: np.ndarray | None,
    ) -> list[float]:
        """Make steps in pieces, between which Ctrl-C is noticed; mean losses of whole epochs."""
        first_loss = self.losses.size
        first, steps = 0, 0 if self.diverged else rates.size
        while first < steps:
            end = min(steps, first + self.pacer.most())
            began = time.perf_counter()
            piece, epoch_loss = slice(first, end), np.empty(1 + (end - first) // self.counts.size)

            def watch(loss, done, ended, epoch_loss=epoch_loss):
                self.count.count_on(done)
                self.losses.add(epoch_loss, ended)

            done, seen = self.steps.run(
                index,
                begin[first : end + 1],
                rates[piece],
                decays=decays[piece],
                share=share,
                penalty=None if penalty is None else penalty[piece],
                epoch_loss=epoch_loss,
                salt=self.salt,
                watching=watch,
            )
            if len(seen) > done:
                # As scikit-learn leaves it, which goes on; so that nobody uses what is left.
                self.engine.params.block[:] = np.nan
                self.diverged = True
                break
            self.salt += done
            self.pacer.note(done, time.perf_counter() - began)
            if done < end - first:
                break
            first = end
        return self.losses.array[first_loss:].tolist()
