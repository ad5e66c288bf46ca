"""The encoder's initial values, which a load of weights can do without."""

import contextlib
import threading

import keras
from keras import ops

_state = threading.local()


@contextlib.contextmanager
def values_follow():
    """Inside, encoders are built with zeros: their values come next.

    Random values of T-Large take longer than reading its weights does.
    """
    before = getattr(_state, "values_follow", False)
    _state.values_follow = True
    try:
        yield
    finally:
        _state.values_follow = before


@keras.saving.register_keras_serializable(package="keras_setr")
class EncoderInitializer(keras.initializers.TruncatedNormal):
    """Truncated normal values of standard deviation 0.02, as in ViT."""

    def __init__(self, mean=0.0, stddev=0.02, seed=None):
        super().__init__(mean=mean, stddev=stddev, seed=seed)

    def __call__(self, shape, dtype=None):
        if getattr(_state, "values_follow", False):
            return ops.zeros(shape, dtype=dtype)
        return super().__call__(shape, dtype=dtype)
