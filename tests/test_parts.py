"""Parts of kernels: compiled when they are needed, called by address, kept on disk."""

import ctypes
import enum
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernel_entries import PartEntry
from kernels_on_disk import cached_files
from numpy_convnet import NETWORKS, images, made

import fastnn
from fastnn.compiler import cache, jit, parts, runtime
from fastnn.compiler.groups import Doubles, annotations_of
from fastnn.compiler.parts import Choice, Table
from fastnn.kernels.activations import ACTIVATIONS
from fastnn.kernels.groups import Place
from fastnn.kernels.layers import IMAGES
from fastnn.kernels.places import Places
from fastnn.training import plan, steps
from fastnn.training.parts import EVERY_CHOICE, Parts

# Choices --------------------------------------------------------------------------------------


@enum.unique
class OfTests(enum.IntEnum):
    """Places that the library's choices do not have."""

    ADD = parts.CHOICES - 1
    OTHER = parts.CHOICES - 2


@jit.inner
def _add(place: Place, amount: int, total: Doubles):
    total[0] += place.array[place.at] + amount


@jit.inner
def _subtract(place: Place, amount: int, total: Doubles):
    total[0] -= place.array[place.at] + amount


ADD = Choice(OfTests.ADD, {0: _add, 5: _subtract})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amount", [3, np.int32(3), np.uint8(3), True])
def test_a_function_is_called_by_its_number(dtype, amount):
    total, x = np.array([1.0]), np.array([7, 10], dtype)
    PartEntry(ADD)(0, Place(x, 1), amount, total)
    assert total == 1 + 10 + int(amount)
    PartEntry(ADD)(5, Place(x, np.int32(0)), amount, total)
    assert total == 1 + 10 - 7


def test_arguments_that_are_not_as_declared_are_refused_when_the_caller_is_compiled():
    with pytest.raises(TypeError, match=r"array\(float64, 1d, C\) is declared, array\(float32"):
        PartEntry(ADD)(0, Place(np.zeros(1, np.float32), 0), 1, np.zeros(1, np.float32))
    with pytest.raises(TypeError, match=r"C\) is declared, array\(float32, 1d, A\)"):
        PartEntry(ADD)(0, Place(np.zeros(4, np.float32)[::2], 0), 1, np.zeros(1))


def test_all_parameters_are_annotated():
    @jit.inner
    def lacks_one(x: int, y):
        return

    with pytest.raises(TypeError, match="lacks_one must be annotated"):
        Choice(OfTests.OTHER, {0: lacks_one})


@jit.inner
def _returns(x: int):
    return x


def test_what_returns_something_is_refused():
    with pytest.raises(TypeError, match=r"other\.0 must return nothing, it returns int64"):
        Choice(OfTests.OTHER, {0: _returns}).address(0, {})


def test_each_choice_of_the_kernels_is_listed_and_has_its_own_place():
    assert sorted(choice.place for choice in EVERY_CHOICE) == sorted(Places)
    assert len(set(Places)) == len(Places.__members__)
    assert max(Places) < min(OfTests)
    assert max(max(choice.functions) for choice in EVERY_CHOICE) < parts.FUNCTIONS


@pytest.mark.parametrize("choice", EVERY_CHOICE, ids=lambda choice: choice.name)
def test_the_functions_of_a_choice_have_the_same_parameters(choice):
    for block in choice.functions.values():
        assert list(annotations_of(block.py_func).values()) == choice.parameters


# On disk --------------------------------------------------------------------------------------


@pytest.fixture
def choice(cache_folder):
    """Makes a choice as a new process would."""
    return lambda: Choice(OfTests.ADD, {0: _add}, cache.CodeStore(cache.Sources([__file__])))


def total_of(choice):
    """3, made by the choice's code; it is compiled here or loaded."""
    address, total = choice.address(0, {"float": parts.numba.float64}), np.zeros(1)
    table = Table(np.float64, np.uint16)
    table._addresses[choice.place, 0] = address
    caller = jit.Entry(_call, parallel=False).serial
    caller(table.address, np.array([2.0]), total)
    return total[0]


def _call(table, x, total):
    ADD(table, 0, (Place(x, 0), 1, total))


