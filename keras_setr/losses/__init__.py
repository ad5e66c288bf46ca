"""Losses on logits: the published one, and Keras' own made to take them."""

from keras_setr.losses.of_keras import for_logits
from keras_setr.losses.of_keras import loss_inputs
from keras_setr.losses.of_keras import takes_one_hot
from keras_setr.losses.pixel_cross_entropy import PixelCrossEntropy

__all__ = [
    "PixelCrossEntropy",
    "for_logits",
    "loss_inputs",
    "takes_one_hot",
]


def __dir__():
    return __all__
