"""From Numba's typed functions to LLVM's language, in fewer words.

Numba keeps each variable that more than one basic block uses in memory, writes zeros there when it
is used for the last time, and reads what was there before it writes: a group of 40 numbers is read
whole for one of them.  LLVM takes that apart again, which was most of what it did.
"""

from collections.abc import Iterator
from typing import Any

from llvmlite.ir import Ret
from numba.core import cgutils, lowering
from numba.core.analysis import compute_cfg_from_blocks, compute_use_defs, must_use_alloca
from numba.core.compiler_machinery import register_pass
from numba.core.ir import Assign
from numba.core.typed_passes import BaseNativeLowering


class _Lower(lowering.Lower):
    """Numba's, for functions that own no memory; a variable that is set once is a value."""

    def init(self) -> None:
        super().init()
        if not self._disable_sroa_like_opt:
            self._singly_assigned_vars.update(_values(self.func_ir.blocks))

    def lower(self) -> None:
        super().lower()
        self.library.never_fails = all(
            getattr(block.terminator.operands[0], "constant", 1) == 0
            for block in self.function.blocks
            if isinstance(block.terminator, Ret)
        )

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        if self._disable_sroa_like_opt:
            super().storevar(value, name, argidx)
        elif name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def delvar(self, name: str) -> None:
        """Do nothing: there is nothing to free."""


def _values(blocks: dict[int, Any]) -> Iterator[str]:
    """Variables that are set at one place, before all places that read them on any way there."""
    dominators = compute_cfg_from_blocks(blocks).dominators()
    in_memory, used = must_use_alloca(blocks), compute_use_defs(blocks).usemap
    places: dict[str, list[int]] = {}
    for offset, block in blocks.items():
        for statement in block.find_insts(Assign):
            places.setdefault(statement.target.name, []).append(offset)
    readers: dict[str, list[int]] = {}
    for offset, names in used.items():  # what a block reads that it has not set itself
        for name in names:
            readers.setdefault(name, []).append(offset)
    for name, found in places.items():
        place, behind = found[0], readers.get(name, ())
        # Blocks are translated by their offsets.
        before_all = all(place < reader and place in dominators[reader] for reader in behind)
        if len(found) == 1 and before_all and name not in in_memory:
            yield name


def block_call(descriptor: Any, libraries: list) -> Any:
    """What stands for a call of a block, in place of 20 lines of Numba's.

    An error of the block is an error of its caller at once; few blocks can fail.
    """
    (library,) = libraries

    def call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        convention, result = context.call_conv, signature.return_type
        function = context.declare_function(builder.module, descriptor)
        out = cgutils.alloca_once(builder, convention.get_return_type(result).pointee)
        packer = context.get_arg_packer(descriptor.argtypes)
        passed = packer.as_arguments(builder, arguments)
        code = builder.call(function, [out, builder.function.args[1], *passed])
        if not library.never_fails:
            failed = builder.icmp_signed("!=", code, code.type(0))
            with cgutils.if_unlikely(builder, failed):
                builder.ret(code)
        return context.get_returned_value(builder, result, builder.load(out))

    call.signature, call.libs = descriptor.argtypes, tuple(libraries)  # type: ignore[attr-defined]
    return call


@register_pass(mutates_CFG=True, analysis_only=False)
class Lowering(BaseNativeLowering):
    """The pass that does it."""

    _name: Any = "native_lowering"

    @property
    def lowering_class(self) -> Any:
        """Numba's is another one."""
        return _Lower
