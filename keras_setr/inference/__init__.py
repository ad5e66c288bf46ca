"""Prediction for images of any size over any forward function.

`forward` maps windows `(b, h, w, C)` float32 to logits `(b, h, w, K)`, NumPy
to NumPy; nothing here knows a model.

- `protocols`: the sizes at which the published codes look at an image;
- `grid`: where windows lie, and the order in which they run;
- `blending`: windows to averaged logits at the original size, row by row;
- `outputs`: those logits to labels, probabilities or logits;
- `sliding`: all of it over many images, in batches of one size.
"""

from keras_setr.inference.grid import window_grid
from keras_setr.inference.grid import window_starts
from keras_setr.inference.outputs import OUTPUTS
from keras_setr.inference.progress import ImageProgress
from keras_setr.inference.protocols import PAPER_SCALES
from keras_setr.inference.protocols import PROTOCOLS
from keras_setr.inference.protocols import Protocol
from keras_setr.inference.protocols import covering_size
from keras_setr.inference.protocols import resolve_protocol
from keras_setr.inference.protocols import resolve_scales
from keras_setr.inference.sliding import resize_to
from keras_setr.inference.sliding import sliding_window

__all__ = [
    "ImageProgress",
    "OUTPUTS",
    "PAPER_SCALES",
    "PROTOCOLS",
    "Protocol",
    "covering_size",
    "resize_to",
    "resolve_protocol",
    "resolve_scales",
    "sliding_window",
    "window_grid",
    "window_starts",
]
