"""PyTorch's networks of images, with images and filters in the order of `channels_last`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from bench.contestants import with_pytorch_images as pytorch
from bench.contestants.with_pytorch import threads

__all__ = ["image_job", "image_prediction", "image_training", "threads"]


def channels_last(tensor: Any) -> Any:
    """The channels of a pixel side by side."""
    if tensor.shape[1] > 1:
        return tensor.contiguous(memory_format=torch.channels_last)
    # With one channel the order in memory is both, and only strides say which.
    N, C, H, W = tensor.shape
    return tensor.as_strided((N, C, H, W), (H * W * C, 1, W * C, C))


image_training = partial(pytorch.image_training, laid=channels_last)
image_job = partial(pytorch.image_job, laid=channels_last)
image_prediction = partial(pytorch.image_prediction, laid=channels_last)
