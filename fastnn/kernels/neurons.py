"""Layers of a few neurons, on arrays of anyone's: kernels of `fastnn.neurons`.

A call does so little that its price is what Python and Numba need to make it, about 50 ns for each
array.  So these take few arguments, run in the floating-point state of their caller, as NumPy does,
and return False, with nothing written, where the arrays do not fit together.
"""

from fastnn.compiler.arithmetic import fma, lane_max
from fastnn.compiler.jit import entry, inner
from fastnn.compiler.tiles import flat, lanes_of, load, put, splat, store
from fastnn.kernels import elementary


@inner
def _affine(x, weights, biases, out):
    """``x @ weights + biases``; each output is one chain of fused multiply-adds."""
    (count, inputs), outputs = x.shape, biases.size
    if weights.shape != (inputs, outputs) or out.shape != (count, outputs):
        return False
    for n in range(count):
        for o in range(outputs):
            total = 0.0
            for i in range(inputs):
                total = fma(x[n, i], weights[i, o], total)
            out[n, o] = total + biases[o]
    return True


@entry(parallel=False)
def identity_forward(x, weights, biases, out):
    """Outputs of a layer whose activation is the identity."""
    return _affine(x, weights, biases, out)


@entry(parallel=False)
def sigmoid_forward(x, weights, biases, out):
    """Outputs of a layer of sigmoid units."""
    if not _affine(x, weights, biases, out):
        return False
    elements, lanes = flat(out), lanes_of(out)
    whole = elements.size - elements.size % lanes
    for i in range(0, whole, lanes):
        store(elements, i, elementary.sigmoid(load(elements, i)))
    for i in range(whole, elements.size):
        put(elements, i, lane_max(elementary.sigmoid(splat(elements[i], 1))))
    return True


def _make_backward(slope):
    @inner
    def backward(x, weights, out, outer, grad_w, grad_b, grad_x):
        """Gradients of a layer; ``slope(out, outer)`` is that of the loss by its sums."""
        (count, inputs), outputs = x.shape, grad_b.size
        if weights.shape != (inputs, outputs) or out.shape != (count, outputs):
            return False
        if outer.shape != out.shape:
            return False
        grad_w[:] = 0.0
        grad_b[:] = 0.0
        for n in range(count):
            for o in range(outputs):
                grad_b[o] += slope(out[n, o], outer[n, o])
            for i in range(inputs):
                total = 0.0
                for o in range(outputs):  # the slope anew: that costs less than an array for it
                    delta = slope(out[n, o], outer[n, o])
                    grad_w[i, o] = fma(x[n, i], delta, grad_w[i, o])
                    total = fma(delta, weights[i, o], total)
                grad_x[n, i] = total
        return True

    return backward


@inner
def _output_slope(out, targets):
    return out - targets


@inner
def _sigmoid_slope(out, gradient):
    return gradient * (1.0 - out) * out


_output_backward = _make_backward(_output_slope)
_sigmoid_backward = _make_backward(_sigmoid_slope)


@entry(parallel=False)
def output_backward(x, weights, out, targets, grad_w, grad_b, grad_x):
    """Gradients of the last layer: identity and squared error."""
    return _output_backward(x, weights, out, targets, grad_w, grad_b, grad_x)


@entry(parallel=False)
def sigmoid_backward(x, weights, out, gradient, grad_w, grad_b, grad_x):
    """Gradients of a layer of sigmoid units, from that of the loss by its outputs."""
    return _sigmoid_backward(x, weights, out, gradient, grad_w, grad_b, grad_x)


@entry(parallel=False)
def descend(weights, biases, grad_w, grad_b, eta):
    """One step of gradient descent, in place."""
    if grad_w.shape != weights.shape or grad_b.size != biases.size:
        return False
    _descend(flat(weights), flat(grad_w), eta)
    _descend(biases, grad_b, eta)
    return True


@inner
def _descend(params, grads, eta):
    for i in range(params.size):
        params[i] -= eta * grads[i]
