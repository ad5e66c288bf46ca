"""From windows of a raster to finished bands of what is asked for."""

import numpy as np

from keras_setr.inference.outputs import entropy_of
from keras_setr.inference.outputs import softmax
from keras_setr.rasters.plan import dtype_of

# Of 8 bits; entropy has 0..254, in parts of log K.
_MOST = 255
_MOST_ENTROPY = 254


class Cropped:
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


class Bands:
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


class Batches:
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
            blend.add(one)
            self._count()
        self._waiting.clear()
        self._filled = 0
