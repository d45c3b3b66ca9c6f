"""The multilayer perceptron: parameters, and what can be asked of them."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn import files, finite_difference, gate
from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.history import History
from fastnn.kernels import losses
from fastnn.kernels.activations import ACTIVATION_CODES
from fastnn.optimizers import SGD, Optimizer
from fastnn.training import fit
from fastnn.training.data import Examples, Samples, checked_samples, looks_sparse, samples_of
from fastnn.training.evaluation import FEW_WORK, evaluate, mean_loss, outputs_of_dense
from fastnn.training.parameters import Parameters
from fastnn.training.steps import gradient_block

__all__ = ["MLP", "TwoLayerNet", "load"]

# The losses that go with each output; the first is the default.
OUTPUT_LOSSES = {
    "softmax": {"cross_entropy": losses.CROSS_ENTROPY},
    "identity": {
        "squared_error": losses.SQUARED_ERROR,
        "mse": losses.MEAN_SQUARED_ERROR,
    },
    "sigmoid": {"binary_cross_entropy": losses.BINARY_CROSS_ENTROPY},
}

# Standard deviation of the initial weights of a layer by its number of inputs.
WEIGHT_INITS: dict[str, Callable[[int], float]] = {
    "he": lambda inputs: math.sqrt(2 / inputs),
    "xavier": lambda inputs: math.sqrt(1 / inputs),
}

LARGEST_DRAW = 40  # of a normal number: no generator gives one of 40 standard deviations
LARGEST_LAYER = 2**31 - 1  # so that sizes in bytes are far from what an address can hold

DTYPES: dict[str, np.dtype] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}

# Attributes that stay as they are made: kernels, which check nothing, find their way by them.
MADE_ONCE = {"layer_sizes", "activations", "output", "loss_name", "dtype", "params"}


class MLP:
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
        self.layer_sizes = _checked_sizes(layer_sizes)
        hidden = len(self.layer_sizes) - 2
        self.activations = _checked_activations(activation, hidden)
        self.output = gate.choice(output, OUTPUT_LOSSES, "output")
        allowed = OUTPUT_LOSSES[self.output]
        name = next(iter(allowed)) if loss is None else loss
        self.loss_name = gate.choice(name, allowed, f"loss with output={output!r}")
        self.dtype = DTYPES[_dtype_name(dtype)]
        with rounding_to_nearest():
            deviations = _deviations(weight_init, self.layer_sizes)
        gate.real_number(bias_init, "bias_init", 0)
        _refuse_too_large(max(deviations), "weight_init", self.dtype)
        _refuse_too_large(bias_init, "bias_init", self.dtype)
        self._random = _generator(seed)
        self.params = Parameters(self.layer_sizes, self.dtype)
        self.optimizer_state: fit.OptimizerState | None = None
        self._set_codes()
        for layer, deviation in enumerate(deviations, start=1):
            self._draw(f"W{layer}", deviation)
            if bias_init:
                self._draw(f"b{layer}", bias_init)

    def _draw(self, name: str, deviation: float) -> None:
        with rounding_to_nearest():
            self.params[name] = deviation * self._random.standard_normal(self.params[name].shape)

    def _set_codes(self) -> None:
        self._loss = OUTPUT_LOSSES[self.output][self.loss_name]
        codes = [ACTIVATION_CODES[name] for name in self.activations]
        self.params.set_activations([*codes, ACTIVATION_CODES["identity"]])

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would break the network later; reading stays a plain look-up."""
        if name in MADE_ONCE and name in self.__dict__:
            raise AttributeError(_cannot_be_replaced(name))
        if name == "optimizer_state" and value is not None and not self._fits(value):
            raise ValueError(
                "optimizer_state must be None, to begin anew, or that of a network of the same "
                f"layer_sizes and dtype, got {type(value).__name__}"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in MADE_ONCE:
            raise AttributeError(_cannot_be_replaced(name))
        super().__delattr__(name)

    def _fits(self, state: Any) -> bool:
        if not isinstance(state, fit.OptimizerState):
            return False
        size = state.optimizer.memories * self.params.block.size
        return state.memory.dtype == self.dtype and state.memory.shape == (size,)

    def __repr__(self) -> str:
        names = set(self.activations)
        hidden = names.pop() if len(names) == 1 else list(self.activations)
        return (
            f"MLP({list(self.layer_sizes)}, activation={hidden!r}, output={self.output!r}, "
            f"loss={self.loss_name!r}, dtype={self.dtype.name!r})"
        )

    # Asking ------------------------------------------------------------------

    def predict(self, x: ArrayLike) -> np.ndarray:
        """Outputs of the network.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs, finite numbers.

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
        rows: Any = gate.plain_rows(x, self.layer_sizes[0], self.dtype)
        if rows is None:
            rows = gate.matrix(x, self.layer_sizes[0], self.dtype, "x")
        few = self.params.multiply_adds * len(rows) <= FEW_WORK
        if isinstance(rows, np.ndarray) and (few or not looks_sparse(rows)):
            found = outputs_of_dense(self.params, self._loss, rows)
            if found is None:
                gate.refuse_not_finite(x, rows, "x")
            return found
        samples = samples_of(rows, x, "x")
        outputs = np.empty((samples.rows, self.layer_sizes[-1]), self.dtype)
        nothing = np.empty(0, np.int64), np.empty((0, 1), self.dtype)
        evaluate(self.params, self._loss, samples, nothing, outputs, np.empty(0))
        return outputs

    def loss(self, x: ArrayLike, t: ArrayLike) -> float:
        """Mean loss over the rows.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs.
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
        examples = self._examples(x, t)
        row_loss = np.empty(examples.rows)
        nothing = np.empty((0, self.layer_sizes[-1]), self.dtype)
        evaluate(self.params, self._loss, examples.samples, examples.wanted, nothing, row_loss)
        return mean_loss(row_loss)

    def accuracy(self, x: ArrayLike, t: ArrayLike) -> float:
        """Share of rows whose most probable class is the label.

        With sigmoid outputs, share of rows whose outputs are all on the right
        side of one half.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs.
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
        if self.output == "identity":
            raise ValueError("accuracy needs classes, but the output is 'identity'")
        return fit.measure(self, self._examples(x, t))[1]

    def gradient(self, x: ArrayLike, t: ArrayLike) -> dict[str, np.ndarray]:
        """Gradient of the mean loss by backpropagation.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs.
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
        block = gradient_block(self.params, self._loss, self._examples(x, t))
        return {name: view.copy() for name, view in self.params.views_of(block).items()}

    def numerical_gradient(
        self, x: ArrayLike, t: ArrayLike, h: float = 1e-4
    ) -> dict[str, np.ndarray]:
        """Gradient of the mean loss by central differences, evaluated in float64.

        Parameters
        ----------
        x : array_like, data frame or SciPy sparse matrix, shape (N, I)
            Inputs.
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
        double = self._with_dtype("float64")
        wanted = double._examples(x, t).wanted
        rows = gate.dense_matrix(x, self.layer_sizes[0], double.dtype, "x")
        return finite_difference.gradient(double.params, double._loss, rows, wanted, float(h))

    # Training ----------------------------------------------------------------

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
        return fit.fit(
            self,
            x,
            t,
            epochs=epochs,
            iterations=iterations,
            batch_size=batch_size,
            optimizer=SGD() if optimizer is None else optimizer,
            sampling=sampling,
            batches=batches,
            validation_data=validation_data,
            evaluate_every=evaluate_every,
            random=self._random if seed is None else _generator(seed),
            progress=progress,
            callbacks=callbacks,
        )

    def _examples(self, x: Any, t: Any, x_name: str = "x", t_name: str = "t") -> Examples:
        """Inputs and targets, checked and in the form that the kernels read."""
        return self._with_targets(
            checked_samples(x, self.layer_sizes[0], self.dtype, x_name), t, t_name
        )

    def _with_targets(self, samples: Samples, t: Any, t_name: str = "t") -> Examples:
        O = self.layer_sizes[-1]
        labels, targets = np.empty(0, np.int64), np.empty((0, 1), self.dtype)
        if self.output == "softmax":
            labels = gate.labels(t, samples.rows, O, t_name)
        else:
            unit = self.output == "sigmoid"
            targets = gate.targets(t, samples.rows, O, self.dtype, t_name, unit)
        return Examples(samples, labels, targets)

    # Keeping -----------------------------------------------------------------

    def _description(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "layer_sizes": list(self.layer_sizes),
            "activation": list(self.activations),
            "output": self.output,
            "loss": self.loss_name,
            "dtype": self.dtype.name,
        }

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

    def _with_dtype(self, dtype: str) -> MLP:
        return _rebuild({**self._description(), "dtype": dtype}, dict(self.params))

    def __getstate__(self) -> dict[str, Any]:
        arrays = {name: view.copy() for name, view in self.params.items()}
        own = {name: copy.deepcopy(self.__dict__[name]) for name in ("_random", "optimizer_state")}
        return {**self.__dict__, "params": arrays, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        params = Parameters(state["layer_sizes"], state["dtype"])
        self.__dict__.update({**state, "params": params})
        self._set_codes()
        for name, array in state["params"].items():
            self.params[name] = array


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


def load(path: str | os.PathLike[str]) -> MLP:
    """Read a network that `MLP.save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.  Nothing in it is executed.

    Returns
    -------
    MLP or TwoLayerNet

    Raises
    ------
    fastnn.ModelFileError
        A `ValueError`: the file is damaged, foreign, or of a newer version.
    OSError
        If the file cannot be read.

    Examples
    --------
    See `MLP.save`.
    """
    description, arrays = files.read_model(path)
    try:
        return _rebuild(description, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise files.ModelFileError(f"{os.fspath(path)!r} holds no network: {error}") from None


def _rebuild(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> MLP:
    kinds = {"MLP": MLP, "TwoLayerNet": TwoLayerNet}
    net: MLP = MLP.__new__(kinds.get(description["kind"], MLP))
    MLP.__init__(
        net,
        description["layer_sizes"],
        description["activation"],
        description["output"],
        description["loss"],
        weight_init=0.0,
        dtype=description["dtype"],
    )
    if set(arrays) != set(net.params):
        raise ValueError(f"its arrays are {sorted(arrays)}, not {sorted(net.params)}")
    for name, array in arrays.items():
        net.params[name] = array
    return net


def _cannot_be_replaced(name: str) -> str:
    instead = "assign to the arrays in it" if name == "params" else "make another network"
    return f"{name} of a network cannot be replaced; {instead}"


def _checked_sizes(layer_sizes: Any) -> tuple[int, ...]:
    if isinstance(layer_sizes, str) or not isinstance(layer_sizes, Iterable):
        raise TypeError(f"layer_sizes must be a sequence of integers, got {layer_sizes!r}")
    sizes = tuple(layer_sizes)
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes must hold an input and an output width, got {sizes}")
    checked = [gate.positive_integer(size, f"layer_sizes[{i}]") for i, size in enumerate(sizes)]
    if max(checked) > LARGEST_LAYER:
        raise ValueError(f"layer_sizes must hold at most {LARGEST_LAYER}, got {max(checked)}")
    return tuple(checked)


def _checked_activations(activation: Any, hidden: int) -> tuple[str, ...]:
    if isinstance(activation, str) or not isinstance(activation, Iterable):
        return (gate.choice(activation, ACTIVATION_CODES, "activation"),) * hidden
    names = tuple(activation)
    if len(names) != hidden:
        raise ValueError(f"activation must name one per hidden layer ({hidden}), got {names}")
    return tuple(
        gate.choice(name, ACTIVATION_CODES, f"activation[{i}]") for i, name in enumerate(names)
    )


def _dtype_name(dtype: Any) -> str:
    try:
        name = None if dtype is None else np.dtype(dtype).name  # np.dtype(None) is float64
    except TypeError:
        name = dtype
    return gate.choice(name, DTYPES, "dtype")


def _deviations(weight_init: Any, sizes: tuple[int, ...]) -> list[float]:
    if isinstance(weight_init, str):
        rule = WEIGHT_INITS[gate.choice(weight_init, WEIGHT_INITS, "weight_init")]
        return [rule(inputs) for inputs in sizes[:-1]]
    return [gate.real_number(weight_init, "weight_init", 0)] * (len(sizes) - 1)


def _refuse_too_large(deviation: float, name: str, dtype: np.dtype) -> None:
    most = float(np.finfo(dtype).max) / LARGEST_DRAW
    if float(deviation) > most:
        raise ValueError(f"{name} must be at most {most:.2g} in {dtype}, got {deviation}")


def _generator(seed: Any) -> np.random.Generator:
    text = f"seed must be a non-negative integer or a Generator, got {seed!r}"
    if seed is None or isinstance(seed, np.random.Generator):
        return np.random.default_rng(seed)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(text)
    if seed < 0:
        raise ValueError(text)
    return np.random.default_rng(seed)
