"""Around `fit`: recipes, several devices, checkpoints and callbacks."""

from keras_setr.training.description import RunDescription
from keras_setr.training.description import describe_run
from keras_setr.training.memory import MemoryEstimate
from keras_setr.training.memory import estimate_memory

__all__ = [
    "MemoryEstimate",
    "RunDescription",
    "describe_run",
    "estimate_memory",
]
