"""Masks between disk and NumPy: label values and colours as stored."""

import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from keras_setr.arguments import checked
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.classes import Classes
from keras_setr.classes import warn_of_unknown
from keras_setr.files.decoding import FILE
from keras_setr.files.decoding import OPACITY_MODES
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.decoding import check_one_page
from keras_setr.files.decoding import decode
from keras_setr.files.decoding import is_lossy
from keras_setr.files.decoding import is_opaque
from keras_setr.files.decoding import is_sixteen_bit
from keras_setr.files.decoding import load_pillow
from keras_setr.files.decoding import open_pillow
from keras_setr.files.decoding import raw_mode
from keras_setr.files.decoding import shown_mode
from keras_setr.files.decoding import stated_white
from keras_setr.files.samples import content_of
from keras_setr.files.samples import is_npy
from keras_setr.files.samples import open_npy
from keras_setr.files.whole import written_whole
from keras_setr.tables import counted

_MASK_MODES = ("L", "P", "1", "RGB", "RGBA", "LA")
_AS_LABELS = "Save the labels as 8-bit grey PNG, one value in 0..255 per class."
# How far Pillow stretches grey values of fewer than 8 bits.
_STRETCHED = {"L;2": 85, "L;4": 17}


@checked(path=FILE, complete=flag())
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
            shown = f"{mode}, white is 0" if inverted else shown_mode(mask)
            raise ValueError(
                f"{path} has mode {shown!r}; a mask must be 'L' (8-bit grey), "
                "'P' (palette), '1' or 'RGB' (colours). Save the labels as "
                "8-bit grey PNG, one value in 0..255 per class."
            )
        white = stated_white(mask)
        if grey:
            values = np.array(load_pillow(mask, path, complete))
            return _label_values(_as_stated(values, white, 65_535), path)
        if mode in OPACITY_MODES:
            loaded = load_pillow(mask, path, complete)
            if not is_opaque(loaded):
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
