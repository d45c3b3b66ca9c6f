"""Named groups: what travels through compiled code together is a NamedTuple.

Inside a kernel a group costs nothing.  From Python it does: to look through eight groups of four
arrays took Numba three times as long as through the 32.  So entries take what is in the groups one
by one, and `launch` puts them together.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def is_group(kind: Any) -> bool:
    """Whether an annotation is a NamedTuple."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def groups_of(kernel: Callable) -> list[Any]:
    """The group of each parameter of ``f(chunk, chunks, ...)`` after the first two, or None."""
    code, found = kernel.__code__, kernel.__annotations__
    if any(isinstance(kind, str) for kind in found.values()):
        raise TypeError(f"{kernel.__name__} must not be in a file whose annotations are strings")
    names = code.co_varnames[2 : code.co_argcount]
    return [found.get(name) if is_group(found.get(name)) else None for name in names]


def _parts(groups: list[Any], flat: Any) -> Iterator[tuple[Any, Any]]:
    """Each group with its own of the flat arguments; (None, argument) for those of no group."""
    sizes = [1 if group is None else len(group._fields) for group in groups]
    if sum(sizes) != len(flat):
        raise TypeError(f"{sum(sizes)} arguments are wanted, {len(flat)} were given")
    at = 0
    for group, size in zip(groups, sizes, strict=True):
        yield group, flat[at] if group is None else tuple(flat[at : at + size])
        at += size


def grouped_types(groups: list[Any], flat: Any) -> list[Any]:
    """Numba's types of a kernel's arguments, for those of its entry."""
    return [
        part if group is None else types.BaseTuple.from_types(part, group)
        for group, part in _parts(groups, flat)
    ]


def grouped_values(target: Any, builder: Any, groups: list[Any], flat: Any, values: Any) -> list:
    """The same of LLVM's values; `flat` are their types."""
    kinds = grouped_types(groups, flat)
    return [
        part if group is None else target.make_tuple(builder, kind, part)
        for kind, (group, part) in zip(kinds, _parts(groups, values), strict=True)
    ]


@intrinsic
def read_group(typingctx, group, table, row):
    """The group whose fields, in order, are the elements of a row of a contiguous table."""
    fields = len(group.instance_class._fields)
    found = types.BaseTuple.from_types([table.dtype] * fields, group.instance_class)

    def emit(target, builder, sig, args):
        array = target.make_array(sig.args[1])(target, builder, args[1])
        width = ir.Constant(args[2].type, fields)
        if sig.args[1].ndim == 2:
            width = builder.extract_value(array.shape, 1)
        at = builder.gep(array.data, [builder.mul(args[2], width)])
        values = [
            builder.load(builder.gep(at, [ir.Constant(args[2].type, i)])) for i in range(fields)
        ]
        return target.make_tuple(builder, found, values)

    return found(group, table, types.intp), emit
