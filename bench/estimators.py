"""fastnn's estimators against scikit-learn's: `python -m bench.estimators [--rounds N]`.

Whole fits, with the same parameters and `random_state`, in turns in one process; scikit-learn's
with all of NumPy's threads and with one, and the faster counts. A ratio is the median of the ratios
within a turn. Scores are of the rows trained on, to show that both did the same work.
"""

import argparse
import math
import sys
import time
import timeit
import warnings
from statistics import median

import numpy as np
import scipy.sparse
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastnn
from bench import ending, machine
from bench.cases import Goal
from bench.ratios import verdict
from bench.tables import table, times
from bench.workers import SETTLE_SECONDS
from fastnn.command import say

GOAL = Goal(5, 10)
SMALL = {
    "digits": (datasets.load_digits, "MLPClassifier"),
    "breast cancer": (datasets.load_breast_cancer, "MLPClassifier"),
    "wine": (datasets.load_wine, "MLPClassifier"),
    "diabetes": (datasets.load_diabetes, "MLPRegressor"),
}
EPOCHS_OF_MNIST = 3


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.estimators", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return ending.run("estimators", lambda: run(options.rounds), is_program=True)


def run(rounds):
    """Time and print."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are scikit-learn's default
    facts = machine.describe()
    say(f"{machine.in_one_line(facts)}\n")
    lines, ratios = [], []
    for name, estimator, X, y, parameters in cases():
        cells, ratio = timed(estimator, X, y, parameters, rounds)
        lines.append([name, *cells])
        if "sparse" not in name:
            ratios.append(ratio)
    header = ["fit", "fastnn s", "scikit-learn s", "ratio", "fastnn's score", "scikit-learn's"]
    say(table(header, lines))
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    say(f"\ngeometric mean of the dense fits: {times(mean)} ({verdict(mean, GOAL)})")
    ours, theirs = one_row()
    say(f"predict of one row, 4-16-3: {ours:.1f} µs, scikit-learn's {theirs:.1f} µs")
    return 0


def cases():
    """Names, estimators, data and parameters."""
    for name, (load, estimator) in SMALL.items():
        X, y = load(return_X_y=True)
        yield f"{name}, (50,)", estimator, StandardScaler().fit_transform(X), y, {
            "hidden_layer_sizes": (50,)
        }  # fmt: skip
    (x, t), _ = fastnn.datasets.load_mnist()
    for hidden in ((100,), (100, 100)):
        parameters = {"hidden_layer_sizes": hidden, "max_iter": EPOCHS_OF_MNIST}
        yield f"MNIST, {hidden}, {EPOCHS_OF_MNIST} epochs", "MLPClassifier", x, t, parameters
    yield (f"MNIST in sparse rows, (100,), {EPOCHS_OF_MNIST} epochs", "MLPClassifier",
           scipy.sparse.csr_matrix(x), t,
           {"hidden_layer_sizes": (100,), "max_iter": EPOCHS_OF_MNIST})  # fmt: skip


def one_row():
    """Microseconds of a call with one row, fastnn's and scikit-learn's: medians of nine."""
    X, y = datasets.load_iris(return_X_y=True)
    nets = [library.MLPClassifier((16,), max_iter=50, random_state=0).fit(X, y)
            for library in (fastnn, neural_network)]  # fmt: skip
    times = [[timeit.timeit(lambda net=net: net.predict(X[:1]), number=1000) for _ in range(9)]
             for net in nets]  # fmt: skip
    return [1000 * median(of_one) for of_one in times]


def timed(name, X, y, parameters, rounds):
    """Cells of a line of the table, and the ratio."""
    ours, theirs = (getattr(library, name) for library in (fastnn, neural_network))
    ours(**{**parameters, "max_iter": 2}).fit(X[:300], y[:300])  # compiles
    seconds = {"ours": [], "theirs": []}
    for turn in range(rounds):
        runs = {}
        for label, cls, threads in (("ours", ours, None), ("all", theirs, None),
                                    ("one", theirs, 1)):  # fmt: skip
            time.sleep(SETTLE_SECONDS)
            with threadpool_limits(threads, "blas"):
                began = time.perf_counter()
                fitted = cls(random_state=turn, **parameters).fit(X, y)
                runs[label] = time.perf_counter() - began, fitted
        seconds["ours"].append(runs["ours"][0])
        seconds["theirs"].append(min(runs["all"][0], runs["one"][0]))
    ratio = median(b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
    cells = [f"{median(seconds[label]):.3f}" for label in ("ours", "theirs")]
    scores = [f"{runs[label][1].score(X, y):.4f}" for label in ("ours", "one")]
    assert np.isclose(*map(float, scores), atol=0.02)
    return [*cells, times(ratio), *scores], ratio


if __name__ == "__main__":
    sys.exit(main())
