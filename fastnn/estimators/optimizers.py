"""Optimisers of scikit-learn, as far as they are used: learning rates, and the numbers of a rule.

The updates are those of fastnn's kernels.  What these remember is kept with the optimiser, as its
``memory``, and what it is the memory of, as its ``weights``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.rules import RULES, Rule, adam_corrections

Optimizer = Any  # an SGDOptimizer or AdamOptimizer, of which there are no types


def new_optimizer(estimator: Any) -> Optimizer:
    """That of the estimator's parameters, without arrays of its own."""
    if estimator.solver == "sgd":
        optimizer = SGDOptimizer(
            [],
            estimator.learning_rate_init,
            estimator.learning_rate,
            estimator.momentum,
            estimator.nesterovs_momentum,
            estimator.power_t,
        )
    else:
        rate = estimator.learning_rate_init
        optimizer = AdamOptimizer([], rate, estimator.beta_1, estimator.beta_2, estimator.epsilon)
    optimizer.memory = None
    return optimizer


def rule_of(optimizer: Optimizer) -> tuple[Rule, dict[str, float]]:
    """The rule that it stands for, and the numbers that this reads."""
    if isinstance(optimizer, AdamOptimizer):  # not by `solver`, which may be another one now
        return RULES["adam"], {
            "mean_kept": optimizer.beta_1,
            "squares_kept": optimizer.beta_2,
            "epsilon": optimizer.epsilon,
        }
    if optimizer.momentum == 0:
        return RULES["sgd"], {}
    name = "nesterov" if optimizer.nesterov else "momentum"
    return RULES[name], {"velocity_kept": optimizer.momentum}


def take_rates(optimizer: Optimizer, steps: int) -> np.ndarray:
    """Learning rates of the next so many steps, which then count as made."""
    if isinstance(optimizer, SGDOptimizer):
        return np.full(steps, float(optimizer.learning_rate))
    before, optimizer.t = optimizer.t, optimizer.t + steps
    with rounding_to_nearest():
        factor, divisor = adam_corrections(optimizer.beta_1, optimizer.beta_2, before, steps)
        rates = optimizer.learning_rate_init * factor / divisor
    if steps:
        optimizer.learning_rate = float(rates[-1])
    return rates


def give_back(optimizer: Optimizer, steps: int, rates: np.ndarray) -> None:
    """Count on as if the last steps with these rates had never been asked for."""
    if isinstance(optimizer, AdamOptimizer):
        optimizer.t -= steps
        optimizer.learning_rate = float(rates[-steps - 1])


def count_of(optimizer: Optimizer) -> int:
    """Steps that count as made, where they matter."""
    return getattr(optimizer, "t", 0)


def count_again(optimizer: Optimizer, before: int, steps: int) -> None:
    """Count as made what there was before, and so many steps."""
    if isinstance(optimizer, AdamOptimizer):
        optimizer.t = before
        take_rates(optimizer, steps)
