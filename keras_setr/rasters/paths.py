"""Rasters by their paths: GeoTIFF by rasterio, and `.npy`.

A result grows in `NAME.part`, plain numbers of a fixed place each, which any
number of workers fill and no kill harms. Once it is complete it is written to
its path, compressed and tiled, whole or not at all.
"""

import contextlib
import json
import os
import pathlib
import warnings
from typing import Any

import numpy as np

from keras_setr.files.lock import only_process
from keras_setr.files.whole import check_folder_of
from keras_setr.files.whole import check_room
from keras_setr.files.whole import make_folder
from keras_setr.files.whole import written_whole
from keras_setr.rasters.adapters import give_back

TIFF = (".tif", ".tiff")
SUFFIXES = (*TIFF, ".npy")
# Of a GeoTIFF whose source is not tiled.
_TILE = 512
# GDAL's tiles are whole multiples of it.
_TILE_UNIT = 16
# Pixels that are copied at once.
_COPIED = 2**24


@contextlib.contextmanager
def opened(source: Any) -> Any:
    """The source, opened where it is a path.

    Args:
        source: path of a GeoTIFF, of what else rasterio reads, or of a
            `.npy`; anything else passes through.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ImportError: rasterio is not installed.
        ValueError: the file cannot be read.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield source
        return
    path = pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; it should be a raster")
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            reason = f"{error}".rstrip(".")
            raise ValueError(f"{path} cannot be read: {reason}.") from error
        yield array
        return
    rasterio = _rasterio(path)
    with warnings.catch_warnings():
        # A raster without place is no error here.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            dataset = rasterio.open(path)
        except rasterio.errors.RasterioError as error:
            reason = f"{error}".rstrip(".")
            raise ValueError(f"{path} cannot be read: {reason}.") from error
        with dataset:
            yield dataset


def _rasterio(path):
    try:
        import rasterio
        import rasterio.errors
    except ImportError as error:
        raise ImportError(
            f"{path} needs rasterio: pip install keras-setr[rasters]. "
            f"Received: {error}."
        ) from error
    return rasterio


class PathSink:
    """A file that is there once all bands of all workers are.

    Args:
        path: that ends in one of `SUFFIXES`.
        shape: `(H, W)`, or `(H, W, K)`.
        dtype: str.
        source: the source as it was given; a rasterio dataset's reference
            system, transform and tiling are kept.
        nodata: int or None. What stands where there is no data.
        classes: `Classes`, whose colours a GeoTIFF of labels gets, or None.

    Raises:
        ValueError: the path ends in something else.
        ImportError: rasterio is not installed.
        OSError: the folder cannot be written to, or the disk has no room.
    """

    chunks = (1, 1)

    def __init__(
        self,
        path: Any,
        shape: tuple[int, ...],
        dtype: str,
        source: Any,
        nodata: int | None,
        classes: Any,
    ) -> None:
        # A link stays a link.
        self.path = pathlib.Path(os.path.realpath(path))
        if self.path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"A path of a sink must end in {', '.join(SUFFIXES)}. "
                f"Received: {path}. Pass anything else as an object that takes "
                "slices, such as a zarr array."
            )
        if self.path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; pass a file's path.")
        check_folder_of(self.path)
        if self.path.suffix.lower() in TIFF:
            _rasterio(path)
        self.raw = self.path.with_name(f"{self.path.name}.part")
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._source = source
        self._nodata = nodata
        self._classes = classes
        self._file: Any = None

    # === While bands come ===

    def open(self) -> None:
        """Make the file of plain numbers, or go on with what is there."""
        size = int(np.prod(self._shape)) * self._dtype.itemsize
        make_folder(self.path.parent)
        # In place: no other worker's bands are touched.
        descriptor = os.open(self.raw, os.O_RDWR | os.O_CREAT, 0o666)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        there = os.fstat(descriptor)
        held = getattr(there, "st_blocks", 0) * 512
        try:
            check_room(self.raw, size - held)
            os.truncate(descriptor, size)
        except OSError as error:
            self.close()
            if not there.st_size:
                self.raw.unlink()
            raise OSError(error.errno, error.strerror, str(self.raw)) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, rows: Any, columns: Any, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, self._dtype)
        if tuple(columns) == (0, self._shape[1]):
            return self._write(rows[0], 0, values)
        for row, line in enumerate(values, start=rows[0]):
            self._write(row, columns[0], line)

    def _write(self, row, column, values):
        self._file.seek(self._place(row, column))
        left = memoryview(values).cast("B")
        while left:
            left = left[self._file.write(left) :]

    def read(self, rows: Any, columns: Any) -> np.ndarray:
        parts = []
        count = columns[1] - columns[0]
        for row in range(*rows):
            self._file.seek(self._place(row, columns[0]))
            content = self._file.read(count * self._pixel())
            parts.append(np.frombuffer(content, self._dtype))
        return np.stack(parts).reshape(-1, count, *self._shape[2:])

    def _place(self, row, column):
        return (row * self._shape[1] + column) * self._pixel()

    def _pixel(self):
        return int(np.prod(self._shape[2:])) * self._dtype.itemsize

    def flush(self) -> None:
        os.fsync(self._file.fileno())

    # === Once all are there ===

    @property
    def is_finished(self) -> bool:
        """Whether the file is at its path and nothing else is left."""
        return self.path.exists() and not self.raw.exists()

    def finish(self) -> bool:
        """Write the file to its path; the last of several workers does.

        Returns:
            Whether it is there; if not, another worker is writing it.
        """
        lock = self.path.with_name(f"{self.path.name}.lock")
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(only_process(lock, f"writes {self.path}"))
            except ValueError:
                return False
            if self.is_finished:
                return True
            values = np.memmap(self.raw, self._dtype, "r", shape=self._shape)
            with written_whole(self.path) as partial:
                if self.path.suffix.lower() == ".npy":
                    self._write_npy(partial, values)
                else:
                    self._write_tiff(partial, values)
            del values
            self.close()
            self.raw.unlink()
            return True

    def _write_npy(self, path, values):
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": self._shape,
        }
        step = max(_COPIED // values[0].size, 1)
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for row in range(0, len(values), step):
                file.write(values[row : row + step].tobytes())
                give_back(values)

    def _write_tiff(self, path, values):
        rasterio = _rasterio(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", rasterio.errors.NotGeoreferencedWarning
            )
            profile = self._profile()
            with rasterio.open(path, "w", **profile) as target:
                high, wide = profile["blockysize"], profile["blockxsize"]
                wide *= max(_COPIED // (high * wide * self._pixel()), 1)
                for top in range(0, self._shape[0], high):
                    for left in range(0, self._shape[1], wide):
                        rows = top, min(top + high, self._shape[0])
                        columns = left, min(left + wide, self._shape[1])
                        part = values[slice(*rows), slice(*columns)]
                        part = part.reshape(*part.shape[:2], -1)
                        target.write(
                            part.transpose(2, 0, 1), window=(rows, columns)
                        )
                    give_back(values)
                self._describe(target)

    def _profile(self):
        """As of the source, but for what depends on the values."""
        height, width, *depth = self._shape
        profile = {
            "driver": "GTiff",
            "height": height,
            "width": width,
            "count": depth[0] if depth else 1,
            "dtype": self._dtype.name,
            "nodata": self._nodata,
            "compress": "deflate",
            "bigtiff": "if_safer",
            "tiled": True,
            "blockxsize": _TILE,
            "blockysize": _TILE,
        }
        source = self._source
        if hasattr(source, "block_shapes"):
            profile["crs"] = source.crs
            points, system = source.gcps
            if points:
                profile.update(gcps=points, crs=system)
            else:
                profile["transform"] = source.transform
            high, wide = source.block_shapes[0]
            if not high % _TILE_UNIT and not wide % _TILE_UNIT:
                profile.update(blockxsize=wide, blockysize=high)
        return profile

    def _describe(self, target):
        if self._classes is None:
            return
        names = self._classes.names
        target.update_tags(classes=json.dumps(list(names)))
        if len(self._shape) == 3:
            for index, name in enumerate(names, start=1):
                target.set_band_description(index, name)
        elif self._dtype == np.uint8:
            colors = dict(enumerate(self._classes.palette or ()))
            if colors:
                target.write_colormap(1, colors)
