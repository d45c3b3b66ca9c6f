"""fastnn.neurons against the classes of seed 003 in plain NumPy."""

import copy
import pickle
import threading

import numpy as np
import pytest
import sine_in_numpy as document
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import neurons
from fastnn.compiler import float_state
from fastnn.kernels import neurons as kernels

CLASSES = ("Middle", "Output")
FUNCTIONS = ("sigmoid", "differential_sigmod", "identity_func", "differential_output")
ARRAYS = ("w", "b", "grad_w", "grad_b", "grad_x", "x", "y")
# Rows, inputs, hidden units and outputs, on both sides of MOST_WORK.
SIZES = [(1, 1, 3, 1), (1, 1, 1, 1), (2, 3, 4, 5), (7, 5, 9, 2), (1, 20, 17, 3), (63, 1, 3, 1),
         (0, 2, 3, 1), (5, 1, 8, 1), (40, 30, 20, 10), (1, 300, 3, 2)]  # fmt: skip
each_size = pytest.mark.parametrize("size", SIZES, ids=str)


@pytest.fixture(autouse=True)
def numpys_own_random_numbers(monkeypatch):
    monkeypatch.setattr(document, "random", np.random)
    np.random.seed(3)


@pytest.fixture
def calls(monkeypatch):
    """How often kernels have done a method's work, and how often not."""
    counts = {True: 0, False: 0}

    def counted(kernel):
        def call(*args):
            done = kernel(*args)
            counts[done] += 1
            return done

        return call

    for name in ("identity_forward", "sigmoid_forward", "output_backward", "sigmoid_backward"):
        monkeypatch.setattr(neurons._compiled, name, counted(getattr(neurons._compiled, name)))
    monkeypatch.setattr(neurons._compiled, "descend", counted(neurons._compiled.descend))
    return counts


def pair(module, size, seed=3):
    """A hidden and an output layer of a module, with the document's draws."""
    np.random.seed(seed)
    _, inputs, hidden, outputs = size
    middle = module.Middle(inputs, hidden, module.sigmoid, module.differential_sigmod)
    output = module.Output(hidden, outputs, module.identity_func, module.differential_output)
    for layer in (middle, output):
        layer.w *= 50  # of the size of a trained network's
    return middle, output


def step(layers, x, t, eta=0.1):
    middle, output = layers
    y = output.forward(middle.forward(x))
    grad_x = middle.backword(output.backword(t))
    for layer in layers:
        layer.update(eta)
    return y, grad_x


def assert_alike(found, expected, rtol=1e-12):
    for mine, theirs in zip(found, expected, strict=True):
        for name in ARRAYS:
            one, other = getattr(mine, name), getattr(theirs, name)
            assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
            largest = np.abs(np.asarray(other)).max(initial=0)
            assert_allclose(one, other, rtol=rtol, atol=1e-14 * largest, err_msg=name)


def with_our_classes(monkeypatch):
    for name in (*CLASSES, *FUNCTIONS):
        monkeypatch.setattr(document, name, getattr(neurons, name))


def test_the_documents_program_gives_its_numbers(monkeypatch, calls):
    start, orders, errors = document.train(epoch=2001, interval=200, seed=5)
    assert calls == {True: 0, False: 0}
    with_our_classes(monkeypatch)
    found_start, found_orders, found = document.train(epoch=2001, interval=200, seed=5)
    for name, array in start.items():
        assert_array_equal(found_start[name], array)
    assert_array_equal(found_orders, orders)
    assert list(found) == list(errors)
    assert_allclose(list(found.values()), list(errors.values()), rtol=1e-12)
    assert errors[2000] < 0.01 * errors[0]
    assert calls == {True: 6 * 2001 * document.n_data, False: 0}


@each_size
def test_each_method_is_the_documents(size, rng):
    rows, inputs, _, outputs = size
    found, expected = pair(neurons, size), pair(document, size)
    for _ in range(3):
        x, t = rng.normal(size=(rows, inputs)), rng.normal(size=(rows, outputs))
        y, grad_x = step(found, x, t, eta=0.01)
        step(expected, x, t, eta=0.01)
        assert_alike(found, expected)
        assert y is found[1].y
        assert grad_x is found[0].grad_x
        assert found[0].x is x


