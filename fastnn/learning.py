"""What all networks can: training, and keeping what they have learnt."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn import files
from fastnn.answers import Answering
from fastnn.history import History
from fastnn.optimizers import SGD, Optimizer
from fastnn.specification import InitialWeights, generator
from fastnn.training import calls
from fastnn.training.batches import Sampling
from fastnn.training.fit import fit
from fastnn.training.model import Model
from fastnn.training.optimizer_state import OptimizerState, refuse_other_state
from fastnn.training.parameters import Parameters
from fastnn.training.watch import Looks

_DEFAULT = SGD()


def checked_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """The optimiser, or the default one."""
    if optimizer is None:
        return _DEFAULT
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastnn's, such as SGD(0.1), got {optimizer!r}")
    return optimizer


class Learning(Answering):
    """A network that learns: what `fastnn.MLP` and `fastnn.ConvNet` have in common."""

    _random: np.random.Generator
    optimizer_state: OptimizerState | None

    def _begin(self, initial: InitialWeights, seed: Any) -> None:
        """Make what the network consists of, when it is known what that is to be."""
        self._random = generator(seed)
        self.params = self._made_params()
        self.optimizer_state = None
        self._model = self._made_model()
        initial.draw(self.params, self._random)

    def _made_params(self) -> Parameters:
        """Parameters for this network."""
        raise NotImplementedError

    def _made_model(self) -> Model:
        """What training needs of this network, on the same weights."""
        raise NotImplementedError

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
            rows = len(self._model.rows(x))
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
        self.__dict__.update(state)
        self.__dict__.pop("_loss", None)  # of pickles of version 0.1
        self.__dict__["params"] = self._made_params()
        self._model = self._made_model()
        for name, array in state["params"].items():
            self.params[name] = array
        kept = self.optimizer_state
        if kept is not None:
            memory = self.params.in_layout(kept.memory, kept.optimizer.memories)
            self.optimizer_state = None if memory is None else kept.with_memory(memory)
