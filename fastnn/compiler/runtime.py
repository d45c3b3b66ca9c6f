"""Serial or parallel, and with how many threads.

Numba's thread pools can hurt their host: a pool used in a forked child kills the child, hangs it
or, where a handler for SIGTERM is installed, leaves results unwritten; the workqueue pool aborts
the process when two threads use it. `run` is the one place where fastnn starts a parallel kernel,
and it does so only where that is safe and worth it. Every other call runs the serial build, which
gives the same bits.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numba
from numba.np.ufunc import parallel as numba_pool

from fastnn.compiler import IMPORTED_IN
from fastnn.compiler.jit import Entry
from fastnn.compiler.launch import Chunked

__all__ = ["run", "set_num_threads", "threading_info"]

# Multiply-adds per region below which a second core does not pay: at 20 to 50 GFLOP/s a core they
# are 80 to 200 us, and to fork and join costs 1.6 us with omp when the pool is warm, 25 when not,
# and a slice of the scheduler, 8 ms, when other programs need the cores.
PARALLEL_WORK = 2_000_000
# Share of that work that pays in each step of a call that makes many: its chunks fork once and
# mostly meet at two barriers a step, 1 us.  Steps of 20,000 multiply-adds took 1.3 times as long
# serial.
STEP_SHARE = 0.01

# Pools that a kernel may use. workqueue is missing on purpose: two threads in it abort the
# process, the other one may belong to anybody, and its 25 to 165 us a region gain nothing here.
SAFE_LAYERS = ("omp", "tbb")


def run(entry: Entry | Chunked, work: float, *args: Any) -> Any:
    """Call an entry's parallel build if that is safe and worth it, else its serial one.

    Parameters
    ----------
    entry : Entry or Chunked
        Its first parameter is the number of chunks to cut the work into.
    work : float
        Multiply-adds per parallel region.
    *args
        The entry's other arguments.

    Returns
    -------
    object
        What the kernel returns.
    """
    if work < _threshold.work:
        return entry.serial(1, *args)
    process = _this_process()
    if entry.parallel is entry.serial or not process.lock.acquire(blocking=False):
        return entry.serial(1, *args)  # or another call is parallel already
    try:
        plan = process.plan(start_pool=True)
        if plan.threads == 1:
            return entry.serial(1, *args)
        return _call_masked(entry.parallel, plan, args)
    finally:
        process.lock.release()


def most_chunks(work: float) -> int:
    """Bound of the chunks that `run` cuts this much work into, for scratch that they do not share.

    It does not follow `set_num_threads`, which may be called while the scratch is in use.
    """
    if work < _threshold.work:
        return 1
    process = _this_process()
    return int(min(process.numba_limit, process.own_limit))


@contextlib.contextmanager
def forced(parallel: bool) -> Iterator[None]:
    """Within this block, in this thread, run all work in parallel if that is safe, or none."""
    before, _threshold.work = _threshold.work, 0 if parallel else math.inf
    try:
        yield
    finally:
        _threshold.work = before


class Pace:
    """Which way a job of many calls goes faster at the moment: in parallel or serial.

    With the cores free, threads win.  When other programs need them, chunks that wait for
    each other can take five times as long as one thread alone.  So a job begins in parallel,
    tries the other way once, and again when its pace falls; both ways give the same bits.
    """

    FALL = 0.7  # of the best parallel pace since the last trial: when quiet it stays above 0.8
    PARALLEL_TRUST, SERIAL_TRUST = 0.2, 0.8  # seconds before another trial
    # Seconds before the first: shorter calls measure little but their start.  Short steps wait for
    # each other most of all: 100 rows of 20-50-10 may take longer with two threads than with one,
    # even on a free machine.
    FIRST_TRIAL, FIRST_TRIAL_OF_SHORT = 0.1, 0.01
    LONGEST = 0.05  # seconds that a call counts at most: the first may compile
    TRIAL = 0.2  # of a call's usual length: at half the pace, whole ones cost short fits a tenth

    def __init__(self, serial_trust: float = SERIAL_TRUST, work: float = math.inf) -> None:
        """Begin, with calls that are made of steps of so many multiply-adds."""
        self._serial_trust = serial_trust
        self.parallel = True
        self.trying, self._tried = False, False
        short = work < PARALLEL_WORK
        self._left = self.FIRST_TRIAL_OF_SHORT if short else self.FIRST_TRIAL
        self._paces = {True: 0.0, False: 0.0}
        self._best = 0.0

    def record(self, steps: float, seconds: float) -> None:
        """Note what the latest call has made, and choose the way of the next."""
        pace = self._paces[self.parallel] = steps / max(seconds, 1e-9)
        self._left -= min(seconds, self.LONGEST)
        if self.trying:
            self.trying, self._tried = False, True
            self.parallel = self._paces[True] >= self._paces[False]
            self._left = self.PARALLEL_TRUST if self.parallel else self._serial_trust
            self._best = self._paces[True]
            return
        fallen = self.parallel and pace < self.FALL * self._best
        if self.parallel:
            self._best = max(self._best, pace)
        if self._left <= 0 and (fallen or not self.parallel or not self._tried):
            self.trying, self.parallel = True, not self.parallel


class Job:
    """Calls of kernels, one at a time: in parallel, or serial while others need the cores.

    The caller says how long a call is, so short calls are put together until they are long enough
    to be judged.  Between calls others may come and go, so no judgement holds for long.
    """

    WINDOW = 0.05  # seconds of calls that `Pace` judges together; trials are shorter
    SERIAL_TRUST = 0.2  # seconds of calls before another trial with threads
    PAUSE = 0.5  # seconds without a call after which the job begins anew

    def __init__(self) -> None:
        self._begin_anew()
        self._ended = 0.0

    def _begin_anew(self) -> None:
        self._pace = Pace(self.SERIAL_TRUST)
        self._work = self._seconds = 0.0

    def run(self, kernel: Entry | Chunked, work: float, *args: Any) -> None:
        """`run`, but with no work to share while serial calls are faster."""
        if work < _threshold.work:
            kernel.serial(1, *args)
            return
        began = time.perf_counter()
        if began - self._ended > self.PAUSE:
            self._begin_anew()
        run(kernel, work if self._pace.parallel else 0, *args)
        self._ended = time.perf_counter()
        self._seconds += self._ended - began
        self._work += work
        if self._seconds > self.WINDOW * (Pace.TRIAL if self._pace.trying else 1):
            self._pace.record(self._work, self._seconds)
            self._work = self._seconds = 0.0


class _Threshold(threading.local):
    work: float = PARALLEL_WORK


_threshold = _Threshold()


class _Plan(NamedTuple):
    threads: int  # that a parallel call would use
    mask: int  # that Numba would use for the calling thread
    reason: str | None = None  # why not more than one


def _call_masked(kernel: Any, plan: _Plan, args: tuple) -> Any:
    """Let Numba use so many threads, in this thread of Python and for this long."""
    if plan.threads == plan.mask:
        return kernel(plan.threads, *args)
    numba.set_num_threads(plan.threads)
    try:
        return kernel(plan.threads, *args)
    finally:
        with contextlib.suppress(ValueError):  # the host has lowered the limit meanwhile
            numba.set_num_threads(plan.mask)


def set_num_threads(n: int | None) -> None:
    """Limit the threads of all later calls in this process.

    Parameters
    ----------
    n : int or None
        At least 1; more than the machine, Numba or the container allow is cut to that. None takes
        the limit away.

    Examples
    --------
    >>> set_num_threads(1)
    >>> threading_info()["threads"]
    1
    >>> set_num_threads(None)
    """
    global _user_limit
    _user_limit = None if n is None else _checked_count(n)


def _checked_count(n: Any) -> int:
    try:
        count = None if isinstance(n, bool) else operator.index(n)
    except TypeError:
        count = None
    if count is None:
        raise TypeError(f"n must be an integer or None, not {type(n).__name__}")
    if count < 1:
        raise ValueError(f"n must be at least 1, not {count}")
    return count


def threading_info() -> dict[str, Any]:
    """Describe what the next call with enough work would do. Starts no thread.

    Returns
    -------
    dict
        ``layer`` (Numba's, or ``"not started"``), ``threads`` (how many would be used),
        ``limits`` (``numba``, ``quota``, ``user``, ``env``; None where there is none),
        ``parallel`` (bool), ``reason`` (why not, else None) and ``forked`` (whether this process
        was forked from one that had started a pool).

    Examples
    --------
    >>> info = threading_info()
    >>> info["threads"] >= 1
    True
    """
    process = _this_process()
    plan = process.plan(start_pool=False)
    return {
        "layer": _layer(),
        "threads": plan.threads,
        "limits": {"numba": plan.mask, "user": _user_limit, **process.own_limits},
        "parallel": plan.threads > 1,
        "reason": plan.reason,
        "forked": process.forked,
    }


class _Process:
    """What is known about this process; a forked child makes its own."""

    def __init__(self, child: bool, forked: bool):
        self.pid = os.getpid()
        self.child = child  # of a process that had imported fastnn
        self.forked = forked  # of one, however far up, that had started Numba's pool
        self.lock = threading.Lock()  # new in a child: the old one may be held by a lost thread
        self.pool_error: str | None = None

    @functools.cached_property
    def own_limits(self) -> dict[str, int | None]:
        """Limits that hold for the life of the process, read once."""
        return {"quota": cgroup_quota(), "env": _limit_of_environment()}

    @functools.cached_property
    def numba_limit(self) -> int:
        """Numba's, read once: scratch is made for so many chunks, and a host may change it."""
        return _numba_limit()

    @functools.cached_property
    def own_limit(self) -> float:
        """Least of `own_limits`."""
        return min((n for n in self.own_limits.values() if n is not None), default=math.inf)

    def plan(self, start_pool: bool) -> _Plan:
        """Decide how a call with enough work would run now. Costs every such call 4 us."""
        if self.forked:  # ask Numba nothing: its locks may be held by threads lost in the fork
            return _Plan(
                1, _numba_limit(), "forked from a process that had started Numba's threads"
            )
        mask = numba.get_num_threads() if _pool_started() else _numba_limit()
        threads = int(min(mask, self.numba_limit, self.own_limit, _user_limit or mask))
        if threads == 1:
            return _Plan(1, mask, "limited to 1 thread")
        refusal = self._why_no_pool(start_pool)
        return _Plan(threads, mask) if refusal is None else _Plan(1, mask, refusal)

    def _why_no_pool(self, start: bool) -> str | None:
        """Start Numba's pool if asked to; say why there is none that may be used."""
        if not _pool_started() and self.pool_error is None:
            self.pool_error = self._launch(start)
        if not _pool_started():
            return self.pool_error
        layer = _layer()
        return None if layer in SAFE_LAYERS else f"the {layer} layer is not safe with threads"

    def _launch(self, start: bool) -> str | None:
        if self.child and _openmp_loaded():
            return "forked from a process that had loaded OpenMP"
        try:
            if start:
                numba.get_num_threads()
        except Exception as error:  # e.g. NUMBA_THREADING_LAYER=tbb where there is no tbb
            return f"Numba has no threading layer: {error}"
        return None


def _openmp_loaded() -> bool:
    """Whether an OpenMP library that Numba may share is in this process (known on Linux only).

    If another user of it, say PyTorch, had started its threads before the fork, then the first
    region in the child waits for them for ever (test_fork_after_foreign_openmp). A copy under
    a name of its own, as scikit-learn brings one, is not shared.
    """
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"/lib(gomp|iomp5|omp)\.so", maps) is not None


