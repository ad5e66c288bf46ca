"""Weights from everywhere: presets, files, their layouts, conversion."""

from keras_setr.checkpoints.architectures import architecture
from keras_setr.checkpoints.architectures import decoder_arguments
from keras_setr.checkpoints.card import model_card
from keras_setr.checkpoints.card import upload_preset
from keras_setr.checkpoints.card import write_model_card
from keras_setr.checkpoints.download import hash_file
from keras_setr.checkpoints.layouts import Layout
from keras_setr.checkpoints.layouts import recognise
from keras_setr.checkpoints.plan import LoadPlan
from keras_setr.checkpoints.presets import PRESETS
from keras_setr.checkpoints.presets import Preset
from keras_setr.checkpoints.presets import presets_of
from keras_setr.checkpoints.sources import open_source
from keras_setr.checkpoints.tensors import Checkpoint
from keras_setr.checkpoints.tensors import read_file
from keras_setr.checkpoints.tensors import read_variables
from keras_setr.checkpoints.transfer import Report
from keras_setr.checkpoints.transfer import TensorRule
from keras_setr.checkpoints.transfer import transfer

__all__ = [
    "Checkpoint",
    "Layout",
    "LoadPlan",
    "PRESETS",
    "Preset",
    "Report",
    "TensorRule",
    "architecture",
    "decoder_arguments",
    "hash_file",
    "model_card",
    "open_source",
    "presets_of",
    "read_file",
    "read_variables",
    "recognise",
    "transfer",
    "upload_preset",
    "write_model_card",
]


def __dir__():
    return __all__
