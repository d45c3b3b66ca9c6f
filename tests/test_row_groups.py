"""Steps of networks of few weights: a gradient of each group of rows, added up in order."""

import os
import subprocess
import sys

import numpy as np
import pytest
import reference
from numpy_mlp import bits

from fastnn import MLP, SGD, Adam
from fastnn.compiler import runtime
from fastnn.kernels import row_groups
from fastnn.kernels.row_groups import FEW_INPUTS, FEW_WEIGHTS, MOST_GROUPS, TWO_GROUPS
from fastnn.kernels.rows import ROW_BLOCK
from fastnn.training.steps import Steps, StepScratch

count_groups, has_few = row_groups.count_groups.py_func, row_groups.has_few.py_func
# Of one group and of more, odd ones, of more rows than pass at once, and of all that there may be.
ROWS = [1, 31, 32, 33, 100, 127, 200, 513, 16 * ROW_BLOCK + 7, 16 * 2 * ROW_BLOCK + 77]


def data(sizes, rows, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, sizes[0])).astype(dtype), rng.normal(size=(rows, sizes[-1]))


@pytest.mark.parametrize(
    ("rows", "groups"),
    [(0, 1), (31, 1), (32, 2), (127, 2), (128, 4), (511, 4), (512, 8), (2048, 16), (262144, 16)]
    + [(262145, 17)],
)
def test_the_number_of_groups_is_that_of_the_rows_alone(rows, groups):
    assert count_groups(rows) == groups
    assert (TWO_GROUPS, MOST_GROUPS) == (32, 16)


