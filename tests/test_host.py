"""The program around: interrupted, copied, threaded, forked; and left as it was."""

import concurrent.futures
import copy
import inspect
import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from at_a_terminal import signals_heard
from numpy_mlp import bits, bits_of, inputs, targets

import fastnn
from fastnn.compiler import runtime

ROOT = Path(fastnn.__file__).parent.parent
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")


def made(sizes=(40, 16, 3), rows=200, dtype="float32", seed=1, **options):
    net = fastnn.MLP(sizes, weight_init="he", dtype=dtype, seed=seed, **options)
    rng = np.random.default_rng(seed)
    return net, inputs(rng, rows, sizes[0]), targets(rng, net, rows)


def program(call, **options):
    """Start a Python that calls a function of this file."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    code = f"import at_a_terminal, test_host; at_a_terminal.hear_signals(); test_host.{call}"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def output_of(call, timeout=120):
    process = program(call)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, errors
    return output


def say(text):
    print(text, flush=True)  # noqa: T201


# ---- Ctrl-C


FOR_EVER = {"iterations": 10**9, "optimizer": fastnn.SGD(1e-4)}


def many_small_steps(net, x, t):
    net.fit(x, t, batch_size=100, evaluate_every=10**9, **FOR_EVER)


def steps_of_one_row(net, x, t):
    net.fit(x, t, batch_size=1, evaluate_every=10**9, **FOR_EVER)


def steps_of_all_rows(net, x, t):
    net.fit(x, t, batch_size=len(x), **FOR_EVER)


def replayed_steps(net, x, t):
    # To check 10**7 row numbers takes 0.1 of the 0.3 s until it is interrupted; if busy, all.
    net.fit(x, t, batches=np.zeros((3 * 10**4, 100), int), optimizer=fastnn.SGD(1e-4))


def evaluations(net, x, t):
    net.fit(x, t, validation_data=(x, t), evaluate_every=1, **FOR_EVER)


def predictions(net, x, t):
    while True:
        net.predict(x)


def long_predictions(net, x, t):
    wide = fastnn.MLP([784, 8000, 10])
    while True:
        wide.predict(x)


def numerical_gradients(net, x, t):
    net.numerical_gradient(x, t)


def wide_network():
    """A network of which a step on 20,000 rows takes seconds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 784), np.float32)
    return fastnn.MLP([784, 1000, 1000, 10], weight_init="he"), x, rng.integers(0, 10, 20_000)


def steps_of_seconds(net, x, t):
    net.fit(x, t, batch_size=len(x), **FOR_EVER)


def gradients_of_seconds(net, x, t):
    while True:
        net.gradient(x, t)


def numerical_gradients_of_wide_networks(net, x, t):
    net.numerical_gradient(x[:128], t[:128])


WIDE = steps_of_seconds, gradients_of_seconds, numerical_gradients_of_wide_networks


# With the seconds until they are interrupted: time for the calls of kernels to grow.
LONG_CALLS = {
    many_small_steps: 0.5,
    steps_of_one_row: 0.5,
    steps_of_all_rows: 0.3,
    replayed_steps: 0.3,
    evaluations: 0.3,
    predictions: 0.3,
    long_predictions: 0.5,
    numerical_gradients: 0.3,
    steps_of_seconds: 1.0,
    gradients_of_seconds: 0.7,
    numerical_gradients_of_wide_networks: 0.7,
}
NOT_TRAINING = (predictions, long_predictions, numerical_gradients, gradients_of_seconds,
                numerical_gradients_of_wide_networks)  # fmt: skip


def interrupted(call, net, x, t):
    """Make a call that takes for ever until it is interrupted, then use the network."""
    before = bits_of(net)
    say("ready")
    try:
        call(net, x, t)
    except KeyboardInterrupt:
        noticed = time.monotonic()
    finite = all(np.isfinite(view).all() for view in net.params.values())
    moved = bits_of(net) != before
    net.fit(x[:100], t[:100], iterations=10, batch_size=20)
    usable = bool(np.isfinite(net.predict(x[:100])).all())
    return {"noticed": noticed, "finite": finite, "moved": moved, "usable": usable}


def interrupted_calls():
    net, x, t = made([784, 50, 10], rows=6000)
    net.fit(x, t, iterations=2)
    net.fit(x, t, iterations=2, batch_size=1, optimizer=fastnn.SGD(1e-4))
    wide = None
    for call in LONG_CALLS:
        if call in WIDE:
            wide = wide or wide_network()
        say(json.dumps(interrupted(call, *(wide if call in WIDE else (net, x, t)))))


