"""Whole-set evaluation at the original size of every image."""

import collections
import dataclasses
import itertools
import warnings
from typing import Any

import numpy as np

from keras_setr import confusion as metrics
from keras_setr import workers
from keras_setr.arguments import Hint
from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import having
from keras_setr.arguments import instance
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import segmenter
from keras_setr.arrays import spread
from keras_setr.classes import Classes
from keras_setr.classes import check_labels
from keras_setr.inference import VERBOSE
from keras_setr.inference import VIEW_OPTIONS
from keras_setr.inference import ImageProgress
from keras_setr.inference import Views
from keras_setr.inference import ahead
from keras_setr.tables import counted
from keras_setr.tables import percent
from keras_setr.tables import text_table

# Images handed to the model at a time when no batch_size is given: enough to
# fill a batch with windows of small images, little to hold of large ones.
_IMAGES_AT_A_TIME = 4


def _whole_images(value):
    _WHOLE_IMAGES.take(value)
    if _length(value) == 0:
        raise Hint("It must hold one at least.")
    return value


_WHOLE_IMAGES = either(
    having("an iterable of (image, label)", "__iter__"),
    having("a sequence of them", "__len__", "__getitem__"),
)
WHOLE_IMAGES = Rule(_WHOLE_IMAGES.text, _whole_images)


def check_first(model, dataset):
    """Raise at the first sample if it is none; an iterator is not read.

    Args:
        model, dataset: as of `evaluate`.
    """
    if hasattr(dataset, "__next__"):
        return
    ignore_class = getattr(model, "ignore_class", 255)
    for _, group in _groups(dataset, 1):
        for sample in group:
            _check(sample, model.num_classes, ignore_class)
        return


def few_samples(dataset, count):
    """`(images, labels)`, lists: spread over a sequence, else the first.

    Args:
        dataset: as of `evaluate`.
        count: int.
    """
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        dataset = spread(dataset, count)
    samples = itertools.islice(
        (sample for _, group in _groups(dataset, 1) for sample in group), count
    )
    images, labels = zip(*((s.image, s.label) for s in samples), strict=True)
    return list(images), list(labels)


def _none_for_nan(values):
    return [None if np.isnan(value) else float(value) for value in values]


def _percents(*fractions):
    return tuple(percent(100 * fraction) for fraction in fractions)


