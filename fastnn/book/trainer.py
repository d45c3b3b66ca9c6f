"""The training loop of the book's later chapters: its ``common.trainer``."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from fastnn.book import optimizer as rules
from fastnn.book.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop

__all__ = [*rules.__all__, "Trainer", "os", "sys"]  # the book hands on its imports


class Trainer:
    """Trains a network on mini-batches, and evaluates it once an epoch.

    Parameters
    ----------
    network : object
        Has ``params``, ``gradient``, ``loss`` and ``accuracy``, as `MultiLayerNet`.
    x_train, t_train, x_test, t_test : ndarray
        Data to train on and to test with, and their labels.
    epochs : int, default 20
        Passes over as many rows as there are to train on.
    mini_batch_size : int, default 100
        Rows of a step, drawn by ``np.random.choice`` with repetitions.
    optimizer : str, default "SGD"
        Name of a class of `fastnn.book.optimizer`, in capitals or not.
    optimizer_param : dict, optional
        Its arguments; default ``{"lr": 0.01}``.
    evaluate_sample_num_per_epoch : int, optional
        Evaluate on so many of the first rows; default all.
    verbose : bool, default True
        Print the loss of every step and the accuracies of every epoch.

    Attributes
    ----------
    train_loss_list : list of float
        The loss of each step's batch, after the step.
    train_acc_list, test_acc_list : list of float
        The accuracies of each epoch, the first after one step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.multi_layer_net import MultiLayerNet
    >>> from fastnn.book.trainer import Trainer
    >>> x, t = np.eye(4), np.array([0, 1, 0, 1])
    >>> network = MultiLayerNet(4, [5], 2)
    >>> trainer = Trainer(network, x, t, x, t, epochs=3, mini_batch_size=2, verbose=False)
    >>> trainer.train()
    >>> len(trainer.train_loss_list), len(trainer.test_acc_list)
    (6, 3)
    """

    def __init__(
        self,
        network: Any,
        x_train: np.ndarray,
        t_train: np.ndarray,
        x_test: np.ndarray,
        t_test: np.ndarray,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str = "SGD",
        optimizer_param: dict[str, Any] | None = None,
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
    ):
        self.network = network
        self.verbose = verbose
        self.x_train, self.t_train = x_train, t_train
        self.x_test, self.t_test = x_test, t_test
        self.epochs = epochs
        self.batch_size = mini_batch_size
        self.evaluate_sample_num_per_epoch = evaluate_sample_num_per_epoch
        arguments = {"lr": 0.01} if optimizer_param is None else optimizer_param
        # Looked up now: a reader may have replaced a class here.
        classes = {
            "sgd": SGD,
            "momentum": Momentum,
            "nesterov": Nesterov,
            "adagrad": AdaGrad,
            "rmsprop": RMSprop,
            "adam": Adam,
        }
        self.optimizer = classes[optimizer.lower()](**arguments)
        self.train_size = x_train.shape[0]
        self.iter_per_epoch = max(self.train_size / mini_batch_size, 1)
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.current_iter = 0
        self.current_epoch = 0
        self.train_loss_list: list[Any] = []
        self.train_acc_list: list[Any] = []
        self.test_acc_list: list[Any] = []

    def train_step(self) -> None:
        """Make one step, and evaluate if an epoch begins with it.

        Examples
        --------
        See the class.
        """
        batch = np.random.choice(self.train_size, self.batch_size)
        x, t = self.x_train[batch], self.t_train[batch]
        gradients = self.network.gradient(x, t)
        self.optimizer.update(self.network.params, gradients)
        self.train_loss_list.append(self.network.loss(x, t))
        if self.verbose:
            print(f"train loss:{self.train_loss_list[-1]}")
        if self.current_iter % self.iter_per_epoch == 0:
            self._evaluate()
        self.current_iter += 1

    def _evaluate(self) -> None:
        self.current_epoch += 1
        few = self.evaluate_sample_num_per_epoch
        train = self.network.accuracy(self.x_train[:few], self.t_train[:few])
        test = self.network.accuracy(self.x_test[:few], self.t_test[:few])
        self.train_acc_list.append(train)
        self.test_acc_list.append(test)
        if self.verbose:
            print(f"=== epoch:{self.current_epoch}, train acc:{train}, test acc:{test} ===")

    def train(self) -> None:
        """Make all steps, then evaluate on all test data.

        Examples
        --------
        See the class.
        """
        for _ in range(self.max_iter):
            self.train_step()
        accuracy = self.network.accuracy(self.x_test, self.t_test)
        if self.verbose:
            print("=============== Final Test Accuracy ===============")
            print(f"test acc:{accuracy}")
