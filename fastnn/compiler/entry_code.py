"""Machine code of entries: made for a level of processors, where Numba makes it for the host."""

from __future__ import annotations

import copy

from numba.core import codegen

from fastnn.compiler import processor
from fastnn.compiler.blocks import BlockCompiler


class _EntryLibrary(codegen.JITCodeLibrary):
    """Code of an entry and of the blocks in it.

    Numba's engine, which all compiled functions of the process share, makes code for the host.
    So the code is made here, and the engine takes it as it takes kept code.
    """

    def _optimize_final_module(self) -> None:
        numbas = self._codegen
        self._codegen = copy.copy(numbas)
        self._codegen._tm = self._machine = processor.target_machine(numbas)
        try:
            super()._optimize_final_module()
        finally:
            self._codegen = numbas

    def _finalize_final_module(self) -> None:
        made = self._machine.emit_object(self._final_module)
        self._set_compiled_object(made)
        self._disable_inspection = False  # unlike with kept code, the module is at hand
        super()._finalize_final_module()
        self._compiled_object = made  # which the engine took


class EntryCompiler(BlockCompiler):
    """Numba's pipeline, with a library of our kind."""

    library = _EntryLibrary


OPTIONS = {"pipeline_class": EntryCompiler}
