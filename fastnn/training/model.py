"""A network as training sees it: its weights, its loss, and how data become examples for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import gate
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.kernels.elementwise_losses import PAIR_CODES, PAIRS
from fastnn.kernels.given import add_up
from fastnn.kernels.groups import Targets
from fastnn.kernels.losses import LABELS, PROBABILITIES
from fastnn.sparse_rows import SparseRows
from fastnn.training.data import Examples, Samples, samples_of
from fastnn.training.evaluation import evaluate
from fastnn.training.parameters import Parameters
from fastnn.training.targets import NO_LABELS, TargetsWanted

# The losses that `MLP` offers with each output, and their codes; the first is the default.
OUTPUT_LOSSES: dict[str, dict[str, int]] = {}
for (_output, _name), _row in PAIRS.items():
    if _row.offered:
        OUTPUT_LOSSES.setdefault(_output, {})[_name] = PAIR_CODES[_output, _name]


class Model:
    """A network without what its owner adds.

    Parameters
    ----------
    params : Parameters
        Weights.
    activations : sequence of str
        Activation of each hidden layer.
    output : str
        Activation of the output, for `MLP` a key of OUTPUT_LOSSES.
    loss : int
        Code of the loss, of `fastnn.kernels.elementwise_losses`.
    dropout : sequence of float
        Share of each layer's outputs that training drops; none at the end.
    numbers : sequence of float
        What the loss has for each output, if it has any.

    Attributes
    ----------
    layer_sizes : tuple of int
    dtype : numpy.dtype
        Of the weights, and of all that the kernels read beside them.
    loss_name : str
        Name of the loss.
    targets : str
        Kind of targets that the loss takes.
    wanted : TargetsWanted
        How they are looked at.
    """

    def __init__(
        self,
        params: Parameters,
        activations: Sequence[str],
        output: str,
        loss: int,
        dropout: Sequence[float] = (),
        numbers: Sequence[float] = (),
    ):
        params.set_activations([ACTIVATION_CODES[name] for name in (*activations, "identity")])
        self.params, self.activations, self.output, self.loss = params, activations, output, loss
        self.layer_sizes, self.dtype = params.layer_sizes, params.block.dtype
        # What memory for it depends on.
        self.shape = self.layer_sizes, params.images, self.dtype.char
        self.dropout = tuple(dropout)
        image = params.images[0] if params.images else None
        self._image = image and (image.channels, image.height, image.width)
        pair = list(PAIRS)[loss]
        self.loss_name, self.targets = pair[1], PAIRS[pair].targets
        self.wanted = TargetsWanted(
            self.targets, self.layer_sizes[-1], self.dtype, numbers, pair[1]
        )
        self.no_outputs = np.empty((0, self.layer_sizes[-1]), self.dtype)

    @property
    def has_classes(self) -> bool:
        """Whether an output is right or wrong, so that there is an accuracy."""
        return self.targets in (LABELS, PROBABILITIES)

    def in_precision(self, dtype: np.dtype) -> Model:
        """The same network with copies of its weights in another precision."""
        params = Parameters(self.layer_sizes, dtype, self.params.images)
        params.update(self.params)
        numbers = self.wanted.numbers.tolist()
        return Model(params, self.activations, self.output, self.loss, numbers=numbers)

    # Data --------------------------------------------------------------------

    def plain_rows(self, x: Any) -> np.ndarray | None:
        """What `rows` returns, if that takes no more than a look or a copy of a few rows."""
        if self._image is not None and type(x) is np.ndarray and x.shape[1:] == self._image:
            x = x.reshape(len(x), self.layer_sizes[0])
        return gate.plain_rows(x, self.layer_sizes[0], self.dtype)

    def rows(self, x: Any, name: str = "x") -> np.ndarray | SparseRows:
        """Inputs as rows that kernels can take, in which no number has been looked at."""
        if self._image is not None:
            return gate.image_rows(x, self._image, self.dtype, name)
        return gate.matrix(x, self.layer_sizes[0], self.dtype, name)

    def samples(
        self, rows: np.ndarray | SparseRows, x: Any, name: str, chosen: np.ndarray | None = None
    ) -> Samples:
        """Rows that were made of x as samples, of all of them or of some; all are finite."""
        return samples_of(rows, x, name, chosen, lists=self._image is None)

    def examples(self, x: Any, t: Any, x_name: str = "x", t_name: str = "t") -> Examples:
        """Inputs and targets, checked and in the form that the kernels read."""
        samples = self.samples(self.rows(x, x_name), x, x_name)
        return self.with_targets(samples, t, t_name)

    def with_targets(self, samples: Samples, t: Any, t_name: str = "t") -> Examples:
        """Inputs that were checked, and targets that are checked here."""
        return Examples(samples, self.wanted.check(t, samples.rows, t_name))

    def no_targets(self) -> Targets:
        """Labels and targets of no rows."""
        return Targets(NO_LABELS, self.wanted.none.targets, self.wanted.numbers)

    # Passes ------------------------------------------------------------------

    def outputs(self, samples: Samples) -> np.ndarray:
        """Outputs (N, O)."""
        outputs = np.empty((samples.rows, self.layer_sizes[-1]), self.dtype)
        evaluate(self.params, self.loss, samples, self.no_targets(), outputs, np.empty(0))
        return outputs

    def row_losses(self, examples: Examples) -> np.ndarray:
        """Losses (N,), whose outputs are not wanted."""
        row_loss = np.empty(examples.rows)
        evaluate(
            self.params, self.loss, examples.samples, examples.wanted, self.no_outputs, row_loss
        )
        return row_loss

    def outputs_and_losses(self, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (N, O) and losses (N,)."""
        outputs = np.empty((examples.rows, self.layer_sizes[-1]), self.dtype)
        row_loss = np.empty(examples.rows)
        evaluate(self.params, self.loss, examples.samples, examples.wanted, outputs, row_loss)
        return outputs, row_loss

    def measure(self, examples: Examples, with_accuracy: bool = True) -> tuple[float, float]:
        """Mean loss, and accuracy (NaN for real outputs, or if it is not asked for)."""
        with_accuracy &= self.has_classes
        if with_accuracy:
            outputs, row_loss = self.outputs_and_losses(examples)
        else:
            outputs, row_loss = self.no_outputs, self.row_losses(examples)
        sums = np.zeros(3)
        add_up.serial(1, row_loss, outputs, *examples.wanted, sums)
        loss, accuracy = means(sums)
        return loss, accuracy if with_accuracy else float("nan")


def means(sums: np.ndarray) -> tuple[float, float]:
    """Mean loss and accuracy, of the sums that `kernels.given.add_rows` makes."""
    loss, right, rows = sums.tolist()
    with rounding_to_nearest():
        return loss / rows, right / rows
