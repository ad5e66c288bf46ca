"""`segment_raster`: its arguments, checked before anything is computed."""

import numbers
import os
import pathlib
import zlib
from typing import Any

import numpy as np

from keras_setr import workers
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import path as path_rule
from keras_setr.arguments import segmenter
from keras_setr.arguments import sequence
from keras_setr.arguments import shard as shard_rule
from keras_setr.arguments import shown
from keras_setr.inference import VERBOSE
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.inference import Views
from keras_setr.rasters.adapters import ArraySink
from keras_setr.rasters.adapters import as_source
from keras_setr.rasters.adapters import is_same_place
from keras_setr.rasters.adapters import place_of
from keras_setr.rasters.adapters import read
from keras_setr.rasters.paths import PathSink
from keras_setr.rasters.paths import opened
from keras_setr.rasters.plan import OUTPUTS
from keras_setr.rasters.plan import RasterPlan
from keras_setr.rasters.plan import dtype_of
from keras_setr.rasters.plan import views_of
from keras_setr.rasters.progress import Progress
from keras_setr.rasters.run import RasterRun
from keras_setr.rasters.run import Run


def _number_or_nan(value):
    if isinstance(value, numbers.Real) and value != value:
        return float(value)
    return number().take(value)


_NODATA = Rule("a number or NaN", _number_or_nan)


@checked(
    *VIEW_OPTIONS,
    model=segmenter("windowed"),
    output=choice(*OUTPUTS),
    bands=optional(sequence(integer(1), minimum_length=1)),
    nodata=optional(_NODATA),
    memory=integer(1),
    resume=optional(path_rule()),
    shard=optional(shard_rule()),
    dry_run=flag(),
    batch_size=optional(integer(1)),
    verbose=VERBOSE,
)
def segment_raster(
    model: Any,
    source: Any,
    sink: Any,
    *,
    output: str = "labels",
    bands: Any = None,
    nodata: float | None = None,
    memory: int = 10**9,
    resume: str | os.PathLike[str] | None = None,
    shard: tuple[int, int] | None = None,
    dry_run: bool = False,
    batch_size: int | None = None,
    verbose: bool | int | str = "auto",
    **views: Any,
) -> RasterRun:
    """Segment a raster that is larger than the memory, band by band.

    Labels are those of `model.segment` on the whole of it. Windows are read,
    averaged where they overlap and written as they come; held is what later
    windows still add to. A run that was killed goes on with the band that it
    broke off in, when the same call is made again:

    ```python no_run
    model = ks.load_exported("setr.onnx")       # or a model of Keras
    ks.segment_raster(model, "town.tif", "labels.tif", flip=True)
    ```

    Args:
        model: a segmenter of Keras or of `load_exported`.
        source: path of a GeoTIFF or a `.npy`; a rasterio dataset; an
            OpenSlide object or a `SlideLevel`; or what has `shape` and takes
            slices, as NumPy's memmaps, zarr's arrays and tifffile's, `(H, W,
            C)` or `(C, H, W)`. Where both fit the channels are last.
        sink: path of a GeoTIFF or a `.npy`, which is there when all bands
            are, a GeoTIFF tiled, compressed and with the reference system of
            a rasterio source; or what has `shape` and takes slices, `(H, W)`,
            or of probabilities `(H, W, K)` or `(K, H, W)`. Zarr's chunks are
            written once each.
        output: `"labels"`, uint8, or uint16 of more than 255 classes;
            `"probabilities"`, uint8, 255 for 1; or `"entropy"`, uint8, 0 where
            one class is certain, 254 where all K are as likely.
        bands: sequence of C int, from 1. Those of a rasterio dataset that the
            model gets, as `(1, 2, 3)` of red, green, blue and alpha.
        nodata: number, or NaN. Pixels that have it in all channels hold no
            data, as those that a rasterio dataset or NumPy's masked array
            masks and those that a slide's scanner left out. They become 255
            (65535 of uint16), or 0 in all probabilities; windows of nothing
            else are not run.
        memory: int. Bytes that may be held besides the model and what it
            computes with.
        resume: path of the file that tells how far a run has come. Defaults
            to one beside the sink's file, `NAME.progress`, and to none where
            the sink has no file. It is gone at the end.
        shard: `(worker, num_workers)`, for several workers that share the
            raster: this one takes its share of the bands, from its own number
            on. All make the same call otherwise.
        dry_run: bool. Check everything, print the plan and do nothing.
        batch_size: int. Windows in a forward pass. Defaults to the model's.
        verbose: `"auto"` or 1 for the plan and a progress bar, 2 for the plan
            and a line at the end, 0 for silence.
        **views: `window_size`, `stride`, `flip` and `protocol`, as of
            `keras_setr.inference.Views`. Other scales than 1 would need the
            raster as a whole.

    Returns:
        A `RasterRun`.

    Raises:
        ValueError: an argument breaks its rule; source or sink have another
            shape or dtype, or are one; the memory is too small; or the
            progress file, or that of another worker, is of a run with other
            settings. Nothing is written then.
        OSError: the source cannot be read, ends early or holds what is no
            image, or the sink cannot be written. Bands before stay, and the
            same call goes on.
        ImportError: a GeoTIFF needs rasterio.
    """
    chosen = Views(**views)
    if chosen.blend == "device":
        raise ValueError(
            "blend='device' holds an image as a whole; a raster is blended on "
            "the host, blend='auto'."
        )
    if is_same_place(source, sink):
        raise ValueError(
            f"sink must be another place than source. Received: {shown(sink)} "
            "for both."
        )
    windowed = model.windowed(chosen, batch_size)
    with opened(source) as found:
        taken = as_source(found, windowed.channels, bands)
        _check_nodata(nodata, taken.dtype)
        target = _sink_of(sink, taken, found, windowed, output, nodata)
        plan = RasterPlan(
            views=views_of(windowed.views, taken.size),
            channels=windowed.channels,
            itemsize=taken.dtype.itemsize,
            num_classes=windowed.num_classes,
            output=output,
            memory=memory,
            batch_size=windowed.batch_size,
            chunks=tuple(target.chunks),
            shard=shard or (0, 1),
        )
        progress = Progress(
            _progress_path(resume, sink),
            plan,
            _settings(windowed, plan, taken, place_of(source), nodata),
        )
        if dry_run:
            if verbose:
                workers.say(plan)
            return RasterRun(plan, 0, progress.done, False)
        return Run(windowed, taken, target, plan, progress, nodata).run(verbose)


