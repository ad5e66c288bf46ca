"""Losses on logits: the published one, others, and Keras' own."""

from keras_setr.losses.base import PixelLoss
from keras_setr.losses.hard_pixels import OHEM
from keras_setr.losses.hard_pixels import Focal
from keras_setr.losses.of_keras import for_logits
from keras_setr.losses.of_keras import loss_inputs
from keras_setr.losses.of_keras import takes_one_hot
from keras_setr.losses.pixel_cross_entropy import PixelCrossEntropy
from keras_setr.losses.regions import Dice
from keras_setr.losses.regions import Jaccard
from keras_setr.losses.regions import LovaszSoftmax
from keras_setr.losses.regions import Tversky
from keras_setr.losses.sums import SumOfLosses

__all__ = [
    "Dice",
    "Focal",
    "Jaccard",
    "LovaszSoftmax",
    "OHEM",
    "PixelCrossEntropy",
    "PixelLoss",
    "SumOfLosses",
    "Tversky",
    "for_logits",
    "loss_inputs",
    "takes_one_hot",
]


def __dir__():
    return __all__
