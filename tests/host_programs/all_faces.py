# ruff: noqa: T201
"""Use every face of fastnn, and say what was compiled, and how much came from disk."""

import json
import sys
import warnings

from numba.core import event

compiled = []


class Listener(event.Listener):
    def on_start(self, happening):
        compiled.append(str(happening.data["dispatcher"]))

    def on_end(self, happening):
        pass


event.register("numba:compile", Listener())

import numpy as np  # noqa: E402

import fastnn  # noqa: E402

rng = np.random.default_rng(0)
fastnn.warmup()
for dtype in ("float32", "float64"):
    x = rng.normal(size=(60, 12)).astype(dtype)
    labels, numbers = rng.integers(0, 3, 60), rng.normal(size=(60, 2))
    for given in (x, x.tolist(), np.where(x > 1, x, 0)):
        net = fastnn.MLP([12, 9, 3], "tanh", dtype=dtype)
        net.fit(given, labels, epochs=2, batch_size=20, validation_data=(given, labels))
        net.fit(given, labels, epochs=1, batch_size=1)
        net.train_step(given, np.eye(3)[labels])
        net.gradient(given, labels), net.accuracy(given, labels), net.predict(given)
        net.loss_and_gradient(given, labels), net.params.to_vector()
    net = fastnn.MLP([12, 9, 2], "relu", "identity", dtype=dtype)
    net.fit(x, numbers, epochs=2, batch_size=7)
    net.numerical_gradient(x[:3], numbers[:3])

classifier = fastnn.MLPClassifier((9,), max_iter=3, random_state=0, tol=0, n_iter_no_change=5)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    classifier.fit(x, labels).score(x, labels)
    fastnn.MLPRegressor(hidden_layer_sizes=(9,), max_iter=3, random_state=0, solver="lbfgs").fit(
        x, numbers
    )

loaded = sum(
    build.stats.cache_hits.total()
    for name, module in list(sys.modules.items())
    if name.startswith("fastnn.")
    for entry in list(vars(module).values())
    if (build := getattr(getattr(entry, "entry", entry), "serial", None)) is not None
    and hasattr(build, "stats")
)
print(json.dumps({"fastnn": fastnn.__file__, "compiled": compiled, "loaded": loaded}))
