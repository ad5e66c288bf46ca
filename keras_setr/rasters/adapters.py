"""Arrays, datasets and slides of other libraries, as sources and sinks.

None of these libraries is imported: their objects are told by what they have.
A source gives pixels `(h, w, C)` of a rectangle and, where it knows of pixels
without data, which these are. A sink takes `(h, w)`, or `(h, w, K)` of
probabilities, into a rectangle.
"""

import math
import mmap
import os
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import having
from keras_setr.arguments import integer
from keras_setr.arguments import shown


@checked(
    slide=having("an OpenSlide object", "read_region", "level_dimensions"),
    level=integer(0),
)
class SlideLevel:
    """A level of a whole-slide image, as a source of `segment_raster`.

    Args:
        slide: an `openslide.OpenSlide`, or what has its `read_region`,
            `level_dimensions` and `level_downsamples`.
        level: int. From 0, the finest.

    Raises:
        ValueError: the slide has no such level.
    """

    may_be_empty = True

    def __init__(self, slide: Any, level: int = 0) -> None:
        if level >= len(slide.level_dimensions):
            raise ValueError(
                "level must be one of the slide's "
                f"{len(slide.level_dimensions)}, from 0. Received: {level}."
            )
        self.slide = slide
        self.level = level
        width, height = slide.level_dimensions[level]
        self.shape = (height, width, 3)
        self.size = (height, width)
        self.dtype = np.dtype(np.uint8)

    def read(
        self, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """`(h, w, 3)` uint8 on white, and which pixels were never scanned.

        Args:
            rows, columns: `(first, end)` in the level.
        """
        factor = self.slide.level_downsamples[self.level]
        # Always by pixels of level 0.
        place = round(columns[0] * factor), round(rows[0] * factor)
        size = columns[1] - columns[0], rows[1] - rows[0]
        pixels = np.asarray(self.slide.read_region(place, self.level, size))
        if pixels.shape[-1] == 3:
            return pixels, None
        alpha = pixels[..., 3:]
        if alpha.min() == 255:
            return pixels[..., :3], None
        share = alpha.astype(np.float32) / 255
        on_white = pixels[..., :3] * share + 255 * (1 - share)
        return on_white.round().astype(np.uint8), alpha[..., 0] == 0


class _Array:
    """What has a shape and slices: NumPy, zarr, tifffile, h5py."""

    def __init__(self, array, channels):
        self._array = array
        self.may_be_empty = isinstance(array, np.ma.MaskedArray)
        shape = tuple(array.shape)
        self._axis = _channel_axis(shape, channels)
        self.size = _without(shape, self._axis)
        self.dtype = np.dtype(array.dtype)

    def read(self, rows, columns):
        part = self._array[_index(self._axis, rows, columns)]
        # A copy: what is mapped is given back at once.
        pixels = self._channels_last(np.array(part))
        give_back(self._array)
        if not self.may_be_empty:
            return pixels, None
        mask = self._channels_last(np.ma.getmaskarray(part))
        return pixels, mask.all(axis=-1)

    def _channels_last(self, part):
        if self._axis == 0 and part.ndim == 3:
            part = part.transpose(1, 2, 0)
        return part if part.ndim == 3 else part[..., None]


def _channel_axis(shape, channels):
    """The axis of the channels; None of a single one that has none."""
    if len(shape) == 2 and channels == 1:
        return None
    if len(shape) == 3 and shape[-1] == channels:
        return 2
    if len(shape) == 3 and shape[0] == channels:
        return 0
    raise ValueError(
        f"source must have shape (height, width, {channels}) or ({channels}, "
        f"height, width), as the model has {channels} input channels; where "
        "both fit, the channels are last. Received: "
        f"{shape}. bands=(..) chooses among the bands of a rasterio dataset; "
        "of an array slice them beforehand."
    )


def _without(shape, axis):
    return tuple(n for index, n in enumerate(shape) if index != axis)


def _index(axis, rows, columns):
    place = [slice(*rows), slice(*columns)]
    if axis is not None:
        place.insert(axis, slice(None))
    return tuple(place)


class _Dataset:
    """A rasterio dataset; its mask says where it has no data."""

    def __init__(self, dataset, channels, bands):
        count = dataset.count
        self._bands = tuple(bands or range(1, count + 1))
        if max(self._bands) > count or len(self._bands) != channels:
            raise ValueError(
                f"bands must be {channels} of 1..{count}, as the model has "
                f"{channels} input channels and the dataset {count} bands. "
                f"Received: {bands}."
            )
        self._dataset = dataset
        self.size = (dataset.height, dataset.width)
        self.dtype = np.dtype(dataset.dtypes[self._bands[0] - 1])
        self.may_be_empty = not all(
            any(flag.name == "all_valid" for flag in flags)
            for flags in dataset.mask_flag_enums
        )

    def read(self, rows, columns):
        window = (rows, columns)
        pixels = self._dataset.read(list(self._bands), window=window)
        mask = None
        if self.may_be_empty:
            mask = self._dataset.dataset_mask(window=window) == 0
        return np.ascontiguousarray(pixels.transpose(1, 2, 0)), mask


def as_source(source: Any, channels: int, bands: Any = None) -> Any:
    """A source, with `size`, `dtype`, `may_be_empty`, `read(rows, columns)`.

    Args:
        source: `SlideLevel`, an OpenSlide object, a rasterio dataset, or an
            array `(H, W, C)` or `(C, H, W)`, of one channel also `(H, W)`.
        channels: int. C that the model takes.
        bands: sequence of int, from 1. Those of a dataset that it gets.

    Raises:
        ValueError: the source is none of these, or has other channels.
    """
    if hasattr(source, "read_region"):
        source = SlideLevel(source)
    found: Any = source
    if isinstance(source, SlideLevel):
        if channels != 3:
            raise ValueError(
                "A slide has 3 channels. Received: a model with "
                f"{channels} input channels."
            )
    elif _is_dataset(source):
        return _checked_source(_Dataset(source, channels, bands))
    elif not hasattr(source, "shape") or not hasattr(source, "__getitem__"):
        raise ValueError(
            "source must be a path, an array, or a dataset with shape and "
            f"slices. Received: {shown(source)}."
        )
    else:
        found = _Array(source, channels)
    if bands is not None:
        raise ValueError(
            "bands go with a rasterio dataset or the path of a GeoTIFF. "
            f"Received: bands={bands} and {shown(source)}."
        )
    return _checked_source(found)


def read(
    source: Any, rows: tuple[int, int], columns: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """What `source.read` gives, or one kind of error.

    Raises:
        OSError: the source cannot be read there, or ends before.
    """
    size = (rows[1] - rows[0], columns[1] - columns[0])
    name = f"source, rows {rows[0]}..{rows[1] - 1},"
    try:
        pixels, empty = source.read(rows, columns)
    # Each library has errors of its own; rasterio's name a cause.
    except Exception as error:
        reason = error.__cause__ or error
        text = f"{type(reason).__name__}: {reason}".rstrip(".")
        raise OSError(f"{name} cannot be read: {text}.") from error
    if pixels.shape[:2] != size:
        raise OSError(
            f"{name} ends early: {size} pixels were asked for. Received: "
            f"{pixels.shape[:2]}."
        )
    return pixels, empty


def place_of(value: Any) -> str | None:
    """The path of a source or a sink, or what its library says of it."""
    if not isinstance(value, (str, os.PathLike)):
        named = (getattr(value, name, None) for name in ("filename", "name"))
        value = next(
            (n for n in named if isinstance(n, (str, os.PathLike))), None
        )
    return None if value is None else os.fspath(value)


def is_same_place(a: Any, b: Any) -> bool:
    """Whether two of them are one object, or one file by its path.

    Of two arrays in one file each may be a part of its own.
    """
    if a is b:
        return True
    if not any(isinstance(value, (str, os.PathLike)) for value in (a, b)):
        return False
    files = [place_of(value) or "" for value in (a, b)]
    return all(map(os.path.isfile, files)) and os.path.samefile(*files)


def _checked_source(source):
    if 0 in source.size:
        raise ValueError(f"source is empty: its size is {source.size}.")
    if source.dtype.kind not in "uif":
        raise ValueError(
            "source must hold integers or floats. Received: dtype "
            f"{source.dtype}."
        )
    return source


def _is_dataset(value):
    return hasattr(value, "dtypes") and hasattr(value, "block_shapes")


class ArraySink:
    """What has a shape and takes slices: NumPy, zarr, h5py.

    Args:
        array: `(H, W)`, or of probabilities `(H, W, K)` or `(K, H, W)`.
        size: `(H, W)`.
        depth: int. K of probabilities, or None.
        largest: int. The largest value that will be written.
    """

    def __init__(
        self, array: Any, size: tuple[int, int], depth: int | None, largest: int
    ) -> None:
        shape = tuple(getattr(array, "shape", ()))
        fits = [tuple(size)] if depth is None else [(*size, depth)]
        fits += [] if depth is None else [(depth, *size)]
        if shape not in fits or not hasattr(array, "__setitem__"):
            raise ValueError(
                "sink must be a path or take slices in the shape "
                f"{' or '.join(map(str, fits))}. Received: {shown(array)}."
            )
        self._axis = None
        if depth is not None:
            self._axis = 2 if shape == fits[0] else 0
        check_dtype(array.dtype, largest)
        # As NumPy says it, and zarr.
        flags = getattr(array, "flags", None)
        if not getattr(flags, "writeable", True) or (
            getattr(array, "read_only", False) is True
        ):
            raise ValueError(
                "sink must be writeable. Received: a read-only "
                f"{type(array).__name__}; open it with mode='r+'."
            )
        self._array = array
        # What a write replaces as a whole: zarr's shards hold chunks.
        chunks = getattr(array, "shards", None) or getattr(
            array, "chunks", None
        )
        self.chunks = _without(chunks, self._axis) if chunks else (1, 1)

    def write(self, rows: Any, columns: Any, values: np.ndarray) -> None:
        if self._axis == 0:
            values = values.transpose(2, 0, 1)
        self._array[_index(self._axis, rows, columns)] = values

    def read(self, rows: Any, columns: Any) -> np.ndarray:
        values = np.asarray(self._array[_index(self._axis, rows, columns)])
        return values.transpose(1, 2, 0) if self._axis == 0 else values

    def flush(self) -> None:
        """Wait until what was written is in the file, if there is one."""
        if hasattr(self._array, "flush"):
            self._array.flush()
        give_back(self._array)


def check_dtype(dtype: Any, largest: int) -> None:
    """Raise where a sink's dtype does not hold all integers 0..largest."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "ui" or np.iinfo(dtype).max < largest:
        raise ValueError(
            f"sink must hold integers up to {largest}, as "
            f"{np.min_scalar_type(largest)} does. Received: dtype {dtype}."
        )


def is_no_data(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """`(h, w)`: which pixels have the value in all channels."""
    if math.isnan(nodata):
        return np.isnan(pixels).all(axis=-1)
    return (pixels == nodata).all(axis=-1)


def give_back(array: Any) -> None:
    """Let go of a mapped file's pages; the system reads them again.

    Of a mapping that copies what is written into it they are all there is.
    """
    if getattr(array, "mode", None) not in ("r", "r+", "w+"):
        return
    mapped = array
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "base", None)
    if mapped is not None and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)
