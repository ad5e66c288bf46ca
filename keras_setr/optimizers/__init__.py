"""Optimizers with a rate per part of the model, and how rates decay."""

from keras_setr.optimizers.rate_per_variable import SGD
from keras_setr.optimizers.rate_per_variable import AdamW
from keras_setr.optimizers.rate_per_variable import layer_decay_multipliers
from keras_setr.optimizers.schedules import CosineDecay
from keras_setr.optimizers.schedules import Decay
from keras_setr.optimizers.schedules import PolynomialDecay
from keras_setr.optimizers.schedules import constant_rate_of
from keras_setr.optimizers.schedules import schedule_of
from keras_setr.optimizers.schedules import spread_over
from keras_setr.optimizers.schedules import unwrapped

__all__ = [
    "AdamW",
    "CosineDecay",
    "Decay",
    "PolynomialDecay",
    "SGD",
    "constant_rate_of",
    "layer_decay_multipliers",
    "schedule_of",
    "spread_over",
    "unwrapped",
]


def __dir__():
    return __all__
