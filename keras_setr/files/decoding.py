"""Content of image files to pixels, with errors that name the file."""

import contextlib
import dataclasses
import io

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps

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


def _open_binary(path):
    if isinstance(path, ImageBytes):
        return io.BytesIO(path.content)
    return open(path, "rb")


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
        except Exception as error:
            raise ValueError(
                f"{path} is not an image that Pillow can read: {error}. "
                "Export it again as PNG or JPEG, or remove it together with "
                "its pair."
            ) from error
        yield image


def empty_file(path):
    """What is wrong with a file of no bytes."""
    return (
        f"{path} is empty (0 bytes). Copy or export it again, or remove it "
        "together with its pair."
    )


def decode(image, path):
    """The pixels of an opened image as an array, in its own mode."""
    pixels = decode_quickly(image, path)
    if pixels is None:
        pixels = np.array(load_pillow(image, path))
    return pixels


def decode_quickly(image, path):
    """The same pixels in less time; `None` where they may differ.

    Only for complete 8-bit JPEG and PNG files of grey or RGB values that need
    not be turned: OpenCV fills up what a truncated file lacks, expands
    palettes and stretches values of less than 8 bits.
    """
    if image.mode not in ("RGB", "L") or image.format not in ("JPEG", "PNG"):
        return None
    image.fp.seek(0)
    content = image.fp.read()
    if image.format == "JPEG":
        simple = content.endswith(b"\xff\xd9") and _is_upright(image)
    else:
        simple = _is_plain(image, content)
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
    flags = {"RGB": cv2.IMREAD_COLOR_RGB, "L": cv2.IMREAD_GRAYSCALE}
    return cv2.imdecode(
        np.frombuffer(content, np.uint8),
        flags[image.mode] | cv2.IMREAD_IGNORE_ORIENTATION,
    )


def _chunk_names(content):
    """Names of the chunks that lie wholly in the content of a PNG file."""
    names = [b""]
    # 8 bytes of signature; then of each chunk 4 bytes of length, 4 of name,
    # the data, and 4 of checksum.
    position = 8
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        name = content[position + 4 : position + 8]
        position += 12 + length
        if position <= len(content):
            names.append(name)
    return names


def _is_plain(image, content):
    """Whether a PNG file is complete and shows its samples as they are.

    Args:
        image: the opened `PIL.Image`.
        content: bytes of its file.
    """
    chunks = _chunk_names(content)
    return (
        image.tile[0][3] == image.mode
        and chunks[-1] == b"IEND"
        and b"eXIf" not in chunks
    )


def _is_upright(image):
    return image.getexif().get(ExifTags.Base.Orientation, 1) == 1


def load_pillow(image, path):
    """The decoded image, turned upright as viewers show it."""
    try:
        image.load()
        # After loading, because Pillow itself turns TIFF files then.
        return image if _is_upright(image) else ImageOps.exif_transpose(image)
    # Pillow's decoders meet damage with OSError, SyntaxError, EOFError,
    # struct.error, zlib.error and more.
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path, error):
    return ValueError(
        f"{path} cannot be decoded: {error}. The file is truncated or "
        "damaged; copy or export it again, or remove it together with its "
        "pair."
    )


def is_sixteen_bit(image):
    """Whether decoding would drop the low byte of every sample.

    Pillow opens 16-bit RGB as mode "RGB"; only the decoder's own description
    of the samples still tells.
    """
    return any(";16" in str(tile[3]) for tile in image.tile)


def decode_samples(content):
    """`(H, W)` or `(H, W, C)`, as stored in a PNG or TIFF file.

    Raises:
        Exception: of any kind, where the file is damaged or something else.
    """
    if content.startswith(b"\x89PNG") and _chunk_names(content)[-1] != b"IEND":
        raise ValueError("the file is truncated")
    array = np.frombuffer(content, np.uint8)
    complete, pages = cv2.imdecodemulti(array, cv2.IMREAD_UNCHANGED)
    if not complete or not pages:
        raise ValueError("OpenCV finds no image in it")
    if len(pages) > 1:
        return np.stack(pages, axis=-1)
    (samples,) = pages
    if samples.ndim == 3 and samples.shape[-1] in (3, 4):
        # OpenCV gives blue, green, red (and opacity).
        samples = samples[..., [2, 1, 0, 3][: samples.shape[-1]]]
    return np.ascontiguousarray(samples)
