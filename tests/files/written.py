"""Image files as Pillow writes them, and as it does not."""

import struct
import zlib

import numpy as np
from PIL import Image

# 2 x 3 pixels, no two alike.
GREY = np.array([[0, 40, 80], [120, 160, 255]], "uint8")
# 2 x 4 pixels that fit 2 bits.
FEW = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], "uint8")


def write(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def png(height, width, bits, kind, rows):
    """A PNG file of rows that Pillow would not write so."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def sixteen_bit_rgb_png():
    """2 x 1 pixels, 3 samples of 2 bytes each."""
    return png(1, 2, 16, 2, bytes(1 + 12))
