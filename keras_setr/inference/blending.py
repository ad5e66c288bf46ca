"""Windows to averaged logits at the original size, in bounded memory.

Windows arrive band by band, and within a band column by column. What no
later window covers is averaged, resized and handed on at once. Held are only
what the next column shares with this one and the next band with this one:
`overlap * W' * K` numbers, however high the image is.
"""

import collections

import numpy as np

from keras_setr.inference.outputs import softmax


class Blend:
    """Averages the windows of one view where they overlap.

    Args:
        view: a `View`.
        sink: gets `put(top, left, logits)` for each finished block `(m, n, K)`
            in the view's coordinates, and `advance(rows)` once all rows
            before `rows` were put. Blocks are only good until `put` returns.
        averages: bool. Whether logits are divided by the number of windows
            over them. Their argmax is the same without.
    """

    def __init__(self, view, sink, averages=True):
        self.view = view
        self.sink = sink
        self.bands = view.bands()
        self.lefts = view.lefts()
        self.averages = averages
        self._upper = None  # the first of two windows of a column
        self._band = self._left = 0  # indices
        self._side = None  # (rows, overlap, K), shared with the next column
        # (left, (overlap, columns, K)): shared with the band above and with
        # the next one.
        self._above = collections.deque()
        self._below = collections.deque()
        if averages:
            h, w = view.window_size
            self._share = [
                1 / _covers(starts, window, length)
                for starts, window, length in zip(
                    (view.tops(), self.lefts), (h, w), view.size
                )
            ]

    def corners(self, band):
        """`(top, left)` of the windows of a band, in the order of `add`."""
        return [(top, left) for left in self.lefts for top in self.bands[band]]

    def add(self, logits):
        """The next window's `(h, w, K)`, which may be written to."""
        tops = self.bands[self._band]
        if len(tops) == 1:
            block = logits if logits.flags.writeable else logits.copy()
            self._add_above(block)
        elif self._upper is None:
            self._upper = self._extended(logits, tops)
            self._add_above(self._upper)
            return
        else:
            block, self._upper = self._upper, None
            block[tops[1] - tops[0] :] += logits
        self._add_column(block, tops[0])
        self._left += 1
        if self._left == len(self.lefts):
            self._end_band()

    def _extended(self, logits, tops):
        """A window with zeros below it, down to the end of a second one."""
        h, w, num_classes = logits.shape
        rows = tops[1] - tops[0] + h
        block = np.zeros((rows, w, num_classes), np.float32)
        block[:h] = logits
        return block

    def _add_above(self, block):
        """Add what the band above shares with the columns that are new here.

        The column before has brought along what lies over the others.
        """
        left = self.lefts[self._left]
        end = left + block.shape[1]
        first = left if self._side is None else left + self._side.shape[1]
        for start, rows in self._above:
            a, b = max(start, first), min(start + rows.shape[1], end)
            if a < b:
                block[: len(rows), a - left : b - left] += rows[
                    :, a - start : b - start
                ]
        # What is used up is released at once.
        while self._above and _end(self._above[0]) <= end:
            self._above.popleft()

    def _add_column(self, block, top):
        left = self.lefts[self._left]
        rows, w, num_classes = block.shape
        shared = 0
        if self._side is not None:
            shared = self._side.shape[1]
            block[:, :shared] += self._side
        done = w
        self._side = None
        if self._left + 1 < len(self.lefts):
            done = self.lefts[self._left + 1] - left
            self._side = block[:, done:].copy()
        finished = rows
        if self._band + 1 < len(self.bands):
            finished = self.bands[self._band + 1][0] - top
            self._below.append((left, block[finished:, :done].copy()))
        block = block[:finished, :done]
        if self.averages:
            share = (
                self._share[0][top : top + finished, None]
                * self._share[1][left : left + done]
            )
            if share.min() < 1:
                block *= share[..., None]
        self.sink.put(top, left, block)

    def _end_band(self):
        self._left = 0
        self._band += 1
        self._above, self._below = self._below, collections.deque()
        if self._band < len(self.bands):
            self.sink.advance(self.bands[self._band][0])
        else:
            self.sink.advance(self.view.size[0])


def _end(part):
    start, rows = part
    return start + rows.shape[1]


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

    Blocks arrive band by band, left to right. A pixel of the result goes on
    with the block that holds its lower right neighbour; the others are in
    that block too or in the row and the column kept of the blocks before.

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
        self._above = None  # (W', K), the row over this band
        self._beside = None  # (1 + m, K), the column before, from that row on

    def put(self, top, left, block):
        m, n, num_classes = block.shape
        if self._above is None:
            shape = (self._view_width, num_classes)
            self._above = np.zeros(shape, np.float32)
        first_row, end_row = np.searchsorted(self._rows[1], (top, top + m))
        first, end = np.searchsorted(self._columns[1], (left, left + n))
        before, after, weight = (taps[first:end] for taps in self._columns)
        # In a line, position 0 is the column beside the block.
        before, after = before - left + 1, after - left + 1
        weight = weight[:, None]
        line = np.zeros((1 + n, num_classes), np.float32)
        part = np.empty_like(line)
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
        corner = self._above[left + n - 1].copy()
        self._beside = np.concatenate([corner[None], block[:, -1]])
        self._above[left : left + n] = block[-1]

    def _line(self, block, top, left, row, weight, out):
        """`weight` times a row of the view, with the pixel before it."""
        n = block.shape[1]
        inside = row - top
        source = block[inside] if inside >= 0 else self._above[left : left + n]
        np.multiply(source, weight, out=out[1:])
        if left:
            np.multiply(self._beside[1 + inside], weight, out=out[0])
        return out

    def advance(self, rows):
        self.sink.advance(int(np.searchsorted(self._rows[1], rows)))


class Mixture:
    """Averages the softmax of several views.

    Rows wait until the last view has put them, then go to `output` as
    probabilities.

    Args:
        weights: sequence of int, one per view.
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
        return _MixtureSink(self, index)

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


class _MixtureSink:
    def __init__(self, mixture, index):
        self._mixture = mixture
        self._index = index

    def put(self, top, left, logits):
        self._mixture.put(self._index, top, left, logits)

    def advance(self, rows):
        self._mixture.advance(self._index, rows)
