"""Around `fit`: recipes, several devices, checkpoints and callbacks."""

from keras_setr.training.checkpointing import Checkpoints
from keras_setr.training.defaults import callbacks
from keras_setr.training.description import RunDescription
from keras_setr.training.description import describe_run
from keras_setr.training.distribution import Distribution
from keras_setr.training.distribution import distribute
from keras_setr.training.logs import CSVLog
from keras_setr.training.logs import Preflight
from keras_setr.training.logs import TimeLeft
from keras_setr.training.memory import MemoryEstimate
from keras_setr.training.memory import estimate_memory
from keras_setr.training.miniature import GeneratedImages
from keras_setr.training.miniature import miniature
from keras_setr.training.recipe import Recipe
from keras_setr.training.recipes import Recipes
from keras_setr.training.stopping import EarlyStopping
from keras_setr.training.stopping import FiniteLoss
from keras_setr.training.validation import BestWeights
from keras_setr.training.validation import Previews
from keras_setr.training.validation import SlidingWindowValidation

__all__ = [
    "BestWeights",
    "CSVLog",
    "Checkpoints",
    "Distribution",
    "EarlyStopping",
    "FiniteLoss",
    "GeneratedImages",
    "MemoryEstimate",
    "Preflight",
    "Previews",
    "Recipe",
    "Recipes",
    "RunDescription",
    "SlidingWindowValidation",
    "TimeLeft",
    "callbacks",
    "describe_run",
    "distribute",
    "estimate_memory",
    "miniature",
]
