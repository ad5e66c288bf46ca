"""All public names, with Keras imported and its registry filled."""

from keras_setr import checkpoints
from keras_setr import data
from keras_setr import layers
from keras_setr import losses
from keras_setr import metrics
from keras_setr import models
from keras_setr import optimizers
from keras_setr import rasters
from keras_setr import training
from keras_setr import visualization
from keras_setr import workers
from keras_setr.classes import Classes
from keras_setr.comparison import ModelRow
from keras_setr.comparison import ModelTable
from keras_setr.comparison import models_table
from keras_setr.evaluation import Evaluation
from keras_setr.evaluation import evaluate
from keras_setr.export import ExportedSegmenter
from keras_setr.export import load_exported
from keras_setr.models import *  # noqa: F403
from keras_setr.rasters import RasterRun
from keras_setr.rasters import segment_raster
from keras_setr.submission import FolderRun
from keras_setr.submission import segment_files
from keras_setr.submission import write_submission
from keras_setr.training import Distribution
from keras_setr.training import distribute
from keras_setr.training.callbacks.defaults import callbacks
from keras_setr.training.recipes.catalogue import RECIPES as recipes
from keras_setr.version import __version__

__all__ = [
    "Classes",
    "Distribution",
    "Evaluation",
    "ExportedSegmenter",
    "FolderRun",
    "ModelRow",
    "ModelTable",
    "RasterRun",
    "__version__",
    "callbacks",
    "checkpoints",
    "data",
    "distribute",
    "evaluate",
    "layers",
    "load_exported",
    "losses",
    "metrics",
    "models",
    "models_table",
    "optimizers",
    "rasters",
    "recipes",
    "segment_files",
    "segment_raster",
    "training",
    "visualization",
    "workers",
    "write_submission",
]
__all__ += models.__all__
__all__.sort()