# === What is checked before anything is computed ===


def _check_nodata(nodata, dtype):
    if nodata is None or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if nodata % 1 or not limits.min <= nodata <= limits.max:  # of NaN, too
        raise ValueError(
            f"nodata must be a value of the source, {limits.min}.."
            f"{limits.max} in {dtype}. Received: {nodata}."
        )


def _sink_of(sink, source, dataset, windowed, output, nodata):
    """The sink, checked and not yet opened."""
    num_classes = windowed.num_classes
    depth = num_classes if output == "probabilities" else None
    dtype = dtype_of(output, num_classes)
    largest = int(np.iinfo(dtype).max)
    if isinstance(sink, (str, os.PathLike)):
        return PathSink(
            sink,
            (*source.size, depth) if depth else source.size,
            dtype,
            dataset,
            None if depth else largest,
            None if output == "entropy" else windowed.classes,
        )
    masked = nodata is not None or source.may_be_empty
    if output == "labels" and not masked:
        largest = num_classes - 1
    return ArraySink(sink, source.size, depth, largest)


def _progress_path(resume, sink):
    place = sink if isinstance(sink, (str, os.PathLike)) else None
    place = place or getattr(sink, "filename", None)
    if not isinstance(place, (str, os.PathLike)):
        return None if resume is None else pathlib.Path(resume)
    # A link stays a link.
    place = os.path.realpath(place)
    if resume is None:
        return pathlib.Path(f"{place}.progress")
    if os.path.realpath(resume) == place:
        raise ValueError(
            f"resume must be another file than sink. Received: {resume}."
        )
    return pathlib.Path(resume)


def _settings(windowed, plan, source, place, nodata):
    """All that the values and the bands of all workers depend on."""
    # Tiles of a mosaic have one size.
    first_row, _ = read(source, (0, 1), (0, source.size[1]))
    return {
        "model": windowed.fingerprint(),
        "source": [*source.size, plan.channels, str(source.dtype)],
        "name of the source": place and os.path.basename(place),
        "first row of the source": zlib.crc32(np.ascontiguousarray(first_row)),
        "output": plan.output,
        "window_size": plan.view.window_size,
        "stride": plan.view.stride,
        "flip": len(plan.views) > 1,
        "nodata": None if nodata is None else repr(float(nodata)),
        "bands": [plan.stripes()[0][1], len(plan.rows()), *plan.chunks],
    }
