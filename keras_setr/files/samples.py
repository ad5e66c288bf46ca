"""Files as they store their samples: any number of channels, 8 or 16 bits."""

import contextlib
import io
import os
import pathlib

import numpy as np
from PIL import ExifTags
from PIL import TiffImagePlugin

from keras_setr.files import png
from keras_setr.files.decoding import ImageBytes
from keras_setr.files.decoding import check_one_page
from keras_setr.files.decoding import check_regular
from keras_setr.files.decoding import check_rows
from keras_setr.files.decoding import check_size
from keras_setr.files.decoding import damage_told
from keras_setr.files.decoding import empty_file
from keras_setr.files.decoding import is_sixteen_bit
from keras_setr.files.decoding import load_pillow
from keras_setr.files.decoding import open_pillow
from keras_setr.files.decoding import orientation_of
from keras_setr.files.decoding import several_pages
from keras_setr.opencv import cv2
from keras_setr.tables import counted

# EXIF's ways to lie -> the turns that put an array upright: whether height and
# width are swapped first, then whether rows and columns are reversed.
_UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_TIFF = (b"II*\0", b"MM\0*")
# Pillow's modes whose samples are those of the file.
_EIGHT_BIT = ("L", "LA", "RGB", "RGBA")
_COMPLETE_NPY = "It must be a complete .npy file of numbers; save it again."
_COMPLETE = (
    "It must be a complete PNG, TIFF or .npy file; copy or export it again."
)


def is_npy(path):
    """Whether a file is one of NumPy, by its name."""
    return str(path).lower().endswith(".npy")


def content_of(path):
    """The bytes of a file, which are some."""
    if isinstance(path, ImageBytes):
        content = path.content
    else:
        check_regular(path)
        content = pathlib.Path(path).read_bytes()
    if not content:
        raise ValueError(empty_file(path))
    return content


def open_npy(path):
    """The array of a `.npy` file, read when it is used.

    Raises:
        ValueError: the file is no such file, or shorter than it says.
    """
    in_memory = isinstance(path, ImageBytes)
    if not in_memory:
        check_regular(path)
        if not os.path.getsize(path):
            raise ValueError(empty_file(path))
    with damage_told(path, _COMPLETE_NPY):
        if in_memory:
            array = np.load(io.BytesIO(path.content), allow_pickle=False)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays, as .npz files are")
        return array


def load_samples(path, channels, dtype, complete):
    """`(H, W, channels)` of the stored samples, nothing converted.

    Args:
        path, channels, dtype, complete: as of `load_image`.
    """
    if is_npy(path):
        samples = open_npy(path)
    else:
        content = content_of(path)
        with damage_told(path, _COMPLETE):
            samples = _decode(content, path, complete)
    shape = samples.shape
    if samples.ndim == 2:
        samples = samples[..., None]
    wanted = ("uint8", "uint16") if dtype is None else (str(dtype),)
    found = samples.shape[-1] if samples.ndim == 3 else shape
    if found != channels or samples.dtype.name not in wanted:
        raise ValueError(
            f"{path} must hold {counted(channels, 'channel')} of "
            f"{' or '.join(wanted)}, (height, width, {channels}). Received: "
            f"{found} of {samples.dtype.name}, shape {shape}; convert the "
            "file, or pass its own channels and dtype if the model has that "
            "many."
        )
    return np.array(samples)


def samples_size(path):
    """`(H, W)` as `load_samples` would give it, read from the header alone."""
    if is_npy(path):
        return (*open_npy(path).shape, 0, 0)[:2]
    content = content_of(path)
    with damage_told(path, _COMPLETE):
        return _size(content, path)


def _decode(content, path, complete):
    """`(H, W)` or `(H, W, C)` of 8 or 16 bits, upright, nothing converted.

    The pages of a TIFF file of grey pages become channels. Palettes are
    expanded.

    Args:
        content: bytes of the file.
        path: for errors.
        complete: bool. See `decode_quickly`.

    Raises:
        Exception: of any kind, where the file is damaged or something else.
    """
    is_png = content.startswith(b"\x89PNG")
    if not is_png and content[:4] not in _TIFF:
        return _pillow_samples(content, path, complete)
    if is_png and png.chunk_names(content)[-1] != b"IEND":
        raise ValueError("the file is truncated")
    height, width = _size(content, path)
    check_size(path, height, width)
    plain, pages = False, 1
    with contextlib.suppress(ValueError):
        with open_pillow(ImageBytes(content, str(path))) as image:
            # Of opacity of 8 bits in a TIFF file, OpenCV makes darker colours.
            plain = image.mode in _EIGHT_BIT and not is_sixteen_bit(image)
            pages = getattr(image, "n_frames", 1)
    # Those of a TIFF file may be channels.
    if is_png and pages > 1:
        raise ValueError(several_pages(path, pages))
    with contextlib.suppress(ValueError):
        if plain and pages == 1:
            return _pillow_samples(content, path, complete)
    if is_png and not complete:
        check_rows(content, path)
    array = np.frombuffer(content, np.uint8)
    whole, pages = cv2.imdecodemulti(array, cv2.IMREAD_UNCHANGED)
    if not whole or not pages:
        raise ValueError("OpenCV finds no image in it")
    # Smaller ones are overviews.
    pages = [page for page in pages if page.shape == pages[0].shape]
    if len(pages) > 1:
        return np.stack(pages, axis=-1)
    (samples,) = pages
    if samples.ndim == 3 and samples.shape[-1] in (3, 4):
        # OpenCV gives blue, green, red (and opacity).
        samples = samples[..., [2, 1, 0, 3][: samples.shape[-1]]]
    if is_png:  # and of TIFF files, OpenCV turns all
        samples = _turned(samples, _png_orientation(content))
    return np.ascontiguousarray(samples)


def _pillow_samples(content, path, complete):
    with open_pillow(ImageBytes(content, str(path))) as image:
        check_one_page(image, path)
        image = load_pillow(image, path, complete)
        kept = image.mode in _EIGHT_BIT
        return np.array(image if kept else image.convert("RGB"))


def _size(content, path):
    """`(H, W)` of what `_decode` would give, from the header alone."""
    if content.startswith(b"\x89PNG"):
        height, width = png.size(content)
        orientation = _png_orientation(content)
    elif content[:4] in _TIFF:
        # Pillow opens no file of many channels, but reads its tags.
        file = io.BytesIO(content)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        width = int(tags[TiffImagePlugin.IMAGEWIDTH])
        height = int(tags[TiffImagePlugin.IMAGELENGTH])
        orientation = tags.get(ExifTags.Base.Orientation, 1)
    else:
        with open_pillow(ImageBytes(content, str(path))) as image:
            width, height = image.size
            orientation = orientation_of(image)
    return (width, height) if orientation in range(5, 9) else (height, width)


def _png_orientation(content):
    if b"eXIf" not in png.chunk_names(content):
        return 1
    with open_pillow(ImageBytes(content, "a PNG file")) as image:
        image.load()
        return orientation_of(image)


def _turned(samples, orientation):
    """Samples as viewers show them."""
    if orientation == 1:
        return samples
    swap, rows, columns = _UPRIGHT[orientation]
    if swap:
        samples = np.swapaxes(samples, 0, 1)
    return samples[:: -1 if rows else 1, :: -1 if columns else 1]
