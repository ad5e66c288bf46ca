"""The encoder and the segmentation models built on it."""

from keras_setr.facts.decoders import CLASSES
from keras_setr.models import setr
from keras_setr.models.backbone import T_LARGE
from keras_setr.models.backbone import T_SMALL
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.preprocessor import SETRImageConverter
from keras_setr.models.preprocessor import SETRImageSegmenterPreprocessor
from keras_setr.models.segmenter import SETRSegmenter
from keras_setr.models.setr import SETRMLA
from keras_setr.models.setr import SETRPUP
from keras_setr.models.setr import SETRNaive

# By the word in the names of presets and recipes.
MODELS = {decoder: getattr(setr, name) for decoder, name in CLASSES.items()}

__all__ = [
    "MODELS",
    "SETRBackbone",
    "SETRImageConverter",
    "SETRImageSegmenterPreprocessor",
    "SETRMLA",
    "SETRNaive",
    "SETRPUP",
    "SETRSegmenter",
    "T_LARGE",
    "T_SMALL",
]


def __dir__():
    return __all__
