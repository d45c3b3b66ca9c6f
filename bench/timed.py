"""What `bench.regressions` times: fastnn's public calls, and nothing that only some commits have.

A script by itself, run against the tree that PYTHONPATH names. Each line of input is a case and a
number of calls, or "threads" and a number; each line of output the seconds that the calls took.
"""

import sys
import time

import numpy as np

import fastnn


def images(rows):
    """As many zeros as MNIST has, and labels."""
    rng = np.random.default_rng(0)
    x = rng.random((rows, 784), dtype=np.float32)
    x[rng.random(x.shape) < 0.8] = 0
    return x, rng.integers(0, 10, rows)


def normal(rows):
    """No zeros, and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 784), dtype=np.float32), rng.integers(0, 10, rows)


def fit(sizes, batch, steps, data):
    """Training, with all that the call does around its steps."""
    x, t = data(6000)
    net = fastnn.MLP(sizes, seed=0)
    batches = np.random.default_rng(1).integers(0, len(x), (steps, batch))
    return lambda: net.fit(x, t, batches=batches, optimizer=fastnn.SGD(0.01))


def sine():
    """One sample a step, float64."""
    x = np.linspace(-1, 1, 63).reshape(-1, 1)
    net = fastnn.MLP([1, 3, 1], "sigmoid", output="identity", dtype="float64", seed=0)
    batches = np.random.default_rng(1).integers(0, 63, (20_000, 1))
    return lambda: net.fit(x, np.sin(3 * x), batches=batches, optimizer=fastnn.SGD(0.1))


def predict(rows, sizes=(784, 50, 10)):
    """A call with its checks."""
    net, (x, _) = fastnn.MLP(list(sizes), seed=0), images(rows)
    return lambda: net.predict(x)


def ask(call, rows=100):
    """A question on a batch."""
    net, (x, t) = fastnn.MLP([784, 50, 10], seed=0), images(rows)
    return lambda: getattr(net, call)(x, t)


def fit_of_one_step():
    """What a fit costs beside its steps."""
    net, rng, adam = fastnn.MLP([4, 64, 64, 2], seed=0), np.random.default_rng(0), fastnn.Adam()
    x, t = rng.standard_normal((32, 4), dtype=np.float32), rng.integers(0, 2, 32)
    return lambda: net.fit(x, t, iterations=1, batch_size=32, optimizer=adam)


CASES = {
    "fit 784-50-10, batch 100": lambda: fit([784, 50, 10], 100, 600, images),
    "fit 784-50-10, batch 100, no zeros": lambda: fit([784, 50, 10], 100, 300, normal),
    "fit 784-32-16-10, batch 32": lambda: fit([784, 32, 16, 10], 32, 1000, images),
    "fit 784-256-256-10, batch 256": lambda: fit([784, 256, 256, 10], 256, 40, images),
    "fit 784-50-10, batch 1": lambda: fit([784, 50, 10], 1, 2000, images),
    "fit sine 1-3-1, one sample": sine,
    "predict 1 row": lambda: predict(1),
    "predict 6000 rows": lambda: predict(6000),
    "gradient of 100 rows": lambda: ask("gradient"),
    "loss of 100 rows": lambda: ask("loss"),
    "accuracy of 6000 rows": lambda: ask("accuracy", 6000),
    "fit of one step 4-64-64-2": fit_of_one_step,
}


def main():
    print(fastnn.__file__, flush=True)
    ready = {}
    for line in sys.stdin:
        name, number = line.rstrip("\n").rsplit(" ", 1)
        if name == "threads":
            fastnn.set_num_threads(int(number))
            print(0, flush=True)
            continue
        if name not in ready:
            ready[name] = CASES[name]()
            ready[name]()  # compiles
        began = time.perf_counter()
        for _ in range(int(number)):
            ready[name]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
