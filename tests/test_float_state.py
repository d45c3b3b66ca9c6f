"""The floating-point state: the kernels' own, the host's put back, and no subnormal numbers."""

import contextlib
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from numpy_mlp import bits, bits_of, inputs
from sklearn.exceptions import ConvergenceWarning

import fastnn
from fastnn.book import layers
from fastnn.compiler import float_state, rounding, runtime
from fastnn.compiler.float_state import read_state, write_state
from fastnn.compiler.jit import entry, inner
from fastnn.compiler.launch import Chunked, run_or_pack

USUAL = 0x1F80
STATES = {
    "flush to zero": 0x9F80,
    "denormals are zero": 0x1FC0,
    "both": 0x9FC0,
    "down": 0x3F80,
    "up": 0x5F80,
    "to zero": 0x7F80,
}
STICKY = 0x3F  # flags of what has happened, which Python's own arithmetic sets, too
x86 = pytest.mark.skipif(not float_state.read.serial(), reason="states are those of x86")


def every_state(test):
    return x86(pytest.mark.parametrize("state", STATES)(test))


@contextlib.contextmanager
def host_state(name):
    before = float_state.read.serial()
    float_state.write.serial(STATES[name])
    try:
        yield
    finally:
        found = float_state.read.serial()
        float_state.write.serial(before)
    assert found & ~STICKY == STATES[name]


def results(numbers):
    """What NumPy makes of a third, and of what is or becomes subnormal."""
    with np.errstate(all="ignore"):
        return bits(numbers / 3, numbers * 1)


NORMAL, SUBNORMAL = np.array([1.0, -1.0]), np.array([5e-308, 5e-324])


@every_state
def test_the_usual_state_is_there_in_a_block_and_then_the_hosts(state):
    usual = results(NORMAL), results(SUBNORMAL)
    with host_state(state):
        assert (results(NORMAL), results(SUBNORMAL)) != usual
        with float_state.usual_state():
            assert (results(NORMAL), results(SUBNORMAL)) == usual
        with pytest.raises(KeyError), float_state.usual_state():
            raise KeyError
        assert (results(NORMAL), results(SUBNORMAL)) != usual


@every_state
def test_rounding_is_to_nearest_in_a_block_and_then_the_hosts(state):
    usual = results(NORMAL)
    with host_state(state):
        with rounding.rounding_to_nearest():
            assert results(NORMAL) == usual
        with pytest.raises(KeyError), rounding.rounding_to_nearest():
            raise KeyError
        assert rounding.is_to_nearest() == (state not in ("down", "up", "to zero"))
    assert rounding.is_to_nearest()


def in_another_process(code, **variables):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env=os.environ | variables, timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


MODE = """
import ctypes, ctypes.util
m = ctypes.CDLL(ctypes.util.find_library("m"))
"""


@x86
def test_a_rounding_mode_from_before_the_import_does_not_reach_code_that_is_kept(tmp_path):
    use = """
import fastnn, numpy as np, hashlib
net = fastnn.MLP([6, 5, 3], "tanh", dtype="float64", seed=0)
x = np.arange(60.0).reshape(10, 6) / 64
net.fit(x, np.arange(10) % 3, batch_size=5, epochs=9)
print(hashlib.sha256(net.predict(x).tobytes()).hexdigest())
"""
    folder = {"FASTNN_CACHE_DIR": str(tmp_path)}
    expected = in_another_process(use)
    assert in_another_process(f"{MODE}m.fesetround(0x800){use}", **folder) == expected  # compiles
    assert in_another_process(use, **folder) == expected  # finds that


@x86
def test_a_rounding_mode_does_not_reach_the_constants_of_a_kernel():
    """Whoever imports it, and however."""
    use = """
from fastnn.kernels import elementary
print([value.hex() for name, found in sorted(vars(elementary).items())
       if isinstance(found, tuple) for value in found])
"""
    up = f"import numba\n{MODE}m.fesetround(0x800){use}"
    assert in_another_process(up) == in_another_process(use)


