"""Are the last steps of a long fit as fast as its first? `python -m bench.steady [--steps N]`.

Weight decay and dead units bring weights and the memory of Adam or Momentum towards zero. Where
numbers below the normal ones are not flushed to zero, processors of some makers take many times as
long for them, and a fit becomes slower and slower. Printed are medians of
blocks of steps, and of predictions with the weights before and after. A case is lost, and the exit
code 1, if the last block took LEAST_LOSS times as long as the first; those take turns with the
blocks of a network that begins anew, so that a machine whose clock rises and falls is no loss.
"""

import argparse
import sys
import time
from statistics import median

import numpy as np

import fastnn
from bench import ending, machine
from bench.tables import table

BLOCK, TURNS = 50, 15
LEAST_LOSS = 1.5
X = np.random.default_rng(0).random((1000, 20)).astype(np.float32)
T = X[:, 0]

RULES = {
    "SGD": fastnn.SGD(0.1, weight_decay=0.1),
    "Momentum": fastnn.Momentum(weight_decay=0.1),
    "Nesterov": fastnn.Nesterov(weight_decay=0.1),
    "AdaGrad": fastnn.AdaGrad(weight_decay=0.1),
    "RMSprop": fastnn.RMSprop(weight_decay=0.1),
    "Adam": fastnn.Adam(weight_decay=0.1),
    "Adam without decay": fastnn.Adam(),
}


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.steady", description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, metavar="N", help="of each fit")
    options = parser.parse_args()
    if options.steps < BLOCK:
        parser.error(f"--steps must be at least {BLOCK}")
    return ending.run("steady", lambda: run(options.steps))


def run(steps):
    """Time and print."""
    facts = machine.describe()
    print(machine.in_one_line(facts))
    print(f"20-256-256-1, batch 64, 1 thread; first and last steps of {steps:,}\n")
    fastnn.set_num_threads(1)
    lines, lost = [], False
    for name, dtype in [(name, dtype) for dtype in ("float32", "float64") for name in RULES]:
        cells, ratio = timed(RULES[name], dtype, steps)
        lines.append([f"{name} {dtype}", *cells])
        lost |= ratio > LEAST_LOSS
    cells, ratio = timed_estimator(steps)
    lines.append(["MLPRegressor((128, 128))", *cells])
    header = ["fit", "first µs", "last µs", "last / first", "predict before", "after"]
    print(table(header, lines))
    return int(lost or ratio > LEAST_LOSS)


def timed(rule, dtype, steps):
    """Medians of the first and the last steps, in turns, and the ratio."""
    options = {"batch_size": 64, "optimizer": rule, "progress": False}
    x, t = X.astype(dtype), T.astype(dtype)

    def made():
        return fastnn.MLP([20, 256, 256, 1], output="identity", weight_init="he", dtype=dtype,
                          seed=0)  # fmt: skip

    old = made()
    old.fit(x, t, iterations=steps, **options)
    first, last, before, after = [], [], [], []
    for _ in range(TURNS):
        new = made()
        new.fit(x, t, iterations=1, **options)
        for net, found in ((new, first), (old, last)):
            found.append(seconds(net.fit, x, t, iterations=BLOCK, **options) / BLOCK)
        for net, found in ((new, before), (old, after)):
            found.append(seconds(net.predict, x))
    return row(first, last, before, after)


def timed_estimator(steps):
    """scikit-learn's face with its defaults."""

    def made(epochs):
        net = fastnn.MLPRegressor(hidden_layer_sizes=(128, 128), batch_size=64, tol=0,
                                  max_iter=epochs, n_iter_no_change=10**9, warm_start=True,
                                  random_state=0)  # fmt: skip
        return net.fit(X, T)

    old = made(max(1, steps // 16)).set_params(max_iter=4)
    first, last, before, after = [], [], [], []
    for _ in range(TURNS):
        new = made(1).set_params(max_iter=4)
        for net, found in ((new, first), (old, last)):
            found.append(seconds(net.fit, X, T) / 64)
        for net, found in ((new, before), (old, after)):
            found.append(seconds(net.predict, X))
    return row(first, last, before, after)


def row(first, last, before, after):
    """Cells of the table, and the ratio."""
    ratio = median(b / a for a, b in zip(first, last, strict=True))
    found = [f"{median(values) * 1e6:.0f}" for values in (first, last, before, after)]
    return [*found[:2], f"{ratio:.2f}", *found[2:]], ratio


def seconds(call, *args, **options):
    began = time.perf_counter()
    call(*args, **options)
    return time.perf_counter() - began


if __name__ == "__main__":
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", ConvergenceWarning)
    sys.exit(main())
