"""Sliding windows over many images, in batches of one size."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.inference import blending
from keras_setr.inference.outputs import OUTPUTS
from keras_setr.inference.outputs import build_output
from keras_setr.inference.views import Views
from keras_setr.opencv import cv2

# OpenCV's arrays hold no more channels than this at once.
_OPENCV_CHANNELS = 128


def resize_to(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of `(H, W, C)` to `(*size, C)`, uint8 or float32.

    Half-pixel centres without antialiasing: what torch and mmsegmentation
    mean by bilinear. Bytes stay bytes, rounded as in the published codes.
    """
    if array.shape[:2] == tuple(size):
        return array
    height, width = size
    channels = array.shape[-1]
    resized = np.empty((height, width, channels), array.dtype)
    for first in range(0, channels, _OPENCV_CHANNELS):
        part = slice(first, first + _OPENCV_CHANNELS)
        resized[..., part] = cv2.resize(
            np.ascontiguousarray(array[..., part]),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        ).reshape(height, width, -1)
    return resized


class _Job:
    """One image under way: its views, and the windows still to come back."""

    def __init__(self, image, views, output, confidence):
        if image.dtype != np.uint8:
            image = np.asarray(image, np.float32)
        size = image.shape[:2]
        self.scaled = {v.size: resize_to(image, v.size) for v in views}
        self.output = build_output(output, size, confidence)
        self.pending = 1  # until all windows are queued
        mean = None
        if len(views) > 1:
            mean = blending.MeanOfViews(
                [view.weight for view in views], size[1], self.output
            )
        self.blends = []
        for index, view in enumerate(views):
            sink = _Last(self.output) if mean is None else mean.sink(index)
            labels = output == "labels" and not confidence
            plain = view.size == size
            if not plain:
                sink = blending.Resample(view.size, size, sink)
            averages = not (labels and plain and mean is None)
            self.blends.append(blending.Blend(view, sink, averages))

    def windows(self):
        """`(blend, window)` of all views, so that they finish side by side."""
        bands = [
            (band[0] / blend.view.size[0], blend, index)
            for blend in self.blends
            for index, band in enumerate(blend.bands)
        ]
        for _, blend, index in sorted(bands, key=lambda band: band[0]):
            image = self.scaled[blend.view.size]
            h, w = blend.view.window_size
            for top, left in blend.corners(index):
                window = image[top : top + h, left : left + w]
                yield blend, window[:, ::-1] if blend.view.flip else window


class _Last:
    """The output of an image with a single view, as a sink."""

    def __init__(self, output):
        self.put = output.put

    def advance(self, rows):
        pass


class _Batches:
    """Runs windows in batches of exactly `batch_size`."""

    def __init__(self, forward, batch_size):
        self.forward = forward
        self.batch_size = batch_size
        self._batch = None
        self._targets = []

    def add(self, job, blend, window):
        if self._targets and self._batch.shape[1:] != window.shape:
            # Only views smaller than a window have windows of their own size.
            self.run()
        if not self._targets:
            shape = (self.batch_size, *window.shape)
            self._batch = np.zeros(shape, np.float32)
        self._batch[len(self._targets)] = window
        self._targets.append((job, blend))
        job.pending += 1
        if len(self._targets) == self.batch_size:
            self.run()

    def run(self):
        if not self._targets:
            return
        logits = self.forward(self._batch)
        for index, (job, blend) in enumerate(self._targets):
            one = logits[index]
            blend.add(one[:, ::-1] if blend.view.flip else one)
            job.pending -= 1
        self._targets.clear()


@checked(
    views=instance("Views", Views),
    batch_size=integer(1),
    output=choice(*OUTPUTS),
    confidence=flag(),
)
def sliding_window(
    forward: Callable[[np.ndarray], np.ndarray],
    images: Any,
    views: Views,
    batch_size: int,
    output: str = "logits",
    confidence: bool = False,
) -> Iterator[Any]:
    """Each image's logits, probabilities or labels, in the images' order.

    Windows of all views and of consecutive images share batches. Every call
    of `forward` gets exactly `batch_size` windows, the last ones padded with
    zeros, so that it compiles once whatever the sizes of the images. With
    labels as output, no more of an image's logits is held than later windows
    will add to.

    Args:
        forward: callable, `(b, h, w, C)` float32 to `(b, h, w, K)` float32.
            Under a protocol that does not enlarge small images, h and w may
            be less than the window.
        images: iterable of `(H, W, C)` arrays.
        views: `Views` with a `window_size`.
        batch_size: int. b.
        output: `"logits"`, `"probabilities"` or `"labels"`.
        confidence: bool. Labels come with the probability of each.

    Returns:
        An iterator that gives for each image at its own size `(H, W, K)`
        float32, or `(H, W)` int32 labels, or these and `(H, W)` float32.
    """
    if confidence and output != "labels":
        raise ValueError(
            "confidence goes with output='labels'; the other outputs hold it "
            f"already. Received: output={output!r}."
        )
    return _results(forward, images, views, batch_size, output, confidence)


def _results(forward, images, views, batch_size, output, confidence):
    batches = _Batches(forward, batch_size)
    jobs = collections.deque()
    for image in images:
        job = _Job(image, views.of(image.shape[:2]), output, confidence)
        jobs.append(job)
        for blend, window in job.windows():
            batches.add(job, blend, window)
        job.pending -= 1
        job.scaled = None
        while jobs and jobs[0].pending == 0:
            yield jobs.popleft().output.result()
    batches.run()
    while jobs:
        yield jobs.popleft().output.result()
