"""The table of training steps that are timed, and the ratios each of them is meant to reach."""

from dataclasses import dataclass, field
from itertools import pairwise

# The reserved name for "whichever of these is fastest on this case".
BEST = "best"
BEST_OF = ("numpy", "pytorch", "jax")


@dataclass(frozen=True)
class Goal:
    """How many times a rival's step should take as long as fastnn's."""

    at_least: float
    aim: float


@dataclass(frozen=True)
class Case:
    """One network and mini-batch whose step is timed.

    `data` is "mnist" (real images, four pixels in five are zero) or "dense" (random normal
    numbers, none of them zero). fastnn skips zeros in its input and the rivals do not, so a
    figure for the one says little about the other and both are shown.
    """

    name: str
    layer_sizes: tuple[int, ...]
    batch: int
    steps: int
    data: str
    lr: float
    activation: str = "relu"
    goals: dict[str, Goal] = field(default_factory=dict)

    @property
    def check_steps(self) -> int:
        """Steps whose answers are compared, and that warm a contestant up before its clock."""
        return min(20, max(2, self.steps // 5))

    @property
    def title(self) -> str:
        """The case in words."""
        sizes = "-".join(map(str, self.layer_sizes))
        return f"{sizes} {self.activation}, batch {self.batch}, {self.data}, {self.steps} steps"

    @property
    def flops(self) -> int:
        """Dense floating-point operations of a step's matrix products.

        Forward, weight gradients, and input deltas of every layer but the first.
        """
        products = [2 * self.batch * i * o for i, o in pairwise(self.layer_sizes)]
        return 3 * sum(products) - products[0]


MNIST_STEP = {"numpy": Goal(4, 8), "jax": Goal(3.5, 7), "pytorch": Goal(8, 15)}
WIDE = {BEST: Goal(1.2, 1.6)}
SMALL = {BEST: Goal(3, 8)}
# For all threads against one, in every case; a hair of slack for the clock's noise.
NEVER_SLOWER = Goal(0.97, float("inf"))

# Lengths of real training, 1 to 17 epochs of the 60,000 rows: fastnn's `fit` checks and compresses
# its data once a call, inside the clock. 10,000 steps of 100 rows are the book's MNIST job.
# A row of normal numbers has some eight times the squared length of an image, and so is given a
# smaller learning rate.
CASES = (
    Case("mnist-50", (784, 50, 10), 100, 10_000, "mnist", 0.1, goals=MNIST_STEP),
    Case("mnist-50-sigmoid", (784, 50, 10), 100, 10_000, "mnist", 0.1, "sigmoid"),
    Case("dense-50", (784, 50, 10), 100, 1200, "dense", 0.01),
    Case("mnist-512", (784, 512, 512, 10), 256, 470, "mnist", 0.1, goals=WIDE),
    Case("dense-512", (784, 512, 512, 10), 256, 470, "dense", 0.01, goals=WIDE),
    Case("mnist-1024", (784, 1024, 1024, 10), 512, 118, "mnist", 0.1, goals=WIDE),
    Case("dense-1024", (784, 1024, 1024, 10), 512, 118, "dense", 0.01, goals=WIDE),
    Case("mnist-32-16", (784, 32, 16, 10), 32, 9375, "mnist", 0.1, goals=SMALL),
    Case("dense-32-16", (784, 32, 16, 10), 32, 9375, "dense", 0.01, goals=SMALL),
)
