"""TFDS builders of the datasets that TFDS lacks.

`import keras_setr.data.published.builders` imports TFDS and registers them
there, for `tensorflow_datasets.load("camvid")`; `load_dataset` does so by
itself.
"""

from keras_setr.data.published.builders.ade20k import ADE20K
from keras_setr.data.published.builders.camvid import CamVid
from keras_setr.data.published.builders.pascal_context import PascalContext

__all__ = ["ADE20K", "CamVid", "PascalContext"]
