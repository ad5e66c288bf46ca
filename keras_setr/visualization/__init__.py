"""Labels in colour: overlays, legends and comparisons, as Pillow images."""

from keras_setr.visualization.drawing import color_map
from keras_setr.visualization.drawing import legend
from keras_setr.visualization.overlays import comparison
from keras_setr.visualization.overlays import overlay
from keras_setr.visualization.overlays import sheet

__all__ = ["color_map", "comparison", "legend", "overlay", "sheet"]


def __dir__():
    return __all__
