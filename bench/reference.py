"""What the answers are: every kind of work in float64, from the formulas of `formulas`.

Each function takes a case and its arrays and returns a function of a number of
steps or calls, which begins anew each time and returns the answers by name.
The contestants' modules have functions of the same names and the same faces.
`differs` says how far a contestant is from here, and `TOLERANCES` how far it may be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import image_formulas
from bench.cases import Case
from bench.formulas import ACTIVATIONS, LOSSES, RULES, cross_entropy
from bench.inputs import SEED_OF_LOOPS

Arrays = dict[str, np.ndarray]
Run = Callable[[int], Arrays]

# Largest distance of an answer, relative to the size of what is expected.  float32 rounds to 6e-8,
# a sum of K terms errs by sqrt(K) of that, 2e-6 for 1024 terms, and at worst by K of it.  Weights
# after steps are compared by the way that they have travelled: a weight of 0.05 that a step
# changes by 0.001 costs 3e-6 of the change, and where the input of a ReLU is within rounding of 0
# its slope may be taken on the other side, which changes a step by about a row's share of its
# batch.  Adam divides by the gradient's size, so a gradient of rounding errors alone moves a weight
# by a whole step.  A wrong sign, a forgotten bias, a mean for a sum or rows out of order are off by
# far more.
TOLERANCES = {"float32": 1e-4, "float64": 1e-9}
TRAVELLED = {"float32": 1e-2, "float64": 1e-6}
# It also moves a weight of the smallest gradient by a whole step: one of 512 biases whose unit is
# on the other side of its ReLU's kink in a single row is 0.04 of the way of all.
KINKS_OF_ADAM = 10
# Kinds whose answers are weights after steps.
MOVING = (
    "training",
    "image_training",
    "step_call",
    "partial_fit_call",
    "book_loop",
    "layers_loop",
    "neurons_loop",
)
# float32 runs of 10,000 steps differ by what rounding has grown to.
ACCURACY_TOLERANCE = 0.005
# The book's, inside the logarithm.
LOSS_EPSILON = 1e-7


def affine_forward(case: Case, given: Arrays) -> Run:
    """``y = relu(x @ W + b)``."""
    x, W, b = _double(given, "x", "W", "b")
    return lambda calls: {"y": np.maximum(x @ W + b, 0)}


def affine_backward(case: Case, given: Arrays) -> Run:
    """``dz = dy * (y > 0)`` and from it dW, db and dx."""
    x, W, y, dy = _double(given, "x", "W", "y", "dy")
    dz = dy * (y > 0)
    return lambda calls: {"dW": x.T @ dz, "db": dz.sum(axis=0), "dx": dz @ W.T}


def softmax_cross_entropy(case: Case, given: Arrays) -> Run:
    """The mean loss of the rows, and its gradient dz."""
    loss, dz = cross_entropy(given["z"].astype(np.float64), given["t"])
    return lambda calls: {"loss": np.array([loss]), "dz": dz}


def activation(case: Case, given: Arrays) -> Run:
    """Forward and backward: ``y = f(z)`` and ``dz = dy * f'(z)``."""
    z, dy = _double(given, "z", "dy")
    row = ACTIVATIONS[case.activation]
    y = row.f(z)
    return lambda calls: {"y": y, "dz": dy * row.slope(y)}


def optimizer(case: Case, given: Arrays) -> Run:
    """So many steps with one and the same gradient."""
    first, gradient = _double(given, "params", "gradient")

    def run(steps: int) -> Arrays:
        params, rule = [first.copy()], Rule(case, [first])
        for _ in range(steps):
            rule.update(params, [gradient])
        return {"params": params[0]}

    return run


def training(case: Case, given: Arrays) -> Run:
    """The first so many steps: their losses, each before its update, and the weights after."""
    x, t = given["x"], given["t"]

    def run(steps: int) -> Arrays:
        params = parameters(given, np.float64)
        rule, losses = Rule(case, params), []
        for rows in given["batches"][:steps]:
            loss, gradients = gradients_of(case, params, x[rows].astype(np.float64), t[rows])
            rule.update(params, gradients)
            losses.append(loss)
        return {"losses": np.array(losses)} | by_name(params)

    return run


def mnist_job(case: Case, given: Arrays) -> Run:
    """Training with the accuracy of all rows every 600 steps: of the last, and the losses' end."""
    x, t = given["x"], given["t"]
    every = len(x) // case.batch

    def run(steps: int) -> Arrays:
        params = parameters(given, np.float64)
        rule, accuracy = Rule(case, params), 0.0
        for step, rows in enumerate(given["batches"][:steps]):
            _, gradients = gradients_of(case, params, x[rows].astype(np.float64), t[rows])
            rule.update(params, gradients)
            if step % every == 0:
                accuracy = float(np.mean(scores(case, params, x).argmax(axis=1) == t))
        return {"accuracy": np.array([accuracy])}

    return run


