"""Machine code of entries: made for a level of processors, where Numba makes it for the host."""

from __future__ import annotations

import copy
from typing import Any

from llvmlite import binding as llvm
from numba.core import codegen, compiler, config

from fastnn.compiler import blocks, processor

_settings: Any = config  # whose names are made when it is imported


class _LoopLibrary(codegen.JITCodeLibrary):
    """Code of the parallel loop.

    Numba's engine, which all compiled functions of the process share, makes code for the host.
    So the code is made here, and the engine takes it as it takes kept code.
    """

    def _optimize_final_module(self) -> None:
        numbas = self._codegen
        self._codegen = copy.copy(numbas)
        self._codegen._tm = self._machine = processor.target_machine(numbas)
        try:
            self._optimize_for_machine()
        finally:
            self._codegen = numbas

    def _optimize_for_machine(self) -> None:
        super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        made = self._machine.emit_object(self._final_module)
        self._set_compiled_object(made)
        self._disable_inspection = False  # unlike with kept code, the module is at hand
        super()._finalize_final_module()
        self._compiled_object = made  # which the engine took


class _EntryLibrary(_LoopLibrary):
    """Code of an entry with all that is linked into it: optimised once, as one piece.

    Numba does that twice and each function before: it looks for counts of owners between, of which
    there are none here, and lines up code for a vectoriser that finds nothing in tiles.
    Inner loops are as wide as the registers, so loops are not unrolled: without that an entry is
    smaller, a tenth faster to compile, and no slower.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_for_machine(self) -> None:
        # Nobody else calls the blocks linked in, so LLVM may drop what arguments nobody reads: a
        # group is up to 100 words, and a product of a small layer spent 400 cycles on passing them.
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.linkonce_odr:
                function.linkage = llvm.Linkage.internal
        options = llvm.create_pipeline_tuning_options(min(int(_settings.OPT), 2))
        options.loop_vectorization = bool(_settings.LOOP_VECTORIZE)
        options.loop_unrolling = False
        builder = llvm.create_pass_builder(self._machine, options)
        builder.getModulePassManager().run(self._final_module, builder)


class _PartLibrary(_EntryLibrary):
    """Code of a part: optimised as that of an entry, and called by its address alone."""

    @property
    def codegen(self) -> Any:
        return blocks.NoEnvironment(self._codegen)


class EntryCompiler(blocks.BlockCompiler):
    """The passes of blocks, with a library of our kind."""

    library = _EntryLibrary


class PartCompiler(blocks.BlockCompiler):
    """The passes of blocks, with a library of our kind."""

    library = _PartLibrary


class LoopCompiler(compiler.Compiler):
    """Numba's pipeline, which knows parallel loops, with a library of our kind."""

    def define_pipelines(self) -> list:
        """As in Numba; the library is made before lowering would make one."""
        name = self.state.func_id.func_qualname
        self.state.library = _LoopLibrary(self.state.targetctx.codegen(), name)
        self.state.library.enable_object_caching()
        return super().define_pipelines()


OPTIONS = blocks.OPTIONS | {"pipeline_class": EntryCompiler, "no_cpython_wrapper": False}
PART_OPTIONS = blocks.OPTIONS | {"pipeline_class": PartCompiler}
LOOP_OPTIONS = {"pipeline_class": LoopCompiler}
