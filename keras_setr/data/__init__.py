"""Images and masks: reading, checking, augmenting and batching them."""

from keras_setr.data.batches.batches import batch_files
from keras_setr.data.batches.batches import batches_from
from keras_setr.data.batches.batches import segmentation_batches
from keras_setr.data.batches.mixing import Mixing
from keras_setr.data.batches.plan import BatchPlan
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform
from keras_setr.data.folder.folder import SegmentationFolder
from keras_setr.data.published.dataset import PublishedDataset
from keras_setr.data.published.dataset import load_dataset
from keras_setr.data.scenes.street_scenes import StreetScenes
from keras_setr.facts.datasets import DATASETS
from keras_setr.facts.datasets import Dataset
from keras_setr.files.images import load_image
from keras_setr.files.masks import load_mask
from keras_setr.files.masks import save_labels

__all__ = [
    "BatchPlan",
    "DATASETS",
    "Dataset",
    "EvaluationTransform",
    "Mixing",
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


def __dir__():
    return __all__
