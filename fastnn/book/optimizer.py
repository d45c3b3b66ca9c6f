"""Rules that change parameters by their gradients: the book's ``common.optimizer``.

``params`` and ``grads`` are dicts with the same keys.  Arrays are changed in place, so whoever
holds them sees it; a Python number is replaced in the dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.book import compiled

__all__ = ["SGD", "AdaGrad", "Adam", "Momentum", "Nesterov", "RMSprop", "np"]

FLOOR = 1e-7  # added to square roots that are divided by


def _zeros(params: dict[Any, Any]) -> dict[Any, Any]:
    return {key: np.zeros_like(value) for key, value in params.items()}


class SGD:
    """Gradient descent.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.optimizer import SGD
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> SGD(lr=0.1).update(params, grads)
    >>> params["W"]
    array([0.8])
    """

    def __init__(self, lr: float = 0.01):
        self.lr = lr

    def update(self, params: dict[Any, Any], grads: dict[Any, Any]) -> None:
        """Make one step.

        Parameters
        ----------
        params, grads : dict
            Parameters, which are changed, and their gradients.

        Examples
        --------
        See the class.
        """
        for key in params:
            if not compiled.update("sgd", params[key], grads[key], (), (self.lr,)):
                params[key] -= self.lr * grads[key]


class Momentum:
    """Gradient descent with a velocity.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate.
    momentum : float, default 0.9
        Share of the velocity that a step keeps.

    Attributes
    ----------
    v : dict or None
        The velocities; None before the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.optimizer import Momentum
    >>> params, grads, rule = {"W": np.array([1.0])}, {"W": np.array([2.0])}, Momentum(lr=0.1)
    >>> for _ in range(2):
    ...     rule.update(params, grads)
    >>> params["W"].round(6)
    array([0.42])
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.9):
        self.lr = lr
        self.momentum = momentum
        self.v: Any = None

    def update(self, params: dict[Any, Any], grads: dict[Any, Any]) -> None:
        """Make one step.

        Parameters
        ----------
        params, grads : dict
            Parameters, which are changed, and their gradients.

        Examples
        --------
        See the class.
        """
        if self.v is None:
            self.v = _zeros(params)
        for key in params:
            # A new array, so that one that the caller kept stays; other rules change theirs.
            v = np.array(self.v[key], subok=True)
            rates = (self.lr, self.momentum)
            if compiled.update("momentum", params[key], grads[key], (v,), rates):
                self.v[key] = v
            else:
                self.v[key] = self.momentum * self.v[key] - self.lr * grads[key]
                params[key] += self.v[key]


class Nesterov:
    """Gradient descent with a velocity, and the gradient taken ahead of it.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate.
    momentum : float, default 0.9
        Share of the velocity that a step keeps.

    Attributes
    ----------
    v : dict or None
        The velocities; None before the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.optimizer import Nesterov
    >>> params, grads, rule = {"W": np.array([1.0])}, {"W": np.array([2.0])}, Nesterov(lr=0.1)
    >>> rule.update(params, grads)
    >>> params["W"].round(6)
    array([0.62])
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.9):
        self.lr = lr
        self.momentum = momentum
        self.v: Any = None

    def update(self, params: dict[Any, Any], grads: dict[Any, Any]) -> None:
        """Make one step.

        Parameters
        ----------
        params, grads : dict
            Parameters, which are changed, and their gradients.

        Examples
        --------
        See the class.
        """
        if self.v is None:
            self.v = _zeros(params)
        for key in params:
            rates = (self.lr, self.momentum)
            if not compiled.update("nesterov", params[key], grads[key], (self.v[key],), rates):
                params[key] += self.momentum * self.momentum * self.v[key]
                params[key] -= (1 + self.momentum) * self.lr * grads[key]
                self.v[key] *= self.momentum
                self.v[key] -= self.lr * grads[key]


class AdaGrad:
    """Steps that become shorter with the sum of the squares of all gradients.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate.

    Attributes
    ----------
    h : dict or None
        The sums of squares; None before the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.optimizer import AdaGrad
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> AdaGrad(lr=0.1).update(params, grads)
    >>> params["W"].round(6)
    array([0.9])
    """

    def __init__(self, lr: float = 0.01):
        self.lr = lr
        self.h: Any = None

    def update(self, params: dict[Any, Any], grads: dict[Any, Any]) -> None:
        """Make one step.

        Parameters
        ----------
        params, grads : dict
            Parameters, which are changed, and their gradients.

        Examples
        --------
        See the class.
        """
        if self.h is None:
            self.h = _zeros(params)
        for key in params:
            if not compiled.update("adagrad", params[key], grads[key], (self.h[key],), (self.lr,)):
                self.h[key] += grads[key] * grads[key]
                params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + FLOOR)


class RMSprop:
    """Steps divided by a running mean of the squares of the gradients.

    Parameters
    ----------
    lr : float, default 0.01
        Learning rate.
    decay_rate : float, default 0.99
        Share of the running mean that a step keeps.

    Attributes
    ----------
    h : dict or None
        The running means; None before the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.optimizer import RMSprop
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> RMSprop(lr=0.1, decay_rate=0.75).update(params, grads)
    >>> params["W"].round(6)
    array([0.8])
    """

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99):
        self.lr = lr
        self.decay_rate = decay_rate
        self.h: Any = None

    def update(self, params: dict[Any, Any], grads: dict[Any, Any]) -> None:
        """Make one step.

        Parameters
        ----------
        params, grads : dict
            Parameters, which are changed, and their gradients.

        Examples
        --------
        See the class.
        """
        if self.h is None:
            self.h = _zeros(params)
        for key in params:
            rates = (self.lr, self.decay_rate)
            if not compiled.update("rmsprop", params[key], grads[key], (self.h[key],), rates):
                self.h[key] *= self.decay_rate
                self.h[key] += (1 - self.decay_rate) * grads[key] * grads[key]
                params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + FLOOR)


class Adam:
    """Steps by running means of the gradients and of their squares.

    Parameters
    ----------
    lr : float, default 0.001
        Learning rate.
    beta1, beta2 : float, default 0.9, 0.999
        Shares of the two running means that a step keeps.

    Attributes
    ----------
    m, v : dict or None
        The running means; None before the first step.
    iter : int
        Number of steps made.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.book.optimizer import Adam
    >>> params, grads = {"W": np.array([1.0])}, {"W": np.array([2.0])}
    >>> Adam(lr=0.1).update(params, grads)
    >>> params["W"].round(6)
    array([0.9])
    """

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999):
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.iter = 0
        self.m: Any = None
        self.v: Any = None

    def update(self, params: dict[Any, Any], grads: dict[Any, Any]) -> None:
        """Make one step.

        Parameters
        ----------
        params, grads : dict
            Parameters, which are changed, and their gradients.

        Examples
        --------
        See the class.
        """
        if self.m is None:
            self.m, self.v = _zeros(params), _zeros(params)
        self.iter += 1
        # As in the book, in numbers of Python: `rules.adam_corrections` may differ in the last bit.
        unbias = np.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        rates = (self.lr * unbias, self.beta1, self.beta2)
        for key in params:
            means = (self.m[key], self.v[key])
            if not compiled.update("adam", params[key], grads[key], means, rates):
                self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
                self.v[key] += (1 - self.beta2) * (grads[key] ** 2 - self.v[key])
                params[key] -= rates[0] * self.m[key] / (np.sqrt(self.v[key]) + FLOOR)