@pytest.fixture(scope="module")
def reports():
    """What became of all the long calls, one after the other in one process."""
    process, found = program("interrupted_calls()"), {}
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        for call, seconds in LONG_CALLS.items():
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            time.sleep(seconds)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            line = process.stdout.readline()
            assert line, process.stderr.read()
            found[call] = {"sent": sent, **json.loads(line)}
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()
    return found


@needs_posix
@pytest.mark.parametrize("call", LONG_CALLS, ids=lambda call: call.__name__)
def test_ctrl_c_is_noticed_within_half_a_second_and_leaves_a_usable_network(call, reports):
    report = reports[call]
    assert report["finite"]
    assert report["usable"]
    if call is not steps_of_seconds:  # of which the first may be under way
        assert report["moved"] == (call not in NOT_TRAINING)
    assert report["noticed"] - report["sent"] < 0.5


@pytest.fixture
def looks():
    """The times at which Python has looked for signals, of which there are a hundred a second."""
    times = []
    with signals_heard():
        signal.signal(signal.SIGALRM, lambda *_: times.append(time.perf_counter()))
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        yield times
        signal.setitimer(signal.ITIMER_REAL, 0)


@needs_posix
@pytest.mark.parametrize(("size", "steps"), [(100, 4000), (1, 80000)])
def test_control_returns_to_python_all_the_time(size, steps, looks):
    net, x, t = made([784, 50, 10], rows=6000)
    options = {"batch_size": size, "evaluate_every": 10**9, "optimizer": fastnn.SGD(1e-4)}
    net.fit(x, t, iterations=2, **options)
    looks.clear()
    net.fit(x, t, iterations=steps, **options)
    looks.append(time.perf_counter())
    assert np.diff(looks).max() < 0.3
    assert np.median(np.diff(looks)) < 0.1


def test_an_interrupt_comes_through_and_training_can_go_on():
    net, x, t = made()

    def interrupt(_, history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(x, t, epochs=3, batch_size=20, callbacks=[interrupt])
    again, _, _ = made()
    again.fit(x, t, epochs=1, batch_size=20)
    assert bits_of(net) == bits_of(again)
    assert net.fit(x, t, epochs=1, batch_size=20).stop_reason == "finished"


# ---- what must not change


def snapshot():
    """Everything of the host's that a library might touch."""
    settings = {name: repr(getattr(numba.config, name)) for name in dir(numba.config)}
    return {
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "filters": list(warnings.filters),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
        "errors": np.geterr(),
        "printing": np.get_printoptions(),
        "settings": {name: value for name, value in settings.items() if name.isupper()},
        "mask": numba.get_num_threads(),
        "folder": os.getcwd(),
        "threads": threading.active_count(),
        "switch": sys.getswitchinterval(),
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook),
    }


def use_everything(folder):
    """Good calls and bad ones."""
    net, x, t = made(seed=None)
    for parallel in (False, True):
        with runtime.forced(parallel=parallel):
            net.fit(x, t, epochs=2, batch_size=20, validation_data=(x, t))
            net.fit(x, t, iterations=5, batch_size=20, sampling="replacement", seed=3)
            net.predict(x), net.loss(x, t), net.accuracy(x, t), net.gradient(x, t)
    net.numerical_gradient(x[:3], t[:3])
    net.save(os.path.join(folder, "net"))
    copy.deepcopy(fastnn.load(os.path.join(folder, "net")))
    fastnn.TwoLayerNet(4, 3, 2).params["b1"] = [1, 2, 3]
    fastnn.warmup("float32")
    fastnn.set_num_threads(1)
    net.fit(x, t, progress=True)
    fastnn.set_num_threads(None)
    for error, call in [
        (ValueError, lambda: net.predict([[np.nan] * 40])),
        (TypeError, lambda: net.fit(x, t, optimizer="sgd")),
        (FloatingPointError, lambda: diverge(x)),
    ]:
        with pytest.raises(error):
            call()


def diverge(x):
    net = fastnn.MLP([40, 3], output="identity", weight_init=1.0, seed=0)
    net.fit(x, np.ones((200, 3)), epochs=99, optimizer=fastnn.SGD(1e6))


def side_effects(folder):
    np.random.seed(3)
    numba.get_num_threads()
    before = snapshot()
    use_everything(folder)
    after = snapshot()
    say({name: (before[name], after[name]) for name in before if before[name] != after[name]})


