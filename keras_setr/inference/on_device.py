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

from keras_setr.inference import compiled
from keras_setr.inference.resizing import resize_to

# Bytes of the sums of one image: of its largest view and of the mean of all.
# What needs more is blended on the host, band by band.
BUDGET = 2**31
# Pixels that are reduced at once. With 150 classes their logits take 39 MB.
_CHUNK = 2**16
# Chunks of the smallest room, so that little of the last one is in vain.
_CHUNKS = 16


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
                compiled.cut_window, size=view.window_size, flip=view.flip
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
        add = self._blending.function(
            compiled.add_window, changes=True, flip=view.flip
        )
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
                compiled.reduce_one,
                count=self._chunk,
                resized=resized,
                wanted=self._wanted,
            )
            self._reduce(lambda first: reduce(sums, first, geometry))
            return
        if self._mean is None:
            self._mean = self.zeros()
        fold = self._blending.function(
            compiled.fold_in, changes=True, count=self._chunk, resized=resized
        )
        share = np.float32(view.weight / sum(v.weight for v in self._views))
        chunks = np.int32(len(self._firsts()))
        self._mean = fold(self._mean, sums, chunks, geometry, share)
        self._left -= 1
        if not self._left:
            reduce = self._blending.function(
                compiled.reduce_mean, count=self._chunk, wanted=self._wanted
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
        count = blending.function(
            compiled.count_labels, changes=True, count=self._chunk
        )
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
        stack = self._blending.function(compiled.stack_windows)
        batch = stack(*self._windows, *self._windows[:1] * missing)
        logits = self._blending.forward(batch)
        for index, target in enumerate(self._targets):
            target.add(logits, index)
            target.job.pending -= 1
        self._windows, self._targets = [], []


def _numbers(*values):
    """What changes from call to call, as one small array."""
    return np.array(values, "int32")
