"""Compiled code: everything here runs inside Numba, and nothing here checks its input.

Groups     what travels together has a name; see `groups`.
Addresses  an array and the offset of its first element: a `groups.Place`, or a `Matrix` with the
           distances of rows and columns; see `fastnn.compiler.tiles`.
Contract   inputs are read only, outputs are overwritten in full; nothing is
           allocated in a loop, nothing raises.  `fastnn.gate` has checked all.
Bits       an output of a matrix product is one chain of fused multiply-adds in
           ascending order of the summed index.  No tile, block, thread count or
           vector width can change a result.
"""
