"""fastnn.book's update rules: the book's steps, on the arrays and numbers that it is given."""

import book_reference as reference
import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastnn.book import compiled, optimizer

RULES = ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"]
each_rule = pytest.mark.parametrize("name", RULES)
ARGUMENTS = {
    "SGD": {"lr": 0.1},
    "Momentum": {"lr": 0.02, "momentum": 0.8},
    "Nesterov": {"lr": 0.02, "momentum": 0.8},
    "AdaGrad": {"lr": 0.3},
    "RMSprop": {"lr": 0.05, "decay_rate": 0.9},
    "Adam": {"lr": 0.05, "beta1": 0.8, "beta2": 0.95},
}
SHAPES = [(), (3,), (50,), (257,), (30, 40), (784, 51)]


def steps_of_the_reference(name, p, gradients, arguments):
    rule, m, v = getattr(reference, name.lower()), 0.0, 0.0
    for i, g in enumerate(gradients, start=1):
        p, m, v = rule(p, g, m, v, i, *arguments.values())
    return p


@each_rule
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("both_builds")
def test_a_hundred_steps_are_those_of_the_formula(name, shape, rng):
    start = rng.normal(size=shape)
    gradients = rng.normal(size=(100, *shape))
    W = np.array(start)
    params = {"W": W}
    rule = getattr(optimizer, name)(**ARGUMENTS[name])
    for g in gradients:
        rule.update(params, {"W": np.array(g)})
    expected = steps_of_the_reference(name, start, gradients, ARGUMENTS[name])
    assert_allclose(params["W"], expected, 1e-11, 1e-12)
    assert params["W"] is W


@each_rule
def test_numbers_are_replaced_not_made_arrays(name):
    """The naive comparison of the book keeps them in a list, which an array would rewrite."""
    params, history = {"x": -7.0, "y": 2.0}, []
    rule = getattr(optimizer, name)(**ARGUMENTS[name])
    for _ in range(5):
        history.append(params["x"])
        rule.update(params, {"x": params["x"] / 10, "y": 2 * params["y"]})
    assert all(isinstance(value, float) for value in [*params.values(), *history])
    assert len(set(history)) == 5
    g, x, m, v = -0.7, -7.0, 0.0, 0.0
    x, m, v = getattr(reference, name.lower())(x, g, m, v, 1, *ARGUMENTS[name].values())
    assert history[1] == pytest.approx(x, rel=1e-12)


@each_rule
@pytest.mark.parametrize("shape", [(3,), (257,), (30, 40)], ids=str)
def test_memories_are_new_arrays_where_the_books_are(name, shape, rng):
    """Only the velocity of Momentum is, in every step; whoever kept it has the old one."""
    params = {"W": rng.normal(size=shape)}
    rule = getattr(optimizer, name)(**ARGUMENTS[name])
    rule.update(params, {"W": rng.normal(size=shape)})
    kept = {key: value["W"] for key, value in vars(rule).items() if isinstance(value, dict)}
    before = {key: value.copy() for key, value in kept.items()}
    rule.update(params, {"W": rng.normal(size=shape)})
    for key, value in kept.items():
        assert (vars(rule)[key]["W"] is value) == (name != "Momentum")
        assert (value == before[key]).all() == (name == "Momentum")


@each_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
def test_arrays_of_any_kind_are_changed_in_place(name, dtype, rng):
    W = np.asfortranarray(rng.normal(size=(30, 20)).astype(np.float64)).astype(dtype)
    if dtype is object and name not in ("SGD", "Momentum", "Nesterov"):
        W = W.astype(float)[::2]  # roots of objects are unknown to NumPy
    start, g = W.astype(float), rng.normal(size=W.shape)
    params = {"W": W}
    rule = getattr(optimizer, name)(**ARGUMENTS[name])
    rule.update(params, {"W": g.astype(W.dtype)})
    assert params["W"] is W
    expected = steps_of_the_reference(name, start, [g], ARGUMENTS[name])
    assert_allclose(W.astype(float), expected, 1e-5, 1e-6)


@each_rule
def test_what_is_not_finite_passes(name, rng):
    W, g = rng.normal(size=(20, 20)), rng.normal(size=(20, 20))
    W[0, 0], g[1, 1], g[2, 2] = np.nan, np.nan, np.inf
    params = {"W": W.copy()}
    rule = getattr(optimizer, name)(**ARGUMENTS[name])
    with np.errstate(invalid="ignore"):
        rule.update(params, {"W": g})
        expected = steps_of_the_reference(name, W, [g], ARGUMENTS[name])
    assert_allclose(params["W"], expected, 1e-12)


def test_defaults_are_the_books():
    found = {name: vars(getattr(optimizer, name)()) for name in RULES}
    assert found["SGD"] == {"lr": 0.01}
    assert found["Momentum"] == found["Nesterov"] == {"lr": 0.01, "momentum": 0.9, "v": None}
    assert found["AdaGrad"] == {"lr": 0.01, "h": None}
    assert found["RMSprop"] == {"lr": 0.01, "decay_rate": 0.99, "h": None}
    assert found["Adam"] == {
        "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "iter": 0, "m": None, "v": None
    }  # fmt: skip


def test_a_learning_rate_may_be_any_number_or_array(rng):
    g = rng.normal(size=(20, 20))
    for lr in (1, np.float32(0.5), np.full((20, 20), 0.25)):
        params = {"W": np.zeros((20, 20))}
        optimizer.SGD(lr).update(params, {"W": g})
        assert_allclose(params["W"], -np.asarray(lr, float) * g, 1e-6)


def test_a_rate_can_be_changed_between_steps(rng):
    g, params, rule = rng.normal(size=(20, 20)), {"W": np.zeros((20, 20))}, optimizer.SGD(0.5)
    rule.update(params, {"W": g})
    rule.lr = 0.25
    rule.update(params, {"W": g})
    assert_allclose(params["W"], -0.75 * g, 1e-15)


def test_gradients_that_do_not_fit_are_numpys_matter(rng):
    params = {"W": np.zeros((20, 20))}
    optimizer.SGD(0.5).update(params, {"W": np.ones(20)})
    assert (params["W"] == -0.5).all()
    with pytest.raises(ValueError, match="broadcast"):
        optimizer.SGD(0.5).update(params, {"W": np.ones(19)})
    with pytest.raises(KeyError):
        optimizer.SGD(0.5).update(params, {})


def test_large_arrays_are_for_the_kernels(rng):
    W, g, v = (rng.normal(size=(50, 50)) for _ in range(3))
    assert compiled.update("momentum", W, g, (v,), (0.1, 0.9))
    assert not compiled.update("momentum", W, g, (v.T,), (0.1, 0.9))
    assert not compiled.update("momentum", W, g.astype(np.float32), (v,), (0.1, 0.9))
    assert not compiled.update("momentum", W, g, (v,), (0.1, 1))
