"""What a process is asked about a package that tests/test_adding.py has added to; run alone."""

import json
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import fastnn
from fastnn import cli

X = np.random.default_rng(0).normal(size=(60, 3))
BENT = {"activation": "bent"}
QUARTIC = {"activation": "tanh", "loss": "quartic_error"}


def made(sizes=(3, 6, 5, 2), **options):
    options = {"output": "identity", "weight_init": "he", "bias_init": 0.3} | options
    return fastnn.MLP(sizes, dtype="float64", seed=1, **options)


def targets():
    return np.stack([X[:, 0] * X[:, 1], np.abs(X[:, 2])], axis=1)


def is_accepted(**options):
    shown = repr(made(**options))
    return all(f"{name}={value!r}" in shown for name, value in options.items())


def has_the_numerical_gradient(**options):
    net = made(**options)
    for rows in (1, 3, 60):
        gradient = net.gradient(X[:rows], targets()[:rows])
        numerical = net.numerical_gradient(X[:rows], targets()[:rows], h=1e-6)
        for name, found in gradient.items():
            scale = max(1, np.abs(found).max())
            assert np.abs(found - numerical[name]).max() < 1e-7 * scale, (rows, name)
    return True


def is_trained(**options):
    found = []
    for batch_size in (1, 20):  # one by one is a kernel of its own
        net = made(**options)
        before = net.loss(X, targets())
        net.fit(X, targets(), epochs=30, batch_size=batch_size, optimizer=fastnn.Adam(0.003))
        found.append(net.loss(X, targets()) < 0.7 * before)
    return found == [True, True]


def comes_back_from_a_file(**options):
    net = made(**options)
    net.save("net")
    again = fastnn.load("net")
    return repr(again) == repr(net) and np.array_equal(again.predict(X), net.predict(X))


def is_named_where_another_is_refused(option, name, **others):
    try:
        made(**others | {option: f"{name}s"})
    except ValueError as error:
        return repr(name) in str(error) and f"got '{name}s'" in str(error)


def is_no_default():
    return made().loss_name == "squared_error" and made().activations == ("relu", "relu")


def is_an_option_of_the_command_line(*hidden):
    """Where a ReLU bends the command holds it on or off; so it must any other with a kink."""
    arguments = ["--hidden", *hidden, "--rows", "1", "--seed", "3", "--activation", "bent"]
    return cli.main(["gradcheck", *arguments]) == 0


def is_one_of_the_estimators():
    y, options = (X[:, 0] > 0).astype(int), {"learning_rate_init": 0.03, "random_state": 0}
    for activation in ("bent", ["bent", "tanh"]):
        estimator = fastnn.MLPClassifier((9, 5), activation=activation, **options)
        with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
            estimator.fit(X, y)
        assert estimator.loss_curve_[-1] < 0.5 * estimator.loss_curve_[0]
        assert estimator.score(X, y) > 0.9
    return True


ABOUT_BENT = {
    "is accepted": lambda: is_accepted(**BENT),
    "has the numerical gradient": lambda: has_the_numerical_gradient(**BENT),
    "is trained": lambda: is_trained(**BENT),
    "comes back from a file": lambda: comes_back_from_a_file(**BENT),
    "is named where another is refused": lambda: is_named_where_another_is_refused(
        "activation", "bent"
    ),
    "is no default": is_no_default,
    "is an option of the command line": lambda: is_an_option_of_the_command_line("4"),
    "is held where it bends": lambda: is_an_option_of_the_command_line("4", "3"),
    "is one of the estimators": is_one_of_the_estimators,
}
ABOUT_QUARTIC = {
    "is accepted": lambda: is_accepted(**QUARTIC),
    "has the numerical gradient": lambda: has_the_numerical_gradient(**QUARTIC),
    "is trained": lambda: is_trained(**QUARTIC),
    "comes back from a file": lambda: comes_back_from_a_file(**QUARTIC),
    "is named where another is refused": lambda: is_named_where_another_is_refused(
        "loss", "quartic_error"
    ),
    "is no default": is_no_default,
}
QUESTIONS = {f"bent {text}": question for text, question in ABOUT_BENT.items()}
QUESTIONS |= {f"quartic_error {text}": question for text, question in ABOUT_QUARTIC.items()}


def answer(question):
    """yes, no, or what went wrong."""
    try:
        return "yes" if question() else "no"
    except Exception:
        return traceback.format_exc()


if __name__ == "__main__":
    answers = {name: answer(question) for name, question in QUESTIONS.items()}
    Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")
