"""What is in the files of a folder of pairs, each read once."""

import collections
import concurrent.futures
import dataclasses
import os

import numpy as np

from keras_setr.data.images import load_image
from keras_setr.data.images import load_mask
from keras_setr.data.images import pack_colors
from keras_setr.data.images import unpack_color

# As many as there are label values of 8 bits.
MAX_COLORS = 256


@dataclasses.dataclass(frozen=True)
class PairFacts:
    """What one reading of a pair found, before any label rule is applied.

    Args:
        image_size: `(H, W)`; `None` if the image cannot be read.
        mask_size: `(H, W)`; `None` if the mask cannot be read.
        values: dict of raw mask value -> pixels; `None` for an RGB mask.
        colors: dict of `(red, green, blue)` -> pixels; `None` for a mask of
            values.
        errors: tuple of str. Why a file cannot be used.
    """

    image_size: tuple = None
    mask_size: tuple = None
    values: dict = None
    colors: dict = None
    errors: tuple = ()


def scan_pairs(pairs):
    """`PairFacts` of each pair, in order, read by a pool of threads."""
    # Pillow decodes outside Python's lock, so threads use all cores.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_scan_pair, pairs))


def _scan_pair(pair):
    facts = {}
    errors = []
    try:
        # Decoded whole: a truncated file has an intact header.
        facts["image_size"] = load_image(pair.image).shape[:2]
    except (ValueError, OSError) as error:
        errors.append(str(error))
    try:
        mask = load_mask(pair.mask)
    except (ValueError, OSError) as error:
        errors.append(str(error))
    else:
        facts["mask_size"] = mask.shape[:2]
        if mask.ndim == 2:
            counts = np.bincount(mask.ravel(), minlength=256)
            facts["values"] = {
                int(value): int(counts[value])
                for value in np.flatnonzero(counts)
            }
        else:
            facts["colors"] = _count_colors(mask)
            if len(facts["colors"]) > MAX_COLORS:
                errors.append(
                    f"{pair.mask} holds {len(facts['colors'])} colours, and "
                    f"at most {MAX_COLORS} can stand for classes. Save the "
                    "mask without smoothed edges, or check that it is a mask."
                )
                facts["colors"] = {}
    return PairFacts(**facts, errors=tuple(errors))


def _count_colors(mask):
    packed = pack_colors(mask).ravel()
    # Masks are flat areas, so runs of one colour are far fewer than pixels,
    # and only the runs are sorted.
    starts = np.flatnonzero(np.diff(packed, prepend=-1))
    lengths = np.diff(starts, append=packed.size)
    counts = collections.Counter()
    colors, index = np.unique(packed[starts], return_inverse=True)
    pixels = np.bincount(index, weights=lengths).astype(np.int64)
    for color, count in zip(colors, pixels):
        counts[unpack_color(color)] = int(count)
    return dict(counts)
