"""Compiled code: everything here runs inside Numba, and nothing here checks its input.

Shapes     N rows, I inputs, O outputs of a layer; K the index that is summed over.
Addresses  an array and the offset of its first element; see `fastnn.compiler.lanes`.
Contract   inputs are read only, outputs are overwritten in full; nothing is
           allocated in a loop, nothing raises.  `fastnn.gate` has checked all.
Bits       an output of a matrix product is one chain of fused multiply-adds in
           ascending order of the summed index.  No tile, block, thread count or
           vector width can change a result.
"""
