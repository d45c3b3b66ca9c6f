"""The table of work that is timed: what it is, who can do it, how the answers are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from bench.formulas import ACTIVATIONS, MEMORIES
from bench.networks import CH07, CH08, LENET, ImageNetwork

# "The fastest of these", as a rival in a case's goals.
BEST = "best"
BEST_OF = ("numpy", "pytorch", "jax")


@dataclass(frozen=True)
class Goal:
    """How many times as long as fastnn a rival should take."""

    at_least: float
    aim: float


@dataclass(frozen=True)
class Case:
    """Some work, described so that every library can do the same.

    Attributes
    ----------
    name : str
        Unique; words separated by blanks, so that patterns can choose cases.
    kind : str
        What is done: the name of a function in `reference` and in the contestants' modules.
    group : str
        The table it stands in.
    sizes : tuple of int
        Widths of the layers; of one layer's inputs and outputs; of an array.  Of a network of
        images its inputs and outputs.
    batch : int
        Rows of a step or a call.
    steps : int
        Steps, or calls, of a turn; 0 if the clock may choose.
    rows : int
        Rows of the data set that batches are drawn from.
    data : {"mnist", "dense", "sine", "quadratic"}
        Real images, four of five pixels zero; normal numbers, none zero; the seeds' functions.
    dtype : {"float32", "float64"}
    activation, loss, optimizer : str
        As in `fastnn.MLP` and `fastnn.optimizers`.
    lr : float
    contestants : tuple of str
        Who is asked beside fastnn; those whose library is missing are left out by name.
    goals : mapping of str to Goal
    quick : bool
        Whether ``python -m bench`` times it without ``--full``.
    network : ImageNetwork, optional
        If it is one of images.
    """

    name: str
    kind: str
    group: str
    sizes: tuple[int, ...]
    batch: int = 100
    steps: int = 0
    rows: int = 60_000
    data: str = "mnist"
    dtype: str = "float32"
    activation: str = "relu"
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    lr: float = 0.1
    contestants: tuple[str, ...] = ("numpy", "pytorch", "jax")
    goals: Mapping[str, Goal] = field(default_factory=dict)
    quick: bool = False
    network: ImageNetwork | None = None

    @property
    def check_steps(self) -> int:
        """Steps whose answers are compared before any clock starts."""
        if self.has_evaluations:
            return 601  # to the second evaluation
        if self.network:
            return 5  # a step of the book's own may take a second
        return min(20, max(2, self.steps // 5))

    @property
    def has_evaluations(self) -> bool:
        """Whether all rows are evaluated between the steps: fewer steps take another time each."""
        return self.kind in ("mnist_job", "book_program")

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's or call's dense products; 0 if there are none.

        A training step has forward products, weight gradients, and input deltas of every layer
        but the first; zeros that fastnn skips are counted.
        """
        if self.network:
            layers = self.network.multiply_adds
            training = 3 * sum(layers) - layers[0]
            return 2 * self.batch * (training if self.kind == "image_training" else sum(layers))
        products = [2 * self.batch * i * o for i, o in pairwise(self.sizes)]
        counts = {
            "affine_forward": sum(products),
            "affine_backward": 2 * sum(products),
            **dict.fromkeys(("prediction", "loss_call", "accuracy_call"), sum(products)),
            **dict.fromkeys(("training", "gradient_call", "step_call", "partial_fit_call"),
                            3 * sum(products) - sum(products[:1])),
        }  # fmt: skip
        return counts.get(self.kind, 0)

    @property
    def bytes(self) -> int:
        """Bytes that a kernel has to read and write at the least; 0 where computing counts."""
        item = 8 if self.dtype == "float64" else 4
        if self.kind == "optimizer":  # parameters and memories are read and written, gradients read
            return item * self.sizes[0] * (3 + 2 * MEMORIES[self.optimizer])
        if self.kind == "activation":  # z and dy are read, y and dz written
            return item * self.batch * self.sizes[0] * 4
        return 0

    @property
    def array_bytes(self) -> int:
        """Bytes of the arrays that `bytes` counts, each once."""
        written_again = 1 + MEMORIES[self.optimizer] if self.kind == "optimizer" else 0
        item = 8 if self.dtype == "float64" else 4
        return self.bytes - item * self.sizes[0] * written_again


DTYPES = ("float32", "float64")
ALL = ("numpy", "pytorch", "jax", "scikit-learn")
# torch.compile takes far longer for each shape than the timing, so not everywhere.
ALL_AND_COMPILED = (*ALL, "pytorch compiled")
# Who skips zeros, asked where there are some to skip.
SPARSE = ("scipy sparse",)


