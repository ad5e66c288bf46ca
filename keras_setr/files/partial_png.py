"""PNG files of which only the upper rows are decoded."""

import io
import zlib

import numpy as np
from PIL import Image


def chunk_names(content):
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


def is_plain(image, content):
    """Whether a PNG file is complete and shows its samples as they are.

    Args:
        image: the opened `PIL.Image`.
        content: bytes of its file.
    """
    chunks = chunk_names(content)
    return (
        image.tile[0][3] == image.mode
        and chunks[-1] == b"IEND"
        and b"eXIf" not in chunks
    )


class PngRows:
    """A plain RGB PNG image, decoded as far down as a box of it reaches.

    `image[rows, columns]` of two slices is the array that the whole image
    has there. Time goes with the last row: what lies above must be inflated.
    The checksum of the pixels is that of the whole, so damage may only be met
    by those who decode the whole, as `check()` of a folder does.

    Args:
        content: bytes of the file; not interlaced.
        size: `(H, W)`.
        load: callable that gives the whole image, or the error of a damaged
            one.
    """

    dtype = np.dtype("uint8")

    def __init__(self, content, size, load):
        self.shape = (*size, 3)
        self._content = content
        self._load = load

    def __getitem__(self, box):
        rows, columns = box
        _, stop, _ = rows.indices(self.shape[0])
        return self._top(stop)[rows, columns]

    def _top(self, count):
        # OpenCV, which decodes the whole, takes less time for it.
        if count > 0.9 * self.shape[0]:
            return self._load()
        try:
            with Image.open(io.BytesIO(self._with_height(count))) as image:
                return np.asarray(image)
        except Exception:
            return self._load()

    def _with_height(self, height):
        """The file as one of fewer rows, at the last of which Pillow stops."""
        # The first chunk, IHDR, has 13 bytes: 4 of width, 4 of height, ..
        header = (
            self._content[12:20]
            + height.to_bytes(4, "big")
            + self._content[24:29]
        )
        checksum = zlib.crc32(header).to_bytes(4, "big")
        return self._content[:12] + header + checksum + self._content[33:]
