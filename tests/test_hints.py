"""What to look at if training has come to nothing, and no word otherwise."""

import numpy as np
import pytest
import scipy.sparse

import fastnn
from fastnn import hints

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (600, 50)).astype(np.uint8)
LABELS = RNG.integers(0, 4, 600)
# Of inputs, labels: nothing can be learnt from them, but for the class of the brightest quarter.
QUARTERS = BYTES[:, :48].reshape(600, 4, 12).mean(axis=2).argmax(axis=1)
ADVICE = "bring them to about 1, as by x / 255 or scikit-learn's StandardScaler"


def fitted(x, t, sizes=(50, 20, 4), lr=0.1, epochs=5, **options):
    net = fastnn.MLP(sizes, seed=0, **options)
    return net.fit(x, t, epochs=epochs, batch_size=50, optimizer=fastnn.SGD(lr))


def test_bytes_that_taught_nothing_are_named():
    history = fitted(BYTES, QUARTERS)
    assert history.hint.startswith("the loss at the end, ")
    assert "is no better than guessing (1.38" in history.hint
    assert history.hint.endswith(f"and inputs reach 255: {ADVICE}")


def test_they_are_found_among_zeros_too():
    few = BYTES * (RNG.random(BYTES.shape) < 0.2)
    assert fitted(few, LABELS, lr=1e-9).hint.endswith(ADVICE)
    assert fitted(few.astype(np.float32), LABELS, lr=1e-9).hint.endswith(ADVICE)


@pytest.mark.parametrize(
    ("output", "loss", "t"),
    [
        ("identity", "squared_error", RNG.normal(size=(600, 4))),
        ("identity", "mse", RNG.normal(size=(600, 4))),
        ("sigmoid", None, RNG.integers(0, 2, (600, 4))),
    ],
)
def test_other_losses(output, loss, t):
    history = fitted(BYTES, t, lr=1e-9, output=output, loss=loss)
    assert "no better than guessing" in history.hint
    assert fitted(BYTES / 255, t, lr=1e-9, output=output, loss=loss).hint == ""


def test_the_loss_of_guessing_is_that_of_the_best_constant():
    for output, t, best in [
        ("softmax", np.array([0, 0, 0, 1]), -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))),
        ("identity", np.array([[0.0], [2.0]]), 0.5),
        ("sigmoid", np.array([[0.0], [1.0]]), np.log(2)),
        ("sigmoid", np.array([[1.0], [1.0]]), 0.0),
    ]:
        sizes = [3, 2 if output == "softmax" else 1]
        net = fastnn.MLP(sizes, output=output)
        examples = net._model.examples(np.ones((len(t), 3)), t)
        assert abs(hints.loss_of_guessing(net._model, examples) - best) < 1e-12


SILENT = {
    "scaled": lambda: fitted(BYTES / 255, QUARTERS),
    "scaled, and nothing can be learnt": lambda: fitted(BYTES / 255, LABELS),
    "large, and learnt": lambda: fitted(BYTES, QUARTERS, sizes=(50, 4), lr=1e-5, epochs=60),
    "few steps": lambda: fastnn.MLP([50, 4]).fit(BYTES, LABELS, iterations=30),
    "classes found in spite of a large loss": lambda: fitted(BYTES, QUARTERS, sizes=(50, 4), lr=0.1,
                                                             epochs=60),
    "learnt within an epoch": lambda: fastnn.MLP([1, 1], output="identity", seed=0).fit(
        np.linspace(0, 100, 600)[:, None], np.linspace(0, 1, 600), batch_size=5,
        optimizer=fastnn.SGD(1e-4)),
    "scaled, with a rare flag": lambda: fitted(
        np.where(RNG.random((600, 50)) < 1e-3, 38.7, RNG.normal(size=(600, 50))), LABELS, lr=1e-9),
    "always the same label": lambda: fitted(BYTES, np.zeros(600, int)),
}  # fmt: skip


@pytest.mark.parametrize("case", SILENT)
def test_nothing_is_said_otherwise(case):
    assert SILENT[case]().hint == ""


def test_divergence_on_large_inputs_says_how_large():
    with pytest.raises(FloatingPointError, match=r"may help\. Inputs reach 255: bring them"):
        fitted(BYTES, RNG.normal(size=(600, 4)), sizes=(50, 4), output="identity", lr=1.0)
    with pytest.raises(FloatingPointError, match=r"may help\.$"):
        fitted(BYTES / 255, RNG.normal(size=(600, 4)), sizes=(50, 4), output="identity", lr=1e3)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_iterations_on_few_of_many_rows(kind):
    """Of rows that no batch uses nothing is read."""
    x = np.tile(BYTES, (10, 1)).astype(float)
    history = fastnn.MLP([50, 20, 4], seed=0).fit(
        kind(x), np.tile(LABELS, 10), iterations=60, batch_size=50, optimizer=fastnn.SGD(1e-9)
    )
    assert history.hint.endswith(ADVICE)


def test_the_network_is_judged_that_a_callback_leaves():
    class Restore:
        def __call__(self, net, history):
            return False

        def finish(self, net, history):
            net.params["W1"] = 0.02 * (np.arange(50)[:, None] // 12 == np.arange(4))

    net = fastnn.MLP([50, 4], seed=0)
    x = BYTES.astype(float)
    history = net.fit(x, QUARTERS, epochs=9, batch_size=50, optimizer=fastnn.SGD(1.0),
                      callbacks=[Restore()])  # fmt: skip
    assert net.accuracy(x, QUARTERS) > 0.9
    assert history.hint == ""
