"""What the constructors of layers and models have in common."""

import inspect

from keras_setr.arguments import integer
from keras_setr.arguments import pair

# What Keras takes in the `**kwargs` of every layer, for `checked`.
KERAS_ARGUMENTS = (
    "name",
    "dtype",
    "trainable",
    "activity_regularizer",
    "autocast",
)

# Sizes up to what anybody may mean: ViT-22B (arXiv 2302.05442) has 48 layers
# of width 6,144 and MLPs of 24,576. What lies far beyond is a slip, or a
# damaged file, and would be built for minutes or until the memory is full.
DEPTH = integer(1, 1_000)
WIDTH = integer(1, 16_384)
MLP_WIDTH = integer(1, 65_536)
KERNEL = integer(1, 255)
FACTOR = integer(1, 512)
SPECIAL_TOKENS = integer(0, 4_096)
GRID = pair(1, 4_096)


def config_of(layer, constructor):
    """The arguments of a constructor, for `get_config`.

    Args:
        layer: keeps each of them in the attribute of its name.
        constructor: the class whose `__init__` lists them. Subclasses that
            take further ones add these in their own `get_config`.
    """
    # Of a class, `signature` would be that of Keras' `__new__`.
    _, *parameters = inspect.signature(constructor.__init__).parameters.values()
    return {
        parameter.name: getattr(layer, parameter.name)
        for parameter in parameters
        if parameter.kind is not parameter.VAR_KEYWORD
    }
