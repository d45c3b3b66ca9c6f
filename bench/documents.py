"""Time the systems of the source documents: `python -m bench.documents`.

Per-sample descent on a sine and on a quadratic, and the numerical gradient of the book's network,
each against the NumPy loop that its document writes and, where steps can be scanned, against JAX
(`jit` + `lax.scan`, its compilation not counted). With `--book FOLDER`, a checkout of the book's
repository whose `dataset/mnist.pkl` exists, also whole runs of `ch05/train_neuralnet.py` unchanged,
through `python -m fastnn.book` and on the book's own modules.

All compute in float64, from the same weights on the same samples in the same order. The answers are
compared before a clock starts, then the contestants take turns; a ratio is the median of the ratios
within a turn.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

import fastnn
from bench import report
from bench.cases import Goal

ROOT = Path(__file__).resolve().parent.parent
LOSS_EPSILON = 1e-7  # the book's, inside the logarithm
GOALS = {
    ("sine", "document"): Goal(150, 350),
    ("sine", "jax"): Goal(5, 10),
    ("quadratic", "jax"): Goal(5, 10),
    ("numerical gradient", "document"): Goal(100, 500),
    ("book's ch05/train_neuralnet.py", "document"): Goal(2, 4),
}


def main():
    options = parse_options()
    facts = report.machine()
    print("# The documents' systems\n")
    report.print_machine(facts, rounds=options.rounds, dtype="float64")
    measured = {}
    for job in (sine(), quadratic(), numerical_gradient()):
        check(job)
        measured[job.name] = take_turns(job, options.rounds)
    if options.book:
        name = "book's ch05/train_neuralnet.py"
        measured[name] = run_book(Path(options.book), options.rounds)
    print_results(measured)
    if options.json:
        report.write_json(options.json, {"machine": facts, **measured})


def parse_options():
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--book", metavar="FOLDER", help="a checkout of the book's repository")
    parser.add_argument("--json", metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


# The jobs --------------------------------------------------------------------


@dataclass
class Job:
    """What is timed: contestants take a number of steps and return their answer.

    `steps` says how many each makes in its turn: the ratios are of times per step.
    """

    name: str
    contestants: dict
    steps: dict
    check_steps: int
    tolerance: float


def sine():
    """1-3-1, sigmoid, squared error, per-sample descent with a shuffle each epoch."""
    angle = np.arange(0, np.pi * 2, 0.1)
    x, t = ((angle - np.pi) / np.pi).reshape(-1, 1), np.sin(angle).reshape(-1, 1)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(2001)])
    start = [0.01 * rng.standard_normal(shape) for shape in ((1, 3), 3, (3, 1), 1)]
    return per_sample("sine", "sigmoid", x, t, order, start, lr=0.1)


def quadratic():
    """2-30-1, ReLU, squared error, per-sample descent on 3x0^2 + 2x1."""
    rng = np.random.default_rng(0)
    x = rng.random((100_000, 2))
    t = (3 * x[:, 0] ** 2 + 2 * x[:, 1]).reshape(-1, 1)
    order = rng.integers(0, len(x), 100_000)
    start = [rng.standard_normal(shape) for shape in ((2, 30), 30, (30, 1), 1)]
    return per_sample("quadratic", "relu", x, t, order, start, lr=0.01)


def per_sample(name, activation, x, t, order, start, lr):
    """Per-sample descent: answers are the weights after so many steps."""

    def run_fastnn(steps):
        net = fastnn.MLP(
            [x.shape[1], start[1].size, 1], activation, output="identity", dtype="float64", seed=0
        )
        for key, value in zip(("W1", "b1", "W2", "b2"), start, strict=True):
            net.params[key] = value
        net.fit(x, t, batches=order[:steps, np.newaxis], optimizer=fastnn.SGD(lr))
        return list(net.params.values())

    contestants = {"fastnn": run_fastnn}
    contestants["document"] = lambda steps: document_loop(
        activation, x, t, order[:steps], start, lr
    )
    steps = {"fastnn": order.size, "document": 5000}
    if importlib.util.find_spec("jax"):
        contestants["jax"] = jax_scan(activation, x, t, order, start, lr)
        steps["jax"] = order.size
    return Job(name, contestants, steps, 1000, 1e-9)


class Layer:
    """A layer as document 003 writes it, with its weights, sums and gradients."""

    def __init__(self, w, b, function, derivative):
        self.w, self.b, self.function, self.derivative = w.copy(), b.copy(), function, derivative

    def forward(self, x):
        """Keep x and the outputs."""
        self.x = x
        self.y = self.function(x.dot(self.w) + self.b)
        return self.y

    def backward(self, grad_y):
        """Keep the gradients, return that of x."""
        delta = self.derivative(grad_y, self.y)
        self.grad_w, self.grad_b = self.x.T.dot(delta), np.sum(delta, axis=0)
        self.grad_x = delta.dot(self.w.T)
        return self.grad_x

    def update(self, lr):
        """Descend."""
        self.w -= lr * self.grad_w
        self.b -= lr * self.grad_b


FUNCTIONS = {
    "sigmoid": (lambda u: 1 / (1 + np.exp(-u)), lambda grad, y: grad * (1 - y) * y),
    "relu": (lambda u: np.maximum(0, u), lambda grad, y: grad * (y > 0)),
}


def document_loop(activation, x, t, order, start, lr):
    """The loop of documents 000 and 003."""
    middle = Layer(*start[:2], *FUNCTIONS[activation])
    output = Layer(*start[2:], lambda u: u, lambda t, y: y - t)
    for i in order:
        output.forward(middle.forward(x[i : i + 1]))
        middle.backward(output.backward(t[i : i + 1]))
        middle.update(lr)
        output.update(lr)
    return [middle.w, middle.b, output.w, output.b]


def jax_scan(activation, x, t, order, start, lr):
    """The same steps in one jitted scan."""
    import jax

    jax.config.update("jax_enable_x64", True)
    function = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[activation]

    def loss(params, row, wanted):
        W1, b1, W2, b2 = params
        return 0.5 * jax.numpy.sum((function(row @ W1 + b1) @ W2 + b2 - wanted) ** 2)

    def step(params, i):
        value, grads = jax.value_and_grad(loss)(params, X[i], T[i])
        return jax.tree.map(lambda p, g: p - lr * g, params, grads), value

    X, T, index = jax.numpy.asarray(x), jax.numpy.asarray(t), jax.numpy.asarray(order)
    scan = jax.jit(lambda params, index: jax.lax.scan(step, params, index))

    def run(steps):
        params, losses = scan([jax.numpy.asarray(value) for value in start], index[:steps])
        losses.block_until_ready()
        return [np.asarray(value) for value in params]

    run(order.size)  # compiles for the length that is timed
    return run


def numerical_gradient():
    """784-50-10 with sigmoid on 3 images, as the book's gradient check has it."""
    (x, t), _ = fastnn.datasets.load_mnist()
    x, labels = x[:3].astype(np.float64), t[:3]
    net = fastnn.TwoLayerNet(784, 50, 10, dtype="float64", seed=0)
    params = {name: value.copy() for name, value in net.params.items()}

    def run_fastnn(steps):
        for _ in range(steps):
            found = net.numerical_gradient(x, labels)
        return list(found.values())

    def run_document(steps):
        for _ in range(steps):
            found = [
                book_gradient(lambda _: book_loss(params, x, labels), params[name])
                for name in params
            ]
        return found

    contestants = {"fastnn": run_fastnn, "document": run_document}
    # The book's 1e-7 inside the logarithm changes its gradients by some 1e-6 of themselves.
    return Job("numerical gradient", contestants, {"fastnn": 100, "document": 1}, 1, 1e-6)


