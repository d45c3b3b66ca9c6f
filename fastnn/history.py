"""What happened while a network was trained: the loss of every step, and the evaluations."""

import contextlib
import csv
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["History"]

_MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


class Losses:
    """Losses of steps, in chunks of which the last may be filling up.

    A chunk is an array, and in an array of its own the number of losses in it, which compiled code
    counts up with the steps that it makes.  So whatever interrupts a fit, and wherever, the record
    and the weights agree (test_what_is_kept_agrees_wherever_a_fit_is_interrupted).
    """

    def __init__(self) -> None:
        self.chunks: list[tuple[np.ndarray, np.ndarray]] = []
        # Of these chunks, so many at the beginning hold so many losses; they change no more.
        self._counted: tuple[list, int, int] = (self.chunks, 0, 0)
        self._joined: tuple[list, int, np.ndarray] | None = None

    def add(self, loss: np.ndarray, seen: np.ndarray) -> None:
        """Record the first ``seen[0]`` of these losses, now and whenever that changes."""
        self.chunks.append((loss, seen))

    @property
    def size(self) -> int:
        chunks, (counted, before, size) = self.chunks, self._counted
        if counted is not chunks:
            before = size = 0
        if not chunks:
            return 0
        last = len(chunks) - 1
        if before < last:
            size += sum(int(seen[0]) for _, seen in chunks[before:last])
            self._counted = chunks, last, size
        return size + int(chunks[last][1][0])

    @property
    def array(self) -> np.ndarray:
        """All of them, read-only; the same array again if there are no more."""
        chunks, size = self.chunks, self.size
        if self._joined is None or self._joined[0] is not chunks or self._joined[1] != size:
            parts = [loss[: int(seen[0])] for loss, seen in chunks]
            whole = np.concatenate([np.empty(0), *parts])
            whole.flags.writeable = False  # it is the record itself, not a copy of it
            # The last chunk stays as it is: it may still be filling up.
            first = whole[: size - len(parts[-1])] if parts else whole
            chunks = [(first, np.array([first.size])), *chunks[-1:]]
            self.chunks, self._joined = chunks, (chunks, size, whole)
        return self._joined[2]

    def last(self) -> float | None:
        """The latest, if there is one."""
        for loss, seen in reversed(self.chunks):
            if seen[0]:
                return float(loss[int(seen[0]) - 1])
        return None


