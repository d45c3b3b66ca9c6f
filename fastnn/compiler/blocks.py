"""Building blocks that are compiled once, inside the entry that calls them.

Numba optimises a function and makes machine code of it when it is compiled,
and again inside every caller, callers of callers and so on: the entries of
fastnn, seven levels deep, took 54 s.  A block of ours is only translated to
LLVM's language; the entry that it ends in is optimised once, with everything
in it.  The same entry then takes 10 s.

A block cannot be called from Python: that raises a TypeError.
"""

import ctypes
from typing import Any

from numba.core import codegen, compiler

# Python calls a compiled function as f(closure, args, kwargs).  Numba's closures cannot be
# called, so this C function, in the place of f, always raises a TypeError.
_NOT_CALLABLE = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value or 0


class _NoEnvironment:
    """A code generator that sets no Python environment: a block has no machine code to use one."""

    def __init__(self, codegen: Any):
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        pass


class _Library(codegen.JITCodeLibrary):
    """Code of a block: linked into its callers, never optimised or loaded by itself."""

    @property
    def codegen(self) -> Any:
        return _NoEnvironment(self._codegen)

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return _NOT_CALLABLE


class BlockCompiler(compiler.Compiler):
    """Numba's pipeline, with a library of our kind."""

    def define_pipelines(self) -> list:
        """As in Numba; the library is made before lowering would make one."""
        name = self.state.func_id.func_qualname
        self.state.library = _Library(self.state.targetctx.codegen(), name)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


OPTIONS = {
    "pipeline_class": BlockCompiler,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    # Blocks neither make nor keep arrays. Counting who holds one costs two calls for every
    # array of every call: half of a per-sample step of 1-3-1.
    "_nrt": False,
}
