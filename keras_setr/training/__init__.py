"""Around `fit`: recipes, several devices, checkpoints and callbacks."""

from keras_setr.training.callbacks.logs import CSVLog
from keras_setr.training.callbacks.logs import FirstStep
from keras_setr.training.callbacks.logs import Preflight
from keras_setr.training.callbacks.logs import TimeLeft
from keras_setr.training.callbacks.stopping import EarlyStopping
from keras_setr.training.callbacks.stopping import FiniteLoss
from keras_setr.training.callbacks.validation import BestWeights
from keras_setr.training.callbacks.validation import Previews
from keras_setr.training.callbacks.validation import SlidingWindowValidation
from keras_setr.training.devices.distribute import Distribution
from keras_setr.training.devices.distribute import distribute
from keras_setr.training.preflight.description import RunDescription
from keras_setr.training.preflight.description import describe_run
from keras_setr.training.preflight.memory import MemoryEstimate
from keras_setr.training.preflight.memory import MemoryPlan
from keras_setr.training.preflight.memory import estimate_memory
from keras_setr.training.preflight.memory import plan_memory
from keras_setr.training.recipes.catalogue import Recipes
from keras_setr.training.recipes.miniature import GeneratedImages
from keras_setr.training.recipes.miniature import miniature
from keras_setr.training.recipes.recipe import Recipe
from keras_setr.training.resume.callback import Checkpoints

__all__ = [
    "BestWeights",
    "CSVLog",
    "Checkpoints",
    "Distribution",
    "EarlyStopping",
    "FiniteLoss",
    "FirstStep",
    "GeneratedImages",
    "MemoryEstimate",
    "MemoryPlan",
    "Preflight",
    "Previews",
    "Recipe",
    "Recipes",
    "RunDescription",
    "SlidingWindowValidation",
    "TimeLeft",
    "describe_run",
    "distribute",
    "estimate_memory",
    "miniature",
    "plan_memory",
]


def __dir__():
    return __all__