def prediction(case: Case, given: Arrays) -> Run:
    """Class probabilities of the rows of x."""
    z = scores(case, parameters(given, np.float64), given["x"].astype(np.float64))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return lambda calls: {"y": e / e.sum(axis=1, keepdims=True)}


# Parts below know networks of images.
image_training, image_prediction = training, prediction


def image_job(case: Case, given: Arrays) -> Run:
    """Training: the share of test images whose class has the largest score."""
    train, x, t = training(case, given), given["x_test"].astype(np.float64), given["t_test"]

    def run(steps: int) -> Arrays:
        params = parameters(train(steps), np.float64)
        found = scores(case, params, x).argmax(axis=1)
        return {"accuracy": np.array([np.mean(found == t)])}

    return run


def numerical_gradient(case: Case, given: Arrays) -> Run:
    """Central differences are the gradient, up to 1e-7: it is computed by backpropagation."""
    _, gradients = gradients_of(case, parameters(given, np.float64), given["x"], given["t"])
    return lambda calls: by_name(gradients)


# One call at a time -------------------------------------------------------------------


def loss_call(case: Case, given: Arrays) -> Run:
    """The mean loss of the rows."""
    loss, _ = _gradients_of_call(case, given)
    return lambda calls: {"loss": np.array([loss])}


def accuracy_call(case: Case, given: Arrays) -> Run:
    """The share of rows whose class has the largest score."""
    found = scores(case, parameters(given, np.float64), given["x"].astype(np.float64))
    share = np.mean(found.argmax(axis=1) == labels(given))
    return lambda calls: {"accuracy": np.array([share])}


def gradient_call(case: Case, given: Arrays) -> Run:
    """The gradients of the mean loss of the rows."""
    _, gradients = _gradients_of_call(case, given)
    return lambda calls: by_name(gradients)


def step_call(case: Case, given: Arrays) -> Run:
    """Steps on one and the same rows: the loss of the last before its update, the weights after."""
    return _steps(case, given, given["x"].astype(np.float64), labels(given))


def partial_fit_call(case: Case, given: Arrays) -> Run:
    """The same, and of the last step no loss, which scikit-learn takes of the elements."""
    run = _steps(case, given, given["x"], given["t"])
    return lambda calls: {name: array for name, array in run(calls).items() if name != "loss"}


def _gradients_of_call(case: Case, given: Arrays) -> tuple[float, list]:
    params, x = parameters(given, np.float64), given["x"].astype(np.float64)
    return gradients_of(case, params, x, labels(given))


def _steps(case: Case, given: Arrays, x: np.ndarray, t: np.ndarray) -> Run:
    def run(calls: int) -> Arrays:
        params = parameters(given, np.float64)
        rule = Rule(case, params)
        for _ in range(calls):
            loss, gradients = gradients_of(case, params, x, t)
            rule.update(params, gradients)
        return {"loss": np.array([loss])} | by_name(params)

    return run


# The documents' loops -----------------------------------------------------------------


def book_loop(case: Case, given: Arrays) -> Run:
    """So many steps: losses of their rows, after each update, and the weights; or the accuracy."""
    x, right = given["x"], labels(given)
    every = len(x) // case.batch

    def run(steps: int) -> Arrays:
        random, params = np.random.RandomState(SEED_OF_LOOPS), parameters(given, np.float64)
        losses, rule, accuracy = [], Rule(case, params), 0.0
        for step in range(steps):
            mask = random.choice(len(x), case.batch)
            rows, t = x[mask].astype(np.float64), right[mask]
            rule.update(params, gradients_of(case, params, rows, t)[1])
            z = scores(case, params, rows)
            e = np.exp(z - z.max(axis=1, keepdims=True))
            y = e[np.arange(len(t)), t] / e.sum(axis=1)
            losses.append(-np.log(y + LOSS_EPSILON).mean())
            if case.has_evaluations and step % every == 0:
                accuracy = float(np.mean(scores(case, params, x).argmax(axis=1) == right))
        if case.has_evaluations:
            return {"accuracy": np.array([accuracy])}
        return {"losses": np.array(losses)} | by_name(params)

    return run


book_program = layers_loop = book_loop


