"""Models as files for other runtimes, and these files as models.

- `formats`: which there are, and who writes and runs them;
- `record`: what a file says of itself;
- `graph`, `writers`, `exporting`: from a model to a file, with Keras;
- `sessions`, `exported`: from a file to labels, without.
"""

from keras_setr.export.exported import ExportedSegmenter
from keras_setr.export.exported import load_exported

__all__ = ["ExportedSegmenter", "load_exported"]


def __dir__():
    return __all__
