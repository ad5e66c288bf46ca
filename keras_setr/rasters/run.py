"""One worker's bands of a raster: read, run, written, gone on with."""

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_setr import workers
from keras_setr.arrays import check_image
from keras_setr.inference import ImageProgress
from keras_setr.inference import ahead
from keras_setr.inference.blending import Blend
from keras_setr.inference.blending import MeanOfViews
from keras_setr.rasters.adapters import is_no_data
from keras_setr.rasters.adapters import read
from keras_setr.rasters.bands import Bands
from keras_setr.rasters.bands import Batches
from keras_setr.rasters.bands import Cropped
from keras_setr.rasters.plan import RasterPlan


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


class _Broken(Exception):
    """What ends a run in its middle, in words."""


class Run:
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
        complete = self._progress.all_done()
        if complete and hasattr(self._target, "finish"):
            complete = self._target.finish()
        if complete:
            self._progress.remove()
        return RasterRun(self._plan, len(self._bands) - kept, kept, complete)

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
        output = Bands(plan, bands, self._write)
        sinks: list[Any] = [output]
        if len(parts) > 1:
            weights = [view.weight for view in plan.views]
            mean = MeanOfViews(weights, output.width, output)
            sinks = [mean.sink(index) for index in range(len(parts))]
        averages = plan.output != "labels" or len(parts) > 1
        blends = [
            Blend(part, Cropped(sink, part, bands), averages)
            for part, sink in zip(parts, sinks)
        ]
        batches = Batches(self._windowed, self._count)
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
        name = f"source, rows {rows[0]}..{rows[1] - 1},"
        try:
            pixels, empty = read(self._source, rows, columns)
        except OSError as error:
            raise _Broken(str(error)) from error
        if empty is None:
            empty = np.zeros(pixels.shape[:2], bool)
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


def _checksum(values):
    found = 0
    for line in values:
        # Whatever integers the sink holds.
        found = zlib.crc32(line.astype("<u2"), found)
    return found