def _kernels() -> Iterable[Case]:
    """Every kernel over a range of shapes and both dtypes."""
    layers = [((784, 50), 100), ((784, 50), 1), ((50, 10), 100), ((32, 16), 32), ((100, 100), 200),
              ((512, 512), 256), ((1024, 1024), 512)]  # fmt: skip
    for dtype in DTYPES:
        for sizes, batch in layers:
            words = f"{sizes[0]}x{sizes[1]} batch {batch} {dtype}"
            for kind in ("affine_forward", "affine_backward"):
                yield Case(f"{kind} {words}", kind, "kernels: affine with ReLU", sizes, batch,
                           data="dense", dtype=dtype)  # fmt: skip
        for batch, outputs in [(100, 10), (1000, 10), (100, 1000)]:
            yield Case(f"softmax_cross_entropy {batch}x{outputs} {dtype}", "softmax_cross_entropy",
                       "kernels: loss", (outputs,), batch, dtype=dtype)  # fmt: skip
        for name in ACTIVATIONS:
            yield Case(f"activation {name} 256x512 {dtype}", "activation", "kernels: activations",
                       (512,), 256, activation=name, dtype=dtype)  # fmt: skip
        for name in MEMORIES:
            for size in (40_000, 1_000_000):
                yield Case(f"optimizer {name} {size} {dtype}", "optimizer", "kernels: optimisers",
                           (size,), optimizer=name, dtype=dtype, lr=0.01)  # fmt: skip


def _steps() -> Iterable[Case]:
    """Training steps: the goals' rows, and what they leave out."""
    step = {"numpy": Goal(4, 8), "jax": Goal(3.5, 7), "pytorch": Goal(8, 15)}
    wide, small = {BEST: Goal(1.2, 1.6)}, {BEST: Goal(3, 8)}
    group = "training steps"
    # Lengths of real training: fit checks and compresses its data once a call, inside the clock.
    # A row of normal numbers is several times as long as an image, and so a smaller rate.
    for data, lr in (("mnist", 0.1), ("dense", 0.01)):
        goals = step if data == "mnist" else {}
        sparse = SPARSE if data == "mnist" else ()
        yield Case(f"step {data} 784-50-10 batch 100", "training", group, (784, 50, 10), 100,
                   10_000 if goals else 1200, data=data, lr=lr, contestants=(*ALL, *sparse),
                   goals=goals, quick=bool(goals))  # fmt: skip
        yield Case(f"step {data} 784-512-512-10 batch 256", "training", group,
                   (784, 512, 512, 10), 256, 235, data=data, lr=lr,
                   contestants=(*ALL_AND_COMPILED, *sparse), goals=wide)  # fmt: skip
        yield Case(f"step {data} 784-1024-1024-10 batch 512", "training", group,
                   (784, 1024, 1024, 10), 512, 59, data=data, lr=lr,
                   contestants=(*ALL, *sparse), goals=wide)  # fmt: skip
        yield Case(f"step {data} 784-32-16-10 batch 32", "training", group, (784, 32, 16, 10), 32,
                   9375, data=data, lr=lr, contestants=(*ALL, *sparse), goals=small)  # fmt: skip
    yield Case("step sigmoid 784-50-10 batch 100", "training", group, (784, 50, 10), 100, 3000,
               activation="sigmoid", contestants=ALL_AND_COMPILED)  # fmt: skip