class History:
    """A record of one or more fits.

    `MLP.fit` makes and fills it; read its attributes, plot it, or write it to a CSV file.
    Steps are counted from 1: ``loss[0]`` belongs to step 1, and an evaluation at iteration 5
    was made after step 5. Iteration 0 is an evaluation before the first step.

    Parameters
    ----------
    steps_per_epoch : float, optional
        How many steps see each training row once; without it `epochs` is nan.

    Attributes
    ----------
    loss : numpy.ndarray of float64, shape (steps,)
        The loss of each step's batch, before that step's update. Read-only.
    iterations : numpy.ndarray of int64, shape (evaluations,)
        The number of steps made, from the start of this history, before each evaluation.
    epochs : numpy.ndarray of float64, shape (evaluations,)
        The same in epochs, as a fraction.
    train_loss, test_loss : numpy.ndarray of float64, shape (evaluations,)
        The loss on training and test data at each evaluation; nan where an evaluation did
        not measure it, and empty if none did.
    train_accuracy, test_accuracy : numpy.ndarray of float64, shape (evaluations,)
        Likewise the accuracies, from 0 to 1; empty for regression.
    seconds : float
        Total training time, evaluations included.
    stop_reason : str
        Why training ended, such as ``"finished"``; empty as long as it has not.
    hint : str
        What to look at if training has come to nothing, such as inputs that are not scaled;
        empty otherwise.
    steps_per_epoch : float or None
        As given; of the latest fit, once `extend` has been used.

    Examples
    --------
    >>> from fastnn.history import History
    >>> history = History(steps_per_epoch=2)
    >>> history.record_steps([2.3, 1.9])
    >>> history.record_evaluation(2, train_accuracy=0.5, test_accuracy=0.25)
    >>> history.loss
    array([2.3, 1.9])
    >>> history.epochs
    array([1.])
    >>> history.seconds, history.stop_reason = 0.125, "finished"
    >>> history
    <History: 2 steps, loss 1.9, train accuracy 0.5000, test accuracy 0.2500, 0.12 s, finished>
    """

    def __init__(self, steps_per_epoch: float | None = None):
        if steps_per_epoch is not None and not 0 < steps_per_epoch < math.inf:
            raise ValueError(f"steps_per_epoch must be positive, not {steps_per_epoch}")
        self.steps_per_epoch = steps_per_epoch
        self.seconds = 0.0
        self.stop_reason = ""
        self.hint = ""
        self._losses = Losses()
        # Steps and epochs before each evaluation, and what it measured, in the order of _MEASURES.
        self._evaluations: list[tuple[int, float, tuple[float | None, ...]]] = []
        # The first of them as columns: a callback may ask for one after every step.
        self._table = np.empty((2 + len(_MEASURES), 0)), 0
        self._earlier_steps = 0  # of the fits before the present one
        self._earlier_epochs = 0.0

    # ------------------------------------------------------------------ recording

    def record_steps(self, loss: ArrayLike) -> None:
        """Add the losses of the steps made since the last call.

        Parameters
        ----------
        loss : array_like, shape (n,)
            One loss per step. It is copied, so the caller may use the array again.

        Raises
        ------
        ValueError
            If `loss` is not one-dimensional.

        Examples
        --------
        >>> from fastnn.history import History
        >>> history = History()
        >>> history.record_steps([0.5, 0.4])
        >>> history.record_steps([0.3])
        >>> history.steps
        3
        """
        chunk = np.array(loss, dtype=np.float64)
        if chunk.ndim != 1:
            raise ValueError(f"losses must have one dimension, but their shape is {chunk.shape}")
        self._losses.add(chunk, np.array([chunk.size]))

    def record_running(self, loss: np.ndarray, seen: np.ndarray) -> None:
        """Record losses while they are made.

        Parameters
        ----------
        loss : ndarray of float64
            Where compiled code puts the losses of steps.
        seen : ndarray of int64, shape (1,)
            How many of them are there; what the code writes to it later counts, too.

        Examples
        --------
        >>> import numpy as np
        >>> from fastnn.history import History
        >>> history, loss, seen = History(), np.zeros(10), np.zeros(1, int)
        >>> history.record_running(loss, seen)
        >>> loss[0], seen[0] = 0.5, 1
        >>> history.loss
        array([0.5])
        """
        self._losses.add(loss, seen)

    def record_evaluation(
        self,
        iteration: int,
        *,
        train_loss: float | None = None,
        test_loss: float | None = None,
        train_accuracy: float | None = None,
        test_accuracy: float | None = None,
    ) -> None:
        """Add one evaluation.

        Parameters
        ----------
        iteration : int
            The number of steps made before it, counting from the start of this history.
        train_loss, test_loss, train_accuracy, test_accuracy : float, optional
            What was measured.

        Raises
        ------
        ValueError
            If `iteration` is negative or not greater than that of the last evaluation.

        Examples
        --------
        >>> from fastnn.history import History
        >>> history = History()
        >>> history.record_evaluation(600, train_accuracy=0.9)
        >>> history.iterations, history.train_accuracy, history.test_accuracy
        (array([600]), array([0.9]), array([], dtype=float64))
        """
        last = self._last_evaluated()
        if iteration <= last:
            raise ValueError(f"an evaluation at iteration {iteration} cannot follow one at {last}")
        values = (train_loss, test_loss, train_accuracy, test_accuracy)
        measured = tuple(None if value is None else float(value) for value in values)
        self._evaluations.append((int(iteration), self._epochs_after(iteration), measured))

    def _last_evaluated(self) -> int:
        return self._evaluations[-1][0] if self._evaluations else -1

    def extend(self, other: "History") -> None:
        """Add the record of a later fit, its iterations and epochs counted on from here.

        An evaluation that `other` made before its first step is left out where this history
        ends with one.

        Parameters
        ----------
        other : History
            The record of the later fit; it is not changed.

        Examples
        --------
        >>> from fastnn.history import History
        >>> first, second = History(), History()
        >>> first.record_steps([0.5, 0.4])
        >>> second.record_steps([0.3])
        >>> second.record_evaluation(1, test_loss=0.2)
        >>> first.extend(second)
        >>> first.loss, first.iterations
        (array([0.5, 0.4, 0.3]), array([3]))
        """
        steps, epochs, last = self.steps, self._epochs_after(self.steps), self._last_evaluated()
        self._evaluations += [
            (steps + iteration, epochs + since, measured)
            for iteration, since, measured in other._evaluations  # may be our own
            if steps + iteration > last
        ]
        self._earlier_epochs = epochs + other._earlier_epochs
        self._earlier_steps = steps + other._earlier_steps
        losses = Losses()
        for loss in (self.loss, other.loss):
            losses.add(loss, np.array([loss.size]))
        self._losses = losses
        self.steps_per_epoch = other.steps_per_epoch
        self.seconds += other.seconds
        self.stop_reason = other.stop_reason
        self.hint = other.hint

    def _epochs_after(self, iteration: int) -> float:
        steps = iteration - self._earlier_steps
        if steps == 0:
            return self._earlier_epochs
        return self._earlier_epochs + steps / (self.steps_per_epoch or math.nan)

    # ------------------------------------------------------------------ reading

    @property
    def steps(self) -> int:
        """The number of steps recorded."""
        return self._losses.size

    @property
    def loss(self) -> np.ndarray:
        """The loss of each step's batch before its update; float64, shape (steps,)."""
        return self._losses.array

    @property
    def iterations(self) -> np.ndarray:
        """The number of steps made before each evaluation; int64, shape (evaluations,)."""
        return self._column(0).astype(np.int64)

    @property
    def epochs(self) -> np.ndarray:
        """The number of epochs made before each evaluation; float64, shape (evaluations,)."""
        return self._column(1)

    @property
    def train_loss(self) -> np.ndarray:
        """The loss on the training data; float64, shape (evaluations,) or empty."""
        return self._measurements("train_loss")

    @property
    def test_loss(self) -> np.ndarray:
        """The loss on the test data; float64, shape (evaluations,) or empty."""
        return self._measurements("test_loss")

    @property
    def train_accuracy(self) -> np.ndarray:
        """The accuracy on the training data; float64, shape (evaluations,) or empty."""
        return self._measurements("train_accuracy")

    @property
    def test_accuracy(self) -> np.ndarray:
        """The accuracy on the test data; float64, shape (evaluations,) or empty."""
        return self._measurements("test_accuracy")

    def _measurements(self, name: str) -> np.ndarray:
        place, rows = _MEASURES.index(name), self._evaluations
        if all(measured[place] is None for _, _, measured in reversed(rows)):
            return np.empty(0)
        return self._column(2 + place)

    def _column(self, place: int) -> np.ndarray:
        """What was noted of all evaluations, None as nan; only new ones are looked at."""
        rows, (table, known) = self._evaluations, self._table
        if len(rows) > table.shape[1]:
            table = np.concatenate([table[:, :known], np.empty((len(table), len(rows)))], axis=1)
        for at in range(known, len(rows)):
            steps, epochs, measured = rows[at]
            table[:, at] = steps, epochs, *(np.nan if x is None else x for x in measured)
        self._table = table, len(rows)
        column = table[place, : len(rows)]
        column.flags.writeable = False
        return column

    def __repr__(self) -> str:
        parts, last = [f"{self.steps} step{'' if self.steps == 1 else 's'}"], self._losses.last()
        if last is not None:
            parts.append(f"loss {last:.4g}")
        parts += [
            f"{name.replace('_', ' ')} {value:{'.4f' if name.endswith('accuracy') else '.4g'}}"
            for name, value in self._latest().items()
        ]
        parts.append(f"{self.seconds:.2f} s")
        if self.stop_reason:
            parts.append(self.stop_reason)
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    def _latest(self) -> dict[str, float]:
        """Return what the last evaluation measured: accuracies, or else losses."""
        values = self._evaluations[-1][2] if self._evaluations else ()
        latest = dict(zip(_MEASURES, values, strict=False))
        found = {name: value for name, value in latest.items() if value is not None}
        accuracies = {name: value for name, value in found.items() if name.endswith("accuracy")}
        return accuracies or found

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the loss of each step and the accuracies over the iterations.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Without it a new figure is made with pyplot, so that a notebook
            shows it.

        Returns
        -------
        matplotlib.axes.Axes
            The axes of the loss; see `fastnn.plots.history`.

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install "fastnn[plots]"``.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from fastnn.history import History
        >>> history = History()
        >>> history.record_steps([2.3, 1.9, 1.2])
        >>> history.plot(Figure().add_subplot()).get_xlabel()
        'iteration'
        """
        from fastnn import plots  # late: matplotlib is optional

        return plots.history(self, ax=ax)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the record as a table, one row per step.

        The columns are ``iteration, loss, train_loss, test_loss, train_accuracy,
        test_accuracy``; those of the evaluations are empty in rows of steps after which none
        was made. An evaluation before the first step has a row of its own, with iteration 0.
        Numbers are written so that reading them gives the same float64 again. The file is
        put in its place only when it is complete.

        Parameters
        ----------
        path : str or os.PathLike
            The file to write, exactly as named.

        Raises
        ------
        OSError
            If it cannot be written; what was at `path` before is then still there.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from fastnn.history import History
        >>> history = History()
        >>> history.record_steps([0.5, 0.25])
        >>> history.record_evaluation(2, test_loss=0.125)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "history.csv")
        ...     history.to_csv(path)
        ...     print(path.read_text(), end="")
        iteration,loss,train_loss,test_loss,train_accuracy,test_accuracy
        1,0.5,,,,
        2,0.25,,0.125,,
        """
        with _replacing(os.fsdecode(path)) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["iteration", "loss", *_MEASURES])
            table.writerows(self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        """Yield the rows of the table; None is an empty field."""
        measured = {iteration: values for iteration, _, values in self._evaluations}
        nothing = (None,) * len(_MEASURES)
        if 0 in measured:
            yield [0, None, *measured[0]]
        for iteration, loss in enumerate(self.loss.tolist(), start=1):
            yield [iteration, loss, *measured.get(iteration, nothing)]
        for iteration, values in measured.items():
            if iteration > self.steps:
                yield [iteration, None, *values]


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[TextIO]:
    """Open a text file that takes the place of the one at `path` when all has gone well."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        # A terminal, a pipe: nothing to replace. For a folder this gives the usual error.
        with open(path, "w", newline="", encoding="utf-8") as file:
            yield file
        return
    temporary = os.path.join(os.path.dirname(target), f".fastnn-{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "x", newline="", encoding="utf-8") as file:
            if os.path.exists(target):
                shutil.copymode(target, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # it would name the temporary file, or none
            error.filename, error.filename2 = path, None
        raise
