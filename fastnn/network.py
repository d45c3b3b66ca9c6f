"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fastnn import gate
from fastnn.learning import Learning
from fastnn.losses import Loss
from fastnn.specification import InitialWeights, activations, output_and_loss, precision, sizes
from fastnn.training.model import Model
from fastnn.training.parameters import Parameters

__all__ = ["MLP", "TwoLayerNet"]


class MLP(Learning):
    """A multilayer perceptron, trained by mini-batch or per-sample gradient descent.

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input, of each hidden layer, and of the output.
    activation : str or sequence of str, default "relu"
        Activation of the hidden layers, or one per hidden layer: ``"relu"``,
        ``"sigmoid"``, ``"tanh"``, ``"leaky_relu"``, ``"softplus"``, ``"identity"``.
    output : {"softmax", "identity", "sigmoid", "tanh", "softplus"}, default "softmax"
        Activation of the output.
    loss : str or fastnn.losses.Loss, optional
        ``"cross_entropy"``, the default with softmax; ``"binary_cross_entropy"`` (summed over the
        outputs), that with sigmoid; ``"squared_error"`` (half the sum of ``(y - t)**2``), that with
        the others; ``"mse"``, ``"mae"``, ``"huber"``, ``"quantile"``, ``"poisson"`` and
        ``"hinge"`` (means over the outputs).  All are averaged over the rows.  Which goes with
        which output is on the front page, and a description such as
        ``fastnn.losses.Huber(0.5)`` has numbers of its own.
    weight_init : float, "he", "xavier" or "glorot", default 0.01
        Standard deviation of the normal initial weights.  ``"he"`` is
        ``sqrt(2 / inputs)``, ``"xavier"`` ``sqrt(1 / inputs)``, as in the book;
        ``"glorot"`` is ``sqrt(2 / (inputs + outputs))``.
    bias_init : float, default 0
        Standard deviation of the normal initial biases; 0 starts them at zero.
    dtype : {"float32", "float64"}, default "float32"
        Precision of parameters and arithmetic.
    seed : int, numpy.random.Generator or None, default None
        Source of the initial weights and of the batches of `fit`.  NumPy's
        global random state is never used.

    Attributes
    ----------
    params : mapping
        ``W1, b1, W2, b2, ...``: live, writable views of shapes (I, O) and (O,).
    layer_sizes, activations, output, loss_name, dtype
        What the network is made of; like `params` they cannot be replaced.
    optimizer_state
        What the optimiser remembers; set to None, the next `fit` begins anew.

    Raises
    ------
    TypeError, ValueError
        If an argument is not one of the above; the text names it.
    AttributeError
        If an attribute that cannot be replaced is assigned or deleted.

    Notes
    -----
    Numbers below the normal ones (1.2e-38 in float32, 2.2e-308 in float64) count as zero.

    A network can always be pickled.  A learning rate that is a function which a pickle cannot hold
    is left out then; what the optimiser remembers is kept.

    Examples
    --------
    >>> import fastnn, numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> t = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> net = fastnn.MLP([2, 16, 2], weight_init="he", seed=0)
    >>> history = net.fit(x, t, epochs=50, batch_size=20, optimizer=fastnn.SGD(0.5))
    >>> net.accuracy(x, t) > 0.95
    True
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        output: str = "softmax",
        loss: str | Loss | None = None,
        weight_init: float | str = 0.01,
        dtype: Any = "float32",
        seed: Any = None,
        *,
        bias_init: float = 0.0,
    ):
        self.layer_sizes = sizes(layer_sizes)
        self.activations = activations(activation, len(self.layer_sizes) - 2)
        self._set_end(output, loss, self.layer_sizes[-1])
        self.dtype = precision(dtype)
        fans = list(pairwise(self.layer_sizes))
        self._begin(InitialWeights(weight_init, bias_init, fans, self.dtype), seed)

    def _made_params(self) -> Parameters:
        return Parameters(self.layer_sizes, self.dtype)

    def _made_model(self) -> Model:
        end = output_and_loss(self.output, self._loss, self.layer_sizes[-1])
        return Model(self.params, self.activations, end.output, end.code, numbers=end.numbers)

    def __repr__(self) -> str:
        names = set(self.activations)
        hidden = names.pop() if len(names) == 1 else list(self.activations)
        return (
            f"MLP({list(self.layer_sizes)}, activation={hidden!r}, output={self.output!r}, "
            f"loss={self._loss!r}, dtype={self.dtype.name!r})"
        )

    def _description(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "layer_sizes": list(self.layer_sizes),
            "activation": list(self.activations),
            "output": self.output,
            "loss": self._described_loss(),
            "dtype": self.dtype.name,
        }


class TwoLayerNet(MLP):
    """An `MLP` with one hidden layer and the constructor of the book.

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Widths of the layers.
    weight_init_std : float, default 0.01
        Standard deviation of the initial weights.
    activation : str, default "sigmoid"
        Activation of the hidden layer; the output is softmax.
    dtype : {"float32", "float64"}, default "float32"
        Precision of parameters and arithmetic.
    seed : int, numpy.random.Generator or None, default None
        Source of the initial weights and of the batches of `fit`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.TwoLayerNet(784, 50, 10).params["W1"].shape
    (784, 50)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        weight_init_std: float = 0.01,
        *,
        activation: str = "sigmoid",
        dtype: Any = "float32",
        seed: Any = None,
    ):
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "output_size": output_size}
        for name, size in sizes.items():
            gate.positive_integer(size, name)
        gate.real_number(weight_init_std, "weight_init_std", 0)
        super().__init__(
            list(sizes.values()), activation, weight_init=weight_init_std, dtype=dtype, seed=seed
        )
