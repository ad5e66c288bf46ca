"""What people hand over: arrays of any library, batches of any form."""

import sys
import warnings
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np

from keras_setr.tables import counted

# Names that datasets of dicts give their parts, those of TFDS among them. A
# `label` beside a mask is the class of the whole image.
IMAGE_FIELDS = ("image", "images", "image_left")
LABEL_FIELDS = (
    "segmentation_mask",
    "segmentation_label",
    "annotation",
    "mask",
    "masks",
    "labels",
    "label",
)
WEIGHT_FIELDS = ("sample_weight", "sample_weights")


def is_tf_dataset(x):
    # Iterators over one have a spec, too.
    return hasattr(x, "element_spec") and hasattr(x, "map")


def in_tf_graph(x):
    """Whether `x` is a symbolic TensorFlow tensor, as inside tf.data."""
    if "tensorflow" not in sys.modules:
        return False
    import tensorflow as tf

    return tf.is_tensor(x) and not tf.executing_eagerly()


def to_array(x, name="x"):
    """`x` as a NumPy array, wherever its memory is; None stays."""
    if hasattr(x, "detach") and hasattr(x, "cpu"):  # no open file
        x = x.detach().cpu()
    try:
        return None if x is None else np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"{name} must be one array, all images of one size. Received: a "
            f"{type(x).__name__} of {len(x)} that NumPy makes none of "
            f"({error}). Crop them, or use batches() of a SegmentationFolder."
        ) from None


def spread(items, count):
    """List of `count` of a sequence's items at equal distances, at most all."""
    count = min(count, len(items))
    return [items[n * len(items) // count] for n in range(count)]


def differ(one, other):
    """Whether two shapes have other sides where both are known."""
    return any(
        a is not None and b is not None and a != b for a, b in zip(one, other)
    )


def unpack(batch):
    """`(x, y, sample_weight)` of a batch in any form; None for what it lacks.

    Args:
        batch: images, a tuple or list of up to three, or a dict with names of
            `IMAGE_FIELDS`, `LABEL_FIELDS` and `WEIGHT_FIELDS`.
    """
    if isinstance(batch, Mapping):
        images, labels, weights = (
            next((batch[name] for name in names if name in batch), None)
            for names in (IMAGE_FIELDS, LABEL_FIELDS, WEIGHT_FIELDS)
        )
        if images is None:
            raise ValueError(
                "A dict must hold its images under one of "
                f"{', '.join(IMAGE_FIELDS)}, and its labels under one of "
                f"{', '.join(LABEL_FIELDS)}. Received: "
                f"{', '.join(map(str, batch))}. For other names map it first: "
                "dataset.map(lambda d: (d['x'], d['y']))."
            )
        return images, labels, weights
    if not isinstance(batch, (list, tuple)):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            "A batch must be images, (images, labels) or (images, labels, "
            f"sample_weight). Received: a {type(batch).__name__} of "
            f"{len(batch)}."
        )
    return (*batch, None, None)[:3]


def gives_batches(x):
    """Whether `x` is a dataset whose elements are taken for batches."""
    if is_tf_dataset(x) or isinstance(x, Iterator):
        return True
    # What else has a length and an index gives single images.
    return any(
        base.__module__.startswith(("torch.utils.data", "grain", "keras"))
        and base.__name__
        in ("DataLoader", "MapDataset", "IterDataset", "PyDataset")
        for base in type(x).__mro__
    )


def check_image(image, channels, name):
    """One `(H, W, C)` array, or an error that calls it `name`."""
    image = np.asarray(image)
    if not image.ndim:
        raise ValueError(
            f"{name} must be an image file or an array (height, width, "
            f"{channels}). Received: {image.item()!r:.120}."
        )
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"An image must have shape (height, width, {channels}), as the "
            f"model has {channels} input channels. Received {name} of shape "
            f"{image.shape}."
        )
    if 0 in image.shape:
        raise ValueError(f"{name} is empty: its shape is {image.shape}.")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = int(np.size(image) - np.isfinite(image).sum())
        raise ValueError(
            f"{name} holds {counted(bad, 'value')} of NaN or infinity. Images "
            "must be finite numbers, 0..255 where the model has a "
            "preprocessor."
        )
    if image.dtype.kind not in "uif":
        raise ValueError(
            "An image must hold integers or floats. Received "
            f"{name} of dtype {image.dtype}."
        )
    return image


class ValueRange:
    """Whether images lie in the range that a preprocessor normalises.

    What certainly does not is an error; what hardly does is a warning, once.

    Args:
        limit: int. The largest value of an image, 255 or 65535; None where
            any may be right.
    """

    def __init__(self, limit):
        self.limit = limit
        self._warned = False

    def check(self, images, name):
        """Check an array of images that `name` names."""
        fits = images.dtype.kind == "u" and (
            np.iinfo(images.dtype).max <= (self.limit or 0)
        )
        if self.limit is not None and images.size and not fits:
            is_float = images.dtype.kind == "f"
            self.check_extremes(images.min(), images.max(), is_float, name)

    def check_extremes(self, low, high, is_float, name):
        """The same from the smallest and the largest value."""
        # What resampling with a cubic filter may add.
        slack = 0.5 * self.limit if is_float else 0
        normalized = is_float and low < 0 and high <= 16
        if normalized or low < -slack or high > self.limit + slack:
            raise ValueError(self._message(low, high, name))
        tiny = is_float and 0 < high <= 1
        if (tiny or low < 0 or high > self.limit) and not self._warned:
            self._warned = True
            warnings.warn(self._message(low, high, name), stacklevel=2)

    def _message(self, low, high, name):
        message = (
            f"{name} holds values from {low:.4g} to {high:.4g}, but the "
            f"model's preprocessor expects 0..{self.limit}. "
        )
        if low < 0 or high <= 1:
            return message + (
                "Images that are scaled or normalised already belong to a "
                "model with preprocessor=None; or give them as they are in "
                f"their files, such as by x * {self.limit} for 0..1."
            )
        return message + (
            f"Scale them to 0..{self.limit}, or build the model with "
            "preprocessor=SETRImageSegmenterPreprocessor(SETRImageConverter("
            "mean=.., std=..)) of their own range."
        )
