"""What is in the files of a folder of pairs, each read once."""

import collections
import concurrent.futures
import dataclasses
import os

import numpy as np

from keras_setr.files.images import load_image
from keras_setr.files.masks import load_mask
from keras_setr.files.masks import pack_colors
from keras_setr.files.masks import unpack_color

# As many as there are label values of 8 bits.
MAX_COLORS = 256
_BAND_PIXELS = 1 << 20


@dataclasses.dataclass(frozen=True)
class PairScan:
    """What one reading of a pair found, before any label rule is applied.

    Args:
        image_size: `(H, W)`; `None` if the image cannot be read.
        mask_size: `(H, W)`; `None` if the mask cannot be read.
        values: dict of raw mask value -> pixels; `None` for an RGB mask.
        colors: dict of `(red, green, blue)` -> pixels; `None` for a mask of
            values.
        areas: set of those values or colours of which 2 x 2 pixels lie
            together somewhere, as those of smoothed edges do not.
        errors: tuple of str. Why a file cannot be used.
    """

    image_size: tuple | None = None
    mask_size: tuple | None = None
    values: dict | None = None
    colors: dict | None = None
    areas: frozenset = frozenset()
    errors: tuple = ()


def scan_pairs(pairs, channels, image_dtype):
    """`PairScan` of each pair, in order, read by a pool of threads.

    Args:
        pairs: sequence of `Pair`.
        channels, image_dtype: what the images must hold; see `load_image`.
    """

    def scan(pair):
        return _scan_pair(pair, channels, image_dtype)

    # Pillow decodes outside Python's lock, so threads use all cores.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(scan, pairs))


def _scan_pair(pair, channels, image_dtype):
    found = {}
    errors = []
    try:
        # Decoded whole: a truncated file has an intact header.
        image = load_image(pair.image, channels, image_dtype)
        found["image_size"] = image.shape[:2]
    except (ValueError, OSError) as error:
        errors.append(_sentence(error, pair.image))
    try:
        mask = load_mask(pair.mask)
    except (ValueError, OSError) as error:
        errors.append(_sentence(error, pair.mask))
    else:
        found["mask_size"] = mask.shape[:2]
        if mask.ndim == 2:
            found["values"], found["areas"] = _count_values(mask)
        else:
            found["colors"], found["areas"] = _count_colors(mask)
            if len(found["colors"]) > MAX_COLORS:
                errors.append(
                    f"{pair.mask} holds {len(found['colors'])} colours, and "
                    f"at most {MAX_COLORS} can stand for classes. Save the "
                    "mask without smoothed edges, or check that it is a mask."
                )
                found["colors"] = {}
    return PairScan(**found, errors=tuple(errors))


def _sentence(error, path):
    """What is wrong with a file, and what to do about it."""
    if isinstance(error, ValueError):
        text = str(error)
    else:
        text = (
            f"{path} cannot be opened: {error.strerror or error}. Copy it "
            "again, or give yourself the right to read it."
        )
    return f"{text} Otherwise remove it together with its pair."


def _bands(mask):
    """Yields bands of rows, each with the first row of the next below it.

    So that what is worked out of a mask takes no more memory than a few
    times a band.
    """
    rows = max(_BAND_PIXELS // mask.shape[1], 1)
    for start in range(0, len(mask), rows):
        yield mask[start : start + rows + 1], min(rows, len(mask) - start)


def _count_values(mask):
    """Pixels of each value `(H, W)` uint8, and which values form areas."""
    counts = np.zeros(256, np.int64)
    areas = np.zeros(256, bool)
    for band, rows in _bands(mask):
        counts += np.bincount(band[:rows].ravel(), minlength=256)
        areas[_in_areas(band)] = True
    values = np.flatnonzero(counts)
    return (
        {int(value): int(counts[value]) for value in values},
        frozenset(int(value) for value in np.flatnonzero(areas)),
    )


def _count_colors(mask):
    """As `_count_values`, for colours `(H, W, 3)` uint8."""
    counts = collections.Counter()
    areas = set()
    for band, rows in _bands(mask):
        packed = pack_colors(band)
        flat = packed[:rows].ravel()
        # Masks are flat areas, so runs of one colour are far fewer than
        # pixels, and only the runs are sorted.
        starts = np.flatnonzero(np.diff(flat, prepend=-1))
        lengths = np.diff(starts, append=flat.size)
        colors, index = np.unique(flat[starts], return_inverse=True)
        pixels = np.bincount(index, weights=lengths).astype(np.int64)
        for color, count in zip(colors.tolist(), pixels.tolist()):
            counts[color] += count
        inside = _in_areas(packed)
        areas.update(
            np.unique(inside[np.diff(inside, prepend=-1) != 0]).tolist()
        )
    return (
        {unpack_color(color): count for color, count in counts.items()},
        frozenset(map(unpack_color, areas)),
    )


def _in_areas(values):
    """The values of all pixels that equal those right, below and between."""
    first = values[:-1, :-1]
    same = first == values[1:, :-1]
    same &= first == values[:-1, 1:]
    same &= first == values[1:, 1:]
    return first[same]
