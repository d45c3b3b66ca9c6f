"""Serial or parallel: what `run` decides, and that no host program is hurt by it."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest

from fastnn.compiler import runtime

PROGRAMS = Path(__file__).parent / "host_programs"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="known on Linux only")


@pytest.fixture(scope="module")
def code_folder(tmp_path_factory):
    """One compile cache for all programs: the first compiles, the others start fast."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture
def program(code_folder):
    def run_program(name, *arguments, timeout=60, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "FASTNN_"))}
        defaults = {"FASTNN_CACHE_DIR": str(code_folder), "NUMBA_NUM_THREADS": "2"}
        path = os.pathsep.join(map(str, (PROGRAMS.parent.parent, PROGRAMS.parent)))
        process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments],
            env=kept | {"PYTHONPATH": path} | defaults | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its children too
            raise
        assert process.returncode == 0, output
        return output.splitlines()[-1]

    return run_program


@pytest.fixture
def process(monkeypatch):
    """A fresh state of the module, with no limits but Numba's and with two threads."""
    state = runtime._Process(child=False, forked=False)
    state.own_limits = {"quota": None, "env": None}
    monkeypatch.setattr(runtime, "_process", state)
    monkeypatch.setattr(runtime, "_user_limit", None)
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("Numba has one thread here")
    return state


class SpyEntry:
    """Stands for an entry; both builds return their name, their chunks and Numba's mask."""

    def __init__(self, error=None):
        self.error = error
        self.parallel = self._parallel

    def serial(self, chunks, *args):
        return "serial", chunks, args

    def _parallel(self, chunks, *args):
        if self.error:
            raise self.error
        return "parallel", chunks, numba.get_num_threads(), args


ENOUGH = runtime.PARALLEL_WORK
FEW = runtime.PARALLEL_WORK - 1


def use_layer(monkeypatch, name):
    monkeypatch.setattr(runtime, "_layer", lambda: name)


@pytest.fixture
def safe_layer(monkeypatch):
    use_layer(monkeypatch, "omp")


@pytest.mark.usefixtures("process")
def test_little_work_is_serial():
    assert runtime.run(SpyEntry(), FEW, "a", 1) == ("serial", 1, ("a", 1))


@pytest.mark.usefixtures("process", "safe_layer")
def test_enough_work_is_parallel_with_all_threads():
    n = numba.get_num_threads()
    assert runtime.run(SpyEntry(), ENOUGH, "a") == ("parallel", n, n, ("a",))


@pytest.mark.usefixtures("process", "safe_layer")
def test_an_entry_without_parallel_build_is_serial():
    entry = SpyEntry()
    entry.serial = entry.parallel
    assert runtime.run(entry, ENOUGH)[:2] == ("parallel", 1)


@pytest.mark.parametrize("layer", ["workqueue", "a layer of the future"])
def test_unknown_layers_are_serial(process, monkeypatch, layer):
    use_layer(monkeypatch, layer)
    assert runtime.run(SpyEntry(), ENOUGH)[0] == "serial"
    assert layer in process.plan(start_pool=False).reason


@pytest.mark.usefixtures("safe_layer")
def test_serial_while_another_call_is_parallel(process):
    with process.lock:
        assert runtime.run(SpyEntry(), ENOUGH)[0] == "serial"
    assert runtime.run(SpyEntry(), ENOUGH)[0] == "parallel"


@pytest.mark.usefixtures("safe_layer")
def test_a_failed_call_frees_the_lock_and_the_mask(process):
    runtime.set_num_threads(2)
    before = numba.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        runtime.run(SpyEntry(KeyboardInterrupt()), ENOUGH)
    assert not process.lock.locked()
    assert numba.get_num_threads() == before


@pytest.mark.usefixtures("process", "safe_layer")
def test_the_callers_mask_is_obeyed():
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert runtime.run(SpyEntry(), ENOUGH)[0] == "serial"
    finally:
        numba.set_num_threads(before)


def test_limits_hold_in_the_call_and_not_after_it(process, safe_layer, monkeypatch):
    masks = [8]
    monkeypatch.setattr(numba, "get_num_threads", lambda: masks[-1])
    monkeypatch.setattr(numba, "set_num_threads", masks.append)
    process.own_limits, process.numba_limit = {"quota": 5, "env": 6}, 8
    assert runtime.run(SpyEntry(), ENOUGH)[:3] == ("parallel", 5, 5)
    assert masks == [8, 5, 8]
    runtime.set_num_threads(3)
    assert runtime.run(SpyEntry(), ENOUGH)[:3] == ("parallel", 3, 3)
    assert runtime.threading_info()["limits"] == {"numba": 8, "user": 3, "quota": 5, "env": 6}
    runtime.set_num_threads(1)
    assert runtime.run(SpyEntry(), ENOUGH)[0] == "serial"
    assert runtime.threading_info()["reason"] == "limited to 1 thread"
    runtime.set_num_threads(None)
    assert runtime.threading_info()["threads"] == 5


