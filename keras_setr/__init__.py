"""SETR (CVPR 2021) semantic segmentation for Keras 3."""

from keras_setr.classes import Classes
from keras_setr.models.backbone import T_LARGE
from keras_setr.models.backbone import T_SMALL
from keras_setr.models.backbone import SETRBackbone
from keras_setr.models.setr import SETRMLA
from keras_setr.models.setr import SETRPUP
from keras_setr.models.setr import SETRNaive