@x86
@pytest.mark.parametrize("trap", [0x02, 0x04, 0x08, 0x10])  # denormal, divide, overflow, underflow
def test_exceptions_of_the_processor_that_a_host_has_asked_for(trap):
    use = """
import fastnn, numpy as np
net = fastnn.MLP([2, 3, 2], weight_init=1e-30, seed=0)
def use():
    x = np.ones((4, 2), "f4")
    net.predict(x), net.gradient(x, [0, 1, 0, 1]), net.fit(x, [0, 1, 0, 1], batch_size=2)
use()
"""
    unmask = f"""
from fastnn.compiler import float_state
float_state.read.serial()
state = float_state.read.serial() & ~0x3F & ~({trap} << 7)
float_state.write.serial(0x1F80)
float_state.write.serial(state)
use()
print(float_state.read.serial() & ~0x3F == state & ~0x3F)
"""
    assert in_another_process(use + unmask) == "True\n"


RNG = np.random.default_rng(2)
X = inputs(RNG, 150, 9)  # float64, so that they are cast for float32
T = {"softmax": RNG.integers(0, 3, 150), "identity": RNG.normal(size=(150, 3))}


def everything(dtype, kind):
    """Bits of all that a network can be asked, its making included."""
    x, t = X, T[kind]
    net = fastnn.MLP([9, 12, 7, 3], "tanh", output=kind, weight_init="he", bias_init=0.1,
                     dtype=dtype, seed=0)  # fmt: skip
    rule = fastnn.Adam(fastnn.schedules.Cosine(0.01, 30), weight_decay=0.01)
    histories = [
        net.fit(x, t, epochs=2, batch_size=40, optimizer=rule, validation_data=(x, t)),
        net.fit(x, t, iterations=30, batch_size=1, optimizer=fastnn.SGD(0.03)),
    ]
    numbers = [history.loss for history in histories] + [histories[0].test_loss]
    return bits_of(net), bits(
        net.predict(x), net.predict(x[:1]), np.array(net.loss(x, t)), *numbers,
        *net.gradient(x, t).values(), *net.numerical_gradient(x[:5], t[:5]).values(),
    )  # fmt: skip


@every_state
@pytest.mark.parametrize(("dtype", "kind"), [("float32", "softmax"), ("float64", "identity")])
def test_the_same_bits_whatever_the_host_has_set(state, dtype, kind, both_builds):
    expected = everything(dtype, kind)
    with host_state(state):
        assert everything(dtype, kind) == expected


@every_state
def test_the_kernels_of_the_book_have_a_state_of_their_own(state):
    rng = np.random.default_rng(0)
    x, W, b, dout = (rng.normal(size=size) for size in ((120, 90), (90, 50), 50, (120, 50)))

    def found():
        affine, relu, sigmoid = layers.Affine(W, b), layers.Relu(), layers.Sigmoid()
        y = affine.forward(x)
        return bits(y, affine.backward(dout), affine.dW, affine.db, sigmoid.forward(y),
                    relu.forward(y), relu.backward(dout.copy()))  # fmt: skip

    expected = found()
    with host_state(state):
        assert found() == expected


@every_state
def test_compiled_functions_of_users_run_in_the_usual_state(state):
    @numba.njit
    def f(x):
        return x[0] * 1e-310 * 1e300 * 1e10 + x[1] / 3

    x = np.array([2.0, 5.0])
    expected = fastnn.numerical_gradient(f, x)
    assert abs(expected[0] - 1) < 1e-6
    with host_state(state):
        assert bits(fastnn.numerical_gradient(f, x)) == bits(expected)


@every_state
def test_the_estimators_too(state):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)

    def found():
        net = fastnn.MLPClassifier((4,), max_iter=5, random_state=0, batch_size=16)
        with pytest.warns(ConvergenceWarning):
            net.fit(X, y)
        return bits(*net.coefs_, net.predict_proba(X), np.array(net.loss_curve_))

    expected = found()
    with host_state(state):
        assert found() == expected


# Threads, errors, and the flags of what has happened ------------------------------------


