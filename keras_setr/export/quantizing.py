"""What int8 costs and brings, and how much of a network it may take.

Where too many labels change, parts of the network stay in float, more and more
of them: `FLOAT_PARTS`.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_setr.arrays import spread
from keras_setr.confusion import count_pixels
from keras_setr.confusion import mean_iou
from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import format_of
from keras_setr.export.quantizers import FLOAT_PARTS
from keras_setr.export.quantizers import quantize_file
from keras_setr.export.record import ExportRecord
from keras_setr.export.sessions import open_session
from keras_setr.inference import Views
from keras_setr.inference import resize_to
from keras_setr.tables import counted

# In points of mean IoU and in shares of equal labels: what is good enough.
MOST_POINTS = 0.5
LEAST_EQUAL = 0.99
# Images that are used, and every which of them is kept for the comparison.
MOST_IMAGES = 100
_KEPT_FOR_TEST = 4
# Timings of each file, in turns; their median counts.
_TURNS = 5


@dataclasses.dataclass(frozen=True)
class Int8Report:
    """An int8 file beside the float file of the same model and format.

    Attributes:
        path: of the file.
        record: `ExportRecord` that is in it.
        size, float_size: int. Bytes.
        seconds, float_seconds: float. Of an image, on the same cores in turns.
        equal: float. Share of equal labels on `images` images.
        points: float or None. Change of mean IoU on labelled images, in
            points of percent.
        float_parts: tuple of str. What stayed in float, of `FLOAT_PARTS`.
        images: int. Images that were compared.
    """

    path: pathlib.Path
    record: ExportRecord
    size: int
    float_size: int
    seconds: float
    float_seconds: float
    equal: float
    points: float | None
    float_parts: tuple[str, ...]
    images: int

    @property
    def is_recommended(self) -> bool:
        """Whether it is faster, and mean IoU falls by half a point at most."""
        faster = self.seconds < self.float_seconds
        return (
            faster and self.points is not None and (self.points >= -MOST_POINTS)
        )

    def __str__(self) -> str:
        kept = ", ".join(self.float_parts) or "nothing"
        share = self.seconds / self.float_seconds
        if self.points is None:
            change = "mean IoU unknown, as no image had labels"
        else:
            change = f"mean IoU {self.points:+.2f} points"
        if self.is_recommended:
            verdict = "recommended"
        elif self.points is None and share < 1:
            verdict = "not recommended before its mean IoU is known"
        else:
            verdict = "not recommended: " + (
                "no faster" if share >= 1 else f"worse by over {MOST_POINTS}"
            )
        return (
            f"{self.path}: {FORMATS[format_of(self.path)].title} int8, "
            f"{kept} of it in float; {self.size / 1e6:.1f} MB for "
            f"{self.float_size / 1e6:.1f}; {self.seconds:.3f} s an image for "
            f"{self.float_seconds:.3f} ({share:.2f}); {100 * self.equal:.2f} % "
            f"of labels equal on {counted(self.images, 'image')}; {change}: "
            f"{verdict}"
        )


# === Images ===


@dataclasses.dataclass(frozen=True)
class Samples:
    """Windows of images, `(H, W, C)`, and their labels where they have some.

    Attributes:
        calibration: list of windows that ranges are taken from.
        test: list of `(window, labels or None)` that files are compared on.
    """

    calibration: list
    test: list


def read_samples(given: Any, record: ExportRecord, load: Callable) -> Samples:
    """Windows from the middle of images.

    Args:
        given: path of a folder of images, at any depth; or an iterable of
            images, as files or arrays `(H, W, C)`, or of `(image, labels)`.
        record: of the export.
        load: callable from a file to `(H, W, C)`.

    Raises:
        ValueError: there are no images, or one does not fit the model.
    """
    if isinstance(given, (str, os.PathLike)):
        folder = pathlib.Path(given)
        if not folder.is_dir():
            raise ValueError(
                "calibration must be a folder of images, or images. Received: "
                f"{folder}, which is no folder."
            )
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        given = _readable(spread(files, MOST_IMAGES), load)
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        places = spread(range(len(given)), MOST_IMAGES)
        given = map(given.__getitem__, places)
    found = []
    for element in given:
        pair = isinstance(element, (tuple, list)) and len(element) == 2
        image, labels = element if pair else (element, None)
        if isinstance(image, (str, os.PathLike)):
            image = load(image)
        found.append(_window_of(np.asarray(image), labels, record))
        if len(found) == MOST_IMAGES:
            break
    if not found:
        raise ValueError(
            "calibration must hold images, some tens of what the model is "
            "meant for. Received: none."
        )
    if len(found) < _KEPT_FOR_TEST:
        return Samples([image for image, _ in found], found)
    return Samples(
        [im for n, (im, _) in enumerate(found) if n % _KEPT_FOR_TEST],
        found[::_KEPT_FOR_TEST],
    )


def _readable(files, load):
    """The images among some files."""
    for file in files:
        with contextlib.suppress(ValueError, OSError):
            yield load(file)


def _window_of(image, labels, record):
    """The window in the middle, and its labels by the nearest pixels."""
    if image.ndim != 3 or image.shape[-1] != record.channels:
        raise ValueError(
            f"An image of calibration must have shape (height, width, "
            f"{record.channels}). Received: {image.shape}."
        )
    size = image.shape[:2]
    (view,) = Views(record.window_size, record.stride).of(size)
    places = []
    for starts, window in zip((view.tops(), view.lefts()), record.window_size):
        start = starts[len(starts) // 2]
        places.append((start, start + window))
    (top, bottom), (left, right) = places
    scaled = resize_to(image, view.size)[top:bottom, left:right]
    window = record.cast(scaled)
    if labels is None:
        return window, None
    labels = np.asarray(labels)
    if labels.shape[:2] != size:
        raise ValueError(
            "Labels of calibration must have the size of their image, "
            f"{size}. Received: {labels.shape}."
        )
    rows, columns = (
        ((np.arange(*place) + 0.5) * length / scaled_length).astype(int)
        for place, length, scaled_length in zip(places, size, view.size)
    )
    return window, labels.reshape(size)[np.ix_(rows, columns)]


# === How they compare ===


def choose(
    source: pathlib.Path,
    folder: pathlib.Path,
    record: ExportRecord,
    samples: Samples,
    float_parts: Any,
) -> tuple[pathlib.Path, tuple[str, ...], float, float | None]:
    """The int8 file with the fewest parts in float that is good enough.

    Args:
        source: path of the float file.
        folder: path for candidates.
        record: of the target.
        samples: `Samples`.
        float_parts: `"auto"` or a sequence of `FLOAT_PARTS`.

    Returns:
        `(path, float_parts, equal, points)`. Where none is good enough, the
        one with the most equal labels.
    """
    tried = [tuple(float_parts)]
    if float_parts == "auto":
        tried = [FLOAT_PARTS[:n] for n in range(len(FLOAT_PARTS) + 1)]
    session, _ = open_session(source)
    expected = _labels(session, samples)
    results = []
    for number, parts in enumerate(tried):
        path = folder / f"int8_{number}{source.suffix}"
        quantize_file(source, path, record, samples.calibration, parts)
        session, _ = open_session(path)
        labels = _labels(session, samples)
        equal = float(
            np.mean([(a == b).mean() for a, b in zip(expected, labels)])
        )
        points = _points(samples, expected, labels, record)
        results.append((path, parts, equal, points))
        if equal >= LEAST_EQUAL if points is None else points >= -MOST_POINTS:
            return results[-1]
    return max(results, key=lambda result: result[2])


def _labels(session, samples):
    return [
        session.run(image[None], ("labels",))["labels"][0].astype(np.int64)
        for image, _ in samples.test
    ]


def _points(samples, before, after, record):
    """Change of mean IoU in points, or None without labels."""
    truths = [labels for _, labels in samples.test]
    if any(labels is None for labels in truths):
        return None
    scores = []
    for found in (before, after):
        counts = sum(
            count_pixels(truth, labels, record.num_classes, record.ignore_class)
            for truth, labels in zip(truths, found)
        )
        scores.append(100 * float(mean_iou(counts)))
    return scores[1] - scores[0]


def seconds_in_turns(paths: Any, image: np.ndarray) -> list[float]:
    """Seconds of an image in each file, measured in turns: the medians.

    Args:
        paths: of exported files.
        image: `(H, W, C)`.
    """
    sessions = [open_session(path)[0] for path in paths]
    for session in sessions:
        session.run(image[None], ("labels",))
    taken: list[list[float]] = [[] for _ in sessions]
    for _ in range(_TURNS):
        for session, seconds in zip(sessions, taken):
            started = time.perf_counter()
            session.run(image[None], ("labels",))
            seconds.append(time.perf_counter() - started)
    return [float(np.median(seconds)) for seconds in taken]
