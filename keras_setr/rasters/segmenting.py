"""`segment_raster`: reading, windows and writing, band by band."""

import contextlib
import dataclasses
import numbers
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_setr import workers
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import having
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import path as path_rule
from keras_setr.arguments import sequence
from keras_setr.inference import VERBOSE
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.inference import ImageProgress
from keras_setr.inference import Views
from keras_setr.inference import ahead
from keras_setr.inference.blending import Blend
from keras_setr.inference.blending import MeanOfViews
from keras_setr.inference.images import check_image
from keras_setr.inference.outputs import entropy_of
from keras_setr.inference.outputs import softmax
from keras_setr.rasters.adapters import ArraySink
from keras_setr.rasters.adapters import as_source
from keras_setr.rasters.adapters import is_no_data
from keras_setr.rasters.paths import PathSink
from keras_setr.rasters.paths import opened
from keras_setr.rasters.plan import OUTPUTS
from keras_setr.rasters.plan import SHARD
from keras_setr.rasters.plan import RasterPlan
from keras_setr.rasters.plan import dtype_of
from keras_setr.rasters.plan import views_of
from keras_setr.rasters.progress import Progress
from keras_setr.rasters.progress import done_of
from keras_setr.rasters.progress import path_of_worker


def _number_or_nan(value):
    if isinstance(value, numbers.Real) and value != value:
        return float(value)
    return number().take(value)


_NODATA = Rule("a number or NaN", _number_or_nan)
# Of 8 bits; entropy has 0..254, in parts of log K.
_MOST = 255
_MOST_ENTROPY = 254


@dataclasses.dataclass(frozen=True)
class RasterRun:
    """What became of a raster.

    Attributes:
        plan: `RasterPlan`.
        written: int. Bands written now.
        kept: int. Bands that an earlier run of this worker had written.
        complete: bool. Whether all bands of all workers are in the sink; of
            a sink without a progress file, all of this worker's.
    """

    plan: RasterPlan
    written: int
    kept: int
    complete: bool


