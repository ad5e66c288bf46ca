"""What people hand to `predict` and `segment`, as single images, checked."""

import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

from keras_setr.arguments import shown
from keras_setr.arrays import check_image
from keras_setr.arrays import gives_batches
from keras_setr.arrays import to_array
from keras_setr.arrays import unpack
from keras_setr.tables import counted


def is_path(x):
    return isinstance(x, (str, os.PathLike))


def iterate_images(x, channels, value_range, load):
    """`(H, W, C)` arrays from paths, arrays, lists and batched datasets.

    Args:
        x: a sequence of paths, Pillow images and `(H, W, C)` arrays of any
            sizes, an array `(B, H, W, C)`, or a dataset (or other iterable)
            of images, batches, `(images, labels)` or dicts.
        channels: int. C.
        value_range: `ValueRange`.
        load: callable from a path or a Pillow image to `(H, W, C)`.
    """
    count = 0
    for element in x:
        if is_path(element) or isinstance(element, Image.Image):
            images = [load(element)]
            name = str(element) if is_path(element) else None
        else:
            if isinstance(element, (tuple, list, Mapping)):
                element, *_ = unpack(element)
            element = to_array(element)
            if not hasattr(element, "ndim"):
                raise ValueError(
                    "x must hold images, paths of images or batches. Received "
                    f"after {counted(count, 'image')}: {shown(element)}."
                )
            images = element if element.ndim == 4 else [element]
            name = None
        for image in images:
            name_or_index = name or f"image {count}"
            image = check_image(image, channels, name_or_index)
            value_range.check(image, name_or_index)
            yield image
            count += 1


def is_single(x):
    """Whether `x` is one image: a file, of Pillow, or `(H, W, C)`."""
    return (
        is_path(x)
        or isinstance(x, Image.Image)
        or getattr(x, "ndim", None) == 3
    )


def count_images(x):
    """How many images `x` holds, or `None` where only reading it tells.

    Raises:
        ValueError: it holds none, or is an array of another rank.
    """
    if isinstance(x, (bytes, set, Mapping)) or not (
        hasattr(x, "__iter__") or hasattr(x, "__getitem__")
    ):
        raise ValueError(
            "x must be images: an array, a list of paths and arrays, or a "
            f"dataset. Received: {shown(x)}."
        )
    if getattr(x, "ndim", 4) != 4:
        raise ValueError(
            "A batch of images must have shape (batch, height, width, "
            f"channels). Received: {tuple(x.shape)}; for one image, "
            "pass image[None] or a list."
        )
    if gives_batches(x) or not hasattr(x, "__len__"):
        return None
    return len(x)


def refuse_single(x):
    """Raise where `predict` is given a single image."""
    if is_path(x) or isinstance(x, Image.Image):
        raise ValueError(
            "predict takes a batch (B, H, W, C), a list or a dataset. "
            f"Received: a single {type(x).__name__}, {x!s:.80}. Pass "
            "[image], or use segment(image) for its label map."
        )


def as_given(results, x, single, is_tuple):
    """The results of `segment` in the form in which images were given.

    Args:
        results: list, one for each image.
        x: what was given.
        single: bool. Whether that was one image.
        is_tuple: bool. Whether each result is a tuple of maps.
    """
    if single:
        return results[0]
    if not is_tuple or isinstance(x, (list, tuple)):
        return stack(results, x)
    return tuple(stack(list(maps), x) for maps in zip(*results))


def stack(results, x):
    """One array where all sizes agree, unless the caller gave a list."""
    if isinstance(x, (list, tuple)):
        return results
    same = len({result.shape for result in results}) == 1
    return np.stack(results) if same else results
