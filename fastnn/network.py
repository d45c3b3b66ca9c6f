"""The multilayer perceptron: parameters, training, keeping."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn import files, gate
from fastnn.answers import Answering
from fastnn.history import History
from fastnn.optimizers import SGD, Optimizer
from fastnn.specification import InitialWeights, generator
from fastnn.training import calls
from fastnn.training.batches import Sampling
from fastnn.training.fit import fit
from fastnn.training.model import OUTPUT_LOSSES, Model
from fastnn.training.optimizer_state import OptimizerState, refuse_other_state
from fastnn.training.parameters import Parameters
from fastnn.training.watch import Looks

__all__ = ["MLP", "TwoLayerNet"]

_DEFAULT = SGD()


def checked_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """The optimiser, or the default one."""
    if optimizer is None:
        return _DEFAULT
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastnn's, such as SGD(0.1), got {optimizer!r}")
    return optimizer


class MLP(Answering):
    """A multilayer perceptron, trained by mini-batch or per-sample gradient descent.

    Parameters
    ----------
    layer_sizes : sequence of int
        Width of the input, of each hidden layer, and of the output.
    activation : str or sequence of str, default "relu"
        Activation of the hidden layers, or one per hidden layer: ``"relu"``,
        ``"sigmoid"``, ``"tanh"``, ``"leaky_relu"``, ``"softplus"``, ``"identity"``.
    output : {"softmax", "identity", "sigmoid"}, default "softmax"
        Activation of the output.
    loss : str, optional
        With softmax ``"cross_entropy"``; with identity ``"squared_error"`` (half
        the sum of ``(y - t)**2``, averaged over the rows; the default) or
        ``"mse"`` (mean of ``(y - t)**2`` over all elements); with sigmoid
        ``"binary_cross_entropy"`` (summed over the outputs, averaged over the rows).
    weight_init : float, "he" or "xavier", default 0.01
        Standard deviation of the normal initial weights.  ``"he"`` is
        ``sqrt(2 / inputs)``, ``"xavier"`` ``sqrt(1 / inputs)``, as in the book.
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
        loss: str | None = None,
        weight_init: float | str = 0.01,
        dtype: Any = "float32",
        seed: Any = None,
        *,
        bias_init: float = 0.0,
    ):
        super().__init__(layer_sizes, activation, output, loss, dtype)
        initial = InitialWeights(weight_init, bias_init, self.layer_sizes, self.dtype)
        self._random = generator(seed)
        self.params = Parameters(self.layer_sizes, self.dtype)
        self.optimizer_state: OptimizerState | None = None
        self._model = self._made_model()
        initial.draw(self.params, self._random)

    def _made_model(self) -> Model:
        """What training needs of this network, on the same weights."""
        loss = OUTPUT_LOSSES[self.output][self.loss_name]
        return Model(self.params, self.activations, self.output, loss)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "optimizer_state" and value is not None:
            refuse_other_state(value, self.params)
        super().__setattr__(name, value)

    # Training ----------------------------------------------------------------

    def train_step(self, x: ArrayLike, t: ArrayLike, optimizer: Optimizer | None = None) -> float:
        """Make one step on all rows: for who looks at the world between two steps.

        It gives the same bits as ``fit(x, t, batches=[range(N)], optimizer=optimizer)`` without
        what a fit makes beside its steps, such as a history.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs.
        t : array_like
            Labels or targets, as for `loss`.
        optimizer : Optimizer, optional
            As for `fit`, which goes on with what it remembers; default ``SGD(lr=0.1)``.

        Returns
        -------
        float
            Mean loss over the rows before the step.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above, or the optimiser's learning rate is not; the network is
            unchanged.
        FloatingPointError
            If the loss is not finite; the network is unchanged.  Or if the weights are not after
            the step, which, other than in `fit`, is not undone.

        Notes
        -----
        SciPy's sparse rows, and rows of gigabytes, are handed to `fit`, which takes 0.1 ms more and
        undoes such a step.

        Examples
        --------
        >>> import fastnn
        >>> net, adam = fastnn.MLP([2, 8, 1], output="identity", seed=0), fastnn.Adam(0.01)
        >>> x, t = [[0.0, 1.0], [1.0, 0.0]], [1.0, 2.0]
        >>> losses = [net.train_step(x, t, adam) for _ in range(300)]
        >>> round(losses[0], 2), losses[-1] < 0.01
        (1.25, True)
        """
        optimizer = checked_optimizer(optimizer)
        loss = calls.loss_of_step(self, self._model, x, t, optimizer)
        if loss is None:  # the rows are sparse, many, or not as they should be
            rows = len(gate.matrix(x, self.layer_sizes[0], self.dtype, "x"))
            history = self.fit(x, t, batches=np.arange(rows)[np.newaxis], optimizer=optimizer)
            loss = float(history.loss[0])
        return loss

    def fit(
        self,
        x: ArrayLike,
        t: ArrayLike,
        *,
        epochs: int | None = None,
        iterations: int | None = None,
        batch_size: int = 100,
        optimizer: Optimizer | None = None,
        sampling: str = "shuffle",
        batches: ArrayLike | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        evaluate_every: int | None = None,
        seed: Any = None,
        progress: bool | None = None,
        callbacks: Iterable[Callable[[Any, History], Any]] = (),
    ) -> History:
        """Train the network; a further call goes on from where it is.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs.  Without `validation_data`, rows that no batch uses are not looked at if they
            are half or more: a step on 100 of 60,000 images takes no longer than on 100 of 1,000.
        t : array_like
            Labels (N,) or one-hot (N, O) with softmax; otherwise targets (N, O),
            or (N,) with one output.
        epochs : int, optional
            Passes over the data.  Give `epochs`, `iterations` or `batches`;
            without any, one epoch is made.
        iterations : int, optional
            Steps, that is updates of the weights.
        batch_size : int, default 100
            Rows per step; 1 is per-sample gradient descent.  At most N.
        optimizer : Optimizer, optional
            `SGD`, `Momentum`, `Nesterov`, `AdaGrad`, `RMSprop` or `Adam`; default
            ``SGD(lr=0.1)``.  What it remembers goes on in the next call with the same
            rule and numbers, whatever the learning rate; another rule begins anew.
            A schedule goes on counting if the next call's is equal to it, and a
            function is equal to itself only; another schedule counts from 0.
            Schedules are asked ahead, for up to 262,144 steps: what a callback
            changes comes too late for them.
        sampling : {"shuffle", "replacement"}, default "shuffle"
            A new permutation of the rows each epoch, with a last short batch if
            N is no multiple of `batch_size`; or rows drawn independently, as
            ``np.random.choice`` does in the book.
        batches : array_like of int, shape (iterations, batch_size), optional
            Row numbers of every batch, replayed exactly.
        validation_data : tuple (x, t), optional
            Data to evaluate on beside the training data.
        evaluate_every : int, optional
            Steps between evaluations on the training data and on
            `validation_data`, or between callbacks if there is none of it.
            Default: an epoch.
        seed : int or numpy.random.Generator, optional
            Source of the batches; default the network's own, which goes on from
            call to call.
        progress : bool, optional
            Show a progress bar; default on long fits, if standard error is a terminal.
        callbacks : iterable of callable
            Each is called as ``callback(net, history)`` after every evaluation,
            or every epoch if there is none; a true return value ends training.
            One with a method ``finish(net, history)`` has it called at the end.
            See `fastnn.EarlyStopping`.

        Returns
        -------
        History

        Raises
        ------
        TypeError, ValueError
            If an argument is not as above; the network is unchanged.
        FloatingPointError
            If a loss is not finite.  The network is left with the last weights
            whose loss was, and the error has the `history` so far.
        Exception
            What a schedule or a callback raises.  The steps before it are kept, and the error
            says how many, in its text or in a note.

        Notes
        -----
        Batches are drawn ahead: going on after a fit that a callback or Ctrl-C
        ended gives other batches than a fit that was not ended.

        Ctrl-C is noticed within about 50 ms, and within half a second if steps take seconds,
        which are then not made.  Weights, memory, count and history agree, wherever it comes;
        the interrupt has the `history`, as any error has that comes after steps were made.

        Examples
        --------
        >>> import fastnn
        >>> net = fastnn.MLP([1, 8, 1], "tanh", output="identity", weight_init="he", seed=1)
        >>> x = [[-1.0], [0.0], [1.0]]
        >>> history = net.fit(x, [1.0, 0.0, 1.0], epochs=500, batch_size=1)
        >>> history.steps, bool(history.loss[-1] < 0.01)
        (1500, True)
        """
        return fit(
            self,
            self._model,
            x,
            t,
            optimizer=checked_optimizer(optimizer),
            sampling=Sampling(epochs, iterations, batch_size, sampling, batches),
            looks=Looks(validation_data, evaluate_every, callbacks),
            random=self._random if seed is None else generator(seed),
            progress=progress,
        )

    # Keeping -----------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file, atomically; `fastnn.load` reads it.

        Parameters
        ----------
        path : str or path-like
            Used as it is.  A file that is there is replaced.  What the optimiser remembers is not
            in it, as it is in a pickle.

        Raises
        ------
        OSError
            If the file cannot be written; a file that was there is unharmed.

        Examples
        --------
        >>> import fastnn, os, tempfile
        >>> net = fastnn.MLP([3, 4, 2], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "net.fastnn"))
        ...     again = fastnn.load(os.path.join(folder, "net.fastnn"))
        >>> bool((again.predict([[1, 2, 3]]) == net.predict([[1, 2, 3]])).all())
        True
        """
        files.write_model(path, self._description(), dict(self.params))

    def __getstate__(self) -> dict[str, Any]:
        arrays = {name: view.copy() for name, view in self.params.items()}
        own = {name: copy.deepcopy(self.__dict__[name]) for name in ("_random", "optimizer_state")}
        state = {**self.__dict__, "params": arrays, **own}
        del state["_model"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        params = Parameters(state["layer_sizes"], state["dtype"])
        self.__dict__.update({**state, "params": params})
        self.__dict__.pop("_loss", None)  # of pickles of version 0.1
        self._model = self._made_model()
        for name, array in state["params"].items():
            self.params[name] = array
        kept = self.optimizer_state
        if kept is not None:
            memory = self.params.in_layout(kept.memory, kept.optimizer.memories)
            self.optimizer_state = None if memory is None else kept.with_memory(memory)


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