@inner
def _thirds(chunk, chunks, y, fails):
    for i in range(y.shape[0] * chunk // chunks, y.shape[0] * (chunk + 1) // chunks):
        y[i] = y[i] / 3
    if fails:
        raise ValueError("as asked")


@Chunked
@entry(parallel=False)
def thirds(context, chunks, y, fails):
    run_or_pack(chunks, context, _thirds, (y, fails))


@entry(parallel=False)
def state_around(y, context):
    """The state before and after a call that rounds, all of it."""
    write_state(0x1F80)
    before = read_state()
    run_or_pack(1, context, _thirds, (y, False))
    return before, read_state()


@x86
def test_the_state_is_put_back_bit_for_bit():
    before, after = state_around.serial(np.ones(5), np.empty(0, np.int64))
    assert before == after == USUAL


@every_state
def test_the_state_is_put_back_after_an_error(state):
    with host_state(state), pytest.raises(ValueError, match="as asked"):
        thirds.serial(1, np.ones(5), True)


@numba.njit(parallel=True)
def set_in_all_threads(states):
    for i in numba.prange(states.size):
        write_state(states[i])


@numba.njit(parallel=True)
def read_in_all_threads(states):
    for i in numba.prange(states.size):
        states[i] = read_state()


@every_state
def test_every_thread_has_its_own_state_back(state):
    threads = numba.get_num_threads()
    states, found = np.full(threads, STATES[state]), np.zeros(threads, np.int64)
    y = np.full(1000, 1.0)
    try:
        set_in_all_threads(states)
        with runtime.forced(parallel=True):
            runtime.run(thirds, 1e9, y, False)
        read_in_all_threads(found)
    finally:
        set_in_all_threads(np.full(threads, USUAL))
    assert bits(y) == bits(np.full(1000, 1.0) / 3)
    assert set(found & ~STICKY) == {STATES[state]}


# Subnormal numbers -----------------------------------------------------------------------


def subnormal(array):
    return np.count_nonzero((array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny))


RULES = [
    fastnn.SGD(0.1, weight_decay=0.5), fastnn.Momentum(0.1, weight_decay=0.5),
    fastnn.Nesterov(0.1, weight_decay=0.5), fastnn.AdaGrad(weight_decay=0.5),
    fastnn.RMSprop(1e-40, weight_decay=0.5), fastnn.Adam(weight_decay=0.5),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 20])
def test_training_leaves_no_subnormal_numbers(rule, dtype, size, both_builds):
    """Arithmetic on them takes up to 100 times as long; decay brings weights and memory there."""
    net = fastnn.MLP([6, 40, 1], output="identity", weight_init="he", dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    x, t = rng.random((60, 6)), rng.random(60)
    tiny = np.finfo(dtype).tiny
    net.params["W1"][:, ::2] = 3 * tiny * rng.random((6, 20))
    net.params["b1"][::2] = -1  # dead units, whose gradients are zero
    net.fit(x, t, iterations=3, batch_size=size, optimizer=rule)
    if net.optimizer_state.memory.size:
        net.optimizer_state.memory[::3] = 2 * tiny
    net.fit(x, t, iterations=40, batch_size=size, optimizer=rule)
    assert subnormal(net.params.block) == 0
    assert subnormal(net.optimizer_state.memory) == 0
    for gradient in net.gradient(x, t).values():
        assert subnormal(gradient) == 0


def test_subnormal_weights_and_inputs_are_zero():
    """Also with one thread, and with all."""
    net = fastnn.MLP([200, 128, 8], "identity", output="identity", weight_init="xavier", seed=0)
    x = np.random.default_rng(0).normal(size=(600, 200)).astype("f4")
    for change in (lambda: x.__imul__(np.float32(1e-44)), lambda: net.params["W1"].fill(1e-40)):
        change()
        for parallel in (False, True):
            with runtime.forced(parallel=parallel):
                assert np.count_nonzero(net.predict(x)) == 0


def test_a_rule_does_not_divide_by_what_counts_as_zero():
    text = r"epsilon must be at least 1.18e-38 in float32, got 1e-40"
    net = fastnn.MLP([2, 1], output="identity", seed=0)
    with pytest.raises(ValueError, match=text):
        net.fit(np.ones((4, 2)), np.ones(4), batch_size=2, optimizer=fastnn.Adam(epsilon=1e-40))
    estimator = fastnn.MLPRegressor(hidden_layer_sizes=(2,), epsilon=1e-40)
    with pytest.raises(ValueError, match=text):
        estimator.fit(np.ones((4, 2), np.float32), np.ones(4))
