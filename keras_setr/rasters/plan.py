"""How a raster is cut into bands, on paper: nothing is read or computed.

A stripe runs from the top of the raster to its bottom, as wide as the memory
allows; a band is as many of its rows as are written at once. Both end where
the sink's chunks do, so that every chunk is written once and by one worker.
Bands of a stripe follow each other, and what two of them share is held; where
a worker begins, or a run goes on, one row of windows is computed again.
"""

import dataclasses
import itertools
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import num_classes as num_classes_rule
from keras_setr.arguments import optional
from keras_setr.arguments import pair
from keras_setr.arguments import shard as shard_rule
from keras_setr.inference import View
from keras_setr.inference import Views

OUTPUTS = ("labels", "probabilities", "entropy")
# Bands of pixels that are held: one in use, one ready, one being read.
_READ_AHEAD = 3
_FLOAT = 4


@dataclasses.dataclass(frozen=True)
class Part:
    """The windows of a view that touch some bands, as `Blend` takes a view.

    Attributes:
        view: the `View` of the whole raster.
        groups: tuple of int. Which groups of `view.bands()`.
        columns: tuple of int. Where its windows begin, in the raster.
    """

    view: View
    groups: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def top(self) -> int:
        return self.view.bands()[self.groups[0]][0]

    @property
    def left(self) -> int:
        return self.columns[0]

    @property
    def window_size(self) -> tuple:
        return self.view.window_size

    @property
    def flip(self) -> bool:
        return self.view.flip

    @property
    def size(self) -> tuple[int, int]:
        h, w = self.view.window_size
        return self.tops()[-1] + h, self.lefts()[-1] + w

    def bands(self) -> list[list[int]]:
        groups, top = self.view.bands(), self.top
        return [[t - top for t in groups[index]] for index in self.groups]

    def tops(self) -> list[int]:
        return [top for band in self.bands() for top in band]

    def lefts(self) -> list[int]:
        return [left - self.left for left in self.columns]


@dataclasses.dataclass(frozen=True)
class Band:
    """Rows and columns that are written at once."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


@checked(shard=shard_rule())
@dataclasses.dataclass(frozen=True)
class RasterPlan:
    """The bands of a raster, and what they take.

    Printed it is one line: bands, windows, bytes read and written, memory.

    Attributes:
        views: tuple of `View`, at the size of the raster: one, or with flip
            two.
        channels: int. C.
        itemsize: int. Bytes of a value that is read.
        num_classes: int. K.
        output: str. Of `OUTPUTS`.
        memory: int. Bytes that may be held besides the model.
        batch_size: int. Windows in a forward pass.
        chunks: `(rows, columns)` that the sink keeps together.
        shard: `(worker, num_workers)`.

    Raises:
        ValueError: the memory does not hold a stripe as wide as a window and
            a chunk.
    """

    views: tuple[View, ...]
    channels: int
    itemsize: int
    num_classes: int
    output: str = "labels"
    memory: int = 10**9
    batch_size: int = 1
    chunks: tuple[int, int] = (1, 1)
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self):
        least = min(max(self.view.window_size[1], self.chunks[1]), self.size[1])
        if self.bytes_of(least) > self.memory:
            raise ValueError(
                f"memory must be at least {self.bytes_of(least)} bytes, for "
                f"windows of {self.view.window_size}, {self.num_classes} "
                f"classes and a sink in chunks of {self.chunks}. Received: "
                f"{self.memory}."
            )

    @property
    def view(self) -> View:
        return self.views[0]

    @property
    def size(self) -> tuple[int, int]:
        return self.view.size

    # === How it is cut ===

    def stripes(self) -> list[tuple[int, int]]:
        """`(first, end)` columns, from left to right."""
        width, chunk = self.size[1], self.chunks[1]
        for count in itertools.count(1):
            step = -(-width // (count * chunk)) * chunk
            if step <= chunk or self.bytes_of(step) <= self.memory:
                break
        return [(c, min(c + step, width)) for c in range(0, width, step)]

    def rows(self) -> list[tuple[int, int]]:
        """`(first, end)` rows of the bands of each stripe."""
        chunk = self.chunks[0]
        ends = [row // chunk * chunk for row in self._finished()[:-1]]
        cuts = sorted({0, *ends, self.size[0]})
        return list(itertools.pairwise(cuts))

    def all_bands(self) -> list[Band]:
        """Those of all workers, in the order in which they are written."""
        return [
            Band(rows, columns)
            for columns in self.stripes()
            for rows in self.rows()
        ]

    def bands(self) -> list[Band]:
        """Those of this worker: neighbours, as far as can be."""
        bands, (worker, num_workers) = self.all_bands(), self.shard
        first, end = (
            len(bands) * index // num_workers for index in (worker, worker + 1)
        )
        return bands[first:end]

    def runs(self, done: int = 0) -> list[list[Band]]:
        """This worker's bands, those of one stripe together.

        Args:
            done: int. How many of them are left out, being written.
        """
        left = self.bands()[done:]
        return [
            list(bands)
            for _, bands in itertools.groupby(left, lambda band: band.columns)
        ]

    def part(self, view: View, run: list[Band]) -> Part:
        """The windows of a view that touch a run's bands."""
        h, w = view.window_size
        first, end = run[0].rows[0], run[-1].rows[1]
        left, right = run[0].columns
        return Part(
            view,
            tuple(
                index
                for index, tops in enumerate(view.bands())
                if tops[0] < end and tops[-1] + h > first
            ),
            tuple(c for c in view.lefts() if c < right and c + w > left),
        )

    def _finished(self):
        """Rows that no later window covers, after each row of windows."""
        return [
            *(tops[0] for tops in self.view.bands()[1:]),
            self.size[0],
        ]

    # === What it takes ===

    @property
    def buffer_rows(self) -> int:
        """The most rows that wait to be written."""
        chunk, begun, most = self.chunks[0], 0, 0
        for row in self._finished():
            most = max(most, row - begun)
            begun = row // chunk * chunk
        return most

    @property
    def value_bytes(self) -> int:
        """Of what is written for a pixel."""
        if self.output == "probabilities":
            return self.num_classes
        return np.dtype(dtype_of(self.output, self.num_classes)).itemsize

    def bytes_of(self, width: int) -> int:
        """Memory that a stripe of this width takes, but for the model's.

        Args:
            width: int. Columns.
        """
        h, w = self.view.window_size
        bands = self.view.bands()
        high = max(tops[-1] - tops[0] + h for tops in bands)
        overlap = max(
            (a[-1] + h - b[0] for a, b in itertools.pairwise(bands)), default=0
        )
        scores = self.num_classes * _FLOAT
        pixel = self.channels * self.itemsize + 1
        column = _READ_AHEAD * high * pixel
        column += len(self.views) * overlap * scores
        column += 2 * self.buffer_rows * self.value_bytes
        if len(self.views) > 1:
            # Rows that wait for the mirrored view.
            column += high * scores
        reach = max(w - self.view.stride[1], 0)
        fixed = len(self.views) * high * (reach + w) * scores
        fixed += self.batch_size * h * w * (self.channels * _FLOAT + scores)
        # Windows reach over both sides of a stripe.
        whole = min(width + 2 * w, self.size[1])
        return fixed + column * whole

    def windows(self, done: int = 0) -> int:
        """How many this worker runs, those that are run twice among them.

        Args:
            done: int. Bands that are left out.
        """
        count = 0
        for run in self.runs(done):
            for view in self.views:
                part = self.part(view, run)
                count += len(part.columns) * len(part.tops())
        return count

    def __str__(self) -> str:
        height, width = self.size
        stripes = self.stripes()
        held = self.bytes_of(stripes[0][1] - stripes[0][0])
        bands = self.bands()
        pixels = sum(
            rows * columns for rows, columns in (b.size for b in bands)
        )
        worker, num_workers = self.shard
        whose = f"worker {worker} of {num_workers}: " * (num_workers > 1)
        h, w = self.view.window_size
        stride = "x".join(map(str, self.view.stride))
        return (
            f"{height} x {width} x {self.channels}: {whose}{len(bands):,} "
            f"bands in {len({b.columns for b in bands})} of "
            f"{len(stripes)} stripes, "
            f"{self.windows():,} windows of {h}x{w} every {stride}; reads "
            f"{_bytes(pixels * self.channels * self.itemsize)}, writes "
            f"{_bytes(pixels * self.value_bytes)} of {self.output}, holds "
            f"{_bytes(held)} besides the model"
        )


