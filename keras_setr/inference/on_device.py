"""Windows cut, averaged and reduced where their logits are.

What travels is the image, as bytes if it is one of bytes, and the result. The
sums of one view at a time lie on the device, and with several views the mean
of their softmax:

    upload -> cut -> forward -> add -> (fold each view into the mean) -> reduce

Every function has fixed shapes: maps are flat and have room for more pixels
than they hold, and results come in chunks of one number of pixels. So each is
compiled at most twice, whatever the sizes of the images.
"""

import functools
import math

import numpy as np
from keras import ops

from keras_setr.inference.resizing import resize_to

# Bytes of the sums of one image: of its largest view and of the mean of all.
# What needs more is blended on the host, band by band.
BUDGET = 2**31
# Pixels that are reduced at once. With 150 classes their logits take 39 MB.
_CHUNK = 2**16
# Chunks of the smallest room, so that little of the last one is in vain.
_CHUNKS = 16
_TINY = np.finfo(np.float32).tiny


class Blending:
    """Blends on one device, for images of all sizes.

    Args:
        device: a `Device`.
        forward: callable, `(b, h, w, C)` float32 to `(b, h, w, K)` float32,
            both on the device.
        num_classes: int. K.
    """

    def __init__(self, device, forward, num_classes):
        self.device = device
        self.forward = forward
        self.num_classes = num_classes
        self._room = 0
        self._functions = {}

    def takes(self, blend, window_size, views, size):
        """Whether it is this that blends an image, and not the host.

        Args:
            blend: `"auto"`, `"device"` or `"host"`.
            window_size: `(h, w)`.
            views: list of `View`s of the image.
            size: `(H, W)` of the image.
        """
        if blend != "auto":
            return blend == "device"
        # Windows of small views would compile all functions anew.
        return (
            not self.device.is_cpu
            and all(view.window_size == window_size for view in views)
            and _pixels(views, size) <= self._most()
        )

    def job(self, image, views, wanted, truth=None):
        """An image under way; its windows go to `batches`."""
        return Job(self, image, views, wanted, truth)

    def batches(self, batch_size):
        """What runs windows, `batch_size` of them at a time."""
        return Batches(self, batch_size)

    def function(self, function, changes=False, **static):
        """The compiled form of `function(device, .., **static)`."""
        key = function, *sorted(static.items())
        if key not in self._functions:
            bound = functools.partial(function, self.device, **static)
            self._functions[key] = self.device.compile(bound, changes)
        return self._functions[key]

    def room(self, pixels):
        """Pixels of the maps, at least as many; it has two values at most."""
        if pixels > self._room:
            most = self._most()
            if not self._room:
                ample = 2 ** max(math.ceil(math.log2(2 * pixels)), 14)
                self._room = min(ample, max(most, _rounded(pixels)))
            else:
                self._room = max(most, _rounded(pixels))
        return self._room

    def _most(self):
        sums = 2
        return BUDGET // (sums * 4 * self.num_classes) // _CHUNK * _CHUNK


def _pixels(views, size):
    return max(math.prod(s) for s in (size, *(view.size for view in views)))


