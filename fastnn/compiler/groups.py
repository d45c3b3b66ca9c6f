"""Named groups: what travels through compiled code together is a NamedTuple.

Inside a kernel a group costs nothing.  From Python it does: to look through eight groups of four
arrays took Numba three times as long as through the 32.  So entries take what is in the groups one
by one, and `launch` puts them together.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, TypeAlias, get_type_hints

from llvmlite import ir
from numba import types
from numba.core.datamodel import models, registry
from numba.extending import intrinsic

from fastnn.compiler.tiles import array_field


class _Whole(models.DataModel):
    """Model of a group: it goes to functions as one argument.

    Numba passes what is in a tuple one by one, which for groups of arrays is a hundred arguments:
    half of all instructions took groups apart and put them together.
    """

    def get_argument_type(self) -> Any:
        return self.get_value_type()

    def as_argument(self, builder: Any, value: Any) -> Any:
        return value

    def from_argument(self, builder: Any, value: Any) -> Any:
        return value


class _WholeTuple(_Whole, models.TupleModel):
    pass


class _WholeUniTuple(_Whole, models.UniTupleModel):
    pass


def _register_model(kind: Any, ours: Any, numbas: Any) -> None:
    """Tell Numba our model, for NamedTuples of this package; those of others stay as they are."""
    package = __name__.split(".")[0]

    def model(manager: Any, tuple_type: Any) -> Any:
        home = tuple_type.instance_class.__module__.split(".")[0]
        return (ours if home == package else numbas)(manager, tuple_type)

    registry.default_manager.register(kind, model)


_register_model(types.NamedTuple, _WholeTuple, models.TupleModel)
_register_model(types.NamedUniTuple, _WholeUniTuple, models.UniTupleModel)


class Of(NamedTuple):
    """What an annotation says of a value: its kind of elements, and its dimensions; 0 for one."""

    element: str
    dimensions: int


# Annotations of what is in groups. Floats have the precision of the network, of which columns, the
# numbers of inputs that are not zero, have a narrow type or a wide one.
Float: TypeAlias = Annotated[Any, Of("float", 0)]
Floats: TypeAlias = Annotated[Any, Of("float", 1)]
FloatTable: TypeAlias = Annotated[Any, Of("float", 2)]
Ints: TypeAlias = Annotated[Any, Of("int", 1)]
IntTable: TypeAlias = Annotated[Any, Of("int", 2)]
Doubles: TypeAlias = Annotated[Any, Of("double", 1)]
DoubleTable: TypeAlias = Annotated[Any, Of("double", 2)]
Columns: TypeAlias = Annotated[Any, Of("column", 1)]
ByteTable: TypeAlias = Annotated[Any, Of("byte", 2)]
_ELEMENTS = {"int": types.int64, "double": types.float64, "byte": types.uint8}
_PLAIN = {int: types.int64, bool: types.boolean}


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
    return _group_read(group, table, row)


@intrinsic
def read_group_behind(typingctx, group, table, row, column):
    """The same, whose first field is in some column."""
    return _group_read(group, table, row, column)


def _group_read(group, table, *places):
    fields = len(group.instance_class._fields)
    found = types.BaseTuple.from_types([table.dtype] * fields, group.instance_class)

    def emit(target, builder, sig, args):
        data, shape = (
            array_field(target, builder, sig.args[1], args[1], name) for name in ("data", "shape")
        )
        width = ir.Constant(args[2].type, fields)
        if sig.args[1].ndim == 2:
            width = builder.extract_value(shape, 1)
        first = builder.mul(args[2], width)
        if len(args) > 3:
            first = builder.add(first, args[3])
        at = builder.gep(data, [first])
        values = [
            builder.load(builder.gep(at, [ir.Constant(args[2].type, i)])) for i in range(fields)
        ]
        return target.make_tuple(builder, found, values)

    return found(group, table, *[types.intp] * len(places)), emit


def annotations_of(function: Callable) -> dict[str, Any]:
    """The annotations of a function's parameters, or of a group's fields; each must have one."""
    return get_type_hints(function, include_extras=True)


def declared(annotation: Any, precision: dict[str, Any]) -> Any:
    """Numba's type of what is annotated so; `precision` has the types of floats and columns."""
    if is_group(annotation):
        fields = [declared(kind, precision) for kind in annotations_of(annotation).values()]
        return types.BaseTuple.from_types(fields, annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    element, dimensions = annotation.__metadata__[0]
    kind = (_ELEMENTS | precision)[element]
    return types.Array(kind, dimensions, "C") if dimensions else kind


def precision_of(annotation: Any, kind: Any) -> dict[str, Any]:
    """The types of floats and columns that a value has which is annotated so."""
    if is_group(annotation):
        found: dict[str, Any] = {}
        for each, part in zip(annotations_of(annotation).values(), kind.types, strict=True):
            found |= precision_of(each, part)
        return found
    if annotation in _PLAIN:
        return {}
    element, dimensions = annotation.__metadata__[0]
    return {} if element in _ELEMENTS else {element: kind.dtype if dimensions else kind}


def as_declared(target: Any, builder: Any, value: Any, kind: Any, wanted: Any) -> Any:
    """A value of some type as that which is declared; whole numbers may differ in width."""
    if isinstance(wanted, types.NamedTuple | types.NamedUniTuple):
        pairs = enumerate(zip(kind.types, wanted.types, strict=True))
        fields = [
            as_declared(target, builder, builder.extract_value(value, i), *pair)
            for i, pair in pairs
        ]
        return target.make_tuple(builder, wanted, fields)
    if isinstance(wanted, types.Array):
        if (kind.dtype, kind.ndim, kind.layout) != (wanted.dtype, wanted.ndim, wanted.layout):
            raise TypeError(f"{wanted} is declared, {kind} was given")
        return value
    return target.cast(builder, value, kind, wanted)
