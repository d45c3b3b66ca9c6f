"""What can be asked of a network: outputs, losses, gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastnn import finite_difference, gate
from fastnn.sparse_rows import SparseRows
from fastnn.specification import Specified
from fastnn.training import calls
from fastnn.training.model import Model
from fastnn.training.parameters import Parameters


class Answering(Specified):
    """A network that answers; `fastnn.MLP` is one that learns, too."""

    params: Parameters
    _model: Model

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Outputs of the network.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs, finite numbers; or images (N, C, H, W), for a network that takes them.

        Returns
        -------
        ndarray, shape (N, O)
            Of the network's dtype; probabilities if the output is softmax or
            sigmoid.  A row does not depend on the rows beside it, to the bit.

        Raises
        ------
        TypeError, ValueError
            If `x` is not as above.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([3, 4, 2], seed=0)
        >>> net.predict([[1, 2, 3], [4, 5, 6]]).sum(axis=1)
        array([1., 1.], dtype=float32)
        """
        rows: np.ndarray | SparseRows | None = self._model.plain_rows(x)
        if rows is None:
            rows = self._model.rows(x)
        if isinstance(rows, SparseRows):
            return self._model.outputs(self._model.samples(rows, x, "x"))
        found = calls.outputs(self._model, rows)
        if found is None:
            gate.refuse_not_finite(x, rows, "x")
        return found

    def loss(self, x: ArrayLike, t: ArrayLike) -> float:
        """Mean loss over the rows.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs; or images (N, C, H, W), for a network that takes them.
        t : array_like
            Labels (N,) or one-hot (N, O) with softmax; otherwise targets (N, O),
            or (N,) with one output.

        Returns
        -------
        float
            Infinite or NaN if the parameters are so large that the loss is.

        Raises
        ------
        TypeError, ValueError
            If `x` or `t` is not as above.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([3, 4, 2], weight_init=0.0)
        >>> round(net.loss([[1, 2, 3]], [0]), 4)
        0.6931
        """
        return calls.measured(self._model, x, t)[0]

    def accuracy(self, x: ArrayLike, t: ArrayLike) -> float:
        """Share of rows whose most probable class is the label.

        With sigmoid outputs, share of rows whose outputs are all on the right
        side of one half.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs; or images (N, C, H, W), for a network that takes them.
        t : array_like
            Labels or targets, as for `loss`.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        TypeError, ValueError
            If `x` or `t` is not as above, or the output is identity.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([3, 4, 2], weight_init=0.0)
        >>> net.accuracy([[1, 2, 3], [4, 5, 6]], [0, 1])
        0.5
        """
        if not self._model.has_classes:
            raise ValueError("accuracy needs classes, but the output is 'identity'")
        return calls.measured(self._model, x, t, with_accuracy=True)[1]

    def gradient(self, x: ArrayLike, t: ArrayLike) -> dict[str, np.ndarray]:
        """Gradient of the mean loss by backpropagation.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs; or images (N, C, H, W), for a network that takes them.
        t : array_like
            Labels or targets, as for `loss`.

        Returns
        -------
        dict of ndarray
            New arrays, keys and shapes as in `params`.

        Raises
        ------
        TypeError, ValueError
            If `x` or `t` is not as above.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([1, 1], output="identity", weight_init=0.0)
        >>> float(net.gradient([[2.0]], [3.0])["W1"][0, 0])  # x * (y - t)
        -6.0
        """
        return calls.gradient(self._model, x, t)[1]

    def loss_and_gradient(self, x: ArrayLike, t: ArrayLike) -> tuple[float, dict[str, np.ndarray]]:
        """Mean loss over the rows, and its gradient: what `loss` and `gradient` give, in one pass.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs; or images (N, C, H, W), for a network that takes them.
        t : array_like
            Labels or targets, as for `loss`.

        Returns
        -------
        float
            The loss.
        dict of ndarray
            New arrays, keys and shapes as in `params`.

        Raises
        ------
        TypeError, ValueError
            If `x` or `t` is not as above.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([1, 1], output="identity", weight_init=0.0)
        >>> loss, grads = net.loss_and_gradient([[2.0]], [3.0])
        >>> loss, grads["b1"]
        (4.5, array([-3.], dtype=float32))
        """
        return calls.gradient(self._model, x, t)

    def numerical_gradient(
        self, x: ArrayLike, t: ArrayLike, h: float = 1e-4
    ) -> dict[str, np.ndarray]:
        """Gradient of the mean loss by central differences, evaluated in float64.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs; or images (N, C, H, W), for a network that takes them.
        t : array_like
            Labels or targets, as for `loss`.
        h : float, default 1e-4
            Half the distance of the two evaluations, as in the book.

        Returns
        -------
        dict of ndarray
            New float64 arrays, keys and shapes as in `params`.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([1, 1], output="identity", weight_init=0.0)
        >>> round(float(net.numerical_gradient([[2.0]], [3.0])["W1"][0, 0]), 6)
        -6.0
        """
        h = gate.real_number(h, "h", 0, above=True)
        double = self._model.in_precision(np.dtype(np.float64))
        wanted = double.examples(x, t).wanted
        rows = double.rows(x)
        if isinstance(rows, SparseRows):
            rows = rows.dense()
        return finite_difference.gradient(double.params, double.loss, rows, wanted, float(h))