def _rounded(pixels):
    return -(-pixels // _CHUNK) * _CHUNK


class Job:
    """One image under way on a device.

    Args:
        blending: `Blending`.
        image: `(H, W, C)`, uint8 or float32.
        views: list of `View`.
        wanted: tuple of str: one of `OUTPUTS`, and after `"labels"` what else
            of `"confidence"` and `"entropy"`.
        truth: `(H, W)` integers, for the result to be counts of these and of
            the labels; or None.

    Attributes:
        pending: int. Windows that are still to come back, and one until all
            are queued.
    """

    def __init__(self, blending, image, views, wanted, truth=None):
        self.pending = 1
        self._blending = blending
        self._image = image
        self._size = image.shape[:2]
        self._views = views
        self._wanted = wanted
        self._truth = truth
        self._room = blending.room(_pixels(views, self._size))
        self._chunk = min(_CHUNK, self._room // _CHUNKS)
        self._left = len(views)
        self._mean = self._chunks = None

    def windows(self):
        """`(sum, window)` of all views, one after another."""
        size = None
        for view in self._views:
            if size != view.size:
                size = view.size
                scaled = resize_to(self._image, size)
                pixels = self._blending.device.upload(
                    scaled.reshape(-1, scaled.shape[-1]), self._room
                )
            cut = self._blending.function(
                _cut, size=view.window_size, flip=view.flip
            )
            target = _Sum(self, view)
            for top in view.tops():
                for left in view.lefts():
                    start = top * size[1] + left
                    yield target, cut(pixels, _numbers(start, size[1]))
        self._image = None

    def zeros(self):
        blending = self._blending
        return blending.device.zeros(
            self._room, blending.num_classes, "float32"
        )

    def add(self, view, sums, logits, index, corner):
        """Add a window of a batch to the sums of its view."""
        add = self._blending.function(_add, changes=True, flip=view.flip)
        top, left = corner
        width = view.size[1]
        return add(sums, logits, _numbers(index, top * width + left, width))

    def finish(self, view, sums):
        """Take the sums of a view to which all of its windows were added."""
        resized = view.size != self._size
        geometry = _numbers(
            *self._size,
            *view.size,
            *view.window_size,
            *view.stride,
            view.flip,
        )
        if len(self._views) == 1:
            reduce = self._blending.function(
                _reduce_one,
                count=self._chunk,
                resized=resized,
                wanted=self._wanted,
            )
            self._reduce(lambda first: reduce(sums, first, geometry))
            return
        if self._mean is None:
            self._mean = self.zeros()
        fold = self._blending.function(
            _fold, changes=True, count=self._chunk, resized=resized
        )
        share = np.float32(view.weight / sum(v.weight for v in self._views))
        chunks = np.int32(len(self._firsts()))
        self._mean = fold(self._mean, sums, chunks, geometry, share)
        self._left -= 1
        if not self._left:
            reduce = self._blending.function(
                _reduce_mean, count=self._chunk, wanted=self._wanted
            )
            self._reduce(lambda first: reduce(self._mean, first))
            self._mean = None

    def _reduce(self, reduce):
        """Keep the maps of each chunk, or what they count."""
        firsts = map(np.int32, self._firsts())
        if self._truth is None:
            self._chunks = [reduce(first) for first in firsts]
            return
        blending = self._blending
        classes = blending.num_classes
        truth = blending.device.upload(self._truth.reshape(-1, 1), self._room)
        count = blending.function(_count, changes=True, count=self._chunk)
        pixels = np.int32(self._truth.size)
        counts = blending.device.zeros(classes, classes, "int32")
        for first in firsts:
            (labels,) = reduce(first)
            counts = count(counts, labels, truth, first, pixels)
        self._chunks = counts

    def _firsts(self):
        return range(0, math.prod(self._size), self._chunk)

    def result(self):
        """What is wanted of the image, on the host."""
        chunks = self._blending.device.fetch(self._chunks)
        if self._truth is not None:
            return chunks.astype("int64")
        maps = []
        for name, parts in zip(self._wanted, zip(*chunks)):
            whole = np.concatenate(parts)[: math.prod(self._size)]
            whole = whole.reshape(*self._size, *whole.shape[1:])
            maps.append(whole.astype("int32") if name == "labels" else whole)
        return maps[0] if len(maps) == 1 else tuple(maps)


class _Sum:
    """The sum of the windows of one view, from its first to its last."""

    def __init__(self, job, view):
        self.job = job
        self._view = view
        self._sums = None
        self._corners = [
            (top, left) for top in view.tops() for left in view.lefts()
        ]
        self._next = 0

    def add(self, logits, index):
        """The next window's logits, at `index` of a batch."""
        if self._sums is None:
            self._sums = self.job.zeros()
        corner = self._corners[self._next]
        self._sums = self.job.add(self._view, self._sums, logits, index, corner)
        self._next += 1
        if self._next == len(self._corners):
            self.job.finish(self._view, self._sums)
            self._sums = None


class Batches:
    """Runs windows on the device in batches of exactly `batch_size`."""

    def __init__(self, blending, batch_size):
        self.batch_size = batch_size
        self._blending = blending
        self._windows = []
        self._targets = []

    def add(self, target, window):
        if self._windows and self._windows[0].shape != window.shape:
            self.run()
        self._windows.append(window)
        self._targets.append(target)
        target.job.pending += 1
        if len(self._targets) == self.batch_size:
            self.run()

    def run(self):
        if not self._targets:
            return
        missing = self.batch_size - len(self._windows)
        stack = self._blending.function(_stack)
        batch = stack(*self._windows, *self._windows[:1] * missing)
        logits = self._blending.forward(batch)
        for index, target in enumerate(self._targets):
            target.add(logits, index)
            target.job.pending -= 1
        self._windows, self._targets = [], []


def _numbers(*values):
    """What changes from call to call, as one small array."""
    return np.array(values, "int32")


# === What is compiled ===


def _cut(device, pixels, where, size, flip):
    window = ops.cast(device.cut(pixels, where[0], where[1], size), "float32")
    return ops.flip(window, axis=1) if flip else window


def _stack(device, *windows):
    return ops.stack(windows)


def _add(device, sums, logits, where, flip):
    _, height, width, classes = logits.shape
    # TensorFlow would compile `logits[index]` for each index.
    block = device.cut(
        ops.reshape(logits, (-1, classes)),
        where[0] * (height * width),
        width,
        (height, width),
    )
    if flip:
        block = ops.flip(block, axis=1)
    return device.add(sums, block, where[1], where[2])


def _fold(device, mean, sums, chunks, geometry, share, count, resized):
    def fold(chunk, mean):
        first = chunk * count
        logits = _mean_logits(device, sums, first, geometry, count, resized)
        block = ops.softmax(logits)[None] * share
        return device.add(mean, block, first, count)

    return ops.fori_loop(0, chunks, fold, mean)


def _reduce_one(device, sums, first, geometry, count, resized, wanted):
    logits = _mean_logits(device, sums, first, geometry, count, resized)
    return _reduced(logits, lambda: ops.softmax(logits), lambda: logits, wanted)


def _reduce_mean(device, mean, first, count, wanted):
    probabilities = device.cut(mean, first, count, (1, count))[0]
    return _reduced(
        probabilities,
        lambda: probabilities,
        lambda: _log(probabilities),
        wanted,
    )


def _log(probabilities):
    return ops.log(ops.maximum(probabilities, float(_TINY)))


def _reduced(scores, probabilities, logits, wanted):
    """The maps of these pixels, `(n,)` or `(n, K)`, in the order asked for."""
    maps = []
    for name in wanted:
        if name == "labels":
            # No more bytes than they need travel back.
            dtype = "uint8" if scores.shape[-1] <= 2**8 else "uint16"
            maps.append(ops.cast(ops.argmax(scores, axis=-1), dtype))
        elif name == "logits":
            maps.append(logits())
        elif name == "probabilities":
            maps.append(probabilities())
        elif name == "confidence":
            maps.append(ops.max(probabilities(), axis=-1))
        else:
            p = probabilities()
            maps.append(-ops.sum(p * _log(p), axis=-1))
    return tuple(maps)


def _count(device, counts, labels, truth, first, pixels, count):
    """`(K, K)` int32 with the n pixels of a chunk added."""
    classes = counts.shape[0]
    truth = ops.cast(device.cut(truth, first, count, (1, count)), "int32")
    inside = first + ops.arange(count, dtype="int32") < pixels
    # A row of zeros, which counts nowhere, for what is no class.
    truth = ops.where(inside, ops.reshape(truth, (-1,)), classes)
    rows, columns = (
        ops.cast(values[:, None] == ops.arange(classes), "float32")
        for values in (truth, ops.cast(labels, "int32"))
    )
    # Accelerators multiply matrices faster than they scatter. The product is
    # exact, as a chunk has less than 2^24 pixels.
    return counts + ops.cast(ops.matmul(ops.transpose(rows), columns), "int32")


def _mean_logits(device, sums, first, geometry, count, resized):
    """`(n, K)` of n pixels of the image: averaged windows, resized.

    Args:
        sums: `(P, K)` of a view.
        first: the first of the pixels.
        geometry: height and width of the image, of the view, of its windows
            and of its stride; whether it is mirrored.
        count: int. n.
        resized: bool. Whether the view has another size than the image.
    """
    size, view_size, window, stride = (
        (geometry[i], geometry[i + 1]) for i in (0, 2, 4, 6)
    )
    place = first + ops.arange(count, dtype="int32")
    row = place // size[1]
    column = place - row * size[1]

    def share(rows, columns):
        covers = _covers(rows, window[0], stride[0], view_size[0])
        # A mirrored view has its first column at the right.
        columns = ops.where(geometry[8], view_size[1] - 1 - columns, columns)
        covers *= _covers(columns, window[1], stride[1], view_size[1])
        # Beyond the last pixel there is none.
        return (1 / ops.maximum(ops.cast(covers, "float32"), 1))[:, None]

    if not resized:
        block = device.cut(sums, first, count, (1, count))[0]
        return block * share(row, column)
    total = 0
    for rows, row_weight in _taps(view_size[0], size[0], row):
        for columns, column_weight in _taps(view_size[1], size[1], column):
            values = ops.take(sums, rows * view_size[1] + columns, axis=0)
            weight = (row_weight * column_weight)[:, None]
            total += values * (share(rows, columns) * weight)
    return total


def _covers(position, window, stride, length):
    """How many windows of a row or column cover each position."""
    regular = (length - window + stride - 1) // stride  # all but the last
    last = ops.minimum(position // stride, regular - 1)
    first = ops.maximum((position - window) // stride + 1, 0)
    covered = ops.cast(position >= length - window, "int32")
    return ops.maximum(last - first + 1, 0) + covered


def _taps(source, target, position):
    """`(index, weight)` of both neighbours; see `blending`."""
    scale = ops.cast(source, "float32") / ops.cast(target, "float32")
    position = scale * (ops.cast(position, "float32") + 0.5) - 0.5
    position = ops.maximum(position, 0.0)
    before = ops.minimum(ops.cast(position, "int32"), source - 1)
    after = ops.minimum(before + 1, source - 1)
    weight = position - ops.cast(before, "float32")
    return (before, 1 - weight), (after, weight)
