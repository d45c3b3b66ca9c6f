"""The numbers of seed 002: cross entropies, and a gradient factor by factor."""

import importlib.util

import numpy as np
import pytest

import fastnn
from fastnn.recipes import chain
from fastnn.recipes.cross_entropy import cross_entropy_error

PRINTED = {
    "y": 33,
    "dL/dw2": [286, 0],
    "dL/dw1": [[156, 234, 78], [0, 0, 0]],
}
# By the formulas of the text.
FACTORS = {
    "dL/dy": 26,
    "dy/dw2": [11, 0],
    "dy/dh1": [3, 2],
    "dh1/du1": [1, 0],
    "dL/du1": [78, 0],
    "du1/dw1": [2, 3, 1],
}


@pytest.mark.parametrize(
    ("y", "printed"),
    [
        ([0.1, 0.6, 0.2, 0.0, 0.0], 0.510825457099338),
        ([0.1, 0.2, 0.05, 0.0, 0.0], 1.6094374124342252),
    ],
)
def test_cross_entropies_are_the_printed_ones(y, printed):
    assert abs(cross_entropy_error(y, [0, 1, 0, 0, 0]) - printed) < 1e-15


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "number"), [*PRINTED.items(), *FACTORS.items()])
def test_factors_and_products_are_those_of_the_text(name, number, dtype):
    found = chain.factors(dtype)
    np.testing.assert_array_equal(found[name], number)  # whole numbers: exact
    assert np.shape(found[name]) == np.shape(number)


def test_products_are_products_of_the_factors():
    found = chain.factors()
    dL_du1 = found["dL/dy"] * found["dy/dh1"] * found["dh1/du1"]
    np.testing.assert_array_equal(found["dL/dw2"], found["dL/dy"] * found["dy/dw2"])
    np.testing.assert_array_equal(found["dL/du1"], dL_du1)
    np.testing.assert_array_equal(found["dL/dw1"], np.outer(dL_du1, found["du1/dw1"]))


def test_the_lines_show_every_factor():
    lines = []
    found = chain.run(report=lines.append)
    assert lines[0].endswith(": 0.510825457099338")
    assert lines[1].endswith(": 1.60943741243423")
    assert [line.split(" = ")[0].strip() for line in lines[3:]] == list(found)[1:]
    assert lines[-1].endswith(" = [[156 234 78] [0 0 0]]")
    assert lines[5].endswith(" = [286 0]")


# Against other libraries -----------------------------------------------------------


def gradient_by_torch(x, t, W1, b1, W2, b2):
    import torch

    tensors = [torch.tensor(array, requires_grad=True) for array in (W1, b1, W2, b2)]
    hidden = torch.relu(torch.tensor(x) @ tensors[0] + tensors[1])
    y = hidden @ tensors[2] + tensors[3]
    torch.nn.functional.mse_loss(y, torch.tensor(t)).backward()
    return [tensor.grad.numpy() for tensor in tensors]


def gradient_by_numpy(x, t, W1, b1, W2, b2):
    u1 = x @ W1 + b1
    h1 = np.maximum(0, u1)
    dy = 2 * (h1 @ W2 + b2 - t) / t.size
    du1 = dy @ W2.T * (u1 > 0)
    return [x.T @ du1, du1.sum(axis=0), h1.T @ dy, dy.sum(axis=0)]


LIBRARIES = {"numpy": gradient_by_numpy, "torch": gradient_by_torch}
INSTALLED = [name for name in LIBRARIES if importlib.util.find_spec(name)]


@pytest.mark.parametrize("library", INSTALLED)
def test_gradients_are_those_of_other_libraries(library, rng):
    weights = [chain.W1.T, np.zeros(2), chain.W2.T, np.zeros(1)]
    by_library = LIBRARIES[library](chain.X, chain.T, *weights)
    np.testing.assert_array_equal(by_library[0].T, PRINTED["dL/dw1"])
    np.testing.assert_array_equal(by_library[2][:, 0], PRINTED["dL/dw2"])

    net = fastnn.MLP([3, 2, 1], "relu", "identity", "mse", 1.0, "float64", 5, bias_init=1.0)
    x, t = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    by_library = LIBRARIES[library](x, t, *(view.copy() for view in net.params.values()))
    for found, expected in zip(net.gradient(x, t).values(), by_library, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
