"""The recipes as data: a literal record, or one `replace` of it, per row."""

from keras_setr.training.recipes.table import ade20k
from keras_setr.training.recipes.table import cityscapes
from keras_setr.training.recipes.table import cityscapes_base
from keras_setr.training.recipes.table import pascal_context

TABLE = (
    *cityscapes.RECIPES,
    *cityscapes_base.RECIPES,
    *ade20k.RECIPES,
    *pascal_context.RECIPES,
)
