"""How a network is trained: data as kernels read them, parameters, steps, and the loop of fit."""
