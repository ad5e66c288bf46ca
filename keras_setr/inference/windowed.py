"""A model as those need it who cut the windows themselves."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_setr.arrays import ValueRange
from keras_setr.inference.views import Views


@dataclasses.dataclass(frozen=True)
class Windowed:
    """What a segmenter gives to whoever runs its windows.

    Attributes:
        forward: callable, `(b, h, w, C)` float32 to logits `(b, h, w, K)`
            float32, both NumPy's.
        views: `Views` with a `window_size` that the model takes.
        batch_size: int. b.
        channels: int. C.
        num_classes: int. K.
        classes: `Classes`, or None.
        value_range: `ValueRange` of the images.
        fingerprint: callable without arguments, to a checksum that tells this
            model from others.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    views: Views
    batch_size: int
    channels: int
    num_classes: int
    classes: Any
    value_range: ValueRange
    fingerprint: Callable[[], int]