def book_loss(params, x, labels):
    """Cross entropy of the two-layer network, as in the book's functions."""
    h = 1 / (1 + np.exp(-(np.dot(x, params["W1"]) + params["b1"])))
    z = np.dot(h, params["W2"]) + params["b2"]
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    y = e / np.sum(e, axis=-1, keepdims=True)
    return -np.sum(np.log(y[np.arange(len(x)), labels] + LOSS_EPSILON)) / len(x)


def book_gradient(f, x, h=1e-4):
    """Central differences element by element, with an iterator as in the book."""
    grad = np.zeros_like(x)
    iterator = np.nditer(x, flags=["multi_index"], op_flags=["readwrite"])
    while not iterator.finished:
        at = iterator.multi_index
        kept = x[at]
        x[at] = float(kept) + h
        above = f(x)
        x[at] = kept - h
        grad[at] = (above - f(x)) / (2 * h)
        x[at] = kept
        iterator.iternext()
    return grad


# The clock --------------------------------------------------------------------


def check(job):
    """Raise unless all contestants have fastnn's answer."""
    expected = job.contestants["fastnn"](job.check_steps)
    for name, run in job.contestants.items():
        for mine, its in zip(expected, run(job.check_steps), strict=True):
            worst = float(np.max(np.abs(mine - np.reshape(its, mine.shape))))
            if not worst <= job.tolerance:
                raise SystemExit(f"{job.name}: {name} is off by {worst}, nothing is timed")


def take_turns(job, rounds):
    """Microseconds per step of every contestant in each round."""
    times = {name: [] for name in job.contestants}
    for turn in range(rounds + 1):
        for name, run in job.contestants.items():
            started = time.perf_counter()
            run(job.steps[name])
            if turn:  # the first warms caches up
                times[name].append(1e6 * (time.perf_counter() - started) / job.steps[name])
    return times


def run_book(folder, rounds):
    """Microseconds of whole runs of the book's script, per run."""
    script, place = folder / "ch05" / "train_neuralnet.py", folder / "ch05"
    if not (folder / "dataset" / "mnist.pkl").exists():
        raise SystemExit(f"{folder} has no dataset/mnist.pkl; the book's load_mnist makes it")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": path}
    commands = {"fastnn": ["-m", "fastnn.book", str(script)], "document": [str(script)]}
    times = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, arguments in commands.items():
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, *arguments], cwd=place, env=environment, capture_output=True,
                text=True,
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
            last = float(done.stdout.split()[-1])  # the script prints train and test accuracy
            if not last > 0.96:
                raise SystemExit(f"{name}: the script ended at an accuracy of {last}")
            if turn:
                times[name].append(1e6 * (time.perf_counter() - started))
    return times


def print_results(measured):
    rows = []
    for name, times in measured.items():
        for rival in times:
            if rival == "fastnn":
                continue
            ratio = median(b / a for a, b in zip(times["fastnn"], times[rival], strict=True))
            goal = GOALS.get((name, rival))
            verdict = "" if goal is None else "met" if ratio >= goal.at_least else "missed"
            wanted = ("–", "–") if goal is None else (f"{goal.at_least}x", f"{goal.aim}x")
            rows.append(
                [name, rival, f"{median(times['fastnn']):.3g}", f"{median(times[rival]):.4g}",
                 report.times(ratio), *wanted, verdict]
            )  # fmt: skip
    header = ["job", "rival", "fastnn µs", "rival µs", "ratio", "at least", "aim", "verdict"]
    report.print_table(header, rows)


if __name__ == "__main__":
    main()
