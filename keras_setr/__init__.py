"""SETR (CVPR 2021) semantic segmentation for Keras 3."""

from keras_setr import checkpoints
from keras_setr import data
from keras_setr import layers
from keras_setr import metrics
from keras_setr import models
from keras_setr import optimizers
from keras_setr import training
from keras_setr import visualization
from keras_setr.classes import Classes
from keras_setr.evaluation import Evaluation
from keras_setr.evaluation import evaluate
from keras_setr.models import SETRMLA
from keras_setr.models import SETRPUP
from keras_setr.models import T_LARGE
from keras_setr.models import T_SMALL
from keras_setr.models import SETRBackbone
from keras_setr.models import SETRImageConverter
from keras_setr.models import SETRImageSegmenterPreprocessor
from keras_setr.models import SETRNaive
from keras_setr.models import SETRSegmenter
from keras_setr.submission import FolderRun
from keras_setr.submission import segment_files
from keras_setr.submission import write_submission
from keras_setr.version import __version__

__all__ = [
    "Classes",
    "Evaluation",
    "FolderRun",
    "SETRBackbone",
    "SETRImageConverter",
    "SETRImageSegmenterPreprocessor",
    "SETRMLA",
    "SETRNaive",
    "SETRPUP",
    "SETRSegmenter",
    "T_LARGE",
    "T_SMALL",
    "__version__",
    "checkpoints",
    "data",
    "evaluate",
    "layers",
    "metrics",
    "models",
    "optimizers",
    "segment_files",
    "training",
    "visualization",
    "write_submission",
]
