"""Serial or parallel, and with how many threads.

Numba's thread pools can hurt their host: a pool used in a forked child kills the child, hangs it
or, where a handler for SIGTERM is installed, leaves results unwritten; the workqueue pool aborts
the process when two threads use it. `run` is the one place where fastnn starts a parallel kernel,
and it does so only where that is safe and worth it. Every other call runs the serial build, which
gives the same bits.
"""

from __future__ import annotations

import contextlib
import operator
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
from numba.np.ufunc import parallel as numba_pool

from fastnn.jit import Entry

__all__ = ["run", "set_num_threads", "threading_info"]

# Multiply-adds per region below which a second core does not pay: at 20 to 50 GFLOP/s a core they
# are 10 to 25 us, and to fork and join costs 1.6 us with omp when the pool is warm, 25 when not.
PARALLEL_WORK = 250_000

# Pools that a kernel may use. workqueue is missing on purpose: two threads in it abort the
# process, the other one may belong to anybody, and its 25 to 165 us a region gain nothing here.
SAFE_LAYERS = ("omp", "tbb")


def run(entry: Entry, work: float, *args: Any) -> Any:
    """Call an entry's parallel build if that is safe and worth it, else its serial one.

    Parameters
    ----------
    entry : Entry
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
    if work < PARALLEL_WORK or entry.parallel is entry.serial:
        return entry.serial(1, *args)
    process = _this_process()
    if not process.lock.acquire(blocking=False):
        return entry.serial(1, *args)  # another call is parallel already
    try:
        threads, _ = process.plan(start_pool=True)
        if threads == 1:
            return entry.serial(1, *args)
        with _masked(threads):
            return entry.parallel(threads, *args)
    finally:
        process.lock.release()


@contextlib.contextmanager
def _masked(threads: int) -> Iterator[None]:
    """Let Numba use so many threads, in this thread of Python and for this long."""
    before = numba.get_num_threads()
    if before == threads:
        yield
        return
    numba.set_num_threads(threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


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
    threads, reason = process.plan(start_pool=False)
    return {
        "layer": numba.threading_layer() if _pool_started() else "not started",
        "threads": threads,
        "limits": process.limits(),
        "parallel": threads > 1,
        "reason": reason,
        "forked": process.forked,
    }


class _Process:
    """What is known about this process; a forked child makes its own."""

    def __init__(self, forked: bool):
        self.pid = os.getpid()
        self.forked = forked
        self.lock = threading.Lock()  # new in a child: the old one may be held by a lost thread
        self.pool_error: str | None = None
        self._fixed_limits: dict[str, int | None] | None = None

    def limits(self) -> dict[str, int | None]:
        """Return the upper bounds of the thread count, by where they come from."""
        if self._fixed_limits is None:
            self._fixed_limits = {"quota": cgroup_quota(), "env": _limit_of_environment()}
        mask = (
            numba.get_num_threads()
            if _pool_started()
            else getattr(numba.config, "NUMBA_NUM_THREADS", 1)
        )
        return {"numba": mask, "user": _user_limit, **self._fixed_limits}

    def plan(self, start_pool: bool) -> tuple[int, str | None]:
        """Return the thread count for a parallel call, and if it is 1, why."""
        if self.forked:
            return 1, "forked from a process that had started Numba's threads"
        threads, reason = self._allowed()
        if threads == 1:
            return 1, reason
        if start_pool and not _pool_started():
            self._start_pool()
        if self.pool_error is not None:
            return 1, self.pool_error
        if _pool_started() and numba.threading_layer() not in SAFE_LAYERS:
            return 1, f"the {numba.threading_layer()} layer is not safe with threads"
        return self._allowed()

    def _allowed(self) -> tuple[int, str | None]:
        counts = {name: n for name, n in self.limits().items() if n is not None}
        name, threads = min(counts.items(), key=lambda item: item[1])
        return threads, f"limited to 1 thread ({name})" if threads == 1 else None

    def _start_pool(self) -> None:
        if self.pool_error is not None:
            return
        try:
            numba.get_num_threads()
        except Exception as error:  # e.g. NUMBA_THREADING_LAYER=tbb where there is no tbb
            self.pool_error = f"Numba has no threading layer: {error}"


def _pool_started() -> bool:
    # Without the private name, suppose that there is one: a forked child is then serial.
    return getattr(numba_pool, "_is_initialized", True)


def _limit_of_environment() -> int | None:
    """Read FASTNN_NUM_THREADS; warn about a value that is not a thread count."""
    text = os.environ.get("FASTNN_NUM_THREADS", "").strip()
    if not text:
        return None
    if text.isdecimal() and int(text) >= 1:
        return int(text)
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
    _process = _Process(forked=_process.forked or _pool_started())


_user_limit: int | None = None
_process = _Process(forked=False)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