@each_size
@pytest.mark.parametrize("most", [0, 10**9])
def test_numpy_and_kernels_agree_at_any_size(size, most, rng, monkeypatch):
    monkeypatch.setattr(neurons, "MOST_WORK", most)
    test_each_method_is_the_documents(size, rng)


def test_kernels_do_small_layers_and_numpy_large_ones(rng, calls):
    for size in SIZES:
        calls[True] = 0
        rows, inputs, hidden, outputs = size
        step(pair(neurons, size), rng.normal(size=(rows, inputs)), np.zeros((rows, outputs)))
        small = [rows * hidden * n < neurons.MOST_WORK for n in (inputs, outputs)]
        assert calls == {True: 2 + 2 * sum(small), False: 0}


def test_results_are_new_arrays(rng):
    layers = pair(neurons, (2, 3, 4, 1))
    x, t = rng.normal(size=(2, 3)), rng.normal(size=(2, 1))
    first, kept = step(layers, x, t), layers[0].grad_w
    copies = [array.copy() for array in (*first, kept)]
    weights = layers[0].w
    step(layers, x + 1, t)
    for array, before in zip((*first, kept), copies, strict=True):
        assert_array_equal(array, before)
    assert layers[0].w is weights  # changed in place


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    made = memory.view(array.dtype).reshape(array.shape)
    made[...] = array
    return made


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS = {
    "single": lambda array: array.astype(np.float32),
    "half": lambda array: array.astype(np.float16),
    "extended": lambda array: array.astype(np.longdouble),
    "integers": lambda array: np.round(10 * array).astype(int),
    "booleans": lambda array: array > 0,
    "complex": lambda array: array + 0.5j,
    "other bytes": lambda array: array.astype(array.dtype.newbyteorder()),
    "columns first": np.asfortranarray,
    "every second": lambda array: np.repeat(array, 2, axis=0)[::2],
    "backwards": lambda array: array[::-1].copy()[::-1],
    "unaligned": unaligned,
    "read only": read_only,
    "masked": np.ma.asarray,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["x", "t", "w", "b"])
def test_arrays_of_any_kind(kind, of, rng):
    """What NumPy makes of them, or its error; then plain arrays again."""
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    outcomes = []
    for module in (neurons, document):
        layers, given = pair(module, (4, 3, 5, 2)), {"x": x, "t": t}
        if of in given:
            given[of] = KINDS[kind](given[of])
        else:
            for layer in layers:
                setattr(layer, of, KINDS[kind](getattr(layer, of)))
        try:
            for _ in range(2):
                step(layers, **given)
            outcomes.append(None)
        except (TypeError, ValueError) as error:
            outcomes.append((type(error), str(error)))
        outcomes.append(layers)
    error, found, expected_error, expected = outcomes
    assert error == expected_error
    low = kind in ("single", "half")
    if error is None:
        assert_alike(found, expected, 1e-3 if low else 1e-12)


@pytest.mark.parametrize(
    ("x", "t"),
    [
        ([[1.0, 2.0, 3.0]], np.ones((1, 2))),
        (np.ones(3), np.ones((1, 2))),
        (np.ones((1, 4)), np.ones((1, 2))),
        (np.ones((2, 2, 3)), np.ones((1, 2))),
        (np.ones((4, 3)), np.ones(2)),
        (np.ones((4, 3)), np.ones((4, 1))),
        (np.ones((4, 3)), np.ones((3, 2))),
        (np.ones((4, 3)), 1.0),
        (np.ones((4, 3)), None),
        (None, None),
    ],
)
def test_arrays_that_do_not_fit_give_numpys_answer_or_error(x, t):
    outcomes = []
    for module in (neurons, document):
        layers = pair(module, (4, 3, 5, 2))
        try:
            step(layers, x, t)
            outcomes.append([getattr(layer, name) for layer in layers for name in ARRAYS])
        except Exception as error:
            outcomes.append((type(error), str(error)))
    found, expected = outcomes
    if isinstance(expected, tuple):
        assert found == expected
    else:
        for mine, theirs in zip(found, expected, strict=True):
            assert_allclose(mine, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    "eta",
    [0.1, 1, 0, True, np.float32(0.1), np.float64(0.1), np.array(0.1), 1j, None, "0.1", 2**70],
)
def test_any_rate(eta, rng):
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    outcomes = []
    for module in (neurons, document):
        layers = pair(module, (4, 3, 5, 2))
        try:
            step(layers, x, t, eta)
            outcomes.append(None)
        except Exception as error:
            outcomes.append((type(error), str(error)))
        outcomes.append(layers)
    error, found, expected_error, expected = outcomes
    assert error == expected_error
    assert_alike(found, expected)


