"""Compiled code as bytes, and back: what the compile cache keeps of it."""

from __future__ import annotations

import builtins
import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple

import llvmlite.binding
import numba
from numba.core import compiler, serialize
from numba.core.runtime import _nrt_python, rtsys  # type: ignore[attr-defined]


class PartCode(NamedTuple):
    """Machine code that is called by the address of its function."""

    library: Any
    function: str


def part_to_bytes(part: PartCode) -> bytes:
    """Its machine code, which is all there is to keep of a part."""
    symbols, code = _outside(part.library), part.library._get_compiled_object()
    return pickle.dumps((symbols, part.library.name, part.function, code))


def part_from_bytes(payload: bytes, target_context: Any) -> PartCode:
    """What `part_to_bytes` was given."""
    symbols, name, function, code = pickle.loads(payload)
    _find(symbols, target_context)
    described = name, "object", (code, _named([function]))
    return PartCode(target_context.codegen().unserialize_library(described), function)


def _outside(library: Any) -> list[str]:
    """Names of the outside functions that machine code calls."""
    module = library._final_module
    values = (*module.functions, *module.global_variables)
    symbols = [value.name for value in values if value.is_declaration]
    return [name for name in symbols if not name.startswith("llvm.")]


def _named(functions: Iterable[str]) -> bytes:
    """A module with such functions, by which Numba finds them in machine code."""
    text = "".join(f'define void @"{name}"() {{ ret void }}\n' for name in functions)
    return llvmlite.binding.parse_assembly(text).as_bitcode()


def to_bytes(result: Any) -> bytes:
    """Pickle a compiled function with the names of the outside functions that it calls."""
    symbols = _outside(result.library)
    return serialize.dumps((symbols, result.reload_init, _without_unread(result)))


def _without_unread(result: Any) -> tuple[Any, ...]:
    """What Numba keeps of a compiled function, without what nobody reads: 40 ms of a first fit.

    Code that LLVM could inline elsewhere, two thirds of all; but only Python calls an entry.  And
    the names of Numba's modules that code is from, which would be imported: each function has an
    environment, and looks whether it is there, though few keep a constant in it.
    """
    (name, kind, (machine_code, _)), *others, environments = result._reduce()
    described = result.fndesc
    doors = (
        described.llvm_func_name, described.llvm_cpython_wrapper_name,
        described.llvm_cfunc_wrapper_name,
    )  # fmt: skip
    names = _named(doors)
    kept = tuple(each if each.consts else _of_no_module(each) for each in environments)
    return (name, kind, (machine_code, names)), *others, kept


def _of_no_module(environment: Any) -> Any:
    """One of the same name, without constants, as of a module that is always there."""
    other = type(environment)(vars(builtins))
    other.env_name = environment.env_name
    return other


def from_bytes(payload: bytes, target_context: Any) -> Any:
    """Make a compiled function of what `to_bytes` returned.

    Numba would first load all that it can compile, with scipy.linalg: 1.4 s, against 0.1 s for
    the function itself. Machine code needs of that only the addresses it calls. So that is done
    only where one is missing, which otherwise would end the process.
    """
    symbols, starters, reduced = pickle.loads(payload)
    for start in starters:  # the thread pool, whose functions a parallel build calls
        start()
    _find(symbols, target_context)
    return compiler.CompileResult._rebuild(target_context, *reduced)


def _find(symbols: list[str], target_context: Any) -> None:
    """Have LLVM know outside functions, or loading code that calls them would end the process."""
    _name_helpers(target_context)
    if not all(llvmlite.binding.address_of_symbol(name) for name in symbols):
        target_context.refresh()


def _name_helpers(target_context: Any) -> None:
    """Tell LLVM where the C functions of Numba's runtime are, which machine code calls.

    `rtsys.initialize` would compile the others, too, in 17 ms; they are in machine code already.
    """
    if numba.config.NRT_STATS:  # type: ignore[attr-defined]  # it also begins to count
        rtsys.initialize(target_context)
    for name, address in _nrt_python.c_helpers.items():
        symbol = name if name.startswith("_") else f"NRT_{name}"
        llvmlite.binding.add_symbol(symbol, address)