def _steps_over_sizes() -> Iterable[Case]:
    """Training steps over batch, width, depth and rows, for curves."""
    for batch in (1, 4, 16, 64, 256, 1024, 4096):
        steps = max(30, min(6000, 300_000 // batch))
        yield Case(f"over batch {batch} 784-50-10", "training", "steps over batch",
                   (784, 50, 10), batch, steps, contestants=(*ALL, *SPARSE),
                   lr=0.01 if batch < 16 else 0.1)  # fmt: skip
    for batch in (1, 4, 16, 64):
        yield Case(f"over batch {batch} 784-1024-1024-10", "training", "steps over batch, wide",
                   (784, 1024, 1024, 10), batch, 300 if batch < 16 else 100, contestants=ALL,
                   lr=0.001 if batch < 16 else 0.01)  # fmt: skip
    for hidden in (10, 17, 32, 64, 100, 129, 200, 256, 1024):
        steps = max(100, min(3000, 100_000 // hidden))
        yield Case(f"over width 784-{hidden}-10 batch 100", "training", "steps over width",
                   (784, hidden, 10), 100, steps, contestants=ALL)  # fmt: skip
    for depth in (1, 2, 3, 4, 5, 6):
        yield Case(f"over depth {depth} of 64 batch 100", "training", "steps over depth",
                   (784, *(64,) * depth, 10), 100, 1200, contestants=ALL, lr=0.05)  # fmt: skip
    for rows in (1_000, 10_000, 100_000, 1_000_000):
        yield Case(f"over rows {rows} of 20-50-10 batch 100", "training", "steps over data set",
                   (20, 50, 10), 100, 2000, rows, "dense", lr=0.05, contestants=ALL,
                   quick=rows == 10_000)  # fmt: skip


def _jobs() -> Iterable[Case]:
    """Whole jobs that people know."""
    yield Case("job 784-50-10, 10,000 steps, 17 evaluations", "mnist_job", "whole jobs",
               (784, 50, 10), 100, 10_000, contestants=("numpy", "pytorch", "jax"))  # fmt: skip
    yield Case("job 4-32-16-4 tanh, full batch of 10,000, Adam", "training", "whole jobs",
               (4, 32, 16, 4), 10_000, 300, 10_000, "dense", activation="tanh",
               loss="squared_error", optimizer="adam", lr=0.001, contestants=ALL)  # fmt: skip
    yield Case("job 784-100-100-10 of bench_mnist", "training", "whole jobs", (784, 100, 100, 10),
               200, 1500, optimizer="nesterov", lr=0.02, contestants=ALL)  # fmt: skip
    document = ("document", "numpy", "jax")
    for name, sizes, activation, lr, rows in (
        ("sine", (1, 3, 1), "sigmoid", 0.1, 63),
        ("quadratic", (2, 30, 1), "relu", 0.01, 100_000),
    ):
        goals = {"document": Goal(150, 350)} if name == "sine" else {}
        yield Case(f"{name}, one sample a step", "training", "the source documents", sizes, 1,
                   100_000, rows, name, "float64", activation, "squared_error", lr=lr,
                   contestants=document, goals=goals | {"jax": Goal(5, 10)},
                   quick=name == "sine")  # fmt: skip
    yield Case("numerical gradient 784-50-10 on 3 rows", "numerical_gradient",
               "the source documents", (784, 50, 10), 3, dtype="float64", activation="sigmoid",
               contestants=("document",), goals={"document": Goal(100, 500)})  # fmt: skip


def _predictions() -> Iterable[Case]:
    """Outputs for rows of MNIST: the call that a user makes, with its checks."""
    for batch in (1, 100, 10_000, 60_000):
        yield Case(f"predict {batch} rows, 784-50-10", "prediction", "prediction", (784, 50, 10),
                   batch, contestants=ALL, quick=batch in (1, 10_000))  # fmt: skip
    yield Case("predict 1 row, 4-16-3", "prediction", "prediction", (4, 16, 3), 1, data="dense",
               contestants=ALL)  # fmt: skip
    yield Case("predict 1 row, 784-512-512-10", "prediction", "prediction", (784, 512, 512, 10), 1,
               contestants=ALL)  # fmt: skip


# Networks of single calls: widths, rows of a call, what the rows are.
ROWS_OF_CALLS = (1, 32, 100, 1000)
CALLED: tuple[tuple[tuple[int, ...], tuple[int, ...], str], ...] = (
    ((4, 64, 64, 2), ROWS_OF_CALLS, "dense"),
    ((64, 100, 10), (1, 100), "dense"),
    ((784, 50, 10), ROWS_OF_CALLS, "mnist"),
    ((784, 512, 512, 10), ROWS_OF_CALLS, "mnist"),
)
# Their kinds, and what they do besides.  Steps are made on the same rows again and again: by small
# rates, so that the weights, and with them the work, stay what they are.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "predict": ("prediction", {}),
    "loss": ("loss_call", {}),
    "accuracy": ("accuracy_call", {}),
    "gradient": ("gradient_call", {}),
    "step of SGD": ("step_call", {"optimizer": "sgd", "lr": 0.01}),
    "step of Adam": ("step_call", {"optimizer": "adam", "lr": 1e-5}),
}
# What is wanted of single calls besides being no slower than NumPy.
NEVER_SLOWER = Goal(1, 1)
GOALS_OF_CALLS: dict[str, dict[str, Goal]] = {
    "calls gradient 784-50-10, 100 rows": {"numpy": Goal(2, 3)},
    "calls loss 784-50-10, 100 rows": {"numpy": Goal(2, 3)},
    "calls step of Adam 4-64-64-2, 32 rows": {"pytorch": Goal(8, 15)},
}
QUICK_CALLS = ("calls gradient 784-50-10, 100 rows", "calls step of Adam 4-64-64-2, 32 rows")


def _calls() -> Iterable[Case]:
    """One call at a time, from Python."""
    for word, (kind, more) in CALLS.items():
        for sizes, all_rows, data in CALLED:
            for batch in all_rows:
                name = f"calls {word} {'-'.join(map(str, sizes))}, {batch} rows"
                goals = {"numpy": NEVER_SLOWER} | GOALS_OF_CALLS.get(name, {})
                yield Case(name, kind, f"calls: {word}", sizes, batch, rows=1000, data=data,
                           contestants=ALL if kind == "prediction" else BEST_OF, goals=goals,
                           quick=name in QUICK_CALLS, **more)  # fmt: skip
    for estimator, loss, outputs in (("Regressor", "squared_error", 2),
                                     ("Classifier", "cross_entropy", 3)):  # fmt: skip
        yield Case(f"calls MLP{estimator}.partial_fit 4-64-64-{outputs}, 32 rows",
                   "partial_fit_call", "calls: estimators", (4, 64, 64, outputs), 32, rows=32,
                   data="dense", dtype="float64", loss=loss, optimizer="adam", lr=1e-5,
                   contestants=("scikit-learn",),
                   goals={"scikit-learn": Goal(2.5, 5)})  # fmt: skip


def _loops() -> Iterable[Case]:
    """The source documents' own loops, on fastnn's calls and classes."""
    group, better = "calls: the documents' loops", Goal(1.5, 2.5)
    yield Case("calls loop of document 001 784-50-10, 100 rows", "book_loop", group, (784, 50, 10),
               activation="sigmoid", contestants=("document", "pytorch", "jax"), quick=True,
               goals={"document": Goal(2, 3), "pytorch": better, "jax": better})  # fmt: skip
    yield Case("calls program of document 001, 1,200 steps, 2 evaluations", "book_program", group,
               (784, 50, 10), steps=1200, activation="sigmoid",
               contestants=("document", "pytorch", "jax"),
               goals={"document": Goal(2, 3), "pytorch": better, "jax": better})  # fmt: skip
    yield Case("calls loop of document 004's layers 784-50-10, 100 rows", "layers_loop", group,
               (784, 50, 10), dtype="float64", contestants=("document",),
               goals={"document": Goal(2, 3)})  # fmt: skip
    yield Case("calls loop of document 003's classes 1-3-1, one sample", "neurons_loop", group,
               (1, 3, 1), 1, rows=63, data="sine", dtype="float64", activation="sigmoid",
               loss="squared_error", contestants=("document",),
               goals={"document": Goal(1.5, 4)})  # fmt: skip


# Who trains networks of images; "document" are the book's layers.
OF_IMAGES = ("pytorch", "pytorch channels last", "jax", "numpy")


def _of_images() -> Iterable[Case]:
    """Steps of networks of images, and predictions."""
    group, libraries = "convolution", OF_IMAGES[:-1]
    for batch, steps in ((32, 3750), (128, 938), (512, 234)):
        goals = dict.fromkeys((*libraries, "pytorch compiled"), Goal(4, 8)) if batch == 128 else {}
        more = ("document", "pytorch compiled") if batch == 128 else ()
        yield Case(f"step LeNet batch {batch}", "image_training", group, (784, 10), batch, steps,
                   optimizer="adam", lr=0.001, contestants=(*OF_IMAGES, *more), goals=goals,
                   quick=batch == 32, network=LENET)  # fmt: skip
    # Fewer rows, which `fit` checks once a call.
    for name, network, steps, goals in (
        ("ch07", CH07, 300, dict.fromkeys(libraries, Goal(3, 5)) | {"document": Goal(15, 40)}),
        ("ch08", CH08, 40, dict.fromkeys(libraries[:2], Goal(1.1, 1.5))),
    ):
        yield Case(f"step {name} batch 100", "image_training", group, (784, 10), 100, steps, 10_000,
                   optimizer="adam", lr=0.001, contestants=(*OF_IMAGES, "document"), goals=goals,
                   network=network)  # fmt: skip
    for images in (1, 1000):
        goals = dict.fromkeys(libraries[:2], Goal(2.5, 4)) if images == 1 else {}
        yield Case(f"predict {images} images, LeNet", "image_prediction", group, (784, 10), images,
                   contestants=(*OF_IMAGES, "document"), goals=goals, quick=images == 1,
                   network=LENET)  # fmt: skip


CASES: tuple[Case, ...] = (
    *_steps(), *_steps_over_sizes(), *_jobs(), *_predictions(), *_of_images(), *_calls(),
    *_loops(), *_kernels(),
)  # fmt: skip


def chosen(patterns: Iterable[str]) -> list[Case]:
    """Cases whose name or group matches one of the patterns (``*``, ``?``), in their order.

    Raises
    ------
    ValueError
        If a pattern matches none.
    """
    asked = list(patterns)
    for pattern in asked:
        if not any(_matches(case, pattern) for case in CASES):
            groups = ", ".join(map(repr, dict.fromkeys(case.group for case in CASES)))
            raise ValueError(
                f"no case is named {pattern!r}; patterns like '*batch 100*' choose by name or by "
                f"group: {groups}"
            )
    return [case for case in CASES if any(_matches(case, pattern) for pattern in asked)]


def _matches(case: Case, pattern: str) -> bool:
    return fnmatchcase(case.name, pattern) or fnmatchcase(case.group, pattern)
