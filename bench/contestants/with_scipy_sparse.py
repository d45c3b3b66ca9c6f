"""NumPy as in `with_numpy`, with the rows of x as SciPy's compressed sparse rows.

The first layer so multiplies only what is not zero, forwards and for its weights' gradient.  SciPy
has no way to write a product into an array that is there, and uses one thread; the other layers
are BLAS's.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from bench.cases import Case
from bench.contestants import with_numpy
from bench.contestants.with_numpy import ACTIVATIONS, LOSSES, RULES
from bench.reference import Arrays, Run

__all__ = ["ACTIVATIONS", "LOSSES", "RULES", "training"]


def training(case: Case, given: Arrays) -> Run:
    """The steps of `with_numpy`, on x compressed once."""
    return with_numpy.training(case, {**given, "x": csr_array(given["x"])}, SparseNetwork)


class SparseNetwork(with_numpy.Network):
    """A network whose inputs are sparse."""

    def forward(self, x: csr_array, rows: np.ndarray) -> None:
        """A sparse product, then the other layers."""
        self.x_batch = x[rows]
        z = np.add(self.x_batch @ self.params[0], self.params[1], out=self.outputs[1])
        if len(self.outputs) > 2:
            with_numpy.activate(self.activation, z, z, self.slopes[1])
        with_numpy.forward(self.activation, self.params[2:], self.outputs[1:], self.slopes[1:])

    def weight_gradient(self, k: int, delta: np.ndarray) -> None:
        """The first layer's, by a sparse product."""
        if k == 0:
            np.copyto(self.gradients[0], self.x_batch.T @ delta)
        else:
            super().weight_gradient(k, delta)
