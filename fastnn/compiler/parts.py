"""Parts of kernels that are compiled apart, when they are first needed, and called by address.

A network has one loss, a rule and two or three activations.  What an entry calls through a `Choice`
is compiled for these only, once for all entries, and kept on disk as they are.  The addresses lie
in a `Table`, whose own address goes with the arguments of the entry: who calls it has first asked
the table for what it will need.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.compiler import compiling, jit
from fastnn.compiler.cache import STORE, CodeStore, PartCache
from fastnn.compiler.entry_code import PART_OPTIONS
from fastnn.compiler.groups import annotations_of, as_declared, declared, precision_of
from fastnn.compiler.kept_code import PartCode

# Choices, and functions of each, that a table has room for.
CHOICES, FUNCTIONS = 64, 64
_WORD = ir.IntType(64)


class Choice:
    """Functions of the same parameters; compiled code calls one: ``choice(table, number, args)``.

    There, `table` is the address of a `Table`, and `args` is a tuple.

    Parameters
    ----------
    place : IntEnum
        Its name, and its place in the tables.  That is a constant in kept code, so it must not
        depend on the order in which modules are imported.
    functions : mapping of int to Block
        Blocks whose parameters are all annotated, see `groups`; they return nothing, and raise
        nothing: nobody would see it.
    """

    def __init__(
        self, place: IntEnum, functions: Mapping[int, jit.Block], store: CodeStore = STORE
    ):
        self._store = store
        self.name, self.place, self.functions = place.name.lower(), int(place), dict(functions)
        first = next(iter(self.functions.values())).py_func
        self.parameters = list(annotations_of(first).values())
        if len(self.parameters) != len(inspect.signature(first).parameters):
            raise TypeError(f"all parameters of {first.__qualname__} must be annotated")
        self._call = _calling(self)
        self._parts: dict[Any, Part] = {}

    @property
    def _numba_type_(self) -> Any:  # by which Numba knows what it stands for
        return jit.target().typing_context.resolve_value_type(self._call)

    def address(self, number: int, precision: dict[str, Any]) -> int:
        """Where the machine code of a function is, which is compiled now if it never was."""
        signature = tuple(declared(each, precision) for each in self.parameters)
        with compiling.lock:  # another thread may need it, too
            part = self._parts.get((number, signature))
            if part is None:
                name = f"{self.name}.{number}"
                part = Part(name, self.functions[number], signature, self._store)
                self._parts[number, signature] = part
        return part.address


class Part:
    """A block for arguments of given types, compiled or loaded; for who holds `compiling.lock`.

    Attributes
    ----------
    address : int
        Where its machine code is, as long as the process lives.
    """

    def __init__(self, name: str, block: jit.Block, signature: tuple, store: CodeStore):
        compiling.refuse_if_impossible()
        cache = PartCache(name, store, STORE.flags)
        cache.enabled = store.has_source_of(block.py_func)
        # Its library must live, too.
        self._code = cache.load_overload(signature, jit.target().target_context)
        if self._code is None:
            self._code = _compiled(name, block, signature)
            cache.save_overload(signature, self._code)
        self.address = self._code.library.get_pointer_to_function(self._code.function)


def _compiled(name: str, block: jit.Block, signature: tuple) -> PartCode:
    options: dict[str, Any] = jit.FLAGS | PART_OPTIONS
    dispatcher: Any = numba.njit(block.py_func, **options)
    compiling.prepare(dispatcher, name)
    dispatcher.compile(signature)
    made = dispatcher.overloads[signature]
    if made.signature.return_type != types.none:
        raise TypeError(f"{name} must return nothing, it returns {made.signature.return_type}")
    return PartCode(made.library, made.fndesc.llvm_func_name)


class Table:
    """Addresses of functions of all choices, for floats and columns of some types.

    `missing` stands for those that are not at hand.
    """

    def __init__(self, floats: np.dtype, columns: np.dtype, missing: int = 0):
        kinds = map(numba.from_dtype, map(np.dtype, (floats, columns)))
        self._precision = dict(zip(("float", "column"), kinds, strict=True))
        self._addresses = np.full((CHOICES, FUNCTIONS), missing, np.int64)
        self._missing = missing
        self.address = self._addresses.ctypes.data

    def have(self, choice: Choice, number: int = 0) -> None:
        """Have the code of a function, so that compiled code may call it."""
        if self._addresses[choice.place, number] == self._missing:
            self._addresses[choice.place, number] = choice.address(number, self._precision)


_tables: dict[tuple[np.dtype, np.dtype], Table] = {}


def table_of(floats: np.dtype, columns: np.dtype) -> Table:
    """The table of all networks of such types."""
    kinds = np.dtype(floats), np.dtype(columns)
    return _tables.get(kinds) or _tables.setdefault(kinds, Table(*kinds))


def _calling(choice: Choice) -> Any:
    """What a choice is to compiled code."""

    @intrinsic
    def call(typingctx, table, number, args):
        precision: dict[str, Any] = {}
        for annotation, kind in zip(choice.parameters, args.types, strict=True):
            precision |= precision_of(annotation, kind)
        wanted = [declared(annotation, precision) for annotation in choice.parameters]

        def emit(target, builder, sig, values):
            convention = target.call_conv
            kind = convention.get_function_type(types.none, wanted)
            first = ir.Constant(_WORD, choice.place * FUNCTIONS)
            at = builder.inttoptr(values[0], _WORD.as_pointer())
            address = builder.load(builder.gep(at, [builder.add(first, values[1])]))
            given = cgutils.unpack_tuple(builder, values[2], len(wanted))
            arguments = [
                as_declared(target, builder, value, *kinds)
                for value, *kinds in zip(given, args.types, wanted, strict=True)
            ]
            packed = target.get_arg_packer(wanted).as_arguments(builder, arguments)
            out = cgutils.alloca_once(builder, convention.get_return_type(types.none).pointee)
            code = builder.inttoptr(address, kind.as_pointer())
            builder.call(code, [out, builder.function.args[1], *packed])
            return target.get_dummy_value()

        return types.void(types.int64, types.int64, args), emit

    return call
