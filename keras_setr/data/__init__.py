"""Images and masks: reading, checking, augmenting and batching them."""

from keras_setr.data import builders
from keras_setr.data.datasets import DATASETS
from keras_setr.data.datasets import Dataset
from keras_setr.data.folder import SegmentationFolder
from keras_setr.data.images import load_image
from keras_setr.data.images import load_mask
from keras_setr.data.images import save_labels
from keras_setr.data.pipeline import batch_files
from keras_setr.data.pipeline import batches_from
from keras_setr.data.pipeline import segmentation_batches
from keras_setr.data.published import PublishedDataset
from keras_setr.data.published import load_dataset
from keras_setr.data.scenes import StreetScenes
from keras_setr.data.transforms import EvaluationTransform
from keras_setr.data.transforms import TrainingTransform

__all__ = [
    "DATASETS",
    "Dataset",
    "EvaluationTransform",
    "PublishedDataset",
    "SegmentationFolder",
    "StreetScenes",
    "TrainingTransform",
    "batch_files",
    "batches_from",
    "load_dataset",
    "load_image",
    "load_mask",
    "save_labels",
    "segmentation_batches",
]

# So that TFDS knows the builders once it is imported, which is not done here.
builders.register()