def dtype_of(output: str, num_classes: int) -> str:
    """Of what is written; the largest value of labels stays free.

    Args:
        output: str. Of `OUTPUTS`.
        num_classes: int. K.
    """
    wide = output == "labels" and num_classes > 255
    return "uint16" if wide else "uint8"


def _bytes(count):
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


@checked(
    size=pair(1),
    num_classes=num_classes_rule(),
    window_size=pair(1),
    stride=optional(pair(1)),
    flip=flag(),
    channels=integer(1),
    itemsize=choice(1, 2, 4, 8),
    output=choice(*OUTPUTS),
    memory=integer(1),
    batch_size=integer(1),
    chunks=pair(1),
    shard=optional(shard_rule()),
)
def plan_raster(
    size: Any,
    num_classes: int,
    window_size: Any,
    stride: Any = None,
    *,
    flip: bool = False,
    channels: int = 3,
    itemsize: int = 1,
    output: str = "labels",
    memory: int = 10**9,
    batch_size: int = 1,
    chunks: Any = (1, 1),
    shard: tuple[int, int] | None = None,
) -> RasterPlan:
    """What `segment_raster` would do with a raster, without model and raster.

    ```python
    print(ks.rasters.plan_raster((100_000, 100_000), 19, 512))
    ```

    Args:
        size: `(H, W)` of the raster.
        num_classes: int. K.
        window_size: int or `(h, w)`.
        stride: int or `(int, int)`. Defaults to two thirds of the window.
        flip: bool. Look at mirrored windows, too.
        channels: int. C.
        itemsize: 1, 2, 4 or 8. Bytes of a value of the raster.
        output, memory, batch_size, shard: as for `segment_raster`.
        chunks: int or `(rows, columns)` that the sink keeps together.

    Returns:
        A `RasterPlan`; printed it is one line.

    Raises:
        ValueError: an argument breaks its rule, or the memory is too small.
    """
    views = Views(window_size=window_size, stride=stride, flip=flip)
    return RasterPlan(
        views_of(views, size),
        channels,
        itemsize,
        num_classes,
        output,
        memory,
        batch_size,
        chunks,
        shard or (0, 1),
    )


def views_of(views: Views, size: tuple[int, int]) -> tuple[View, ...]:
    """The views of a raster, each of its own size.

    Args:
        views: `Views` with a `window_size`.
        size: `(H, W)` of the raster.

    Raises:
        ValueError: a view would be scaled, which needs the raster as a whole.
    """
    found = tuple(views.of(size))
    scaled = [view.size for view in found if view.size != tuple(size)]
    if scaled:
        raise ValueError(
            "A raster is looked at in its own size, at least that of a window, "
            f"{views.window_size}: scaled, it would be needed as a whole. "
            f"Received: a raster of {tuple(size)}, looked at in {scaled[0]}. "
            "Leave scales and base_scale, resample the raster, or use "
            "segment() for what fits into memory."
        )
    return found
