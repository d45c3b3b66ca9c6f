"""Matrix products, and the optimisers' rules on blocks of gradients."""

import numpy as np
from kernel_entries import Memory, PartEntry, entry_of, lanes_of, nothing, table_for

from fastnn.compiler.tiles import TILE_VECTORS
from fastnn.kernels import products, rules
from fastnn.kernels.groups import Place, Rule
from fastnn.kernels.rules import RULE_CODES, RULES, Numbers

# Products -----------------------------------------------------------------------------

_multiply = PartEntry(products.MULTIPLY)
_multiply_transposed = entry_of(products.multiply_transposed)
_multiply_transposed_few = entry_of(products.multiply_transposed_few)
_multiply_few = entry_of(products.multiply_few)
_add_block = entry_of(products.add_block)
_column_sums = entry_of(products.column_sums)


def multiply(A, B, S, by_columns=False, in_place=False, **layout):
    """`B` and `S` have whole vectors; `S` may be one row for all; ``by_columns`` is how A lies."""
    left, right = Memory(A.T if by_columns else A, **layout), Memory(B, **layout)
    start = Memory(np.atleast_2d(S), **layout)
    total = start if in_place else Memory(nothing(len(A), B.shape[1], A.dtype), **layout)
    _multiply(
        *(0, len(A), B.shape[1], len(B)),
        *(left.transposed if by_columns else left.matrix, right.matrix),
        *(start.same_rows if S.ndim == 1 else start.matrix, total.matrix),
    )
    return total.read()


def multiply_transposed(A, W, S, in_place=False, **layout):
    """`S` has whole vectors; it may be one row of zeros for all."""
    (M, K), (N, _) = A.shape, W.shape
    start = Memory(np.atleast_2d(S), **layout)
    total = start if in_place else Memory(nothing(M, S.shape[-1], A.dtype), **layout)
    lanes = lanes_of(A.dtype)
    panel = np.full((K + -K % lanes) * TILE_VECTORS * lanes, np.nan, A.dtype)
    table = table_for(A.dtype)
    table.have(products.MULTIPLY)
    _multiply_transposed(
        *(table.address, M, N, K, Memory(A, **layout).matrix, Memory(W, **layout).matrix),
        *(start.same_rows if S.ndim == 1 else start.matrix, total.matrix, Place(panel, 0)),
    )
    return total.read()


def multiply_transposed_few(A, W, **layout):
    """With the columns up to a whole vector."""
    (M, K), (N, _) = A.shape, W.shape
    total = Memory(nothing(M, N + -N % lanes_of(A.dtype), A.dtype), **layout)
    _multiply_transposed_few(
        M, N, K, Memory(A, **layout).matrix, Memory(W, **layout).matrix, total.matrix
    )
    return total.read()


def multiply_few(A, B, column, **layout):
    """The products of one column of A, as a row, with B, which has whole vectors."""
    left, right = Memory(A, **layout).transposed, Memory(B, **layout).matrix
    total = Memory(nothing(1, B.shape[1], B.dtype), **layout)
    left = left._replace(at=left.at + column)
    _multiply_few(B.shape[1], len(B), left, right, total.start)
    return total.read()[0]


def add_block(more, out, margin=0, gap=0):
    """The sum of two blocks, which have whole vectors."""
    total = Memory(out, margin, gap)
    _add_block(*out.shape, Memory(more, margin + 1, 2 * gap).matrix, total.matrix)
    return total.read()


def column_sums(A, **layout):
    """`A` has whole vectors."""
    sums = Memory(nothing(1, A.shape[1], A.dtype), **layout)
    _column_sums(*A.shape, Memory(A, **layout).matrix, sums.start)
    return sums.read()[0]


# Rules --------------------------------------------------------------------------------

_update_block = PartEntry(rules.UPDATE_BLOCK)
NUMBERS = {"velocity_kept": 0.875, "mean_new": 0.125, "squares_new": 0.25, "epsilon": 1e-3}


def rule_of(name, memory, rate=0, decay=0, numbers=None):
    """A rule by name; numbers that are not given are NaN."""
    dtype = memory.dtype
    given = Numbers(**dict.fromkeys(Numbers._fields, np.nan) | (numbers or {}))
    rate, decay = dtype.type(rate), dtype.type(decay)
    return Rule(RULE_CODES[name], np.array(given, dtype), memory, rate, decay)


def memory_of(name, params):
    """What a rule remembers before the first update: zeros, for each array like the parameters."""
    count = RULES[name].memories
    return np.zeros((count, *params.shape) if count > 1 else params.shape, params.dtype)


def update_block(rule, learning_rate, G, params, memory, margin=0, gap=0, decay=0, numbers=None):
    """The parameters and the memory after the update; all have whole vectors.

    A memory of shape (2, ...) is two arrays like the parameters.
    """
    gradients, p = Memory(G, margin, 2 * gap), Memory(params, margin, gap)
    parts = [Memory(part, margin, gap) for part in (memory if memory.ndim == 3 else [memory])]
    flat = np.concatenate([part.flat for part in parts])
    how = rule_of(rule, flat, learning_rate, decay, numbers)
    _update_block(how.code, how, *G.shape, gradients.matrix, p.matrix)
    for part, found in zip(parts, np.split(flat, len(parts)), strict=True):
        part.flat[:] = found
    found = np.array([part.read() for part in parts])
    return p.read(), found if memory.ndim == 3 else found[0]
