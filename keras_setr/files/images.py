"""Images and masks between disk and NumPy, with nothing changed in silence."""

import io
import os
import pathlib
from typing import Any

import numpy as np
from PIL import ExifTags
from PIL import Image

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import path
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.decoding import decode
from keras_setr.files.decoding import decode_quickly
from keras_setr.files.decoding import decode_samples
from keras_setr.files.decoding import empty_file
from keras_setr.files.decoding import is_sixteen_bit
from keras_setr.files.decoding import load_pillow
from keras_setr.files.decoding import open_pillow
from keras_setr.files.whole import written_whole

# Modes that hold no more than Pillow's conversion to RGB keeps.
_IMAGE_MODES = ("RGB", "L", "P", "1", "CMYK", "YCbCr")
_MASK_MODES = ("L", "P", "1", "RGB")


@checked(
    path=either(path(), instance("ImageBytes", ImageBytes)),
    channels=integer(1),
    dtype=optional(choice("uint8", "uint16")),
)
def load_image(
    path: str | os.PathLike[str] | ImageBytes,
    channels: int = 3,
    dtype: str | None = "uint8",
) -> np.ndarray:
    """The image at `path` as `(H, W, channels)`.

    8-bit RGB by default: grey, palette, 1-bit, CMYK and YCbCr images are
    converted to it, and the EXIF orientation is applied. Any other number of
    channels, or `"uint16"`, is read as the file stores it: a PNG or TIFF
    file, one of whose pages may each hold a channel, or a NumPy file `.npy`.

    Args:
        path: of the file.
        channels: int. Of the model that the image is for.
        dtype: `"uint8"`, `"uint16"`, or `None` for whichever the file has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be decoded, its mode (transparency, more
            than 8 bits, float) has no single meaning as RGB, or it holds
            another number of channels or type than asked for.
    """
    if channels != 3 or dtype != "uint8":
        return _load_samples(path, channels, dtype)
    with open_pillow(path) as image:
        mode = image.mode
        if is_sixteen_bit(image) or mode not in _IMAGE_MODES:
            shown = f"{mode}, 16 bit" if is_sixteen_bit(image) else mode
            if mode in ("RGBA", "LA", "PA", "RGBa", "La"):
                fix = (
                    "Decide what stands behind the transparent pixels and "
                    "save as RGB, for instance with "
                    "Image.open(path).convert('RGB').save(path)."
                )
            else:
                fix = "Scale its values to 0..255 and save it as 8-bit RGB."
            raise ValueError(
                f"{path} has mode {shown!r}; an image must be 8-bit RGB or "
                f"one of {', '.join(_IMAGE_MODES[1:])}. {fix}"
            )
        if mode == "P" and image.has_transparency_data:
            raise ValueError(
                f"{path} has mode 'P' with transparency; an image must be "
                "opaque. Decide what stands behind the transparent pixels "
                "and save as RGB."
            )
        pixels = decode_quickly(image, path)
        if pixels is None:
            return np.array(load_pillow(image, path).convert("RGB"))
        if mode == "L":
            pixels = np.repeat(pixels[..., None], 3, axis=-1)
        return pixels


def _load_samples(path, channels, dtype):
    """`(H, W, channels)` of the stored samples, nothing converted."""
    content = pathlib.Path(path).read_bytes()
    if not content:
        raise ValueError(empty_file(path))
    try:
        if str(path).lower().endswith(".npy"):
            samples = np.load(io.BytesIO(content))
        else:
            samples = decode_samples(content)
    # OpenCV and NumPy meet damage with errors of many kinds.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be decoded: {error}. It must be a complete PNG, "
            "TIFF or .npy file; copy or export it again, or remove it "
            "together with its pair."
        ) from error
    if samples.ndim == 2:
        samples = samples[..., None]
    wanted = ("uint8", "uint16") if dtype is None else (str(dtype),)
    found = samples.shape[-1] if samples.ndim == 3 else samples.shape
    if found != channels or samples.dtype.name not in wanted:
        raise ValueError(
            f"{path} must hold {channels} channels of {' or '.join(wanted)}. "
            f"Received: {found} of {samples.dtype.name}; convert the file, or "
            "pass its own channels and dtype if the model has that many."
        )
    return samples


def image_size(path):
    """`(H, W)` as `load_image` would give it, read from the header alone.

    An EXIF orientation that a PNG file stores behind its pixels is not seen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image.
    """
    with open_pillow(path) as image:
        width, height = image.size
        # Pillow decodes a whole PNG to look for EXIF data behind the pixels,
        # and gives the size of a TIFF file as it stands after turning.
        looked_for = image.format != "TIFF" and (
            image.format != "PNG" or "exif" in image.info
        )
        if looked_for:
            if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:
                height, width = width, height
        return height, width


def load_mask(path: str | os.PathLike[str] | ImageBytes) -> Any:
    """The mask at `path`: `(H, W)` uint8 values, or `(H, W, 3)` uint8 colours.

    A palette mask gives its indices and a 1-bit mask gives 0 and 1. A mask
    that stores colours comes back as RGB, for `mask_to_labels`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be decoded, its mode holds no label
            values, or it is a JPEG, whose compression changes them.
    """
    with open_pillow(path) as mask:
        if mask.format in ("JPEG", "MPO"):
            raise ValueError(
                f"{path} is a JPEG, and a mask must be stored without loss: "
                "JPEG compression mixes neighbouring label values. Save it "
                "as PNG from the original annotation."
            )
        mode = mask.mode
        if is_sixteen_bit(mask) or mode not in _MASK_MODES:
            shown = f"{mode}, 16 bit" if is_sixteen_bit(mask) else mode
            raise ValueError(
                f"{path} has mode {shown!r}; a mask must be 'L' (8-bit grey), "
                "'P' (palette), '1' or 'RGB' (colours). Save the labels as "
                "8-bit grey PNG, one value in 0..255 per class."
            )
        values = decode(mask, path)
    return values.astype(np.uint8) if mode == "1" else values


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
            f"{np.count_nonzero(unknown)} of {packed.size} pixels, which is "
            f"not among the {len(table)} known colours. Add it to `colors`, "
            "or save the mask without smoothed edges."
        )
    return order.astype(np.uint8)[place]


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
        palette = [value for rgb in classes.palette or () for value in rgb]
        # All 256 entries: Pillow stores as few bits per pixel as the palette
        # has entries, and would cut 255 short.
        image.putpalette(palette + [0] * (768 - len(palette)))
    with written_whole(path) as partial:
        image.save(partial, format="PNG")
