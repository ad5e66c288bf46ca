"""Images and masks: reading, checking, augmenting and batching them."""

from keras_setr.data.datasets import DATASETS
from keras_setr.data.folder import SegmentationFolder
from keras_setr.data.images import load_image
from keras_setr.data.images import load_mask
from keras_setr.data.images import save_labels
from keras_setr.data.scenes import StreetScenes
from keras_setr.data.transforms import EvaluationTransform
from keras_setr.data.transforms import TrainingTransform

__all__ = [
    "DATASETS",
    "EvaluationTransform",
    "SegmentationFolder",
    "StreetScenes",
    "TrainingTransform",
    "load_image",
    "load_mask",
    "save_labels",
]
