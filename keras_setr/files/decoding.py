"""Content of image files to pixels, with errors that name the file."""

import contextlib
import dataclasses
import errno
import io
import os
import stat

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps
from PIL import UnidentifiedImageError

from keras_setr.arguments import either
from keras_setr.arguments import instance
from keras_setr.arguments import path
from keras_setr.files import png
from keras_setr.opencv import cv2

try:
    import kornia_rs
except ImportError:
    kornia_rs = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class ImageBytes:
    """The content of an image file that does not lie on disk by itself.

    Takes the place of a path in `load_image` and `load_mask`.

    Args:
        content: bytes.
        name: str. What errors call it.
    """

    content: bytes
    name: str

    def __str__(self):
        return self.name


FILE = either(path(), instance("ImageBytes", ImageBytes))
OPACITY_MODES = ("RGBA", "LA")
# Bits of a tag of TIFF: an overview, a mask of what is valid.
_SUBFILE_TYPE, _NO_IMAGE = 254, 0b101
_DAMAGED = "The file is truncated or damaged; copy or export it again."
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def _open_binary(path):
    if isinstance(path, ImageBytes):
        return io.BytesIO(path.content)
    check_regular(path)
    return open(path, "rb")


def check_regular(path):
    """Raise at what is there, but no file: to open a pipe waits for ever.

    Raises:
        FileNotFoundError, IsADirectoryError: there is none, or a folder.
        ValueError: it is a pipe, a socket or a device.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            errno.EISDIR, "a folder, where a file is wanted", str(path)
        )
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{path} is a pipe, a socket or a device, and must be a file; "
            "write its content to a file, or remove it."
        )


@contextlib.contextmanager
def open_pillow(path):
    """A Pillow image whose decoding errors name `path` and say what to do."""
    # Opened here, so that a missing or forbidden file keeps Python's own
    # error and only what Pillow says about the content is reworded.
    with _open_binary(path) as file:
        if not file.read(1):
            raise ValueError(empty_file(path))
        file.seek(0)
        try:
            image = Image.open(file)
        except Image.DecompressionBombError as error:
            raise ValueError(_too_large(path, error)) from error
        except Exception as error:
            reason = f"{error}"
            if isinstance(error, UnidentifiedImageError):
                # Pillow names the object that it was handed.
                file.seek(0)
                reason = _what_else(file.read(32))
            raise ValueError(
                f"{path} is not an image that can be read: {reason}. Export "
                "it again as PNG or JPEG."
            ) from error
        yield image


def _what_else(beginning):
    """In words, what a file is that Pillow takes for no image.

    Args:
        beginning: bytes, the first of the file.
    """
    # ISO/IEC 23008-12: a box `ftyp` of one of HEIF's brands.
    if beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIF:
        return "it is HEIC, as phones save photos"
    text = beginning.decode("ascii", "replace").strip().split("\n")[0].rstrip()
    if text and text.isascii() and text.isprintable():
        return f'it is text, which begins "{text}"'
    return "it has none of the formats that Pillow knows"


def empty_file(path):
    """What is wrong with a file of no bytes."""
    return f"{path} is empty (0 bytes). Copy or export it again."


def _too_large(path, reason):
    return (
        f"{path} has too many pixels to be decoded safely: {reason}. Cut it "
        "into parts or scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS if "
        "you trust the file."
    )


def check_size(path, height, width):
    """Raise where Pillow would, whoever decodes it."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        reason = f"{height} x {width}, and the limit is {2 * limit}"
        raise ValueError(_too_large(path, reason))


def check_one_page(image, path, what="an image", way_out=None):
    """Raise where a file has several pages or frames of one size.

    Any of them may be meant. Smaller ones are overviews of the first, some of
    TIFF tell what of it is valid, and what else a camera keeps in a JPEG file
    (`"MPO"`) no viewer shows.

    Args:
        image: the opened `PIL.Image`.
        path: for the error.
        what: str. What the file must hold.
        way_out: str. What to do about it.
    """
    if image.format == "MPO":
        return
    try:
        pages, size = getattr(image, "n_frames", 1), image.size
        if pages == 1:
            return
        image.seek(1)
        beside = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
        another = image.size == size and not beside & _NO_IMAGE
        image.seek(0)
    # Damaged; what decodes it says so.
    except Exception:
        return
    if another:
        raise ValueError(several_pages(path, pages, what, way_out))


def several_pages(path, pages, what="an image", way_out=None):
    """What is wrong with a file of many pages; see `check_one_page`."""
    way_out = way_out or (
        "Save the one that is meant as PNG or JPEG, or each by itself."
    )
    return (
        f"{path} holds {pages} pages or frames, and {what} must be a single "
        f"one. {way_out}"
    )


def decode(image, path, complete=False):
    """The pixels of an opened image as an array, in its own mode.

    Args:
        image: the opened `PIL.Image`.
        path: for errors.
        complete: bool. See `decode_quickly`.
    """
    pixels = decode_quickly(image, path, complete)
    if pixels is None:
        pixels = np.array(load_pillow(image, path, complete))
    return pixels


