"""Every contestant has the reference's answers, on small variants of what is timed."""

from dataclasses import replace
from shutil import which

import numpy as np
import pytest

from bench import inputs, reference
from bench.cases import DTYPES, Case
from bench.contestants import CONTESTANTS, is_installed, load, run_of, with_numpy
from bench.formulas import ACTIVATIONS, LOSSES, RULES
from bench.networks import Conv, ImageNetwork, Pool

pytestmark = pytest.mark.filterwarnings("default")  # other libraries' warnings are not ours to mend

NETWORK = Case("", "training", "", (20, 9, 5, 4), 8, 7, 50, "dense", lr=0.05)

# Borders of zeros, and lines and pixels that no window takes.
IMAGES = Case("", "image_training", "", (144, 4), 8, 7, 50, "dense", optimizer="adam", lr=0.005,
              network=ImageNetwork((2, 9, 8), (Conv(3, 3, 1), Pool(2), Conv(4, 2, 2), Pool(2)),
                                   (5, 4)))  # fmt: skip


def variants():
    yield replace(NETWORK, kind="affine_forward", sizes=(13, 7))
    yield replace(NETWORK, kind="affine_backward", sizes=(13, 7))
    yield replace(NETWORK, kind="affine_backward", sizes=(13, 7), batch=1)
    yield replace(NETWORK, kind="softmax_cross_entropy", sizes=(6,))
    for name in ACTIVATIONS:
        yield replace(NETWORK, kind="activation", sizes=(11,), activation=name)
    for name in RULES:
        yield replace(NETWORK, kind="optimizer", sizes=(20_001,), optimizer=name)
        yield replace(NETWORK, optimizer=name, activation="tanh", loss="squared_error", lr=0.01)
    for name in ("relu", "sigmoid", "tanh"):
        yield replace(NETWORK, activation=name)
        yield replace(NETWORK, activation=name, batch=1)
        yield replace(NETWORK, kind="prediction", activation=name)
        yield replace(NETWORK, kind="prediction", activation=name, batch=1)
    yield replace(NETWORK, kind="prediction", rows=2300, batch=2300)  # more than a block
    yield replace(NETWORK, batch=50)  # all rows
    yield replace(NETWORK, sizes=(20, 4))
    yield replace(NETWORK, kind="mnist_job", steps=8)  # six steps an epoch, two evaluations
    for kind in ("loss_call", "accuracy_call", "gradient_call"):
        yield replace(NETWORK, kind=kind, activation="tanh")
        yield replace(NETWORK, kind=kind, batch=1)
    for name in RULES:
        yield replace(NETWORK, kind="step_call", optimizer=name)
    for name in ("sgd", "adam"):
        for loss in LOSSES:
            yield replace(NETWORK, kind="partial_fit_call", optimizer=name, loss=loss, rows=8)
    yield replace(NETWORK, kind="book_loop", sizes=(20, 9, 4), activation="sigmoid")
    yield replace(NETWORK, kind="book_program", steps=8, sizes=(20, 9, 4), activation="sigmoid")
    yield replace(NETWORK, kind="layers_loop", sizes=(20, 9, 4))
    small = {"batch": 1, "loss": "squared_error"}
    yield replace(NETWORK, data="sine", sizes=(1, 3, 1), activation="sigmoid", **small)
    yield replace(NETWORK, kind="neurons_loop", data="sine", sizes=(1, 3, 1), activation="sigmoid",
                  **small)  # fmt: skip
    yield replace(NETWORK, data="quadratic", rows=100_000, sizes=(2, 30, 1), **small)
    yield IMAGES
    yield replace(IMAGES, batch=1)
    for batch in (1, 8, 50):
        yield replace(IMAGES, kind="image_prediction", batch=batch)
    yield replace(NETWORK, kind="numerical_gradient", sizes=(6, 5, 4), batch=3,
                  activation="sigmoid")  # fmt: skip


NOT_IN = (
    ("numerical_gradient", "float32"),  # differences are noise there
    ("book_loop", "float64"),  # the document's loss has 1e-7 inside the logarithm, ours has not
)
VARIANTS = [
    pytest.param(replace(case, dtype=dtype), id="-".join(map(str, words)))
    for case in variants()
    for dtype in DTYPES
    if (case.kind, dtype) not in NOT_IN
    for words in [(case.kind, case.data, *case.sizes, f"batch {case.batch}", case.activation,
                   case.optimizer, case.loss, dtype)]
]  # fmt: skip
# Each case is compiled for many seconds.
COMPILED = [
    replace(NETWORK),
    replace(NETWORK, activation="tanh", batch=1, dtype="float64"),
    IMAGES,
]


def question(case):
    given = inputs.given(case)
    return given, reference.__dict__[case.kind](case, given)(case.steps)


def prepared(case, name, given):
    """The contestant's run; skips where it has none."""
    if not is_installed(name):
        pytest.skip(f"{CONTESTANTS[name].library} is not installed")
    run = run_of(load(name), case, given)
    if run is None:
        pytest.skip(f"{name} cannot do this")
    return run


def copies(arrays):
    return {name: np.array(array) for name, array in arrays.items()}


def assert_good(case, name):
    given, expected = question(case)
    before = copies(given)
    run = prepared(case, name, given)
    first = copies(run(case.steps))
    if case.kind not in getattr(load(name), "NOT_COMPARED", ()):
        differences = reference.differs(case, first, expected, given)
        assert all(value <= 1 for value in differences.values()), differences
    for array, kept in zip(given.values(), before.values(), strict=True):
        np.testing.assert_array_equal(array, kept, "the given arrays were changed")
    run(2)  # a run of another length leaves nothing behind
    again = run(case.steps)
    for key, value in first.items():
        np.testing.assert_allclose(again[key], value, rtol=1e-4, atol=1e-6, err_msg="not anew")


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if name != "pytorch compiled"])
@pytest.mark.parametrize("case", VARIANTS)
def test_answers(case, name):
    assert_good(case, name)


@pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("case", COMPILED, ids=["relu", "tanh batch 1", "images"])
def test_answers_of_compiled_pytorch(case):
    assert_good(case, "pytorch compiled")


def test_a_broken_contestant_is_found(monkeypatch):
    broken = lambda name, dy, y, slope, out: np.copyto(out, dy) or out  # noqa: E731
    monkeypatch.setattr(with_numpy, "times_slope", broken)
    with pytest.raises(AssertionError, match="W1"):
        assert_good(NETWORK, "numpy")
