"""SETR (CVPR 2021) semantic segmentation for Keras 3.

Where Keras is installed all names are there at once, and its registry knows
the classes for `keras.saving.load_model`. Without it, as in a deployment that
segments by an exported file, those are there that need none; the commands,
too, import it with the first name that does.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from keras_setr.tensorflow_logs import left_out_beside as _left_out_beside

# The names that need no Keras, with the modules that have them.
_WITHOUT_KERAS = {
    "Classes": "keras_setr.classes",
    "Evaluation": "keras_setr.evaluation",
    "ExportedSegmenter": "keras_setr.export",
    "FolderRun": "keras_setr.submission",
    "RasterRun": "keras_setr.rasters",
    "__version__": "keras_setr.version",
    "evaluate": "keras_setr.evaluation",
    "load_exported": "keras_setr.export",
    "segment_files": "keras_setr.submission",
    "segment_raster": "keras_setr.rasters",
    "write_submission": "keras_setr.submission",
}


def _wants_keras():
    try:
        installed = find_spec("keras") is not None
    except ImportError:
        installed = False
    return installed and "keras_setr_commands" not in sys.modules


if TYPE_CHECKING or "keras" in sys.modules or _wants_keras():
    from keras_setr import backends as _backends

    _backends.check()
    from keras import config as _config

    with _left_out_beside(_config.backend()):
        # Type checkers do not follow one `__all__` into another.
        from keras_setr.models import *  # noqa: F403
        from keras_setr.public import *  # noqa: F403
        from keras_setr.public import __all__ as __all__


def __getattr__(name):
    if name in _WITHOUT_KERAS:
        return getattr(import_module(_WITHOUT_KERAS[name]), name)
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    return getattr(import_module("keras_setr.public"), name)


def __dir__():
    return __getattr__("__all__")