def decode_quickly(image, path, complete=False):
    """The same pixels in less time; `None` where they may differ.

    Only for complete 8-bit JPEG and PNG files of grey or RGB values that need
    not be turned: OpenCV fills up what a truncated file lacks, expands
    palettes and stretches values of less than 8 bits.

    Args:
        image: the opened `PIL.Image`.
        path: for errors.
        complete: bool. Whether the file was read before and found whole.
            Otherwise all bytes of a PNG file are decompressed once more, as
            nobody else notices that some of its rows are missing.
    """
    if image.mode not in ("RGB", "L") or image.format not in ("JPEG", "PNG"):
        return None
    image.fp.seek(0)
    content = image.fp.read()
    if image.format == "JPEG":
        simple = content.endswith(b"\xff\xd9") and _is_upright(image)
    else:
        simple = png.is_plain(image, content)
    if not simple:
        return None
    if kornia_rs is not None and (image.format, image.mode) == ("PNG", "L"):
        # 40.8 -> 36.2 ms of CPU for a training pair of Cityscapes. Faster for
        # RGB, too, but no other thread of Python runs meanwhile. What it
        # refuses, the others judge.
        with contextlib.suppress(Exception):  # of no class of its own
            pixels = kornia_rs.io.decode_image_png_u8(
                content, image.size[::-1], "mono"
            )
            return pixels[..., 0]
    if image.format == "PNG" and not complete:
        check_rows(content, path)
    flags = {"RGB": cv2.IMREAD_COLOR_RGB, "L": cv2.IMREAD_GRAYSCALE}
    return cv2.imdecode(
        np.frombuffer(content, np.uint8),
        flags[image.mode] | cv2.IMREAD_IGNORE_ORIENTATION,
    )


def orientation_of(image):
    """How an opened image lies by its EXIF data, 1..8; 1 is upright."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def _is_upright(image):
    return orientation_of(image) == 1


def is_sideways(image):
    """Whether viewers swap height and width of an opened image."""
    return orientation_of(image) >= 5


def check_rows(content, path):
    """Raise if a PNG file holds fewer rows than it says."""
    if reason := png.lacking_rows(content):
        raise damaged(path, reason)


def load_pillow(image, path, complete=False):
    """The decoded image, turned upright as viewers show it."""
    if image.format == "PNG" and not complete:
        image.fp.seek(0)
        check_rows(image.fp.read(), path)
    with damage_told(path):
        return upright(image)


def upright(image):
    """A Pillow image decoded, and turned as viewers show it."""
    if name := getattr(image, "filename", ""):
        # Of a named TIFF file Pillow maps the rows, and turns them wrongly.
        image.filename = ""
        image.load()
        image.filename = name
    image.load()
    # After loading, because Pillow itself turns TIFF files then.
    return image if _is_upright(image) else ImageOps.exif_transpose(image)


@contextlib.contextmanager
def damage_told(path, way_out=_DAMAGED):
    """What decoders raise names `path`, if it does not, and says what to do.

    They meet damage with OSError, SyntaxError, EOFError, struct.error,
    zlib.error, those of OpenCV and more.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise damaged(path, error, way_out) from error


def damaged(path, reason, way_out=_DAMAGED):
    """The error on a file that decoders make nothing of."""
    return ValueError(f"{path} cannot be decoded: {reason}. {way_out}")


def raw_mode(image):
    """How an opened image stores its samples, such as `"RGB;16B"` or `"L;4"`.

    Pillow opens 16-bit RGB as mode "RGB" and grey of 4 bits as "L"; only the
    decoder's own description of the samples still tells.
    """
    if not getattr(image, "tile", None):
        return image.mode
    arguments = image.tile[0][3]
    return str(arguments if isinstance(arguments, str) else arguments[0])


def stated_white(image):
    """The value that a PGM or PPM file says is white; `None` of others.

    Pillow stretches all values so that it becomes 255, or 65,535.
    """
    if image.format != "PPM" or not image.tile:
        return None
    arguments = image.tile[0][3]
    return arguments[1] if isinstance(arguments, tuple) else None


def is_sixteen_bit(image):
    """Whether decoding would drop the low byte of every sample."""
    return ";16" in raw_mode(image)


def shown_mode(image):
    """The mode of an opened image as errors name it."""
    return f"{image.mode}, 16 bit" if is_sixteen_bit(image) else image.mode


def is_opaque(image):
    """Whether no pixel of a mode of `OPACITY_MODES` lets others through."""
    return image.getchannel("A").getextrema()[0] == 255


def is_lossy(image, content_of):
    """Whether an opened image's compression changes values.

    Args:
        image: the opened `PIL.Image`.
        content_of: callable that gives the bytes of its file.
    """
    if image.format == "WEBP":
        content = content_of()
        # After "RIFF", a size and "WEBP": chunks of a name, a size and data.
        position = 12
        while position + 8 <= len(content):
            name = content[position : position + 4]
            if name == b"VP8 ":
                return True
            size = content[position + 4 : position + 8]
            position += 8 + int.from_bytes(size, "little")
            position += position % 2
            if name == b"ANMF":  # a frame, whose chunks stand inside
                position -= int.from_bytes(size, "little")
                position += 16
        return False
    if image.format == "TIFF":
        return "jpeg" in str(image.info.get("compression"))
    return image.format in ("JPEG", "MPO", "JPEG2000", "AVIF")
