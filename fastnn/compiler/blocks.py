"""Building blocks that are compiled once, inside the entry that calls them.

Numba optimises a function and makes machine code of it when it is compiled,
and again inside every caller, callers of callers and so on: the entries of
fastnn, seven levels deep, took 54 s.  A block of ours is only translated to
LLVM's language; the entry that it ends in is optimised once, with everything
in it.  The same entry then takes 10 s.  Nor does a block take in what it calls:
each would carry, and copy on, all the blocks below it.  The entry takes in each once.

A block cannot be called from Python: that raises a TypeError.
"""

import ctypes
import functools
from typing import Any

from llvmlite.binding import Linkage
from numba.core import codegen, compiler, typed_passes, untyped_passes
from numba.core.compiler_machinery import PassManager

from fastnn.compiler.lowering import Lowering, block_call

# Python calls a compiled function as f(closure, args, kwargs).  Numba's closures cannot be
# called, so this C function, in the place of f, always raises a TypeError.
_NOT_CALLABLE = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p).value or 0


class NoEnvironment:
    """A code generator that sets no Python environment: a block has no machine code to use one."""

    def __init__(self, codegen: Any):
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing."""


class _Library(codegen.JITCodeLibrary):
    """Code of a block: linked into entries, never optimised or loaded by itself."""

    @property
    def codegen(self) -> Any:
        return NoEnvironment(self._codegen)

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Be ready to be linked, without what the block calls."""
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """The block with all that it calls, and that these call: what an entry links in."""
        if self._shared_module is None:
            self._shared_module = self._shareable()
            for library in self._called():
                is_ours = isinstance(library, _Library)
                code = library._shareable() if is_ours else library._get_module_for_linking()
                self._shared_module.link_in(code, preserve=not is_ours)
        return self._shared_module

    def _shareable(self) -> Any:
        """A copy of the block's own code, which several may define alike."""
        module = self._final_module.clone()
        for function in module.functions:
            if not function.is_declaration and function.linkage == Linkage.external:
                function.linkage = Linkage.linkonce_odr
        return module

    def _called(self) -> list[Any]:
        """Libraries of all that is called from here, once each."""
        found: dict[Any, None] = {}
        waiting = list(self._linking_libraries)
        while waiting:
            library = waiting.pop()
            if library not in found:
                found[library] = None
                if isinstance(library, _Library):
                    waiting += library._linking_libraries
        return list(found)

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return _NOT_CALLABLE


class _SeparateLibrary(_Library):
    """Code of a block that stays a function of its own, so that its loops have all registers."""

    def _shareable(self) -> Any:
        module = super()._shareable()
        for function in module.functions:
            if not function.is_declaration:
                function.add_function_attribute("noinline")
        return module


# Numba has 27. The others are for what blocks do not do: closures, `with`, expressions of arrays,
# exceptions with values, literal loops.
PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.GenericRewrites,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    Lowering,
    typed_passes.NoPythonBackend,
)


def _insert_block(target: Any, function: Any, descriptor: Any, libraries: Any = ()) -> None:
    target._defns[function].append(block_call(descriptor, libraries), descriptor.argtypes)


class BlockCompiler(compiler.Compiler):
    """Numba's pipeline, with a library of our kind."""

    library: Any = _Library

    def define_pipelines(self) -> list:
        """Those of Numba's passes that a block needs; its library is made before they run."""
        name = self.state.func_id.func_qualname
        self.state.library = self.library(self.state.targetctx.codegen(), name)
        self.state.library.enable_object_caching()
        target = self.state.targetctx
        target.insert_user_function = functools.partial(_insert_block, target)
        passes = PassManager("block")
        for each in PASSES:
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


class SeparateBlockCompiler(BlockCompiler):
    """The same for blocks that are never inlined."""

    library = _SeparateLibrary


OPTIONS = {
    "pipeline_class": BlockCompiler,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    # Neither blocks nor entries make or keep arrays. Counting who holds one costs two calls for
    # every array of every call: half of a per-sample step of 1-3-1.
    "_nrt": False,
}
SEPARATE_OPTIONS = OPTIONS | {"pipeline_class": SeparateBlockCompiler}
