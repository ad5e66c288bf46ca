"""Content of image files to pixels, with errors that name the file."""

import contextlib
import dataclasses
import errno
import io
import os
import stat
import zlib

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps
from PIL import TiffImagePlugin
from PIL import UnidentifiedImageError

from keras_setr.opencv import cv2
from keras_setr.tables import counted

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
_SIDEWAYS = (5, 6, 7, 8)
_TIFF = (b"II*\0", b"MM\0*")
# Bits of a tag of TIFF: an overview, a mask of what is valid.
_SUBFILE_TYPE, _NO_IMAGE = 254, 0b101
# Pillow's modes whose samples are those of the file.
_EIGHT_BIT = ("L", "LA", "RGB", "RGBA")
_INFLATED_AT_A_TIME = 1 << 20
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


def _check_size(path, height, width):
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
        raise ValueError(_several_pages(path, pages, what, way_out))


def _several_pages(path, pages, what="an image", way_out=None):
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
    if image.format == "PNG" and not complete:
        _check_rows(content, path)
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


def _orientation(image):
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in _UPRIGHT else 1


def _is_upright(image):
    return _orientation(image) == 1


def is_sideways(image):
    """Whether viewers swap height and width of an opened image."""
    return _orientation(image) in _SIDEWAYS


def load_pillow(image, path, complete=False):
    """The decoded image, turned upright as viewers show it."""
    if image.format == "PNG" and not complete:
        image.fp.seek(0)
        _check_rows(image.fp.read(), path)
    with damage_told(path):
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
        raise _damaged(path, error, way_out) from error


def _damaged(path, reason, way_out=_DAMAGED):
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


def decode_samples(content, path, complete=False):
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
    if is_png and _chunk_names(content)[-1] != b"IEND":
        raise ValueError("the file is truncated")
    height, width = samples_size(content, path)
    _check_size(path, height, width)
    plain, pages = False, 1
    with contextlib.suppress(ValueError):
        with open_pillow(ImageBytes(content, str(path))) as image:
            # Of opacity of 8 bits in a TIFF file, OpenCV makes darker colours.
            plain = image.mode in _EIGHT_BIT and not is_sixteen_bit(image)
            pages = getattr(image, "n_frames", 1)
    # Those of a TIFF file may be channels.
    if is_png and pages > 1:
        raise ValueError(_several_pages(path, pages))
    with contextlib.suppress(ValueError):
        if plain and pages == 1:
            return _pillow_samples(content, path, complete)
    if is_png and not complete:
        _check_rows(content, path)
    array = np.frombuffer(content, np.uint8)
    complete, pages = cv2.imdecodemulti(array, cv2.IMREAD_UNCHANGED)
    if not complete or not pages:
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


def samples_size(content, path):
    """`(H, W)` of what `decode_samples` would give, from the header alone."""
    if content.startswith(b"\x89PNG"):
        # Signature, length and name of the first chunk, then both.
        width = int.from_bytes(content[16:20], "big")
        height = int.from_bytes(content[20:24], "big")
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
            orientation = _orientation(image)
    return (width, height) if orientation in _SIDEWAYS else (height, width)


def _pillow_samples(content, path, complete):
    with open_pillow(ImageBytes(content, str(path))) as image:
        check_one_page(image, path)
        image = load_pillow(image, path, complete)
        kept = image.mode in _EIGHT_BIT
        return np.array(image if kept else image.convert("RGB"))


def _check_rows(content, path):
    """Raise if a PNG file holds fewer rows than it says.

    Decoders make up what is missing. Interlaced files are not looked at, and
    what is otherwise wrong is left for the decoders to say.
    """
    header = content[16:29]
    width, height = (int.from_bytes(header[n : n + 4], "big") for n in (0, 4))
    bits, kind, interlaced = header[8], header[9], header[12]
    if interlaced:
        return
    samples = {2: 3, 4: 2, 6: 4}.get(kind, 1)
    # A byte before each row says how it is filtered.
    needed = height * (1 + -(-width * samples * bits // 8))
    found, position, stream = 0, 8, zlib.decompressobj()
    try:
        while position + 12 <= len(content) and not stream.eof:
            length = int.from_bytes(content[position : position + 4], "big")
            if content[position + 4 : position + 8] == b"IDAT":
                rest = content[position + 8 : position + 8 + length]
                while rest and found <= needed:
                    part = stream.decompress(rest, _INFLATED_AT_A_TIME)
                    found += len(part)
                    rest = stream.unconsumed_tail
            position += 12 + length
    except zlib.error:
        return
    if found < needed:
        rows = found * height // needed
        raise _damaged(path, f"it holds {rows} of its {counted(height, 'row')}")


def _png_orientation(content):
    if b"eXIf" not in _chunk_names(content):
        return 1
    with open_pillow(ImageBytes(content, "a PNG file")) as image:
        image.load()
        return _orientation(image)


def _turned(samples, orientation):
    """Samples as viewers show them."""
    if orientation == 1:
        return samples
    swap, rows, columns = _UPRIGHT[orientation]
    if swap:
        samples = np.swapaxes(samples, 0, 1)
    return samples[:: -1 if rows else 1, :: -1 if columns else 1]
