"""Prediction for images of any size over any forward function.

`forward` maps windows `(b, h, w, C)` float32 to logits `(b, h, w, K)`, NumPy
to NumPy or on a device; nothing here knows a model.

- `views`: which windows of which sizes, the published protocols among them;
- `blending`: windows to averaged logits at the original size, row by row;
- `outputs`: those logits to labels, probabilities or logits;
- `sliding`: all of it over many images, in batches of one size;
- `devices`, `on_device`, `compiled`: the same, but for the views, where the
  logits are; these three need Keras, the others do not;
- `images`: what people hand over, as single images;
- `ahead`: what reads the next images meanwhile;
- `windowed`: a model under some views; it brings all of these together.
"""

from keras_setr.inference.ahead import ahead
from keras_setr.inference.outputs import OUTPUTS
from keras_setr.inference.progress import VERBOSE
from keras_setr.inference.progress import ImageProgress
from keras_setr.inference.resizing import resize_to
from keras_setr.inference.sliding import count_windows
from keras_setr.inference.sliding import sliding_window
from keras_setr.inference.views import PAPER_SCALES
from keras_setr.inference.views import PROTOCOLS
from keras_setr.inference.views import VIEW_OPTIONS
from keras_setr.inference.views import Protocol
from keras_setr.inference.views import View
from keras_setr.inference.views import Views
from keras_setr.inference.views import covering_size
from keras_setr.inference.views import window_starts
from keras_setr.inference.windowed import Windowed

__all__ = [
    "ImageProgress",
    "OUTPUTS",
    "PAPER_SCALES",
    "PROTOCOLS",
    "Protocol",
    "VERBOSE",
    "VIEW_OPTIONS",
    "View",
    "Views",
    "Windowed",
    "ahead",
    "count_windows",
    "covering_size",
    "resize_to",
    "sliding_window",
    "window_starts",
]


def __dir__():
    return __all__
