"""Images and masks between disk and NumPy, with nothing changed in silence."""

import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageOps

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.classes import Classes
from keras_setr.classes import warn_of_unknown
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.decoding import check_one_page
from keras_setr.files.decoding import decode
from keras_setr.files.decoding import decode_quickly
from keras_setr.files.decoding import is_lossy
from keras_setr.files.decoding import is_sideways
from keras_setr.files.decoding import is_sixteen_bit
from keras_setr.files.decoding import load_pillow
from keras_setr.files.decoding import open_pillow
from keras_setr.files.decoding import raw_mode
from keras_setr.files.decoding import stated_white
from keras_setr.files.samples import content_of
from keras_setr.files.samples import is_npy
from keras_setr.files.samples import load_samples
from keras_setr.files.samples import open_npy
from keras_setr.files.samples import samples_size
from keras_setr.files.whole import written_whole
from keras_setr.tables import counted

# Modes that hold no more than Pillow's conversion to RGB keeps.
_IMAGE_MODES = ("RGB", "L", "P", "1", "CMYK", "YCbCr")
_MASK_MODES = ("L", "P", "1", "RGB", "RGBA", "LA")
_OPACITY_MODES = ("RGBA", "LA")
_AS_LABELS = "Save the labels as 8-bit grey PNG, one value in 0..255 per class."
# How far Pillow stretches grey values of fewer than 8 bits.
_STRETCHED = {"L;2": 85, "L;4": 17}
_FILE = either(path(), instance("ImageBytes", ImageBytes))


