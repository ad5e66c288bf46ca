"""Sliding windows over many images, in batches of one size."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import flag
from keras_setr.arguments import function
from keras_setr.arguments import having
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.confusion import count_pixels
from keras_setr.inference import blending
from keras_setr.inference.outputs import OUTPUTS
from keras_setr.inference.outputs import build_output
from keras_setr.inference.resizing import resize_to
from keras_setr.inference.views import Views

if TYPE_CHECKING:
    # It imports Keras, which blending on the host does without.
    from keras_setr.inference.on_device import Blending


class _Job:
    """One image under way: its views, and the windows still to come back."""

    def __init__(self, image, views, wanted, truth):
        size = image.shape[:2]
        self._truth = truth
        self._scaled = {v.size: resize_to(image, v.size) for v in views}
        self.output = build_output(wanted, size)
        self.pending = 1  # until all windows are queued
        mean = None
        if len(views) > 1:
            mean = blending.MeanOfViews(
                [view.weight for view in views], size[1], self.output
            )
        self.blends = []
        for index, view in enumerate(views):
            sink = _Last(self.output) if mean is None else mean.sink(index)
            labels = wanted == ("labels",)
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
            image = self._scaled[blend.view.size]
            h, w = blend.view.window_size
            for top, left in blend.corners(index):
                window = image[top : top + h, left : left + w]
                window = window[:, ::-1] if blend.view.flip else window
                yield (self, blend), window
        self._scaled = None

    def result(self):
        result = self.output.result()
        if self._truth is None:
            return result
        return count_pixels(self._truth, result, self.output.num_classes)


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

    def add(self, target, window):
        if self._targets and self._batch.shape[1:] != window.shape:
            # Only views smaller than a window have windows of their own size.
            self.run()
        if not self._targets:
            shape = (self.batch_size, *window.shape)
            self._batch = np.zeros(shape, np.float32)
        self._batch[len(self._targets)] = window
        self._targets.append(target)
        target[0].pending += 1
        if len(self._targets) == self.batch_size:
            self.run()

    def run(self):
        if not self._targets:
            return
        logits = self.forward(self._batch)
        for index, (job, blend) in enumerate(self._targets):
            blend.add(logits[index])
            job.pending -= 1
        self._targets.clear()


@checked(
    forward=function(),
    views=instance("Views", Views),
    batch_size=integer(1),
    output=choice(*OUTPUTS),
    confidence=flag(),
    entropy=flag(),
    device=optional(having("an on_device.Blending", "takes", "job")),
)
def sliding_window(
    forward: Callable[[np.ndarray], np.ndarray],
    images: Any,
    views: Views,
    batch_size: int,
    output: str = "logits",
    confidence: bool = False,
    entropy: bool = False,
    device: "Blending | None" = None,
) -> Iterator[Any]:
    """Each image's logits, probabilities or labels, in the images' order.

    Windows of all views and of consecutive images share batches. Every call
    of `forward` gets exactly `batch_size` windows, the last ones padded, so
    that it compiles once whatever the sizes of the images. On the host, with
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
        entropy: bool. Labels come with the entropy of the probabilities, in
            nats.
        device: an `on_device.Blending` with its own `forward`, for the images
            that `views.blend` and its budget give to it. Defaults to blending
            all of them on the host.

    Returns:
        An iterator that gives for each image at its own size `(H, W, K)`
        float32, or `(H, W)` int32 labels, or a tuple of these and of one
        `(H, W)` float32 for confidence and entropy each.
    """
    if (confidence or entropy) and output != "labels":
        name = "confidence" if confidence else "entropy"
        raise ValueError(
            f"{name} goes with output='labels'; the other outputs hold it "
            f"already. Received: output={output!r}."
        )
    if device is None and views.blend == "device":
        raise ValueError(
            "blend='device' needs a device. Received: device=None."
        )
    extras = ("confidence",) * confidence + ("entropy",) * entropy
    wanted = (output, *extras)
    samples = ((image, None) for image in images)
    return _results(forward, samples, views, batch_size, wanted, device)


def count_windows(
    forward: Callable[[np.ndarray], np.ndarray],
    samples: Any,
    views: Views,
    batch_size: int,
    device: "Blending | None" = None,
) -> Iterator[np.ndarray]:
    """Confusion matrices of labels, counted where they are.

    Args:
        forward, views, batch_size, device: as for `sliding_window`.
        samples: iterable of images `(H, W, C)` and their true labels
            `(H, W)`, of which those outside `0..K-1` are not counted.

    Returns:
        An iterator that gives for each image its `(K, K)` int64 counts, rows
        truth, columns predictions.
    """
    wanted = ("labels",)
    return _results(forward, samples, views, batch_size, wanted, device)


def _results(forward, samples, views, batch_size, wanted, device):
    host = _Batches(forward, batch_size)
    there = device and device.batches(batch_size)
    batches, jobs = host, collections.deque()
    for image, truth in samples:
        if image.dtype != np.uint8:
            image = np.asarray(image, np.float32)
        size = image.shape[:2]
        chosen, before = views.of(size), batches
        if device and device.takes(
            views.blend, views.window_size, chosen, size
        ):
            batches = there
            job = device.job(image, chosen, wanted, truth)
        else:
            batches = host
            job = _Job(image, chosen, wanted, truth)
        if batches is not before:
            before.run()
        jobs.append(job)
        for target, window in job.windows():
            batches.add(target, window)
        job.pending -= 1
        # A device goes on with this image while that before it is fetched.
        ahead = int(batches is there)
        while len(jobs) > ahead and jobs[0].pending == 0:
            yield jobs.popleft().result()
    batches.run()
    while jobs:
        yield jobs.popleft().result()