@pytest.mark.usefixtures("process", "safe_layer")
def test_too_many_threads_are_cut():
    runtime.set_num_threads(10**30)
    assert runtime.run(SpyEntry(), ENOUGH)[1] == numba.get_num_threads()


@pytest.mark.parametrize("n", [True, False, 2.0, "2", None.__class__, np.float32(1), np.True_])
def test_set_num_threads_refuses_other_types(n):
    with pytest.raises(TypeError, match="n must be an integer or None, not"):
        runtime.set_num_threads(n)


@pytest.mark.parametrize("n", [0, -1, np.int64(0)])
def test_set_num_threads_refuses_less_than_one(n):
    with pytest.raises(ValueError, match=f"n must be at least 1, not {n}"):
        runtime.set_num_threads(n)


@pytest.mark.usefixtures("process", "safe_layer")
def test_set_num_threads_takes_numpy_integers():
    runtime.set_num_threads(np.int64(1))
    assert runtime.threading_info()["threads"] == 1


@pytest.mark.parametrize(
    ("text", "limit"), [("", None), (" 3 ", 3), ("1", 1), ("999999999", 999999999)]
)
def test_environment_limit(monkeypatch, text, limit):
    monkeypatch.setenv("FASTNN_NUM_THREADS", text)
    assert runtime._limit_of_environment() == limit


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "9" * 5000])
def test_bad_environment_limit_is_told_and_ignored(monkeypatch, text):
    monkeypatch.setenv("FASTNN_NUM_THREADS", text)
    with pytest.warns(RuntimeWarning, match="FASTNN_NUM_THREADS must be an integer"):
        assert runtime._limit_of_environment() is None


def test_a_pool_that_cannot_start_is_serial(process, monkeypatch):
    def no_pool():
        raise ValueError("No threading layer could be loaded.")

    monkeypatch.setattr(runtime, "_pool_started", lambda: False)
    monkeypatch.setattr(numba, "get_num_threads", no_pool)
    for _ in range(2):
        assert runtime.run(SpyEntry(), ENOUGH)[0] == "serial"
    assert "No threading layer" in process.plan(start_pool=False).reason


# ---- the container's quota, from fake trees


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


V2 = "sys/fs/cgroup"
QUOTAS = {
    "no files at all": ({}, None),
    "v2, no quota": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "max 100000\n"}, None),
    "v2, two": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "200000 100000\n"}, 2),
    "v2, rounded down": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "390000 100000\n"}, 3),
    "v2, at least one": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "5000 100000\n"}, 1),
    "v2, the parent binds": (
        {
            "proc/self/cgroup": "0::/a/b/c\n",
            f"{V2}/a/cpu.max": "300000 100000\n",
            f"{V2}/a/b/cpu.max": "max 100000\n",
            f"{V2}/a/b/c/cpu.max": "800000 100000\n",
        },
        3,
    ),
    "v2, seen from inside": (
        {
            "proc/self/cgroup": "0::/../../pod/x\n",
            f"{V2}/cpu.max": "400000 100000\n",
            f"{V2}/../cpu.max": "100000 100000\n",
        },
        4,
    ),
    "v2, unreadable": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "banana\n"}, None),
    "v2, zero period": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "3 0\n"}, 3),
    "v1": (
        {
            "proc/self/cgroup": "4:memory:/d\n3:cpu,cpuacct:/d/e\n2:cpuset:/\n",
            f"{V2}/cpu,cpuacct/d/e/cpu.cfs_quota_us": "-1\n",
            f"{V2}/cpu,cpuacct/d/e/cpu.cfs_period_us": "100000\n",
            f"{V2}/cpu,cpuacct/d/cpu.cfs_quota_us": "250000\n",
            f"{V2}/cpu,cpuacct/d/cpu.cfs_period_us": "100000\n",
        },
        2,
    ),
    "v1 in a container, where the host's path is not mounted": (
        {
            "proc/self/cgroup": "1:cpu:/docker/0123\n",
            f"{V2}/cpu/cpu.cfs_quota_us": "150000\n",
            f"{V2}/cpu/cpu.cfs_period_us": "50000\n",
        },
        3,
    ),
    "v1 for processors, v2 beside it": (
        {
            "proc/self/cgroup": "1:cpu:/\n0::/\n",
            f"{V2}/cpu/cpu.cfs_quota_us": "200000\n",
            f"{V2}/cpu/cpu.cfs_period_us": "100000\n",
            f"{V2}/unified/cpu.max": "max 100000\n",
        },
        2,
    ),
    "broken lines": ({"proc/self/cgroup": "\n::\nx\n0::\n", f"{V2}/cpu.max": "2 1 3 4\n"}, None),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_quota(tmp_path, case):
    files, expected = QUOTAS[case]
    assert runtime.cgroup_quota(tree(tmp_path, files)) == expected