@checked(
    confusion_matrix=metrics.COUNTS,
    classes=instance("a keras_setr.Classes", Classes),
    num_images=integer(0),
    seconds=number(0),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores over a whole dataset, in fractions; `print` shows percent.

    `keras_setr.confusion` has the formulas. They are mmsegmentation's.

    Args:
        confusion_matrix: `(K, K)` int64 pixel counts, rows truth, columns
            predictions, without ignored pixels.
        classes: `Classes` of length K.
        num_images: int.
        seconds: float. Wall time of reading, predicting and counting.
    """

    confusion_matrix: np.ndarray
    classes: Classes
    num_images: int
    seconds: float

    def __post_init__(self):
        if len(self.classes) != len(self.confusion_matrix):
            raise ValueError(
                "classes must name each row of confusion_matrix. Received: "
                f"{counted(len(self.classes), 'name')} for "
                f"{counted(len(self.confusion_matrix), 'row')}."
            )

    @property
    def mean_iou(self) -> float:
        return float(metrics.mean_iou(self.confusion_matrix))

    @property
    def mean_accuracy(self) -> float:
        return float(metrics.mean_accuracy(self.confusion_matrix))

    @property
    def pixel_accuracy(self) -> float:
        return float(metrics.pixel_accuracy(self.confusion_matrix))

    @property
    def per_class_iou(self) -> np.ndarray:
        """`(K,)`, NaN for a class neither true nor predicted."""
        return metrics.per_class_iou(self.confusion_matrix)

    @property
    def per_class_accuracy(self) -> np.ndarray:
        """`(K,)`, NaN for a class that is never true."""
        return metrics.per_class_accuracy(self.confusion_matrix)

    @property
    def per_class_share(self) -> np.ndarray:
        """`(K,)` share of each class in the counted pixels of the truth."""
        truth = self.confusion_matrix.sum(axis=1)
        return truth / max(truth.sum(), 1)

    def __str__(self) -> str:
        header = ("class", "IoU %", "accuracy %", "pixels %")
        rows = [
            (name, *_percents(iou, accuracy, share))
            for name, iou, accuracy, share in zip(
                self.classes.names,
                self.per_class_iou,
                self.per_class_accuracy,
                self.per_class_share,
            )
        ]
        means = _percents(self.mean_iou, self.mean_accuracy)
        titles, *lines, mean = text_table([header, *rows, ("mean", *means, "")])
        rule = "-" * len(titles)
        (accuracy,) = _percents(self.pixel_accuracy)
        total = (
            f"pixel accuracy {accuracy} % of "
            f"{self.confusion_matrix.sum():,} pixels; "
            f"{counted(self.num_images, 'image')} in {self.seconds:.1f} s"
        )
        return "\n".join([titles, rule, *lines, rule, mean, total])

    def as_dict(self) -> dict[str, Any]:
        """The scores in JSON's types: lists and numbers, None for NaN."""
        return {
            "mean_iou": self.mean_iou,
            "mean_accuracy": self.mean_accuracy,
            "pixel_accuracy": self.pixel_accuracy,
            "classes": list(self.classes.names),
            "per_class_iou": _none_for_nan(self.per_class_iou),
            "per_class_accuracy": _none_for_nan(self.per_class_accuracy),
            "confusion_matrix": self.confusion_matrix.tolist(),
            "num_images": self.num_images,
            "seconds": self.seconds,
        }


@checked(
    *VIEW_OPTIONS,
    ignore_class=either(choice("auto"), optional(integer())),
    classes=optional(instance("Classes", Classes)),
    batch_size=optional(integer(1)),
    verbose=VERBOSE,
    # Options first: their mistakes are the likelier ones.
    model=segmenter(),
    dataset=WHOLE_IMAGES,
)
def evaluate(
    model: Any,
    dataset: Any,
    *,
    ignore_class: Any = "auto",
    classes: Any = None,
    batch_size: int | None = None,
    verbose: bool | int | str = "auto",
    **views: Any,
) -> Evaluation:
    """Segments every image at its own size and scores the result.

    This is the published test protocol: areas are summed over the whole set
    and divided once, labels are never resized. `model.evaluate` scores crops.

    Args:
        model: a segmenter. `model.count_pixels` counts its labels where they
            are computed; of a model without, `model.segment(images,
            batch_size=...)` is given a list of `(H, W, 3)` arrays and gives
            their `(H, W)` labels. The next images are read meanwhile.
        dataset: images with labels, either a sequence with `__len__` and
            `__getitem__` (such as `SegmentationFolder`) or any iterable (such
            as a `tf.data.Dataset`) of `(image, label)`, `(H, W, 3)` with
            `(H, W)` or `(H, W, 1)`, or batches of them. Images are 0..255. A
            `SegmentationFolder` that was not told how its masks are read is
            read as that which `classes` come from.
        ignore_class: int or None. Pixels with this label are not scored.
            Defaults to the model's, or to 255 where it has none. All other
            labels must lie in `0..model.num_classes - 1`.
        classes: `Classes`. Defaults to `model.classes`, or else numbers.
        batch_size: int. Windows in a forward pass; the model's own default
            where None.
        verbose: `"auto"` or 1 for a progress bar with the images per second,
            the time left and the mean IoU so far, 2 for a line at the end, 0
            for silence.
        **views: `window_size`, `stride`, `scales`, `flip`, `protocol`,
            `base_scale` and `blend`, as of `keras_setr.inference.Views`. The
            published test of a dataset is
            `**ks.data.DATASETS[name].test_options`, with `scales="paper"` for
            its multi-scale results.

    Returns:
        An `Evaluation`.

    Raises:
        ValueError: a label differs in size from its image or holds a value
            that is neither a class nor `ignore_class`, or an image holds NaN;
            the message names the file, or the position in the dataset. Also
            if the dataset is empty or `classes` has not the model's length.
    """
    views = Views(**views).options()
    num_classes = model.num_classes
    if ignore_class == "auto":
        ignore_class = getattr(model, "ignore_class", 255)
    classes = _checked_classes(model, classes)
    dataset = _read_as_remembered(dataset, classes, verbose)
    confusion = metrics.ConfusionMatrix(num_classes, ignore_class)
    progress = ImageProgress(_length(dataset), verbose)
    items_done = num_images = 0

    def groups():
        for items, group in _groups(dataset, batch_size or _IMAGES_AT_A_TIME):
            for sample in group:
                _check(sample, num_classes, ignore_class)
            yield items, group

    for items_done, images, counts in _counts(
        model,
        ahead(groups(), 1),
        confusion,
        {"batch_size": batch_size, **views},
    ):
        confusion.counts += counts
        num_images += images
        progress.update(items_done, num_images, _score(confusion))
    if not num_images:
        raise ValueError(
            "dataset must hold at least one (image, label). Received: an "
            "empty dataset, or an iterator that is used up; pass the dataset "
            "itself rather than its iterator."
        )
    progress.update(items_done, num_images, _score(confusion), last=True)
    if not confusion.counts.any():
        warnings.warn(
            f"dataset has no pixel to score: all are ignore_class="
            f"{ignore_class}. The scores are 0.",
            stacklevel=3,
        )
    return Evaluation(
        confusion_matrix=confusion.counts,
        classes=classes,
        num_images=num_images,
        seconds=progress.seconds,
    )


def _counts(model, groups, confusion, options):
    """Yields `(items so far, images, counts)`; the next ones are read ahead."""
    if hasattr(model, "count_pixels"):
        items_of = collections.deque()

        def samples():
            for items, group in groups:
                for sample in group:
                    items_of.append(items)
                    yield sample.image, sample.label

        for counts in model.count_pixels(
            samples(), ignore_class=confusion.ignore_class, **options
        ):
            yield items_of.popleft(), 1, counts
        return
    for items, group in groups:
        predictions = model.segment(
            [sample.image for sample in group], verbose=0, **options
        )
        for sample, prediction in zip(group, predictions, strict=True):
            confusion.update(sample.label, np.asarray(prediction))
        yield items, len(group), 0


def _score(confusion):
    return [("mean_iou", float(metrics.mean_iou(confusion.counts)))]


def _checked_classes(model, classes):
    if classes is None:
        classes = getattr(model, "classes", None)
    if classes is None:
        return Classes.numbered(model.num_classes)
    if len(classes) != model.num_classes:
        raise ValueError(
            "classes must name the model's "
            f"{counted(model.num_classes, 'class')}. Received: "
            f"{counted(len(classes), 'name')}."
        )
    return classes


def _read_as_remembered(dataset, classes, verbose):
    """A folder whose masks hold the raw values that a model was trained on."""
    if not hasattr(dataset, "read_as"):
        return dataset
    read = dataset.read_as(classes)
    if read is not dataset and verbose:
        workers.say(f"masks are read as in training: {classes.masks}")
    return read


@dataclasses.dataclass(frozen=True, eq=False)
class _Sample:
    """One image `(H, W, C)`, its label `(H, W)` and how errors call them."""

    image: np.ndarray
    label: np.ndarray
    image_name: str
    label_name: str


def _length(dataset):
    try:
        return len(dataset)
    except TypeError:
        # A generator, or a tf.data.Dataset of unknown length.
        return None


def _items(dataset):
    """The items of a sequence, which need not be iterable, or an iterable."""
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return (dataset[index] for index in range(len(dataset)))
    return iter(dataset)


def _groups(dataset, size):
    """Yields `(items so far, samples)` with `size` samples or a few more."""
    group, items = [], 0
    for items, item in enumerate(_items(dataset), start=1):
        group.extend(_samples(item, items - 1, dataset))
        if len(group) >= size:
            yield items, group
            group = []
    if group:
        yield items, group


def _samples(item, index, dataset):
    """The sample, or the batch of samples, in item `index` of the dataset."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(
            "dataset must hold (image, label). Received as item "
            f"{index}: {_described(item)}."
        )
    image, label = (np.asarray(value) for value in item)
    if image.ndim == 4 and len(label) == len(image):
        return [
            _sample(
                image[row],
                label[row],
                f"image {row} of batch {index}",
                f"label {row} of batch {index}",
            )
            for row in range(len(image))
        ]
    if image.ndim != 3:
        raise ValueError(
            "An image must have shape (H, W, C) with a label (H, W), or be a "
            "batch (B, H, W, C) with labels (B, H, W). Received as item "
            f"{index}: image {image.shape}, label {label.shape}."
        )
    pairs = getattr(dataset, "pairs", None)
    mask = None if pairs is None else getattr(pairs[index], "mask", None)
    return [
        _sample(
            image,
            label,
            f"image {index} of the dataset",
            f"label {index} of the dataset" if mask is None else str(mask),
        )
    ]


def _described(value):
    shape = getattr(value, "shape", None)
    return type(value).__name__ + ("" if shape is None else f" {tuple(shape)}")


def _sample(image, label, image_name, label_name):
    if label.ndim == 3 and label.shape[-1] == 1:
        label = label[..., 0]
    return _Sample(image, label, image_name, label_name)


def _check(sample, num_classes, ignore_class):
    image, label = sample.image, sample.label
    if label.shape != image.shape[:2]:
        raise ValueError(
            f"{sample.label_name} must have its image's height and width. "
            f"Received: image {image.shape[:2]}, label {label.shape}; labels "
            "are scored at the image's own size and never resized."
        )
    if image.dtype.kind == "f" and np.isnan(image).any():
        raise ValueError(
            f"{sample.image_name} holds NaN in {int(np.isnan(image).sum())} "
            f"of {counted(image.size, 'value')}; values must lie in 0..255."
        )
    if label.dtype.kind not in "iu":
        raise ValueError(
            f"{sample.label_name} must hold integers. Received: "
            f"{label.dtype}; cast it, label.astype('int32')."
        )
    check_labels(label, num_classes, ignore_class, sample.label_name)
