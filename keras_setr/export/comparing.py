"""An exported file beside its model: the same images, labels and times."""

import os
import time

import numpy as np

from keras_setr.arguments import shown
from keras_setr.arrays import check_image
from keras_setr.inference import resize_to

# A file with fewer equal labels is not kept.
LEAST_SHARE = 0.9999
# Where two classes are as near as this, in parts of what lies between the
# likeliest and the least likely, either is right: rounding decides.
_TIE = 1e-4
# Of probabilities and confidences; logits of networks this deep differ by 1e-4
# between two libraries.
_CLOSE = 1e-3


def test_images(model, size, record, image):
    """`(2, H, W, C)`: an image and its mirror image."""
    if image is None:
        image = _clouds(size, record)
    elif isinstance(image, (str, os.PathLike)):
        image = model.load_image(image)
    elif getattr(image, "ndim", None) != 3:
        raise ValueError(
            "image must be a path or an array (H, W, C). Received: "
            f"{shown(image)}."
        )
    image = check_image(image, record.channels, "image")
    image = resize_to(record.cast(image), size)
    return np.stack([image, image[:, ::-1]])


def _clouds(size, record):
    """Smooth colours of all values, as no label of a plain image is sure."""
    rng = np.random.default_rng(0)
    grid = tuple(-(-length // 8) for length in size)
    clouds = rng.normal(size=(*grid, record.channels)).astype(np.float32)
    clouds = resize_to(clouds, size)
    if record.image_dtype == "float32":
        return clouds
    most = np.iinfo(record.image_dtype).max
    return record.cast(most * (0.5 + clouds / 4))


def native(model, images):
    """Probabilities `(B, H, W, K)` of the model itself, in one pass."""
    return np.stack(
        model.segment(
            list(images),
            "probabilities",
            batch_size=len(images),
            window_size=images.shape[1:3],
        )
    )


def timed(function):
    """`(result, seconds)` of the second call; the first one may compile."""
    function()
    started = time.perf_counter()
    return function(), time.perf_counter() - started


def equal_labels(path, results, probabilities):
    """The share of equal labels, or an error."""
    labels = results["labels"].astype(np.int64)
    equal = float((labels == probabilities.argmax(axis=-1)).mean())
    best, least = probabilities.max(axis=-1), probabilities.min(axis=-1)
    chosen = np.take_along_axis(probabilities, labels[..., None], axis=-1)
    right = best - chosen[..., 0] <= _TIE * (best - least)
    if right.mean() < LEAST_SHARE:
        raise ValueError(
            f"{path} was not kept: {100 * equal:.4f} % of its labels equal "
            f"those of the model, and {100 * LEAST_SHARE} % must."
        )
    expected = {
        "probabilities": probabilities,
        "confidence": best,
    }
    for name in set(expected) & set(results):
        difference = np.abs(results[name] - expected[name]).max()
        if not difference < _CLOSE:
            raise ValueError(
                f"{path} was not kept: its {name} differ by up to "
                f"{difference:.2g} from those of the model."
            )
    return equal
