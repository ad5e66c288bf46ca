"""The encoder and the segmentation models built on it."""

from keras_setr.facts.decoders import CLASSES
from keras_setr.models import baselines
from keras_setr.models import setr
from keras_setr.models.backbone import T_BASE
from keras_setr.models.backbone import T_LARGE
from keras_setr.models.backbone import T_SMALL
from keras_setr.models.backbone import T_TINY
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.baselines import FCN
from keras_setr.models.baselines import SemanticFPN
from keras_setr.models.preprocessor import SETRImageConverter
from keras_setr.models.preprocessor import SETRImageSegmenterPreprocessor
from keras_setr.models.resnet import RESNET_50
from keras_setr.models.resnet import RESNET_101
from keras_setr.models.resnet import ResNetBackbone
from keras_setr.models.segmenter import SETRSegmenter
from keras_setr.models.setr import SETRMLA
from keras_setr.models.setr import SETRPUP
from keras_setr.models.setr import SETRNaive

# By the word in the names of presets and recipes.
MODELS = {
    decoder: getattr(setr, name, None) or getattr(baselines, name)
    for decoder, name in CLASSES.items()
}

__all__ = [
    "FCN",
    "RESNET_101",
    "RESNET_50",
    "ResNetBackbone",
    "SETRBackbone",
    "SETRImageConverter",
    "SETRImageSegmenterPreprocessor",
    "SETRMLA",
    "SETRNaive",
    "SETRPUP",
    "SETRSegmenter",
    "SemanticFPN",
    "T_BASE",
    "T_LARGE",
    "T_SMALL",
    "T_TINY",
]


def __dir__():
    return __all__