def _numba_limit() -> int:
    return getattr(numba.config, "NUMBA_NUM_THREADS", 1)


def _pool_started() -> bool:
    # Without the private name, suppose that there is one: a forked child is then serial.
    return getattr(numba_pool, "_is_initialized", True)


def _layer() -> str:
    try:
        return numba.threading_layer()
    except ValueError:
        return "not started"


def _limit_of_environment() -> int | None:
    """Read FASTNN_NUM_THREADS; warn about a value that is not a thread count."""
    text = os.environ.get("FASTNN_NUM_THREADS", "").strip()
    if not text:
        return None
    if text.isdecimal() and len(text) < 10 and int(text) >= 1:
        return int(text)
    with contextlib.suppress(ValueError):  # standard error is closed
        warnings.warn(
            f"FASTNN_NUM_THREADS must be an integer of at least 1, not {text!r}: ignored",
            RuntimeWarning,
            stacklevel=2,
        )
    return None


def cgroup_quota(root: str = "/") -> int | None:
    """Return how many processors the container's quota pays for, or None without one.

    Parameters
    ----------
    root : str, default "/"
        Where ``proc`` and ``sys`` lie; tests point it to a tree of their own.

    Returns
    -------
    int or None
        The quota rounded down, at least 1: a thread too many is put to sleep with the lock of
        the others in hand, and costs more than it gives.
    """
    quotas = []
    for folder, read_quota in _cgroup_folders(Path(root)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            quotas.append(read_quota(folder))
    counts = [max(1, int(quota)) for quota in quotas if quota is not None]
    return min(counts, default=None)


def _cgroup_folders(root: Path) -> Iterator[tuple[Path, Any]]:
    """Yield every folder whose quota may bind this process, with the function that reads it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if not controllers:
            tops, read_quota = [mounts, mounts / "unified"], _quota_v2
        elif "cpu" in controllers.split(","):
            tops, read_quota = [mounts / controllers, mounts / "cpu"], _quota_v1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for top in tops:
            for depth in range(len(parts) + 1):
                yield top.joinpath(*parts[:depth]), read_quota


def _quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / max(1, int(period))


def _quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    period = int((folder / "cpu.cfs_period_us").read_text())
    return None if quota <= 0 else quota / max(1, period)


def _this_process() -> _Process:
    if os.getpid() != _process.pid:  # forked by C code, which calls no hook of Python's
        _after_fork()
    return _process


def _after_fork() -> None:
    global _process
    # A call that was parallel at the fork may have been about to start the pool.
    forked = _process.forked or _pool_started() or _process.lock.locked()
    _process = _Process(child=True, forked=forked)


def _register_fork_hooks() -> None:
    """Make forks safe for this module, and for Numba's compiler.

    A child forked while another thread compiles, or loads compiled code, would wait at its own
    first compilation for a lock that no one holds any more. So a fork waits for that thread, as
    it does for the logging module's lock (test_threads_forks_and_handlers hung without).
    """
    if not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(after_in_child=_after_fork)
    with contextlib.suppress(ImportError, AttributeError):
        from numba.core.compiler_lock import global_compiler_lock as lock

        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


_user_limit: int | None = None
_is_child = os.getpid() != IMPORTED_IN
_process = _Process(child=_is_child, forked=_is_child and _pool_started())
_register_fork_hooks()
