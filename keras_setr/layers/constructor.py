"""What the constructors of layers and models have in common."""

import inspect

# What Keras takes in the `**kwargs` of every layer, for `checked`.
KERAS_ARGUMENTS = (
    "name",
    "dtype",
    "trainable",
    "activity_regularizer",
    "autocast",
)


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
