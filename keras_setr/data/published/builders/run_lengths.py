"""Binary masks as COCO's run lengths."""

import numpy as np

from keras_setr.tables import counted


def decode_runs(counts):
    """The lengths of a compressed run-length string.

    Each number is written in digits of five bits, the lowest first, as the
    characters `chr(48 + digit)` with 32 added while more follow; the fifth
    bit of its last digit is the sign. From the fourth number on, what is
    written is the difference to the number two before.

    `"52203"`: 5, 2, 2, then 0 + 2 = 2, then 3 + 2 = 5.

    Args:
        counts: str or bytes.

    Returns:
        list of int: pixels of 0, then of 1, then of 0, and so on.
    """
    if isinstance(counts, str):
        counts = counts.encode("ascii")
    runs, value, shift = [], 0, 0
    for byte in counts:
        digit = byte - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs


def decode_mask(segmentation):
    """The `(H, W)` bool mask of `{"size": [H, W], "counts": ...}`.

    Args:
        segmentation: dict. `counts` is a string, or a list of lengths.

    Raises:
        ValueError: the lengths do not fill the size.
    """
    height, width = segmentation["size"]
    runs = segmentation["counts"]
    if isinstance(runs, (str, bytes)):
        runs = decode_runs(runs)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(
            f"Run lengths must add up to {height} * {width} = "
            f"{counted(height * width, 'pixel')}. Received: {sum(runs)} in "
            f"{counted(len(runs), 'run')}; the annotation is damaged, get the "
            "file again."
        )
    values = np.arange(len(runs)) % 2 == 1
    # Column by column.
    return np.repeat(values, runs).reshape(width, height).T