def test_the_host_is_left_as_it_was(tmp_path):
    assert output_of(f"side_effects({str(tmp_path)!r})") == "{}\n"


def test_importing_leaves_the_host_as_it_was():
    lines = [
        "import os, random, signal, sys, threading, warnings, numba, numpy as np",
        inspect.getsource(snapshot),
        "before = snapshot()",
        "from fastnn import *",
        "after = snapshot()",
        "assert before == after, (before, after)",
    ]
    kept = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=kept, check=False)
    assert done.returncode == 0


def test_a_name_is_imported_when_it_is_asked_for():
    """Numba takes 0.2 s, and a program may want the data only."""
    lines = [
        "import sys, fastnn",
        "assert not {'numpy', 'numba', 'llvmlite'} & set(sys.modules)",
        "assert set(fastnn.__all__) | {'MLPClassifier', '__version__'} <= set(dir(fastnn))",
        "fastnn.datasets.load_mnist, fastnn.schedules, fastnn.numerical_gradient, fastnn.History",
        "assert not {'numba', 'llvmlite'} & set(sys.modules)",
        "from fastnn import MLP, frames",
        "assert MLP is fastnn.MLP is fastnn.network.MLP and 'numba' in sys.modules",
        "assert not hasattr(fastnn, 'mlp') and not hasattr(fastnn, '__wrapped__')",
        "assert not hasattr(fastnn, 'no.module') and not hasattr(fastnn, 'network.MLP')",
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False,
                          env=kept | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0


def test_no_warnings_and_no_words(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net, x, t = made()
        net.fit(x, t, epochs=2, batch_size=20, validation_data=(x, t))
        net.predict(x)
    assert capfd.readouterr() == ("", "")


# ---- copies

COPIES = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "the oldest pickle that can": lambda net: pickle.loads(pickle.dumps(net, protocol=2)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def trained_net(dtype="float32"):
    net, x, t = made(dtype=dtype)
    net.fit(x, t, epochs=2, batch_size=30)
    return net, x, t


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_gives_the_same_answers(way, dtype):
    net, x, t = trained_net(dtype)
    other = COPIES[way](net)
    assert type(other) is type(net)
    assert repr(other) == repr(net)
    assert bits_of(other) == bits_of(net)
    assert bits(other.predict(x)) == bits(net.predict(x))
    assert other.loss(x, t) == net.loss(x, t)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_has_weights_of_its_own(way):
    net, x, t = trained_net()
    other = COPIES[way](net)
    before = bits_of(net)
    other.fit(x, t, epochs=1, batch_size=30)
    other.params["W1"][...] = 0
    assert bits_of(net) == before


@pytest.mark.parametrize("way", [way for way in COPIES if way != "copy"])
def test_a_copy_goes_on_as_the_network_would(way):
    net, x, t = trained_net()
    other = COPIES[way](net)
    losses = [one.fit(x, t, epochs=2, batch_size=30).loss for one in (net, other)]
    assert bits(losses[0]) == bits(losses[1])
    assert bits_of(net) == bits_of(other)


@pytest.mark.parametrize("way", COPIES)
def test_neither_being_copied_nor_what_the_copy_does_changes_a_network(way):
    net, x, t = trained_net()
    alone, _, _ = trained_net()
    COPIES[way](net).fit(x, t, epochs=1, batch_size=30)
    net.fit(x, t, epochs=1, batch_size=30)
    alone.fit(x, t, epochs=1, batch_size=30)
    assert bits_of(net) == bits_of(alone)


def test_a_network_of_the_book_is_copied_as_one():
    net = fastnn.TwoLayerNet(4, 3, 2, dtype="float64")
    for way in COPIES.values():
        assert type(way(net)) is fastnn.TwoLayerNet


class Named(fastnn.MLP):
    """A network of a user's, with something of its own."""


@pytest.mark.parametrize("way", COPIES)
def test_a_subclass_and_its_attributes_are_copied(way):
    net = Named([4, 3, 2], seed=0)
    net.name = "mine"
    other = COPIES[way](net)
    assert type(other) is Named
    assert other.name == "mine"


def test_a_history_can_be_pickled():
    net, x, t = made()
    history = net.fit(x, t, epochs=2, batch_size=30, validation_data=(x, t))
    other = pickle.loads(pickle.dumps(history))
    assert bits(other.loss, other.test_accuracy) == bits(history.loss, history.test_accuracy)


def test_an_error_of_divergence_can_be_pickled():
    net, x, t = made(output="identity")
    with pytest.raises(FloatingPointError) as caught:
        net.fit(x, t, epochs=100, batch_size=20, optimizer=fastnn.SGD(5.0))
    other = pickle.loads(pickle.dumps(caught.value))
    assert str(other) == str(caught.value)
    assert bits(other.history.loss) == bits(caught.value.history.loss)


# ---- threads


def at_once(calls):
    """The results of calls that run in threads, all started together."""
    barrier = threading.Barrier(len(calls))

    def run(call, parallel):
        with runtime.forced(parallel=parallel):
            barrier.wait()
            return call()

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(run, call, i % 3 > 0) for i, call in enumerate(calls)]
        return [future.result() for future in futures]


def trained_bits(seed):
    net, x, t = made(seed=seed)
    history = net.fit(x, t, epochs=20, batch_size=30)
    return bits_of(net), bits(history.loss, net.predict(x))


def test_threads_may_train_different_networks_at_once():
    expected = [trained_bits(seed) for seed in range(8)]
    calls = [lambda seed=seed: trained_bits(seed) for seed in range(8)]
    assert at_once(calls) == expected


def test_threads_may_use_the_same_network_at_once():
    net, x, _ = trained_net()
    parts = [x[first : first + 50] for first in range(0, 160, 20)]
    expected = [bits(net.predict(part)) for part in parts]

    def ask(part):
        return [bits(net.predict(part)) for _ in range(50)]

    found = at_once([lambda part=part: ask(part) for part in parts])
    assert found == [[one] * 50 for one in expected]


def test_threads_may_ask_a_network_while_it_is_trained():
    net, x, t = made()
    alone, _, _ = made()
    alone.fit(x, t, epochs=100, batch_size=30)

    def ask():
        return all(np.isfinite(net.predict(x)).all() for _ in range(50))

    found = at_once([lambda: net.fit(x, t, epochs=100, batch_size=30), ask, ask, ask])
    assert found[1:] == [True] * 3
    assert bits_of(net) == bits_of(alone)


def test_other_threads_run_while_one_trains():
    """The interpreter's lock is given up inside the kernels."""
    net, x, t = made([300, 200, 3], rows=500)
    net.fit(x, t)
    done, ticks = threading.Event(), []

    def tick():
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=tick)
    ticker.start()
    began = time.perf_counter()
    net.fit(x, t, epochs=40)
    ended = time.perf_counter()
    done.set()
    ticker.join()
    assert len([at for at in ticks if began < at < ended]) > 5


# ---- processes


def train_again(net, x, t):
    """What a worker does: go on with a network that it was given."""
    with runtime.forced(parallel=True):
        history = net.fit(x, t, epochs=2, batch_size=30)
        return bits_of(net), bits(history.loss, net.predict(x))


def fork_after_training():
    net, x, t = trained_net()
    with runtime.forced(parallel=True):
        net.fit(x, t, epochs=1, batch_size=30)
    expected = train_again(copy.deepcopy(net), x, t)
    for _ in range(2):
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if train_again(copy.deepcopy(net), x, t) == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert train_again(copy.deepcopy(net), x, t) == expected
    say("ok")


@needs_fork
def test_a_process_that_trained_can_fork_and_both_can_train():
    assert output_of("fork_after_training()") == "ok\n"


def pool_of_workers(method):
    """As joblib does: jobs with networks in, results out, in workers of either kind."""
    warnings.simplefilter("ignore", DeprecationWarning)
    jobs = []
    for seed in range(4):
        net, x, t = made(seed=seed)
        net.fit(x, t, epochs=1, batch_size=30)
        jobs.append((net, x, t))
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        futures = [pool.submit(train_again, *job) for job in jobs]
        found = [future.result() for future in futures]
    assert found == [train_again(*job) for job in jobs]
    say("ok")


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_workers_of_a_pool_train_as_this_process_does(method):
    assert output_of(f"pool_of_workers('{method}')") == "ok\n"


def test_names_that_need_scikit_learn_are_not_listed_without_it(monkeypatch):
    """Tools look at each name that `dir` lists."""
    assert {"MLP", "MLPClassifier", "MLPRegressor"} <= set(dir(fastnn))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for name in ("MLPClassifier", "MLPRegressor"):
        monkeypatch.delitem(vars(fastnn), name, raising=False)  # as in a process that used neither
        assert name not in dir(fastnn)
    assert "MLP" in dir(fastnn)
