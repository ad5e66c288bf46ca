"""Sliding windows over images of any size (paper, section 4.1).

The grid and the averaging are those of the authors' code and of
mmsegmentation: windows step by `stride` from the top left corner, the last
one of a row or column is shifted back to end at the border, and where windows
overlap their logits are averaged. Nothing here knows a model: `forward` maps
`(b, h, w, C)` float32 to logits `(b, h, w, K)`, NumPy to NumPy.
"""

import collections
import dataclasses

import cv2
import numpy as np

# OpenCV's arrays hold no more channels than this at once.
_OPENCV_CHANNELS = 128


def window_starts(length, window, stride):
    """Where windows begin along one axis; each lies within `length`."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [
        max(min(index * stride, length - window), 0) for index in range(count)
    ]


def window_grid(image_size, window_size, stride):
    """The `(top, left)` corners of all windows, row by row."""
    rows, columns = (
        window_starts(*axis) for axis in zip(image_size, window_size, stride)
    )
    return [(top, left) for top in rows for left in columns]


def resize_to(array, size):
    """Bilinear resize of `(H, W, C)` float32 to `(*size, C)`.

    Half-pixel centres without antialiasing: what torch and mmsegmentation
    mean by bilinear.
    """
    if array.shape[:2] == tuple(size):
        return array
    height, width = size
    channels = array.shape[-1]
    resized = np.empty((height, width, channels), np.float32)
    for first in range(0, channels, _OPENCV_CHANNELS):
        part = slice(first, first + _OPENCV_CHANNELS)
        resized[..., part] = cv2.resize(
            np.ascontiguousarray(array[..., part]),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        ).reshape(height, width, -1)
    return resized


def covering_size(image_size, window_size):
    """The size at which the image holds one window, aspect ratio kept.

    "If the shorter side is smaller than the size of the sliding window, the
    image is scaled with its shorter side to the size of the sliding window"
    (paper, section 4.1). Larger images keep their size.
    """
    factor = max(w / s for s, w in zip(image_size, window_size))
    if factor <= 1:
        return tuple(image_size)
    return tuple(
        max(int(s * factor + 0.5), w) for s, w in zip(image_size, window_size)
    )


@dataclasses.dataclass
class _Canvas:
    """One image under way: its summed logits and what is still to come."""

    image: np.ndarray  # (H, W, C), scaled to hold a window
    original_size: tuple
    corners: list
    total: np.ndarray = None  # (H, W, K)
    pending: int = 0

    def add(self, corner, logits):
        top, left = corner
        h, w, num_classes = logits.shape
        if len(self.corners) == 1:
            self.total = logits.copy()
        else:
            if self.total is None:
                size = self.image.shape[:2]
                self.total = np.zeros((*size, num_classes), np.float32)
            self.total[top : top + h, left : left + w] += logits
        self.pending -= 1

    def finish(self, window_size):
        """The averaged logits `(H, W, K)` at the original size."""
        if len(self.corners) > 1:
            count = np.zeros((*self.image.shape[:2], 1), np.float32)
            for top, left in self.corners:
                h, w = window_size
                count[top : top + h, left : left + w] += 1
            self.total /= count
        return resize_to(self.total, self.original_size)


def sliding_window(forward, images, window_size, stride, batch_size):
    """Logits of each image from overlapping windows, in the images' order.

    Windows of consecutive images share batches. Every call of `forward` gets
    exactly `batch_size` windows, the last ones padded with zeros, so that it
    compiles once whatever the sizes of the images.

    Args:
        forward: callable, `(b, h, w, C)` float32 to `(b, h, w, K)` float32.
        images: iterable of `(H, W, C)` arrays.
        window_size: `(h, w)`.
        stride: `(int, int)`, at most the window.
        batch_size: int. b.

    Yields:
        `(H, W, K)` float32 for each image, at its own size.
    """
    canvases = collections.deque()
    batch, targets = None, []

    def run():
        logits = forward(batch)
        for index, (canvas, corner) in enumerate(targets):
            canvas.add(corner, logits[index])
        targets.clear()

    h, w = window_size
    for image in images:
        size = image.shape[:2]
        image = resize_to(
            np.asarray(image, np.float32), covering_size(size, window_size)
        )
        corners = window_grid(image.shape[:2], window_size, stride)
        canvas = _Canvas(image, size, corners, pending=len(corners))
        canvases.append(canvas)
        for top, left in corners:
            if not targets:
                batch = np.zeros((batch_size, h, w, image.shape[-1]), "float32")
            batch[len(targets)] = image[top : top + h, left : left + w]
            targets.append((canvas, (top, left)))
            if len(targets) == batch_size:
                run()
        while canvases and canvases[0].pending == 0:
            yield canvases.popleft().finish(window_size)
    if targets:
        run()
    while canvases:
        yield canvases.popleft().finish(window_size)
