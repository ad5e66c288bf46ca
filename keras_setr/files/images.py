"""Images from disk to NumPy, with nothing changed in silence."""

import os

import numpy as np
from PIL import Image

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.files.decoding import FILE
from keras_setr.files.decoding import OPACITY_MODES
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.decoding import check_one_page
from keras_setr.files.decoding import decode_quickly
from keras_setr.files.decoding import is_opaque
from keras_setr.files.decoding import is_sideways
from keras_setr.files.decoding import is_sixteen_bit
from keras_setr.files.decoding import load_pillow
from keras_setr.files.decoding import open_pillow
from keras_setr.files.decoding import shown_mode
from keras_setr.files.decoding import upright
from keras_setr.files.samples import is_npy
from keras_setr.files.samples import load_samples
from keras_setr.files.samples import samples_size

# Modes that hold no more than Pillow's conversion to RGB keeps.
_IMAGE_MODES = ("RGB", "L", "P", "1", "CMYK", "YCbCr")


@checked(
    path=FILE,
    channels=integer(1),
    dtype=optional(choice("uint8", "uint16")),
    complete=flag(),
)
def load_image(
    path: str | os.PathLike[str] | ImageBytes,
    channels: int = 3,
    dtype: str | None = "uint8",
    *,
    complete: bool = False,
) -> np.ndarray:
    """The image at `path` as `(H, W, channels)`.

    8-bit RGB by default: grey, palette, 1-bit, CMYK and YCbCr images are
    converted to it, opacity is left out where all is opaque, and the EXIF
    orientation is applied. Any other number of channels, or `"uint16"`, is
    read as the file stores it: the pages of a TIFF file may each hold a
    channel, and a NumPy file `.npy` has as many as it likes. Otherwise a file
    is one image: pages and frames of the same size are an error, smaller ones
    are taken for overviews and left out.

    Args:
        path: of the file.
        channels: int. Of the model that the image is for.
        dtype: `"uint8"`, `"uint16"`, or `None` for whichever the file has.
        complete: bool. Whether the file was read before, so that nobody need
            look again whether it holds all of its rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be decoded or is too large, its mode
            (transparency, more than 8 bits, float) has no single meaning as
            RGB, or it holds several pages or frames, or another number of
            channels or type than asked for.
    """
    if is_npy(path) or channels != 3 or dtype != "uint8":
        return load_samples(path, channels, dtype, complete)
    with open_pillow(path) as image:
        check_one_page(image, path)
        _check_mode(image, path)
        pixels = decode_quickly(image, path, complete)
        if pixels is None:
            return _as_rgb(load_pillow(image, path, complete), path)
        if image.mode == "L":
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        return pixels


def image_of(
    x: str | os.PathLike[str] | Image.Image, channels: int, dtype: str | None
) -> np.ndarray:
    """`load_image` of a path, and of a Pillow image what its file would give.

    Args:
        x: path, or Pillow image.
        channels, dtype: as of `load_image`.
    """
    if not isinstance(x, Image.Image):
        return load_image(x, channels, dtype)
    if channels == 3 and dtype == "uint8":
        # Before it is decoded, which drops what the file stores.
        _check_mode(x, repr(x))
        return _as_rgb(upright(x), repr(x))
    pixels = np.asarray(upright(x))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _check_mode(image, name):
    """Raise where an image's mode has no single meaning as RGB."""
    mode = image.mode
    if is_sixteen_bit(image) or mode not in _IMAGE_MODES + OPACITY_MODES:
        raise ValueError(
            f"{name} has mode {shown_mode(image)!r}; an image must be "
            f"8-bit RGB or one of {', '.join(_IMAGE_MODES[1:])}. Scale its "
            "values to 0..255 and save it as 8-bit RGB."
        )
    if mode == "P" and image.has_transparency_data:
        raise ValueError(
            f"{name} has mode 'P' with transparency; an image must be "
            "opaque. Decide what stands behind the transparent pixels "
            "and save as RGB."
        )


def _as_rgb(image, name):
    """`(H, W, 3)` of a decoded image, if it is opaque."""
    if image.mode in OPACITY_MODES and not is_opaque(image):
        raise ValueError(
            f"{name} has mode {image.mode!r} with transparent pixels; an "
            "image must be opaque. Decide what stands behind them and "
            "save as RGB, for instance with "
            "Image.open(path).convert('RGB').save(path)."
        )
    return np.array(image.convert("RGB"))


def image_size(path, channels=3, dtype="uint8"):
    """`(H, W)` as `load_image` would give it, read from the header alone.

    An EXIF orientation that a PNG file stores behind its pixels is not seen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image.
    """
    if is_npy(path) or channels != 3 or dtype != "uint8":
        return samples_size(path)
    with open_pillow(path) as image:
        width, height = image.size
        # Pillow decodes a whole PNG to look for EXIF data behind the pixels,
        # and gives the size of a TIFF file as it stands after turning.
        looked_for = image.format != "TIFF" and (
            image.format != "PNG" or "exif" in image.info
        )
        if looked_for and is_sideways(image):
            height, width = width, height
        return height, width
