"""A model's look at an image: what all pictures of its inside begin with."""

import contextlib
import os

import numpy as np
from PIL import Image

from keras_setr.inference.resizing import resize_to
from keras_setr.visualization.drawing import height_at
from keras_setr.visualization.overlays import shown_image


class Look:
    """An image as a model sees it, whole.

    No windows slide here: the image is resized, bilinear and whatever its
    aspect, to the size that the model takes, as the published scripts do.

    Args:
        model: a segmenter.
        image: path, `PIL.Image` or `(H, W, C)` array.
        size: `(h, w)`, or None for the model's own.

    Attributes:
        shown: `(H, W, 3)` uint8, the image at its own size.
        batch: `(1, h, w, C)` as the model takes it.
        note: str. To which size it was resized; empty where it was not.
    """

    def __init__(self, model, image, size=None):
        from keras import ops

        if isinstance(image, (str, os.PathLike, Image.Image)):
            image = model.load_image(image)
        image = np.asarray(image)
        channels = model.backbone.image_shape[-1]
        if image.ndim != 3 or image.shape[-1] != channels:
            raise ValueError(
                f"image must be a path, a PIL.Image or an array (H, W, "
                f"{channels}), as the model has {channels} input channels. "
                f"Received: an array {image.shape}."
            )
        size = size or tuple(model.backbone.native_size)
        model.backbone.check_size(size, "size")
        self.shown = shown_image(image)
        self.note = ""
        if image.shape[:2] != size:
            self.note = "seen at {}x{}".format(*size)
        if image.dtype not in (np.uint8, np.uint16):
            image = image.astype("float32")
        batch = ops.convert_to_tensor(resize_to(image, size)[None])
        if model.preprocessor is not None:
            batch = model.preprocessor(batch)
        self.batch = ops.cast(batch, "float32")

    def picture(self, array, width, resampling=Image.Resampling.BILINEAR):
        """An array `(h, w, 3)` uint8 with the image's aspect, `PIL.Image`."""
        size = width, height_at(width, self.shown)
        return Image.fromarray(array).resize(size, resampling)


@contextlib.contextmanager
def without_gradients():
    """torch keeps what a gradient would need of every call outside of this."""
    import keras

    if keras.config.backend() == "torch":
        import torch

        with torch.no_grad():
            yield
    else:
        yield


def on_host(tensor):
    """float32 on the host."""
    from keras import ops

    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def check_numbers(numbers, count, name, what):
    """Raise unless all count something, from 1 to how many there are."""
    if any(not 1 <= number <= count for number in numbers):
        raise ValueError(
            f"{name} must count {what}, 1..{count}. Received: {list(numbers)}."
        )


def check_transformer(model, what):
    """Raise unless the encoder has transformer layers."""
    if not hasattr(model.backbone, "attention_maps"):
        raise ValueError(
            f"{what} is that of a transformer. Received: a "
            f"{type(model).__name__} on a {type(model.backbone).__name__}, "
            "which has none; its features can be shown."
        )
