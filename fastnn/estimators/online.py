"""Further calls of `partial_fit` on plain arrays, in which scikit-learn's checks find nothing.

They take ten times as long as a step on a few rows.  What is not plain, in the arrays or in the
estimator, goes the longer way, and so does what is wrong: there it is said.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from fastnn import gate
from fastnn.estimators import optimizers
from fastnn.estimators.engine import Engine, Training
from fastnn.estimators.stochastic import WithEpochs
from fastnn.training.calls import weights_are_finite
from fastnn.training.data import Examples, Samples

# Parameters that are not plain if they are true.
EXTRAS = (
    *("early_stopping", "validation_loss", "callbacks", "max_time", "verbose", "progress"),
    *("warm_start", "class_weight", "dropout"),
)


class _Drawn(NamedTuple):
    """The order of rows that a seed gives, and the generator after it was drawn."""

    kind: tuple[Any, bool, int]
    random_state: np.random.RandomState
    orders: list[np.ndarray]


class Online(WithEpochs):
    """What both estimators do with more rows."""

    _random_state: np.random.RandomState

    def _takes_more(self, X: Any, y: Any) -> bool:
        """Go on with more rows, if all is plain."""
        if not self._is_plain():
            return False
        engine = self._engine_at_hand()
        examples = self._plain_examples(engine, X, y)
        if examples is None:
            return False
        training = self._training_again(engine, examples)
        self._draw_order(training)
        try:
            self._train(training, [None, None, None], None, incremental=True)
        finally:
            training.steps.forget()  # the caller's arrays
        if not weights_are_finite(engine.params.block):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may"
                " contain large values and need to be preprocessed."
            )
        return True

    def _is_plain(self) -> bool:
        """Whether the estimator has been trained with an optimiser, and uses no extras."""
        own = self.__dict__
        optimizer = own.get("_optimizer")
        return (
            "coefs_" in own
            and "feature_names_in_" not in own
            and self.solver in ("sgd", "adam")
            and getattr(optimizer, "memory", None) is not None
            and not any(own.get(name) for name in EXTRAS)
            and self._has_its_layers()
        )

    def _has_its_layers(self) -> bool:
        """Whether `hidden_layer_sizes` is what the network has; of others scikit-learn speaks."""
        wanted, found = self.hidden_layer_sizes, [len(b) for b in self.intercepts_[:-1]]
        try:
            return found == (list(wanted) if hasattr(wanted, "__iter__") else [wanted])
        except (TypeError, ValueError):  # of arrays
            return False

    def _plain_examples(self, engine: Engine, X: Any, y: Any) -> Examples | None:
        """Arrays as kernels read them, if they are plain and as they should be."""
        if not (type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind == "f" and len(X)):
            return None
        if not (type(y) is np.ndarray and len(y) == len(X)):
            return None
        if X.shape[1] != engine.params.layer_sizes[0]:
            return None
        if self.batch_size != "auto" and self.batch_size > len(X):
            return None  # there is a warning
        samples = Samples(gate.kernel_array(X, engine.dtype))
        targets = self._plain_targets(engine, y) if samples.finite else None
        if targets is None:
            return None
        found = engine.model.wanted.looked_at(targets, len(X))
        return None if found is None else Examples(samples, found)

    def _draw_order(self, training: Training) -> None:
        """Draw the order of the rows, as scikit-learn does: with a seed it is always the same.

        To make a generator of a seed takes as long as all the rest.
        """
        drawn, seed = self.__dict__.get("_drawn_at_hand"), self.random_state
        kind = seed, self.shuffle, training.rows
        if drawn is None or drawn.kind != kind or drawn.random_state is not self._random_state:
            self._random_state = check_random_state(seed)
            drawn = _Drawn(kind, self._random_state, self._orders(np.arange(training.rows), 1))
            if isinstance(seed, Integral):
                self._drawn_at_hand = drawn
        training.orders = drawn.orders

    def _training_again(self, engine: Engine, examples: Examples) -> Training:
        """The training of the last call, if it can go on, or a new one."""
        training = self.__dict__.get("_training_at_hand")
        rule = optimizers.rule_of(self._optimizer)
        if (
            training is None
            or training.memory is not self._optimizer.memory
            or not training.is_of(engine, self.alpha, self._rows_of_a_batch(examples.rows), rule)
            or not training.take(examples)
        ):
            training = self._training_on(engine, examples, None)
            self._training_at_hand = training
        return training
