"""Pictures of labels, of scores and of what a model sees."""

from keras_setr.visualization.attention_maps import attention
from keras_setr.visualization.attention_maps import attention_rollout
from keras_setr.visualization.attention_maps import position_similarity
from keras_setr.visualization.charts import confusion_matrix
from keras_setr.visualization.charts import training_curves
from keras_setr.visualization.drawing import color_map
from keras_setr.visualization.drawing import legend
from keras_setr.visualization.feature_maps import features
from keras_setr.visualization.maps import entropy_map
from keras_setr.visualization.maps import error_map
from keras_setr.visualization.overlays import comparison
from keras_setr.visualization.overlays import model_comparison
from keras_setr.visualization.overlays import overlay
from keras_setr.visualization.overlays import sheet

__all__ = [
    "attention",
    "attention_rollout",
    "color_map",
    "comparison",
    "confusion_matrix",
    "entropy_map",
    "error_map",
    "features",
    "legend",
    "model_comparison",
    "overlay",
    "position_similarity",
    "sheet",
    "training_curves",
]


def __dir__():
    return __all__
