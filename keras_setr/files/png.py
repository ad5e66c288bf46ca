"""PNG files by their chunks: what decoders make up in silence."""

import zlib

from keras_setr.tables import counted

_INFLATED_AT_A_TIME = 1 << 20


def size(content):
    """`(H, W)` that a PNG file says."""
    # Signature, length and name of the first chunk, then width and height.
    width, height = (
        int.from_bytes(content[n : n + 4], "big") for n in (16, 20)
    )
    return height, width


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


def lacking_rows(content):
    """In words, how many rows of a PNG file there are; None if all.

    Decoders make up what is missing. Interlaced files are not looked at, and
    what is otherwise wrong is left for the decoders to say.
    """
    height, width = size(content)
    bits, kind, interlaced = content[24], content[25], content[28]
    if interlaced:
        return None
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
        return None
    if found >= needed:
        return None
    rows = found * height // needed
    return f"it holds {rows} of its {counted(height, 'row')}"