def test_code_is_kept_and_loaded(choice, cache_folder, monkeypatch):
    assert total_of(choice()) == 3
    (file,) = cached_files(cache_folder)
    assert file.name.startswith("add.0-")
    monkeypatch.setattr(parts, "_compiled", None)
    assert total_of(choice()) == 3


def test_threads_that_need_the_same_part_make_it_once(choice, monkeypatch):
    made, here = [], choice()
    monkeypatch.setattr(parts, "_compiled", lambda *args: made.append(1) or compiled(*args))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(here.address, 0, {"float": parts.numba.float64}) for _ in range(8)]
    assert len({each.result() for each in asked}) == len(made) == 1


compiled = parts._compiled


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-9], lambda b: b[:300] + b[301:]])
def test_damage_costs_a_compilation(damage, choice, cache_folder):
    assert total_of(choice()) == 3
    (file,) = cached_files(cache_folder)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.warns(RuntimeWarning, match="compiles add.0 again"):
        assert total_of(choice()) == 3
    assert len(file.read_bytes()) > 1000


# What calls need ------------------------------------------------------------------------------


class Trap:
    """A function in the place of all that is not at hand; it counts how often it is called."""

    def __init__(self, monkeypatch):
        self.called, self.tables = 0, []
        self._function = ctypes.CFUNCTYPE(ctypes.c_int)(self._call)
        monkeypatch.setattr(plan, "table_of", self.new_table)

    def _call(self):
        self.called += 1
        return 0

    def new_table(self, floats, columns):
        address = ctypes.cast(self._function, ctypes.c_void_p).value
        self.tables.append(Table(floats, columns, missing=address))
        return self.tables[-1]

    def at_hand(self, choice):
        """Which functions of a choice are."""
        rows = [table._addresses[choice.place] != table._missing for table in self.tables]
        return np.any(rows, axis=0)


@pytest.fixture
def trap(monkeypatch):
    return Trap(monkeypatch)


def exercise(rows=24, inputs=40, sizes=(20, 3), density=1.0, **made):
    """All calls of a network, first those that need least."""
    rng = np.random.default_rng(0)
    fit = {"batch_size": 8}
    fit |= {name: made.pop(name) for name in list(made) if name in ("batch_size", "optimizer")}
    net = fastnn.MLP([inputs, *sizes], **made, seed=0)
    x = rng.random((rows, inputs)) * (rng.random((rows, inputs)) < density)
    labels = net.output == "softmax"
    t = rng.integers(0, sizes[-1], rows) if labels else rng.random((rows, sizes[-1]))
    net.predict(x)
    net.loss(x, t)
    net.accuracy(x, t) if labels else None
    net.gradient(x, t)
    net.train_step(x, t)
    net.fit(x, t, epochs=1, validation_data=(x, t), **fit)


OUTPUTS = ("softmax", "identity", "sigmoid")
CASES = [
    *({"activation": name, "output": out} for name, out in itertools.product(ACTIVATIONS, OUTPUTS)),
    *({"dtype": dtype, "loss": "mse", "output": "identity"} for dtype in ("float32", "float64")),
    *({"sizes": (outputs,), "density": d} for outputs in (1, 17, 60, 200) for d in (0.1, 1.0)),
    *({"density": d, "batch_size": rows} for d in (0.1, 1.0) for rows in (1, 3, 24)),
    *({"inputs": 800, "sizes": (300, 5), "density": d, "batch_size": b, "rows": 71, "output": out}
      for d in (0.1, 1.0) for b in (1, 4, 10, 71) for out in ("softmax", "identity")),
    {"optimizer": fastnn.SGD(0.1, weight_decay=0.01)},
]  # fmt: skip


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: " ".join(f"{k}={v}" for k, v in case.items())
)
def test_calls_have_all_parts_that_they_need(case, parallel, trap):
    with runtime.forced(parallel=parallel):
        exercise(**case)
    assert trap.called == 0