def neurons_loop(case: Case, given: Arrays) -> Run:
    """So many steps of shuffled epochs, a sample each: the weights."""
    x, t = given["x"].reshape(-1, 1), given["t"].reshape(-1, 1)

    def run(steps: int) -> Arrays:
        random, params = np.random.RandomState(SEED_OF_LOOPS), parameters(given, np.float64)
        rule = Rule(case, params)
        for first in range(0, steps, len(x)):
            order = np.arange(len(x))
            random.shuffle(order)
            for i in order[: steps - first, None]:
                rule.update(params, gradients_of(case, params, x[i], t[i])[1])
        return by_name(params)

    return run


# Parts --------------------------------------------------------------------------------


def parameters(given: Arrays, dtype: Any) -> list[np.ndarray]:
    """Copies of ``W1, b1, W2, ...`` in their order."""
    layers = sum(name[0] == "W" for name in given)
    return [given[f"{kind}{i + 1}"].astype(dtype) for i in range(layers) for kind in "Wb"]


def labels(given: Arrays) -> np.ndarray:
    """The classes of one-hot rows."""
    found: np.ndarray = given["t"].argmax(axis=1)
    return found


def by_name(arrays: Any) -> Arrays:
    """``W1, b1, W2, ...`` as a dictionary."""
    return {f"{'Wb'[i % 2]}{i // 2 + 1}": np.asarray(array) for i, array in enumerate(arrays)}


def outputs(case: Case, params: list[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """The inputs, the outputs of each hidden layer, and the scores."""
    found = [x]
    for k in range(0, len(params), 2):
        z = found[-1] @ params[k] + params[k + 1]
        found.append(z if k == len(params) - 2 else ACTIVATIONS[case.activation].f(z))
    return found


def scores(case: Case, params: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the softmax is taken of."""
    if case.network:
        return image_formulas.outputs(case.network, params, x)[-1]
    return outputs(case, params, x)[-1]


def gradients_of(case: Case, params: list[np.ndarray], x: Any, t: Any) -> tuple[float, list]:
    """Loss and gradients of a batch."""
    if case.network:
        return image_formulas.gradients(case.network, params, x, t)
    y = outputs(case, params, x)
    loss, delta = LOSSES[case.loss].of(y[-1], t)
    gradients: list[np.ndarray] = []
    for k in reversed(range(len(params) // 2)):
        gradients[:0] = [y[k].T @ delta, delta.sum(axis=0)]
        if k:
            delta = delta @ params[2 * k].T * ACTIVATIONS[case.activation].slope(y[k])
    return loss, gradients


class Rule:
    """A case's update rule with what it remembers of each array."""

    def __init__(self, case: Case, params: list[np.ndarray]):
        self.one, self.lr, self.steps = RULES[case.optimizer].step, case.lr, 0
        self.first = [np.zeros_like(array, dtype=np.float64) for array in params]
        self.second = [np.zeros_like(array, dtype=np.float64) for array in params]

    def update(self, params: list[np.ndarray], gradients: list[np.ndarray]) -> None:
        """Make a step."""
        self.steps += 1
        for p, g, m, s in zip(params, gradients, self.first, self.second, strict=True):
            self.one(p, g, self.lr, self.steps, m, s)


def _double(given: Arrays, *names: str) -> list[np.ndarray]:
    return [given[name].astype(np.float64) for name in names]


# How far answers are from each other --------------------------------------------------


def differs(case: Case, found: Arrays, expected: Arrays, given: Arrays) -> dict[str, float]:
    """For each answer, how many times as far as allowed it is from what is expected."""
    if set(found) != set(expected):
        return {f"answers are {sorted(found)}, not {sorted(expected)}": np.inf}
    distances = {}
    for name, wanted in expected.items():
        answer = np.asarray(found[name], np.float64)
        if answer.shape != wanted.shape:
            distances[f"{name} has the shape {answer.shape}, not {wanted.shape}"] = np.inf
        else:
            distances[name] = _distance(case, name, answer, wanted, given)
    return distances


def _distance(case: Case, name: str, answer: Any, wanted: Any, given: Arrays) -> float:
    if name == "accuracy":
        return _safe(np.abs(answer - wanted).max() / ACCURACY_TOLERANCE)
    if case.kind in MOVING and name in given:
        travelled = np.linalg.norm(wanted - given[name])
        allowed = TRAVELLED[case.dtype] * (KINKS_OF_ADAM if case.optimizer == "adam" else 1)
        return _safe(np.linalg.norm(answer - wanted) / travelled / allowed)
    if case.kind == "numerical_gradient":
        return _safe(np.abs(answer - wanted).max() / np.abs(wanted).max() / 1e-5)
    size = np.abs(wanted).max()
    return _safe(np.abs(answer - wanted).max() / size / TOLERANCES[case.dtype])


def _safe(distance: Any) -> float:
    return float(np.nan_to_num(distance, nan=np.inf, posinf=np.inf))
