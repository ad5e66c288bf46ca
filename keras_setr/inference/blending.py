"""Windows to averaged logits at the original size, in bounded memory.

Windows arrive band by band, and within a band column by column. What no
later window covers is averaged, resized and handed on at once, some rows at a
time. Held are only what the next column shares with this one and the next
band with this one: `overlap * W' * K` numbers, however high the image is.
"""

import collections
import contextlib
import itertools

import numpy as np

from keras_setr.inference.outputs import softmax

# A strip, the rows that are blended at once, takes about as much as a
# processor's cache holds. A window may be large and stays where the backend
# left it: it is neither copied as a whole nor written to.
_STRIP_BYTES = 2**20


class Blend:
    """Averages the windows of one view where they overlap.

    Args:
        view: a `View`.
        sink: gets `put(top, left, logits)` for each finished block `(m, n, K)`
            in the view's coordinates, those of a column from top to bottom,
            and `advance(rows)` once all rows before `rows` were put. Blocks
            are only good until `put` returns.
        averages: bool. Whether logits are divided by the number of windows
            over them. Their argmax is the same without.
    """

    def __init__(self, view, sink, averages=True):
        self.view = view
        self.sink = sink
        self.bands = view.bands()
        self.lefts = view.lefts()
        self._shares = None
        if averages:
            self._shares = [
                1 / _covers(starts, window, length)
                for starts, window, length in zip(
                    (view.tops(), self.lefts), view.window_size, view.size
                )
            ]
        self._windows = self._run()
        next(self._windows)

    def corners(self, band):
        """`(top, left)` of the windows of a band, in the order of `add`."""
        return [(top, left) for left in self.lefts for top in self.bands[band]]

    def add(self, logits):
        """The next window's `(h, w, K)` float32, mirrored if the view is."""
        if self.view.flip:
            logits = logits[:, ::-1]
        # Behind the last one the generator ends and lets go of what it holds,
        # this object and with it the sink.
        with contextlib.suppress(StopIteration):
            self._windows.send(logits)

    def _run(self):
        """Take the windows as they are sent, each from one `yield`."""
        h, w = self.view.window_size
        height, width = self.view.size
        # No later band covers what lies before the next one's top, and no
        # later column of the band what lies before the next one's left.
        next_tops = [*(tops[0] for tops in self.bands[1:]), height]
        next_lefts = [*self.lefts[1:], width]
        # Rows that each band shares with the next one.
        overlaps = [
            tops[-1] + h - next_top
            for tops, next_top in zip(self.bands, next_tops)
        ]
        # (overlap, W', K), what two bands share: from the left as far as this
        # band has come with the next one, and from there on with the one
        # before. One array serves both, as rows and columns are read before
        # anything is written over them.
        between = None
        # (rows of a band, overlap, K), what two columns share, in the same
        # way: one array, as memory that is new costs more than the sums.
        beside = None
        reach = max(
            (a + w - b for a, b in itertools.pairwise(self.lefts)), default=0
        )
        # What is done with in the same step, in memory that is used again.
        scratch = None
        for tops, next_top, overlap in zip(
            self.bands, next_tops, [0, *overlaps]
        ):
            cuts = sorted({*tops, *(top + h for top in tops), next_top})
            begin, first = tops[0], 0
            for left, next_left in zip(self.lefts, next_lefts):
                done = next_left - left
                # Strips that the next window of the column adds to.
                begun = collections.deque()
                for top, next_window in zip(tops, [*tops[1:], height]):
                    logits = yield
                    if between is None:
                        shape = (max(overlaps), width, logits.shape[-1])
                        between = np.empty(shape, np.float32)
                        rows = max(b[-1] - b[0] for b in self.bands) + h
                        shape = (rows, reach, logits.shape[-1])
                        beside = np.empty(shape, np.float32)
                    earlier, begun = begun, collections.deque()
                    for row, end in _strips(cuts, top, top + h, logits):
                        rows = logits[row - top : end - top]
                        # The column before has brought along what lies over
                        # its part.
                        over = between[row - begin : overlap][: end - row]
                        complete = row < next_window
                        if earlier:
                            strip = earlier.popleft()
                            strip += rows
                        elif (
                            complete
                            and self._shares is None
                            and not first
                            and not len(over)
                        ):
                            # No other window lies here, and nothing is
                            # written.
                            strip = rows
                        else:
                            if not complete:
                                strip = np.empty_like(rows)
                            elif scratch is None or scratch.shape != rows.shape:
                                strip = scratch = np.empty_like(rows)
                            else:
                                strip = scratch
                            part = beside[row - begin : end - begin, :first]
                            np.add(part, rows[:, :first], out=strip[:, :first])
                            strip[:, first:] = rows[:, first:]
                            over = over[:, left + first : left + w]
                            strip[: len(over), first:] += over
                        if not complete:
                            begun.append(strip)
                            continue
                        part = beside[row - begin : end - begin, : w - done]
                        part[...] = strip[:, done:]
                        strip = strip[:, :done]
                        if row < next_top:
                            self._average(strip, row, left)
                            self.sink.put(row, left, strip)
                        else:
                            part = between[row - next_top : end - next_top]
                            part[:, left:next_left] = strip
                    # Nothing of a batch is held while the next one runs.
                    logits = strip = part = rows = None
                first = w - done
            self.sink.advance(next_top)

    def _average(self, block, top, left):
        if self._shares is None:
            return
        rows, columns = self._shares
        share = (
            rows[top : top + block.shape[0], None]
            * columns[left : left + block.shape[1]]
        )
        if share.min() < 1:
            block *= share[..., None]