@checked(
    path=_FILE,
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
    upright = ImageOps.exif_transpose(x)
    if channels == 3 and dtype == "uint8":
        _check_mode(x, repr(x))
        return _as_rgb(upright, repr(x))
    pixels = np.asarray(upright)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _check_mode(image, name):
    """Raise where an image's mode has no single meaning as RGB."""
    mode, sixteen = image.mode, is_sixteen_bit(image)
    if sixteen or mode not in _IMAGE_MODES + _OPACITY_MODES:
        raise ValueError(
            f"{name} has mode {_shown(mode, sixteen)!r}; an image must be "
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
    if image.mode in _OPACITY_MODES and not _is_opaque(image):
        raise ValueError(
            f"{name} has mode {image.mode!r} with transparent pixels; an "
            "image must be opaque. Decide what stands behind them and "
            "save as RGB, for instance with "
            "Image.open(path).convert('RGB').save(path)."
        )
    return np.array(image.convert("RGB"))


def _shown(mode, sixteen):
    return f"{mode}, 16 bit" if sixteen else mode


def _is_opaque(image):
    return image.getchannel("A").getextrema()[0] == 255


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


@checked(path=_FILE, complete=flag())
def load_mask(
    path: str | os.PathLike[str] | ImageBytes, *, complete: bool = False
) -> Any:
    """The mask at `path`: `(H, W)` uint8 values, or `(H, W, 3)` uint8 colours.

    The values are those that the file stores: a palette mask gives its
    indices, a grey mask of 2 bits 0..3, one of 1 bit 0 and 1, and one of 16
    bits its values, where they are label values. A mask that stores colours
    comes back as RGB, for `mask_to_labels`; opacity is left out where all is
    opaque. A NumPy file `.npy` holds integers `(H, W)` or colours `(H, W, 3)`.

    Args:
        path: of the file.
        complete: bool. Whether the file was read before; see `load_image`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be decoded or is too large, its mode holds
            no label values, or its compression (JPEG, lossy WebP) changes
            them.
    """
    if is_npy(path):
        return _mask_of_array(open_npy(path), path)
    with open_pillow(path) as mask:
        kind = "JPEG" if mask.format == "MPO" else mask.format
        if is_lossy(mask, lambda: content_of(path)):
            lossy = "lossy " if kind in ("WEBP", "TIFF") else ""
            raise ValueError(
                f"{path} is a {lossy}{kind}, and a mask must be stored "
                f"without loss: {kind} compression mixes neighbouring label "
                "values. Save it as PNG from the original annotation."
            )
        check_one_page(mask, path, "a mask", _AS_LABELS)
        mode, raw = mask.mode, raw_mode(mask)
        grey = mode in ("I;16", "I;16B", "I;16L", "I")
        sixteen = is_sixteen_bit(mask) and not grey
        # Stored with white as 0, viewers show other values than are stored.
        inverted = mode == "L" and raw.endswith("I")
        if sixteen or inverted or not (grey or mode in _MASK_MODES):
            shown = f"{mode}, white is 0" if inverted else _shown(mode, sixteen)
            raise ValueError(
                f"{path} has mode {shown!r}; a mask must be 'L' (8-bit grey), "
                "'P' (palette), '1' or 'RGB' (colours). Save the labels as "
                "8-bit grey PNG, one value in 0..255 per class."
            )
        white = stated_white(mask)
        if grey:
            values = np.array(load_pillow(mask, path, complete))
            return _label_values(_as_stated(values, white, 65_535), path)
        if mode in _OPACITY_MODES:
            loaded = load_pillow(mask, path, complete)
            if not _is_opaque(loaded):
                raise ValueError(
                    f"{path} has mode {mode!r} with transparent pixels, whose "
                    "label is not clear. Save the labels as 8-bit grey PNG, "
                    "one value in 0..255 per class, or without opacity."
                )
            return np.array(loaded.convert("L" if mode == "LA" else "RGB"))
        values = decode(mask, path, complete)
    if mode == "1":
        return values.astype(np.uint8)
    if mode == "L":
        values = _as_stated(values, white, 255)
    # Pillow stretches fewer bits to 0..255: 3 of 2 bits becomes 3 * 85.
    return values // _STRETCHED[raw] if raw in _STRETCHED else values


def _as_stated(values, white, highest):
    """Grey values as a PGM file has them, which Pillow stretches."""
    if white in (None, highest):
        return values
    return np.rint(values * (white / highest)).astype(values.dtype)


def _mask_of_array(mask, path):
    """A mask as in `load_mask`, of the array of a NumPy file."""
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    colors = mask.ndim == 3 and mask.shape[-1] == 3
    fits = mask.dtype.kind in "uib" and mask.size
    if not fits or not (colors or mask.ndim == 2):
        raise ValueError(
            f"{path} must hold integers, label values (height, width) or "
            f"colours (height, width, 3). Received: {mask.dtype.name} of "
            f"shape {mask.shape}."
        )
    return _label_values(mask, path)


def _label_values(values, path):
    """Integers of any type as uint8, or an error that names those outside."""
    if values.dtype.kind == "b" or values.dtype == np.uint8:
        return values.astype(np.uint8)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 255:
        outside = (values < 0) | (values > 255)
        first = int(values[outside][0])
        raise ValueError(
            f"{path} holds value {first} in {np.count_nonzero(outside)} of "
            f"{counted(values.size, 'pixel')}, and label values must lie in "
            "0..255. Save the labels as 8-bit grey PNG, one value in 0..255 "
            "per class and 255 for unlabelled."
        )
    return values.astype(np.uint8)


def pack_colors(colors):
    """`(..., 3)` uint8 colours as `(...)` int32 `red*65536 + green*256 + blue`.

    Packed colours sort as `(red, green, blue)` tuples do.
    """
    colors = np.asarray(colors).astype(np.int32)
    return colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2]


def unpack_color(packed):
    """`(red, green, blue)` of one packed colour."""
    packed = int(packed)
    return packed >> 16, packed >> 8 & 255, packed & 255


def mask_to_labels(mask, colors, path):
    """`(H, W)` uint8 index in `colors` of every pixel of an RGB mask.

    Args:
        mask: `(H, W, 3)` uint8, from `load_mask`.
        colors: sequence of at most 256 distinct `(red, green, blue)`.
        path: where the mask came from, for the error.

    Raises:
        ValueError: the mask holds a colour that is not in `colors`.
    """
    table = pack_colors(np.array(colors, "uint8").reshape(-1, 3))
    order = np.argsort(table)
    table = table[order]
    packed = pack_colors(mask)
    place = np.searchsorted(table, packed)
    # A colour beyond the last one has no place; any wrong place will do.
    place[place == len(table)] = 0
    unknown = table[place] != packed
    if unknown.any():
        raise ValueError(
            f"{path} holds colour {unpack_color(packed[unknown][0])} in "
            f"{np.count_nonzero(unknown)} of {counted(packed.size, 'pixel')}, "
            f"which is not among the {len(table)} known colours. Add it to "
            "`colors`, or save the mask without smoothed edges."
        )
    return order.astype(np.uint8)[place]


@checked(
    path=path(), classes=optional(instance("a keras_setr.Classes", Classes))
)
def save_labels(
    path: str | os.PathLike[str],
    labels: np.ndarray,
    classes: Any = None,
) -> None:
    """Write `labels` as an 8-bit PNG, whole or not at all.

    Args:
        path: ends in `.png`; an existing file is replaced.
        labels: `(H, W)` integers in 0..255.
        classes: optional `Classes`. With it the file carries the palette, so
            that viewers show the class colours; values beyond the classes
            are black. `load_mask` reads the same values either way.

    Raises:
        ValueError: the path is not a PNG, or the labels do not fit.

    Warns:
        UserWarning: a label is no class, and not 255.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(
            "path must end in .png, which keeps label values. Received: "
            f"{path}."
        )
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels must be (H, W) integers. Received: shape "
            f"{labels.shape}, dtype {labels.dtype}."
        )
    if labels.size == 0 or labels.min() < 0 or labels.max() > 255:
        received = f"{labels.min()}..{labels.max()}" if labels.size else "none"
        raise ValueError(
            "labels must hold values in 0..255 to fit an 8-bit PNG. "
            f"Received: {received}."
        )
    image = Image.fromarray(labels.astype(np.uint8))
    if classes is not None:
        warn_of_unknown(labels, classes)
        palette = [value for rgb in classes.palette or () for value in rgb]
        # All 256 entries: Pillow stores as few bits per pixel as the palette
        # has entries, and would cut 255 short.
        image.putpalette(palette + [0] * (768 - len(palette)))
    with written_whole(path) as partial:
        image.save(partial, format="PNG")