def gradient_of_one_layer(x, t, W, b):
    """Twin: of x @ W + b with half the squared error, block by block and group by group."""
    rows, groups = len(x), count_groups(len(x))
    scale = x.dtype.type(1) / x.dtype.type(rows)
    dz = (reference.multiply(x, W, b) - t.astype(x.dtype)) * scale
    total = None
    for g in range(groups):
        of_group, end = None, rows * (g + 1) // groups
        for first in range(rows * g // groups, end, ROW_BLOCK):
            block = slice(first, min(first + ROW_BLOCK, end))
            zeros = np.zeros(W.shape, x.dtype)
            of_block = reference.multiply(x[block].T, dz[block], zeros)
            of_block = of_block, reference.column_sums(dz[block])
            of_group = of_block if of_group is None else _sum(of_group, of_block)
        total = of_group if total is None else _sum(total, of_group)
    return total


def _sum(some, more):
    return tuple(a + b for a, b in zip(some, more, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", ROWS)
def test_a_gradient_is_that_of_its_twin(rows, dtype, both_builds):
    x, t = data([5, 3], rows, dtype)
    net = MLP([5, 3], output="identity", loss="squared_error", weight_init="xavier", dtype=dtype,
              seed=1)  # fmt: skip
    found = net.gradient(x, t)
    W, b = gradient_of_one_layer(x, t, net.params["W1"], net.params["b1"])
    reference.assert_same_bits(found["W1"], W)
    reference.assert_same_bits(found["b1"], b)


@pytest.mark.parametrize("rows", [40, 300])
@pytest.mark.parametrize("sizes", [[3, 7, 2], [6, 17, 9, 4]])
def test_a_gradient_is_that_of_differences(sizes, rows):
    x, t = data(sizes, rows)
    net = MLP(sizes, "tanh", "identity", weight_init="xavier", dtype="float64", seed=1)
    true = net.numerical_gradient(x, t)
    for name, found in net.gradient(x, t).items():
        np.testing.assert_allclose(found, true[name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "sizes", [[3, 2500, 1], [3, 2501, 1], [FEW_INPUTS, 38, 1], [FEW_INPUTS + 1, 5, 1]]
)
def test_networks_at_the_limits_have_the_bits_of_any_threads(sizes):
    assert has_few(FEW_WEIGHTS, FEW_INPUTS)
    assert not has_few(FEW_WEIGHTS + 1, 1)
    assert not has_few(1, FEW_INPUTS + 1)
    x, t = data(sizes, 150, "float32")
    found = []
    for parallel in (False, True):
        net = MLP(sizes, "relu", "identity", seed=1)
        with runtime.forced(parallel):
            history = net.fit(x, t, epochs=3, batch_size=70, optimizer=Adam(), seed=2)
        found.append(bits(*net.params.values(), history.loss))
    assert found[0] == found[1]


@pytest.mark.parametrize("penalty", [False, True])
def test_scratch_may_hold_anything(penalty):
    """Batches of one group and of many in one call; what was there before is not read."""
    sizes, found = [4, 33, 2], []  # rows of 33 weights are padded by more than a vector
    x, t = data(sizes, 700, "float32")
    begin = np.array([0, 10, 200, 233, 300, 690, 700])
    for parallel, junk in ((False, 0.0), (False, np.nan), (True, np.nan)):
        net = MLP(sizes, "tanh", "identity", weight_init="xavier", seed=1)
        rule, memory = Adam().rule(net.dtype), np.zeros(2 * net.params.block.size, "float32")
        scratch = StepScratch(net.params, 390, runtime.most_chunks(1e12))
        for array in scratch.arrays[:2] + scratch.arrays[4:]:
            array.fill(junk)
        with runtime.forced(parallel):
            steps = Steps(net.params, net._model.loss, net._model.examples(x, t), 390, rule, memory,
                          scratch=scratch)  # fmt: skip
            steps.watch(steps=6, rows=700, scale=1.0)
            done, losses = steps.run(
                np.arange(700), begin, np.full(6, 0.01, "float32"), epoch_loss=np.empty(1),
                penalty=np.full(6, 0.5) if penalty else None,
            )  # fmt: skip
        assert done == 6
        found.append(bits(net.params.block, memory, losses))
    assert found[0] == found[1] == found[2]


MANY_THREADS = """
import numpy as np
from numpy_mlp import bits
import fastnn
from fastnn.compiler import runtime
from fastnn.training.steps import Steps
runtime.cgroup_quota = lambda: None  # which may allow less
rng = np.random.default_rng(0)
x, t = rng.normal(size=(2100, 6)).astype("float32"), rng.integers(0, 3, 2100)
begin = np.array([0, 10, 70, 370, 2100])
found = set()
for threads in range(1, 6):
    fastnn.set_num_threads(threads)
    with runtime.forced(parallel=True):
        assert fastnn.threading_info()["threads"] == threads
        net = fastnn.MLP([6, 20, 9, 3], "tanh", seed=1)
        rule, memory = fastnn.Adam().rule(net.dtype), np.zeros(2 * net.params.block.size, "float32")
        steps = Steps(net.params, net._model.loss, net._model.examples(x, t), 2100, rule, memory,
                      dropout=(0.2, 0.5, 0))
        _, losses = steps.run(np.arange(2100), begin, np.full(4, 0.01, "float32"))
        found.add(str(bits(net.params.block, memory, losses, *net.gradient(x, t).values())))
print(len(found))
"""


def test_one_to_five_threads_have_the_same_bits():
    """Rows that are dropped are those of their place, however many pass before them."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.pathsep.join([here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"NUMBA_NUM_THREADS": "5", "PYTHONPATH": path}
    env.pop("FASTNN_NUM_THREADS", None)
    command = [sys.executable, "-c", MANY_THREADS]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["1"], done.stderr


def test_a_loss_that_is_not_finite_changes_nothing(both_builds):
    x, t = data([4, 6, 2], 100, "float32")
    net = MLP([4, 6, 2], "relu", "identity", weight_init="xavier", seed=1)
    net.params["W2"] = np.full((6, 2), 3e38)
    before = bits(*net.params.values())
    with pytest.raises(FloatingPointError):
        net.fit(x, t, epochs=1, batch_size=100, optimizer=SGD(0.1))
    assert bits(*net.params.values()) == before
