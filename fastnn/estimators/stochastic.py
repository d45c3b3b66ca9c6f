"""The solvers "sgd" and "adam": epochs, scores, reasons to stop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network._base import LOSS_FUNCTIONS

from fastnn.estimators import optimizers
from fastnn.estimators.engine import Dropout, Engine, Training
from fastnn.estimators.with_engine import WithEngine
from fastnn.progress import progress_bar
from fastnn.training.data import Examples

# Seconds of epochs that are made in one call.
AHEAD_SECONDS = 0.02


class WithEpochs(WithEngine):
    """What `solver="sgd"` and `solver="adam"` do."""

    best_loss_: Any
    best_validation_score_: float
    validation_scores_: list
    validation_loss_curve_: Any
    _no_improvement_count: int

    def _fit_stochastic(self, X, y, sample_weight, *rest):
        incremental = rest[-1]  # before it stand arrays of scikit-learn's, which are not needed
        sample_weight = self._all_weights(sample_weight)
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = optimizers.new_optimizer(self)
        self._check_stopping(incremental)
        train: list = [X, y, sample_weight]
        held_out: list = [None, None, None]
        if self.early_stopping:
            train, held_out = self._split(X, y, sample_weight)
        training = self._training(*train)
        if self.early_stopping:
            held_out[0] = training.engine.samples(held_out[0])
        best: list[tuple[float, np.ndarray]] | None = None  # a score, and the weights that have it
        if self.early_stopping:
            # After a warm start scikit-learn has nothing to go back to until the score improves.
            first = self.best_validation_score_, training.engine.params.block.copy()
            best = [] if self.validation_scores_ else [first]
        self._train(training, held_out, best, incremental)

    def _train(self, training: Training, held_out, best, incremental: bool) -> None:
        """All epochs; after an interrupt everything agrees with the weights."""
        scores = 0 if best is None else len(self.validation_scores_)
        before = len(self.loss_curve_), scores, self.t_, optimizers.count_of(self._optimizer)
        try:
            self._epochs(training, held_out, best, incremental)
        except KeyboardInterrupt:
            self._agree(training, best, *before)
            warnings.warn("Training interrupted by user.", stacklevel=5)
        if best:
            training.engine.params.block[:] = best[0][1]
            self._view(training.engine)

    def _check_stopping(self, incremental: bool) -> None:
        """Refuse early stopping where it cannot be; without it there is no validation loss."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.validation_loss and not self.early_stopping:
            raise ValueError("validation_loss=True needs early_stopping=True, which holds rows out")
        if not self.validation_loss:
            self.validation_loss_curve_ = None
        elif self.__dict__.get("validation_loss_curve_") is None:  # or a warm start goes on with it
            self.validation_loss_curve_ = []

    def _split(self, X, y, sample_weight):
        """Rows to train on, and rows to score."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        given = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *given,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        train, held_out = parts[::2], parts[1::2]
        if held_out[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        if sample_weight is None:
            train.append(None)
            held_out.append(None)
        return train, held_out

    def _training(self, X, y, sample_weight) -> Training:
        engine = self._engine_at_hand()
        return self._training_on(engine, engine.examples(self._samples_of(X), y), sample_weight)

    def _rows_of_a_batch(self, rows: int) -> int:
        return int(min(200 if self.batch_size == "auto" else self.batch_size, rows))

    def _training_on(self, engine: Engine, examples: Examples, sample_weight) -> Training:
        rows, optimizer = examples.rows, self._optimizer
        if self.batch_size != "auto" and self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=6,
            )
        (rule, numbers), shares = optimizers.rule_of(optimizer), self._dropout()
        weights = engine.params.layer_sizes, engine.dtype
        memory = optimizer.memory
        if memory is not None:
            fits = optimizer.weights == weights
            memory = engine.params.in_layout(memory, rule.memories) if fits else None
            if memory is None:
                raise ValueError(
                    "the optimizer has seen weights of other shapes, or of another precision: "
                    "call fit"
                )
        salt = int(self._random_state.randint(1 << 31)) if any(shares) else 0
        training = Training(
            engine,
            examples,
            sample_weight,
            self.alpha,
            self._rows_of_a_batch(rows),
            rule,
            numbers,
            memory,
            Dropout(shares, salt),
        )
        optimizer.memory, optimizer.weights = training.memory, weights
        return training

    def _epochs(self, training: Training, held_out, best, incremental: bool) -> None:
        """Epochs until there is a reason to stop."""
        began, self.n_iter_ = time.monotonic(), 0
        with progress_bar(self.progress, self.max_iter, "epoch") as bar:
            for loss in self._losses(training, incremental):
                self.loss_ = loss
                self.n_iter_ += 1
                self.t_ += training.rows
                self.loss_curve_.append(self.loss_)
                if self.verbose:
                    print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                self._look(held_out, best)
                bar.update(1)
                self._optimizer.iteration_ends(self.t_)
                asked = self._is_asked_to_stop(training, began)
                if self._has_converged() or asked or incremental:
                    break
                if training.diverged and best is None:
                    break  # the same to the end; `_fit` raises an error
                if self.n_iter_ == self.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                        "reached and the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=7,
                    )

    def _agree(self, training: Training, best, losses, scores, rows, steps) -> None:
        """Set all that is counted to what is in the weights: an interrupt comes between any lines.

        Given is what there was before training: how many losses, scores, rows seen, and Adam's
        steps.  With early stopping the weights are the best, and an epoch counts with its score.
        """
        made = list(map(np.float64, training.losses.array.tolist()))
        if best is not None:
            if best:
                self.best_validation_score_ = best[0][0]
            # The last score may be better than the best, whose weights were not yet kept.
            while len(self.validation_scores_) > scores and (
                self.validation_scores_[-1] > self.best_validation_score_
            ):
                self.validation_scores_.pop()
            made = made[: len(self.validation_scores_) - scores]
            del (self.validation_loss_curve_ or [])[len(self.validation_scores_) :]
        self.loss_curve_[losses:] = made
        self.n_iter_, self.t_ = len(made), rows + len(made) * training.rows
        if made:
            self.loss_ = made[-1]
            if best is None:
                self.best_loss_ = min(self.best_loss_, *made)
        optimizers.count_again(self._optimizer, steps, training.count.steps)
        self._optimizer.iteration_ends(self.t_)

    def _losses(self, training: Training, incremental: bool) -> Iterator[float]:
        """The losses of `max_iter` epochs, which are made when they are asked for, or before."""
        order, steps = np.arange(training.rows), len(training.counts)
        while self.n_iter_ < self.max_iter:
            ahead = 1 if incremental else self._ahead(training)
            if ahead > 1:  # training may end within, and then none of the later orders was drawn
                drawn = self._random_state.get_state(legacy=False)
                training.steps.stop_when(
                    self.best_loss_, self.tol, self._no_improvement_count, self.n_iter_no_change
                )
            orders = training.orders or self._orders(order, ahead)
            rates = optimizers.take_rates(self._optimizer, ahead * steps)
            losses = training.epochs(orders, rates)
            made = len(losses)
            if made < ahead:
                self._random_state.set_state(drawn)
                self._orders(order, made)
                optimizers.give_back(self._optimizer, (ahead - made) * steps, rates)
            order = orders[made - 1]
            yield from map(np.float64, losses)  # of its type in scikit-learn, too

    def _orders(self, order: np.ndarray, epochs: int) -> list[np.ndarray]:
        """The orders of the rows in so many epochs after one with this `order`."""
        orders = []
        for _ in range(epochs):
            if self.shuffle:
                drawn = np.arange(order.size)  # as `sklearn.utils.shuffle` draws
                self._random_state.shuffle(drawn)
                order = order[drawn]
            orders.append(order)
        return orders

    def _ahead(self, training: Training) -> int:
        """Epochs to make in one call, as nobody looks between them."""
        looked_at = self.early_stopping or self.callbacks or self.max_time is not None
        if looked_at or self.learning_rate == "invscaling":
            return 1
        quick = training.pacer.rate * AHEAD_SECONDS / len(training.counts)
        return max(1, int(min(self.max_iter - self.n_iter_, quick)))

    def _look(self, held_out, best) -> None:
        """Count the epochs without an improvement, and keep the best weights."""
        if best is None:
            self._update_no_improvement_count(False, None, None, None)
            return
        samples, y, sample_weight = held_out
        outputs = self._engine.model.outputs(samples)
        if self.validation_loss:
            name = "binary_log_loss" if self.out_activation_ == "logistic" else self.loss
            self.validation_loss_curve_.append(
                float(LOSS_FUNCTIONS[name](y, outputs, sample_weight))
            )
        score = self._score_of(outputs, y, sample_weight)
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if score < self.best_validation_score_ + self.tol:
            self._no_improvement_count += 1
        else:
            self._no_improvement_count = 0
        if score > self.best_validation_score_:
            best[:] = [(score, self._engine.params.block.copy())]
            self.best_validation_score_ = score

    def _has_converged(self) -> bool:
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        what = "Validation score" if self.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change:d} "
            "consecutive epochs."
        )
        if self._optimizer.trigger_stopping(message, self.verbose):
            return True
        self._no_improvement_count = 0
        return False