@pytest.mark.parametrize("rule", ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"])
def test_rules_are_at_hand_in_steps_of_many_calls_too(rule, trap, monkeypatch):
    optimizer = getattr(fastnn, rule)
    exercise(optimizer=optimizer(0.01), batch_size=5)
    monkeypatch.setattr(steps, "LONG_STEP", 0)
    exercise(optimizer=optimizer(0.01), batch_size=5)
    assert trap.called == 0


@pytest.mark.parametrize("dropout", [0.5, [0.2, 0]])
@pytest.mark.parametrize("alpha", [0, 0.1])
def test_estimators_have_all_parts_that_they_need(dropout, alpha, trap):
    x, t = np.random.default_rng(0).random((2, 30, 4))
    found = fastnn.MLPRegressor(hidden_layer_sizes=(7, 5), dropout=dropout, alpha=alpha, max_iter=2)
    with pytest.warns(Warning, match="converge"):
        found.fit(x, t[:, 0]).predict(x)
    assert trap.called == 0


def ask_of_images(name, dtype="float32", rows=40, activation="relu", **options):
    """All calls of a network of images, first those that need least."""
    net = made(name, activation, dtype)
    x, t = images(net, rows)
    net.predict(x)
    net.predict(x[:1])
    net.accuracy(x, t)
    net.gradient(x, t)
    net.train_step(x, t)
    net.fit(x, t, epochs=1, validation_data=(x[:3], t[:3]), **{"batch_size": 8} | options)
    net.numerical_gradient(x[:1], t[:1])


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_images_have_all_parts_that_they_need(name, parallel, trap, monkeypatch):
    with runtime.forced(parallel=parallel):
        ask_of_images(name)
        ask_of_images(name, dtype="float64", batch_size=1)
        monkeypatch.setattr(steps, "LONG_STEP", 0)
        ask_of_images(name, optimizer=fastnn.Adam(0.01, weight_decay=0.1))
    assert trap.called == 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_images_are_at_hand(activation, trap):
    ask_of_images("strides", activation=activation)
    assert trap.called == 0


@pytest.mark.parametrize("rule", ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"])
def test_rules_are_at_hand_for_filters(rule, trap):
    ask_of_images("like LeNet", optimizer=getattr(fastnn, rule)(0.01))
    assert trap.called == 0


OF_IMAGES = {"convolve", "filter_gradient", "forward_images", "backward_images", "image_sweep"}


def test_a_network_without_images_has_no_part_for_them(trap):
    exercise()
    exercise(inputs=800, sizes=(300, 5))
    names = {choice.name: choice for choice in EVERY_CHOICE}
    assert names.keys() >= OF_IMAGES
    assert not any(trap.at_hand(names[name]).any() for name in OF_IMAGES)
    for name in ("layer_forward", "layer_backward", "layer_update"):
        assert not trap.at_hand(names[name])[IMAGES:].any()


def test_a_network_of_images_asks_for_no_more_than_it_needs(trap):
    net = made("like LeNet")
    net.predict(images(net, 20)[0])
    at_hand = {choice.name for choice in EVERY_CHOICE if trap.at_hand(choice).any()}
    assert at_hand == {
        *("layer_forward", "forward_images", "convolve"),
        *("activation_forward", "multiply", "outputs"),
    }


def test_what_is_not_asked_for_is_missed(trap, monkeypatch):
    monkeypatch.setattr(Parts, "have", lambda self, asked: None)
    fastnn.MLP([4, 3], seed=0).predict(np.ones((2, 4)))
    assert trap.called > 0


def test_a_network_asks_for_no_more_than_it_needs(trap):
    net = fastnn.MLP([40, 20, 3], activation="tanh", seed=0)
    net.predict(np.ones((4, 40)))
    at_hand = {choice.name: np.flatnonzero(trap.at_hand(choice)) for choice in EVERY_CHOICE}
    assert {name for name, found in at_hand.items() if found.size} == {
        "layer_forward", "activation_forward", "multiply", "outputs"
    }  # fmt: skip
    assert all(found.size <= 1 for found in at_hand.values())


def test_a_small_dense_network_asks_for_no_sweep_over_weights(trap):
    fastnn.MLP([4, 20, 3], seed=0).fit(np.ones((8, 4)), np.zeros(8, int), batch_size=4)
    at_hand = {choice.name for choice in EVERY_CHOICE if trap.at_hand(choice).any()}
    assert trap.called == 0
    assert "update_by_sums" in at_hand
    assert not at_hand & {"layer_update", "update_block"}
