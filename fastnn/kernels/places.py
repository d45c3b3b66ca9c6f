"""The choices of the kernels, each with its place in tables of parts: `fastnn.compiler.parts`."""

from enum import IntEnum


class Places(IntEnum):
    """Of each choice the place, by its name."""

    LAYER_FORWARD = 0
    LAYER_BACKWARD = 1
    LAYER_BACKWARD_FEW = 2
    LAYER_UPDATE = 3
    LAYER_UPDATE_FEW = 4
    ACTIVATION_FORWARD = 5
    ACTIVATION_BACKWARD = 6
    DROPOUT_FORWARD = 7
    DROPOUT_BACKWARD = 8
    OUTPUTS = 9
    LOSSES = 10
    UPDATE_BLOCK = 11
    MULTIPLY = 12
    SPARSE_FORWARD = 13
    SPARSE_GRADIENT = 14
    UPDATE_BY_SUMS = 15
    STEPS = 16
    COLUMN_SWEEP = 17
    SQUARES_OF_WEIGHTS = 18
    TAKE_ROWS = 19
    CONVOLVE = 20
    FILTER_GRADIENT = 21
    FORWARD_IMAGES = 22
    BACKWARD_IMAGES = 23
    IMAGE_SWEEP = 24
