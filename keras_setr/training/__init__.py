"""Around `fit`: recipes, several devices, checkpoints and callbacks."""

from keras_setr.training.miniature import GeneratedImages
from keras_setr.training.miniature import miniature
from keras_setr.training.recipe import Recipe
from keras_setr.training.recipes import Recipes

__all__ = [
    "GeneratedImages",
    "Recipe",
    "Recipes",
    "miniature",
]