def _strips(cuts, top, bottom, logits):
    """`(row, end)` between the cuts within a window, all of one height."""
    step = max(_STRIP_BYTES // logits[0].nbytes, 1)
    for begin, end in itertools.pairwise(cuts):
        if top <= begin < bottom:
            for row in range(begin, end, step):
                yield row, min(row + step, end)


def _covers(starts, window, length):
    """`(length,)` float32: how many windows cover each position."""
    covers = np.zeros(length, np.float32)
    for start in starts:
        covers[start : start + window] += 1
    return covers


def _taps(source, target):
    """Both neighbours and the second one's weight, for each target position.

    Half-pixel centres, edges repeated, no antialiasing, in float32: torch's
    `interpolate(mode="bilinear", align_corners=False)`.
    """
    scale = np.float32(source) / np.float32(target)
    position = scale * (np.arange(target, dtype=np.float32) + 0.5) - 0.5
    position = np.maximum(position, np.float32(0))
    before = np.minimum(position.astype(np.int64), source - 1)
    after = np.minimum(before + 1, source - 1)
    return before, after, (position - before).astype(np.float32)


class Resample:
    """Resizes finished blocks of a view to the original size as they come.

    Blocks arrive band by band, left to right, and in a column from top to
    bottom. A pixel of the result goes on with the block that holds its lower
    right neighbour; the others are in that block too or in the row and the
    column kept of the blocks before.

    Args:
        view_size: `(H', W')`.
        size: `(H, W)` of the result.
        sink: as for `Blend`, in the coordinates of the result.
    """

    def __init__(self, view_size, size, sink):
        self.sink = sink
        self._view_width = view_size[1]
        self._rows = _taps(view_size[0], size[0])
        self._columns = _taps(view_size[1], size[1])
        self._above = None  # (W', K), the row over each column's next block
        # Last columns of the blocks, from the row over the band on.
        self._beside = None  # (1 + rows, K), of the column before
        self._last = []  # (m, K) each, of this column
        self._top = self._left = 0  # of this column

    def put(self, top, left, block):
        m, n, num_classes = block.shape
        if self._above is None:
            shape = (self._view_width, num_classes)
            self._above = np.zeros(shape, np.float32)
        if left != self._left:
            self._beside, self._last = np.concatenate(self._last), []
            self._left = left
        if not self._last:
            self._top = top
            self._last.append(self._above[left + n - 1 : left + n].copy())
        first_row, end_row = np.searchsorted(self._rows[1], (top, top + m))
        first, end = np.searchsorted(self._columns[1], (left, left + n))
        before, after, weight = (taps[first:end] for taps in self._columns)
        # In a line, position 0 is the column beside the block.
        before, after = before - left + 1, after - left + 1
        weight = weight[:, None]
        line = np.zeros((1 + n, num_classes), np.float32)
        part = np.zeros_like(line)
        near = np.empty((end - first, num_classes), np.float32)
        far = np.empty_like(near)
        for row in range(first_row, end_row if end > first else first_row):
            y0, y1, t = (taps[row] for taps in self._rows)
            self._line(block, top, left, y0, 1 - t, line)
            if t:
                line += self._line(block, top, left, y1, t, part)
            np.take(line, before, axis=0, out=near, mode="clip")
            np.take(line, after, axis=0, out=far, mode="clip")
            far -= near
            far *= weight
            near += far
            self.sink.put(row, first, near[None])
        self._last.append(block[:, -1].copy())
        self._above[left : left + n] = block[-1]

    def _line(self, block, top, left, row, weight, out):
        """`weight` times a row of the view, with the pixel before it."""
        n = block.shape[1]
        inside = row - top
        source = block[inside] if inside >= 0 else self._above[left : left + n]
        np.multiply(source, weight, out=out[1:])
        if left:
            np.multiply(self._beside[1 + row - self._top], weight, out=out[0])
        return out

    def advance(self, rows):
        self._last, self._left = [], 0
        self.sink.advance(int(np.searchsorted(self._rows[1], rows)))


class MeanOfViews:
    """Averages the softmax of several views.

    Rows wait until the last view has put them, then go to `output` as
    probabilities.

    Args:
        weights: sequence of int, one per view: how often each counts.
        width: int. Of the result.
        output: gets `put_probabilities(top, left, probabilities)`.
    """

    def __init__(self, weights, width, output):
        self._weights = weights
        self._width = width
        self._output = output
        self._rows = {}
        self._spare = []  # arrays of rows that are done
        self._advanced = [0] * len(weights)
        self._done = 0

    def sink(self, index):
        """Where the view of this index puts its logits."""
        return _SinkOfView(self, index)

    def put(self, index, top, left, logits):
        for row, line in enumerate(logits, start=top):
            probabilities = softmax(line)
            probabilities *= self._weights[index] / sum(self._weights)
            self._row(row, line.shape[-1])[left : left + len(line)] += (
                probabilities
            )

    def _row(self, row, num_classes):
        if row not in self._rows:
            if self._spare:
                self._rows[row] = self._spare.pop()
                self._rows[row][:] = 0
            else:
                size = (self._width, num_classes)
                self._rows[row] = np.zeros(size, np.float32)
        return self._rows[row]

    def advance(self, index, rows):
        self._advanced[index] = rows
        for row in range(self._done, min(self._advanced)):
            probabilities = self._rows.pop(row)
            self._output.put_probabilities(row, 0, probabilities[None])
            self._spare.append(probabilities)
        self._done = min(self._advanced)
        # As many as may be needed again before the next row is done.
        del self._spare[len(self._rows) :]


class _SinkOfView:
    def __init__(self, mean, index):
        self._mean = mean
        self._index = index

    def put(self, top, left, logits):
        self._mean.put(self._index, top, left, logits)

    def advance(self, rows):
        self._mean.advance(self._index, rows)
