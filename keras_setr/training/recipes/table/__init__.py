"""The recipes as data: per row, what does not follow from its first fields."""

from keras_setr.training.recipes.table import ade20k
from keras_setr.training.recipes.table import baselines
from keras_setr.training.recipes.table import cityscapes
from keras_setr.training.recipes.table import pascal_context

TABLE = (
    *cityscapes.RECIPES,
    *ade20k.RECIPES,
    *pascal_context.RECIPES,
    *baselines.RECIPES,
)
