"""What makes compiled code and runs it: the only home of JIT flags and of Numba's inside."""
