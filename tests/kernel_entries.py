"""What the tests of the kernels share: entries of them, and matrices in flat memory.

Inner kernels can only be called by compiled code: `entry_of` makes an entry that does. The kernels
themselves, called from Python under their own names, are in the files named ..._entries.py, by
subject: functions that put matrices into flat memory, call an entry there and read the result.
The memory is NaN wherever no matrix lies.
"""

import types
from pathlib import Path

import numpy as np

from fastnn.compiler import cache, jit
from fastnn.compiler.parts import table_of
from fastnn.compiler.tile_products import Matrix
from fastnn.compiler.tiles import GROUP_BYTES, VECTOR_BYTES
from fastnn.kernels.groups import Place

# Compiled code of these files is kept like the library's, and made again when one of them changes.
FILES = sorted(Path(__file__).parent.glob("*_entries.py"))
CODE = cache.CodeStore(cache.Sources([*cache.STORE.sources.files, *FILES]))

DTYPES = (np.float32, np.float64)
COLUMNS = {np.dtype(np.float32): np.uint16, np.dtype(np.float64): np.int32}


def entry(function):
    return jit.Entry(function, parallel=False, store=CODE).serial


def entry_of(kernel):
    """An entry that calls an inner kernel with its own arguments; groups of them are NamedTuples.

    An entry costs seconds to compile, for each type of its arguments.
    """
    # A copy that finds the kernel among its globals: what has a closure is not kept on disk.
    function = kernel.py_func
    names = {"_kernel": kernel, "__name__": function.__module__}
    made = types.FunctionType(_call.__code__, names, function.__name__)
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    return entry(made)


def _call(*args):
    return _kernel(*args)  # noqa: F821


class PartEntry:
    """Functions of a `Choice`, called from Python: ``f(number, *arguments)``."""

    def __init__(self, choice):
        self.choice = choice
        names = {"_choice": choice, "__name__": __name__}
        made = types.FunctionType(_call_one.__code__, names, choice.name)
        made.__qualname__, made.__module__ = f"call_{choice.name}", __name__
        self._call = entry(made)

    def __call__(self, number, *arguments):
        table = table_for(precision_of_all(arguments))
        table.have(self.choice, number)
        self._call(table.address, number, arguments)


def _call_one(table, number, arguments):
    _choice(table, number, arguments)  # noqa: F821


def precision_of_all(arguments):
    """The type of the first float array among arguments and in their groups."""
    for each in arguments:
        if isinstance(each, np.ndarray) and each.dtype in DTYPES:
            return each.dtype
        if isinstance(each, tuple) and (found := precision_of_all(each)) is not None:
            return found
    return None


def table_for(dtype):
    """The table of parts; the library has both kinds of columns, for narrow and for wide inputs."""
    return table_of(dtype, COLUMNS[np.dtype(dtype)])


def lanes_of(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def group_of(dtype):
    """Elements that rows are padded to multiples of, and losses summed in."""
    return GROUP_BYTES // np.dtype(dtype).itemsize


def padded(matrix, padding=0, multiple=None):
    """The matrix with more columns of `padding`, up to whole groups or another multiple."""
    more = -matrix.shape[1] % (multiple or group_of(matrix.dtype))
    return np.pad(matrix, ((0, 0), (0, more)), constant_values=padding)


class Memory:
    """A matrix in flat memory, rows `gap` elements apart, with NaN before, between and behind."""

    def __init__(self, matrix, margin=0, gap=0):
        rows, columns = matrix.shape
        self.at, self.row = margin, columns + gap
        length = (rows - 1) * self.row + columns if rows else 0
        self.flat = np.full(margin + length + margin, np.nan, matrix.dtype)
        self._matrix = np.lib.stride_tricks.as_strided(
            self.flat[margin:], matrix.shape, (self.row * matrix.itemsize, matrix.itemsize)
        )
        self._matrix[...] = matrix

    @property
    def matrix(self):
        """As kernels take it."""
        return Matrix(self.flat, self.at, self.row, 1)

    @property
    def transposed(self):
        """Rows as columns."""
        return Matrix(self.flat, self.at, 1, self.row)

    @property
    def same_rows(self):
        """The first row, in place of every row."""
        return Matrix(self.flat, self.at, 0, 1)

    @property
    def start(self):
        """The first element, as kernels take a row."""
        return Place(self.flat, self.at)

    def read(self):
        """The matrix; nothing may have been written around it."""
        matrix = self._matrix.copy()
        self._matrix[...] = np.nan
        assert np.isnan(self.flat).all(), "a kernel wrote outside of its output"
        return matrix


def nothing(rows, columns, dtype):
    """A matrix of NaN, for a kernel to overwrite."""
    return np.full((rows, columns), np.nan, dtype)


def of_all_sizes(rng, count, dtype):
    """Numbers of many magnitudes, so that sums in another order have other bits."""
    return (rng.normal(size=count) * 2.0 ** rng.integers(-8, 9, count)).astype(dtype)


def sparse(rng, rows, inputs, dtype, density=0.2):
    x = rng.normal(size=(rows, inputs)).astype(dtype)
    x[rng.random(x.shape) >= density] = 0
    return x


def normal(rng, dtype, *shape):
    return rng.normal(size=shape).astype(dtype)
