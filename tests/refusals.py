"""How bad input is refused: with one line that says what it was, and without harm."""

import pytest
from numpy_mlp import bits, bits_of

import fastnn


def assert_refused(call, error, *texts):
    """`call` raises exactly this error, and its text holds all of these."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert caught.type is error, repr(caught.value)
    for text in texts:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def assert_harmless(net, x, t, call, error, *texts):
    """The same, and the network has lost neither its weights nor its place in the batches."""
    before = bits_of(net)
    assert_refused(call, error, *texts)
    assert bits_of(net) == before
    fresh = fastnn.MLP(
        net.layer_sizes, output=net.output, dtype=net.dtype, weight_init="he", seed=0
    )
    assert bits(net.fit(x, t, batch_size=2).loss) == bits(fresh.fit(x, t, batch_size=2).loss)