@checked(
    *VIEW_OPTIONS,
    model=having("a segmenter", "windowed"),
    output=choice(*OUTPUTS),
    bands=optional(sequence(integer(1), minimum_length=1)),
    nodata=optional(_NODATA),
    memory=integer(1),
    resume=optional(path_rule()),
    shard=SHARD,
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
            data, as those that a rasterio dataset masks and those that a
            slide's scanner left out. They become 255 (65535 of uint16), or 0
            in all probabilities; windows of nothing else are not run.
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
            shape or dtype; the memory is too small; or the progress file is
            of a run with other settings. Nothing is written then.
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
    windowed = model.windowed(chosen, batch_size)
    with opened(source) as found:
        read = as_source(found, windowed.channels, bands)
        _check_nodata(nodata, read.dtype)
        target, plan = _target_and_plan(
            sink,
            read,
            found,
            windowed,
            output,
            memory,
            shard,
            masked=nodata is not None,
        )
        progress = Progress(
            _progress_path(resume, sink, target, plan.shard),
            _settings(model, windowed, plan, read, nodata),
        )
        if dry_run:
            if verbose:
                workers.say(plan)
            return RasterRun(plan, 0, progress.done, False)
        return _Run(windowed, read, target, plan, progress, nodata).run(verbose)


# === What is checked before anything is computed ===


def _check_nodata(nodata, dtype):
    if nodata is None or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
        raise ValueError(
            f"nodata must be a value of the source, {limits.min}.."
            f"{limits.max} in {dtype}. Received: {nodata}."
        )


def _target_and_plan(
    sink, source, dataset, windowed, output, memory, shard, masked
):
    """The sink, checked and not yet opened, and the `RasterPlan`.

    Args:
        masked: bool. Whether a value means no data.
    """
    num_classes = windowed.num_classes
    depth = num_classes if output == "probabilities" else None
    dtype = dtype_of(output, num_classes)
    largest = int(np.iinfo(dtype).max)
    target: Any
    if isinstance(sink, (str, os.PathLike)):
        target = PathSink(
            sink,
            (*source.size, depth) if depth else source.size,
            dtype,
            dataset,
            None if depth else largest,
            None if output == "entropy" else windowed.classes,
        )
    else:
        if output == "labels" and not (masked or source.may_be_empty):
            largest = num_classes - 1
        target = ArraySink(sink, source.size, depth, largest)
    plan = RasterPlan(
        views_of(windowed.views, source.size),
        windowed.channels,
        source.dtype.itemsize,
        num_classes,
        output,
        memory,
        windowed.batch_size,
        tuple(target.chunks),
        shard or (0, 1),
    )
    return target, plan


def _progress_path(resume, sink, target, shard):
    if resume is None:
        place = getattr(target, "path", None) or getattr(sink, "filename", None)
        if not isinstance(place, (str, os.PathLike)):
            return None
        resume = f"{os.fspath(place)}.progress"
    return path_of_worker(pathlib.Path(resume), *shard)


def _settings(model, windowed, plan, source, nodata):
    """All that the values and the bands depend on."""
    return {
        "model": windowed.fingerprint(),
        "source": [*source.size, plan.channels, str(source.dtype)],
        "output": plan.output,
        "window_size": plan.view.window_size,
        "stride": plan.view.stride,
        "flip": len(plan.views) > 1,
        "nodata": None if nodata is None else repr(float(nodata)),
        "bands": [plan.stripes()[0][1], len(plan.rows()), *plan.chunks],
        "shard": plan.shard,
    }


# === What is computed ===


class _Broken(Exception):
    """What ends a run in its middle, in words."""


class _Run:
    """One worker's bands of a raster."""

    def __init__(self, windowed, source, target, plan, progress, nodata):
        self._windowed = windowed
        self._source = source
        self._target = target
        self._plan = plan
        self._progress = progress
        self._nodata = nodata
        self._bands = plan.bands()
        self._passed = 0

    def run(self, verbose):
        plan, kept = self._plan, self._progress.done
        if kept == len(self._bands) and getattr(
            self._target, "is_finished", False
        ):
            # Killed between the last two steps.
            return self._end(kept)
        if verbose:
            workers.say(plan)
        self._bar = ImageProgress(plan.windows(kept), verbose, "window")
        with contextlib.ExitStack() as stack:
            if hasattr(self._target, "open"):
                self._target.open()
                stack.callback(self._target.close)
            if kept:
                self._check_last(self._bands[kept - 1])
            try:
                for bands in plan.runs(kept):
                    self._run(bands)
            except _Broken as error:
                raise OSError(f"{error} {self._way_on()}") from error
            if self._passed:
                self._bar.update(self._passed, last=True)
            return self._end(kept)

    def _end(self, kept):
        complete = self._all_done()
        if complete and hasattr(self._target, "finish"):
            complete = self._target.finish()
        if complete:
            for path in self._progress_files():
                path.unlink(missing_ok=True)
        return RasterRun(self._plan, len(self._bands) - kept, kept, complete)

    def _progress_files(self):
        path, (worker, num_workers) = self._progress.path, self._plan.shard
        if path is None:
            return []
        if num_workers == 1:
            return [path]
        stem = path.name.removesuffix(f"-{worker}-of-{num_workers}")
        return [
            path_of_worker(path.with_name(stem), other, num_workers)
            for other in range(num_workers)
        ]

    def _all_done(self):
        files = self._progress_files()
        if len(files) < 2:
            return True
        return all(
            done_of(path)
            == len(
                dataclasses.replace(self._plan, shard=(i, len(files))).bands()
            )
            for i, path in enumerate(files)
        )

    def _check_last(self, band):
        """Raise where the sink does not hold what was written last."""
        values = self._target.read(band.rows, band.columns)
        if _checksum(values) != self._progress.checksum:
            raise ValueError(
                f"{self._progress.path} says that rows {band.rows} were "
                "written, and the sink holds something else there, as one "
                "that was made anew. Remove the file, and the raster is "
                "segmented anew."
            )

    def _run(self, bands):
        """Bands of one stripe that follow each other."""
        plan = self._plan
        parts = [plan.part(view, bands) for view in plan.views]
        output = _Bands(plan, bands, self._write)
        sinks: list[Any] = [output]
        if len(parts) > 1:
            weights = [view.weight for view in plan.views]
            mean = MeanOfViews(weights, output.width, output)
            sinks = [mean.sink(index) for index in range(len(parts))]
        averages = plan.output != "labels" or len(parts) > 1
        blends = [
            Blend(part, _Cropped(sink, part, bands), averages)
            for part, sink in zip(parts, sinks)
        ]
        batches = _Batches(self._windowed, self._count)
        h, w = plan.view.window_size
        for group, (top, left, pixels, empty) in enumerate(
            ahead(self._pixels(parts), 1)
        ):
            output.mark_empty(top, left, empty)
            for part, blend in zip(parts, blends):
                for row, column in blend.corners(group):
                    row, column = (
                        part.top + row - top,
                        part.left + column - left,
                    )
                    where = (slice(row, row + h), slice(column, column + w))
                    batches.add(
                        blend, None if empty[where].all() else pixels[where]
                    )
        batches.run()

    def _count(self):
        self._passed += 1
        self._bar.update(self._passed)

    def _pixels(self, parts) -> Iterator[Any]:
        """`(top, left, pixels, empty)` of each row of windows.

        Rows that it shares with the one before are not read again.
        """
        h, w = self._plan.view.window_size
        left = min(part.left for part in parts)
        right = max(part.columns[-1] for part in parts) + w
        top = end = parts[0].top
        pixels: Any = None
        empty: Any = None
        for tops in parts[0].bands():
            first, before = parts[0].top + tops[0], end
            end = parts[0].top + tops[-1] + h
            begin = max(first, before)
            more, more_empty = self._read((begin, end), (left, right))
            if begin > first:
                more = np.concatenate([pixels[first - top :], more])
                more_empty = np.concatenate([empty[first - top :], more_empty])
            top, pixels, empty = first, more, more_empty
            yield top, left, pixels, empty

    def _read(self, rows, columns):
        """Pixels as the model takes them, and which hold no data."""
        size = (rows[1] - rows[0], columns[1] - columns[0])
        name = f"source, rows {rows[0]}..{rows[1] - 1},"
        try:
            pixels, empty = self._source.read(rows, columns)
        # Each library has errors of its own.
        except Exception as error:
            raise _Broken(
                f"{name} cannot be read: {type(error).__name__}: {error}."
            ) from error
        if pixels.shape[:2] != size:
            raise _Broken(
                f"{name} ends early: {size} pixels were asked for. Received: "
                f"{pixels.shape[:2]}."
            )
        if empty is None:
            empty = np.zeros(size, bool)
        if self._nodata is not None:
            empty = empty | is_no_data(pixels, self._nodata)
        if pixels.dtype.kind != "u":
            # NaN and -9999 are no colours.
            pixels[empty] = 0
        try:
            check_image(pixels, self._plan.channels, name)
            self._windowed.value_range.check(pixels, name)
        except ValueError as error:
            raise _Broken(
                f"{error} What stands for no data is told by nodata=.."
            ) from error
        return pixels, empty

    def _way_on(self):
        done = self._progress.done
        way = (
            "the same call goes on there"
            if self._progress.path
            else ("with resume= a call goes on there")
        )
        return f"{done} of {len(self._bands)} bands are written; {way}."

    def _write(self, band, values):
        try:
            self._target.write(band.rows, band.columns, values)
            self._target.flush()
        except Exception as error:
            raise _Broken(
                f"sink, rows {band.rows[0]}..{band.rows[1] - 1}, cannot be "
                f"written: {type(error).__name__}: {error}."
            ) from error
        self._progress.mark(self._progress.done + 1, _checksum(values))


class _Cropped:
    """A part's windows to what takes the pixels of its bands alone."""

    def __init__(self, sink, part, bands):
        self._sink = sink
        self._offset = (
            part.top - bands[0].rows[0],
            part.left - bands[0].columns[0],
        )
        self._height = bands[-1].rows[1] - bands[0].rows[0]
        self._width = bands[0].size[1]

    def put(self, top, left, logits):
        top, left = top + self._offset[0], left + self._offset[1]
        logits = logits[max(-top, 0) : self._height - top]
        logits = logits[:, max(-left, 0) : max(self._width - left, 0)]
        if logits.size:
            self._sink.put(max(top, 0), max(left, 0), logits)

    def advance(self, rows):
        rows = min(max(rows + self._offset[0], 0), self._height)
        self._sink.advance(rows)


class _Bands:
    """Finished pixels to bands of what is asked for, which are written.

    Rows and columns are those of the first band.

    Args:
        plan: `RasterPlan`.
        bands: list of `Band` of one stripe.
        write: callable, which gets a `Band` and its values.
    """

    def __init__(self, plan, bands, write):
        self._plan = plan
        self._bands = list(reversed(bands))
        self._write = write
        self._top, self._left = bands[0].rows[0], bands[0].columns[0]
        self.width = bands[0].size[1]
        shape = (plan.buffer_rows, self.width)
        if plan.output == "probabilities":
            shape += (plan.num_classes,)
        dtype = dtype_of(plan.output, plan.num_classes)
        self._values = np.empty(shape, dtype)
        self._written = 0
        self._empty = {}  # rows that have pixels without data
        self._fill = np.iinfo(dtype).max
        if plan.output == "probabilities":
            self._fill = 0

    def put(self, top, left, logits):
        if self._plan.output == "labels":
            self._place(top, left, logits)[...] = logits.argmax(axis=-1)
            return
        for row, line in enumerate(logits, start=top):
            self._put_line(row, left, softmax(line))

    def put_probabilities(self, top, left, probabilities):
        for row, line in enumerate(probabilities, start=top):
            if self._plan.output == "labels":
                self._place(row, left, line[None])[0] = line.argmax(axis=-1)
            else:
                self._put_line(row, left, line)
        self.advance(top + len(probabilities))

    def _put_line(self, row, left, line):
        if self._plan.output == "entropy":
            most = np.log(np.float32(self._plan.num_classes))
            values = entropy_of(line) * (_MOST_ENTROPY / most)
            values = values.clip(0, _MOST_ENTROPY)
        else:
            values = line * np.float32(_MOST)
        self._place(row, left, line[None])[0] = np.rint(values)

    def _place(self, top, left, block):
        top -= self._written
        return self._values[top : top + len(block)][
            :, left : left + block.shape[1]
        ]

    def mark_empty(self, top, left, empty):
        """Which pixels of the raster hold no data."""
        first = self._left - left
        for row, line in enumerate(empty, start=top - self._top):
            line = line[first : first + self.width]
            if row >= self._written and line.any():
                self._empty[row] = line

    def advance(self, rows):
        while self._bands:
            count = self._bands[-1].size[0]
            if self._written + count > rows:
                return
            values = self._values[:count]
            for row in range(count):
                line = self._empty.pop(self._written + row, None)
                if line is not None:
                    values[row][line] = self._fill
            self._write(self._bands.pop(), values)
            left = rows - self._written - count
            self._values[:left] = self._values[count : count + left].copy()
            self._written += count


class _Batches:
    """Runs windows in batches of one size; those without data stay out."""

    def __init__(self, windowed, count):
        self._windowed = windowed
        self._count = count
        self._batch = None
        self._filled = 0
        self._waiting = []

    def add(self, blend, window):
        """The next window of a view, None for one that holds no data."""
        self._waiting.append((blend, None if window is None else self._filled))
        if window is not None:
            if self._batch is None:
                shape = (self._windowed.batch_size, *window.shape)
                self._batch = np.zeros(shape, np.float32)
            flip = blend.view.flip
            self._batch[self._filled] = window[:, ::-1] if flip else window
            self._filled += 1
        if self._filled in (0, self._windowed.batch_size):
            self.run()

    def run(self):
        logits = None
        if self._filled:
            logits = self._windowed.forward(self._batch)
        for blend, index in self._waiting:
            if index is None:
                shape = (*blend.view.window_size, self._windowed.num_classes)
                one = np.broadcast_to(np.float32(0), shape)
            else:
                one = logits[index]
            blend.add(one[:, ::-1] if blend.view.flip else one)
            self._count()
        self._waiting.clear()
        self._filled = 0


def _checksum(values):
    found = 0
    for line in values:
        # Whatever integers the sink holds.
        found = zlib.crc32(line.astype("<u2"), found)
    return found
