"""A model for files of networks, and what is expected of a file."""

import json

import numpy as np
import pytest

from fastnn.files import ModelFileError, read_model

DESCRIPTION = {"layer_sizes": [2, 3], "activation": "relu", "rate": 0.1}
ARRAYS = {
    "W1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b1": np.array([-1.5, np.nan], np.float64),
    "steps": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float32),
}


def as_plain(content):
    """A description and its arrays as something that == compares, nan and order included."""
    description, arrays = content
    return json.dumps(description), [
        (name, a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()
    ]


WHOLE = as_plain((DESCRIPTION, ARRAYS))


def assert_refused(path, *words):
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    message = str(caught.value)
    assert repr(str(path)) in message
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message
