"""Compile everything before it is needed."""

from __future__ import annotations

import numpy as np

from fastnn.compiler import runtime
from fastnn.network import MLP


def warmup(dtype: str | None = None) -> None:
    """Compile and cache all builds, or load them from the cache.

    The first use of a build compiles it, which takes seconds; it is then kept
    on disk.  Call this where such a pause does not hurt, say when a service
    starts or an image is built.

    Parameters
    ----------
    dtype : {"float32", "float64"}, optional
        Only the builds of this precision; default both.

    Raises
    ------
    TypeError, ValueError
        If `dtype` is neither.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.warmup("float32")
    """
    for name in ("float32", "float64") if dtype is None else (dtype,):
        net = MLP([40, 2], dtype=name)
        x, t = np.zeros((8, 40), net.dtype), np.zeros(8, np.int64)
        for always in (False, True):
            with runtime.forced(parallel=always):
                net.fit(x, t, epochs=1, batch_size=4, validation_data=(x, t))
        net.predict(x), net.accuracy(x, t), net.gradient(x, t), net.train_step(x, t)
        net.fit(x, t, epochs=1, batch_size=1)  # per-sample training has an entry of its own
        if name == "float64":
            net.numerical_gradient(x, t)
