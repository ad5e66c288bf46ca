"""Images to the sizes of their views, on the host."""

import numpy as np

from keras_setr.opencv import cv2

# OpenCV's arrays hold no more channels than this at once.
_OPENCV_CHANNELS = 128


def resize_to(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of `(H, W, C)` to `(*size, C)`, uint8 or float32.

    Half-pixel centres without antialiasing: what torch and mmsegmentation
    mean by bilinear. Bytes stay bytes, rounded as in the published codes.
    """
    if array.shape[:2] == tuple(size):
        return array
    height, width = size
    channels = array.shape[-1]
    resized = np.empty((height, width, channels), array.dtype)
    for first in range(0, channels, _OPENCV_CHANNELS):
        part = slice(first, first + _OPENCV_CHANNELS)
        resized[..., part] = cv2.resize(
            np.ascontiguousarray(array[..., part]),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        ).reshape(height, width, -1)
    return resized