def test_refusals_of_kernels_do_not_cost_every_call(rng, monkeypatch):
    """Numba's answer to a wrong type takes longer than a step."""
    refused = []

    def refuse(*args):
        refused.append(args)
        raise TypeError

    monkeypatch.setattr(neurons._compiled, "sigmoid_forward", refuse)
    monkeypatch.setattr(neurons, "CALLS_LEFT_TO_NUMPY", 5)
    layer, _ = pair(neurons, (1, 3, 5, 2))
    for _ in range(12):
        layer.forward(np.ones((1, 3)))
    assert len(refused) == 2


def test_other_functions_are_called(calls, rng):
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    layers = []
    for module in (neurons, document):
        middle = module.Middle(3, 5, np.tanh, lambda grad_y, y: grad_y * (1 - y**2))
        output = module.Output(5, 2, module.identity_func, lambda y, t: 2 * (y - t))
        output.w[:], middle.w[:] = 0.5, np.arange(15).reshape(3, 5) / 15
        output.b[:] = middle.b[:] = 0.25
        layers.append((middle, output))
        step(layers[-1], x, t)
    assert_alike(*layers)
    assert calls == {True: 3, False: 0}  # two updates, one forward pass
    layers[0][0].activation_function = neurons.sigmoid
    layers[1][0].activation_function = document.sigmoid
    for each in layers:
        step(each, x, t)
    assert_alike(*layers)


def test_a_function_put_into_the_module_is_called(monkeypatch):
    monkeypatch.setattr(neurons, "sigmoid", lambda u: u + 100)
    layer = neurons.Middle(1, 1, neurons.sigmoid, neurons.differential_sigmod)
    assert layer.forward(np.ones((1, 1))) > 90


def test_replaced_arrays_are_used(rng):
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    w, b, grad_w = rng.normal(size=(3, 5)), rng.normal(size=5), rng.normal(size=(3, 5))
    layers = [pair(module, (4, 3, 5, 2)) for module in (neurons, document)]
    for middle, output in layers:
        step((middle, output), x, t)
        middle.w, middle.b = w.copy(), b.copy()
        output.y = output.y + 1
        middle.backword(output.backword(t))
        middle.grad_w = grad_w.copy()
        middle.update(0.5)
    assert_alike(*layers)


def test_the_width_of_new_weights_is_the_modules(monkeypatch):
    monkeypatch.setattr(neurons, "wb_width", 3.0)
    np.random.seed(3)
    layer = neurons.Neuron(2, 3, neurons.identity_func, neurons.differential_output)
    np.random.seed(3)
    assert_array_equal(layer.w, 3 * np.random.randn(2, 3))
    assert_array_equal(layer.b, 3 * np.random.randn(3))
    assert not layer.grad_w.any()
    assert not layer.grad_b.any()


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_train_on(copied, rng):
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    layers = pair(neurons, (4, 3, 5, 2))
    step(layers, x, t)
    others = tuple(copied(layer) for layer in layers)
    for layer in others if copied is copy.copy else ():
        layer.w, layer.b = layer.w.copy(), layer.b.copy()
    step(layers, x, t)
    step(others, x, t)
    assert_alike(others, layers, rtol=0)