def test_quota_of_this_machine_is_sane():
    quota = runtime.cgroup_quota()
    assert quota is None or quota >= 1


# ---- whole programs


def test_import_starts_and_compiles_nothing(program, tmp_path):
    assert program("import_only", FASTNN_CACHE_DIR=str(tmp_path / "none")) == "ok"
    assert not (tmp_path / "none").exists()


@needs_fork
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_threads_forks_and_handlers(program, layer):
    assert program("threads_and_forks", NUMBA_THREADING_LAYER=layer) == f"ok {layer}"


@needs_fork
@pytest.mark.parametrize("case", ["before_the_pool", "other_library", "by_c_code", "lock_held"])
def test_fork(program, case):
    assert program("fork_cases", case, timeout=30) == "ok"


@needs_linux
def test_fork_after_foreign_openmp(program):
    assert program("fork_cases", "foreign_openmp", timeout=30) == "ok"


@needs_linux
def test_fork_after_foreign_openmp_before_the_first_use(program):
    """Not of the same module, but of the package: `import fastnn` was there before the fork."""
    assert program("fork_before_first_use", timeout=30) == "ok"


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_worker_pools(program, method):
    assert program("worker_pools", method) == "ok"


def test_host_is_left_as_it_was(program, tmp_path):
    for _ in ("compiled", "loaded"):
        assert program("side_effects", FASTNN_CACHE_DIR=str(tmp_path)) == "ok"


def limits(program, **environment):
    return json.loads(program("limits", **environment))


def test_one_thread_starts_no_pool(program):
    for name in ("NUMBA_NUM_THREADS", "FASTNN_NUM_THREADS"):
        report = limits(program, **{name: "1"})
        assert (report["chunks"], report["pool"]) == (1, False)
        assert report["after"]["reason"] == "limited to 1 thread"


def test_asking_does_not_start_the_pool_and_running_does(program):
    report = limits(program, NUMBA_NUM_THREADS="3", FASTNN_NUM_THREADS="50")
    assert report["before"]["layer"] == "not started"
    assert report["before"]["threads"] == report["chunks"] == report["after"]["threads"]
    assert report["after"]["limits"] | {"quota": None} == {
        "numba": 3,
        "env": 50,
        "user": None,
        "quota": None,
    }
    assert report["pool"]


def test_a_layer_that_is_not_installed_is_serial(program):
    if numba_has_tbb():
        pytest.skip("tbb is installed")
    report = limits(program, NUMBA_THREADING_LAYER="tbb")
    assert report["chunks"] == 1
    assert "no threading layer" in report["after"]["reason"]


def numba_has_tbb():
    try:
        from numba.np.ufunc import tbbpool  # noqa: F401
    except ImportError:
        return False
    return True


def test_eight_threads_of_one_process(monkeypatch):
    """The spy's parallel build never runs twice at the same time."""
    monkeypatch.setattr(runtime, "_process", runtime._Process(child=False, forked=False))
    use_layer(monkeypatch, "omp")
    inside, most = [], []

    class Counting(SpyEntry):
        def _parallel(self, chunks, *args):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    def call():
        for _ in range(300):
            runtime.run(Counting(), ENOUGH)

    workers = [threading.Thread(target=call) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(most) == {1}


def test_a_limit_that_is_lowered_while_the_program_runs_harms_nothing():
    """Scratch was sized by Numba's setting, chunks counted by its threads: a corrupted heap."""
    code = """
import numba, numpy as np, fastnn
x, t = np.ones((5000, 400), np.float32), np.zeros(5000, int)
numba.get_num_threads()
for limit in (1, numba.config.NUMBA_NUM_THREADS, 1):
    numba.config.NUMBA_NUM_THREADS = limit
    for _ in range(5):
        net = fastnn.MLP([400, 300, 2], seed=0)
        net.predict(x), net.fit(x, t, iterations=10), net.gradient(x, t)
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          timeout=100)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
