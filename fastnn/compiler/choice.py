"""A choice among compiled functions by a number: a table, in place of a chain of ifs."""

from collections.abc import Mapping
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def one_of(functions: Mapping[int, Any]) -> Any:
    """Compiled ``f(code, args)``, which calls ``functions[code](*args)``.

    All must return the same type.  For a code that is not in the table the first is called, so
    that there is no test; nobody makes such a code but by mistake.
    """
    codes = list(functions)

    @intrinsic
    def chosen(typingctx, code, args):
        kinds = [_kind(typingctx, functions[number], args.types) for number in codes]
        returned = {signature.return_type for _, signature in kinds}
        if len(returned) != 1:
            raise TypeError(f"the functions of a choice return {sorted(map(str, returned))}")
        (result,) = returned

        def emit(target, builder, sig, values):
            arguments = cgutils.unpack_tuple(builder, values[1], len(args))
            blocks = [builder.append_basic_block(f"choice.{number}") for number in codes]
            after = builder.append_basic_block("chosen")
            switch = builder.switch(values[0], blocks[0])
            for number, block in zip(codes[1:], blocks[1:], strict=True):
                switch.add_case(values[0].type(number), block)
            ends = []
            for kind, block in zip(kinds, blocks, strict=True):
                builder.position_at_end(block)
                ends.append((_call(target, builder, *kind, arguments), builder.block))
                builder.branch(after)
            builder.position_at_end(after)
            if result is types.none:
                return target.get_dummy_value()
            phi = builder.phi(ends[0][0].type)
            for value, block in ends:
                phi.add_incoming(value, block)
            return phi

        return result(types.int64, args), emit

    return chosen


def _kind(typingctx: Any, function: Any, arguments: Any) -> tuple[Any, Any]:
    """Numba's type of a compiled function, and its signature for such arguments."""
    kind = typingctx.resolve_value_type(function)
    return kind, kind.get_call_type(typingctx, tuple(arguments), {})


def _call(target: Any, builder: Any, function: Any, signature: Any, arguments: Any) -> Any:
    callee = target.get_function(function, signature)
    target.add_linking_libs(getattr(callee, "libs", ()))
    return callee(builder, arguments)