def test_threads_train_layers_of_their_own(rng):
    x, t = rng.normal(size=(20, 1, 3)), rng.normal(size=(20, 1, 2))

    def train(layers):
        for i in range(400):
            step(layers, x[i % 20], t[i % 20])

    everyones = [pair(neurons, (1, 3, 5, 2)) for _ in range(4)]
    threads = [threading.Thread(target=train, args=(layers,)) for layers in everyones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = pair(neurons, (1, 3, 5, 2))
    train(expected)
    for layers in everyones:
        assert_alike(layers, expected, rtol=0)


@pytest.mark.parametrize(
    "value", [0.0, 1e-310, 700, -700, 709, -709, 1e6, -1e6, np.inf, -np.inf, np.nan]
)
def test_numbers_at_the_ends(value):
    found, expected = pair(neurons, (2, 1, 3, 1)), pair(document, (2, 1, 3, 1))
    x, t = np.array([[value], [1.0]]), np.zeros((2, 1))
    with np.errstate(all="ignore"):
        for layers in (found, expected):
            layers[0].w[:], layers[0].b[:] = 1.0, 0.0
            step(layers, x, t)
    for mine, theirs in zip(found, expected, strict=True):
        for name in ARRAYS:
            assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("state", ["usual", "flushing"])
def test_numbers_below_the_normal_ones_are_as_in_numpy(state):
    """Kernels compute in the state of their thread, as NumPy does, and leave it as it is."""
    before = float_state.read.serial()
    layers = [pair(module, (1, 2, 1, 2)) for module in (neurons, document)]
    try:
        if state == "flushing":
            float_state.write.serial(before | 0x8040 if before == 0x1F80 else before)
        inside = float_state.read.serial()
        for _, output in layers:
            output.w[:], output.b[:] = 1e-200, 0.0
            output.forward(np.full((1, 1), 3e-110))
            output.backword(np.zeros((1, 2)))
            output.grad_w[:] = 1e-308
            output.update(0.1)
        assert float_state.read.serial() == inside
    finally:
        float_state.write.serial(before)
    found, expected = (output for _, output in layers)
    for name in ARRAYS:
        assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.y > 0).all() == (state == "usual" or inside == before)


# ---- the kernels alone


def arguments(rng, rows, inputs, outputs):
    """x, weights, biases, outputs, what comes from above; gradients to write."""
    shapes = [(rows, inputs), (inputs, outputs), (outputs,), (rows, outputs), (rows, outputs)]
    given = [rng.normal(size=shape) for shape in shapes]
    return given, [np.full(shape, np.nan) for shape in (shapes[1], shapes[2], shapes[0])]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 1, 19), (6, 9, 1), (0, 2, 3)], ids=str)
def test_kernels_and_their_twins(shape, rng):
    (x, weights, biases, out, outer), grads = arguments(rng, *shape)
    sums = np.einsum("ni,io->no", x, weights) + biases
    assert kernels.identity_forward.serial(x, weights, biases, out)
    assert_allclose(out, sums, rtol=1e-13, atol=1e-14)
    assert kernels.sigmoid_forward.serial(x, weights, biases, out)
    assert_allclose(out, np.exp(-np.logaddexp(0, -sums)), rtol=1e-13)
    for kernel, delta in (
        (kernels.output_backward, out - outer),
        (kernels.sigmoid_backward, outer * (1 - out) * out),
    ):
        assert kernel.serial(x, weights, out, outer, *grads)
        grad_w, grad_b, grad_x = grads
        assert_allclose(grad_w, np.einsum("ni,no->io", x, delta), rtol=1e-13, atol=1e-14)
        assert_allclose(grad_b, np.einsum("no->o", delta), rtol=1e-13, atol=1e-14)
        assert_allclose(grad_x, np.einsum("no,io->ni", delta, weights), rtol=1e-13, atol=1e-14)
    expected = weights - 0.3 * grads[0], biases - 0.3 * grads[1]
    assert kernels.descend.serial(weights, biases, *grads[:2], 0.3)
    assert_array_equal(weights, expected[0])
    assert_array_equal(biases, expected[1])


@pytest.mark.parametrize("wrong", range(4))
def test_kernels_write_nothing_where_shapes_differ(wrong, rng):
    given, grads = arguments(rng, 3, 4, 5)
    more = [3, 4, 5][wrong] if wrong < 3 else 3
    given[wrong] = np.zeros((more + 1, *given[wrong].shape[1:]))
    x, weights, biases, out, outer = given
    outs = out.copy()
    assert not kernels.identity_forward.serial(x, weights, biases, outs)
    assert not kernels.sigmoid_forward.serial(x, weights, biases, outs)
    assert_array_equal(outs, out)
    if wrong != 2:
        assert not kernels.output_backward.serial(x, weights, out, outer, *grads)
        assert not kernels.sigmoid_backward.serial(x, weights, out, outer, *grads)
        assert all(np.isnan(grad).all() for grad in grads)
    if wrong in (1, 2):
        assert not kernels.descend.serial(weights, biases, np.zeros((4, 5)), np.zeros(5), 0.1)
