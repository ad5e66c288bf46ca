"""Confusion matrices of pixels, and the three scores read off them.

With `n[i, j]` the number of pixels of true class `i` that were predicted as
`j`, over the whole set and after the ignored pixels are dropped:

    truth        G_c = sum_j n[c, j]
    predicted    P_c = sum_i n[i, c]
    hit          I_c = n[c, c]

    IoU_c = I_c / (P_c + G_c - I_c)        Acc_c = I_c / G_c
    mean_iou       = mean of IoU_c over classes with P_c + G_c > 0
    mean_accuracy  = mean of Acc_c over classes with G_c > 0
    pixel_accuracy = sum I_c / sum G_c

as in mmsegmentation (`evaluation/metrics/iou_metric.py`: IoU, Acc, aAcc): a
class that is predicted but never true has an IoU of 0 that counts, and a class
that is neither true nor predicted counts nowhere. With nothing to average the
scores are 0.0.

The formulas are written once, below, for any array module `xp`: NumPy on the
host, `keras.ops` inside a training step.
"""

from typing import Any

import numpy as np

from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import having
from keras_setr.arguments import integer
from keras_setr.arguments import num_classes
from keras_setr.arguments import optional
from keras_setr.classes import check_labels


def _counts(value):
    if not hasattr(value, "shape"):
        value = np.array(value)
    rows, columns = value.shape
    if rows < 1 or columns not in (rows, rows + 1):
        raise ValueError
    if isinstance(value, np.ndarray):
        # Of other tensors no compiled step can tell.
        if value.dtype.kind not in "iuf" or not (value >= 0).all():
            raise ValueError
    return value


COUNTS = Rule(
    "pixel counts (K, K), rows truth, columns predictions, or (K, K+1)",
    _counts,
)
_COUNTED = checked(
    confusion=COUNTS, xp=having("numpy or keras.ops", "diagonal", "isnan")
)


def _areas(confusion, xp):
    truth = xp.sum(confusion, axis=1)
    predicted = xp.sum(confusion, axis=0)[: confusion.shape[0]]
    return truth, predicted, xp.diagonal(confusion)


def _ratio(part, whole, xp):
    return xp.where(whole > 0, part / xp.maximum(whole, 1), float("nan"))


def _mean_of_present(values, xp):
    absent = xp.isnan(values)
    total = xp.sum(xp.where(absent, 0.0, values))
    return total / xp.maximum(xp.sum(xp.where(absent, 0.0, 1.0)), 1.0)


@_COUNTED
def per_class_iou(confusion: Any, xp: Any = np) -> Any:
    """IoU of each class: `(K,)` fractions, NaN for an absent class.

    Args:
        confusion: `(K, K)` counts, rows truth, columns predictions. A further
            column, `(K, K+1)`, may count the pixels predicted as no class.
        xp: `numpy` or `keras.ops`.

    Raises:
        ValueError: these are no such counts.
    """
    truth, predicted, hit = _areas(confusion, xp)
    return _ratio(hit, truth + predicted - hit, xp)


@_COUNTED
def per_class_accuracy(confusion: Any, xp: Any = np) -> Any:
    """Share of each class's pixels that were found: `(K,)`, NaN if none."""
    truth, _, hit = _areas(confusion, xp)
    return _ratio(hit, truth, xp)


@_COUNTED
def mean_iou(confusion: Any, xp: Any = np) -> Any:
    """Mean of `per_class_iou` over the classes present, a scalar."""
    return _mean_of_present(per_class_iou(confusion, xp), xp)


@_COUNTED
def mean_accuracy(confusion: Any, xp: Any = np) -> Any:
    """Mean of `per_class_accuracy` over the classes in the truth, a scalar."""
    return _mean_of_present(per_class_accuracy(confusion, xp), xp)


@_COUNTED
def pixel_accuracy(confusion: Any, xp: Any = np) -> Any:
    """Share of all pixels that were predicted right, a scalar."""
    truth, _, hit = _areas(confusion, xp)
    return xp.sum(hit) / xp.maximum(xp.sum(truth), 1)


def count_pixels(
    truth: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    ignore_class: int | None = None,
) -> np.ndarray:
    """`(K, K)` int64 counts of two maps of labels, rows truth.

    Args:
        truth: integers. Pixels outside `0..K-1` are not counted.
        predicted: integers in `0..K-1`, of the same shape.
        num_classes: int, K.
        ignore_class: int or None. Nor are pixels with this label.
    """
    counted = (truth >= 0) & (truth < num_classes) & (truth != ignore_class)
    truth, predicted = (x[counted].astype("int64") for x in (truth, predicted))
    bins = truth * num_classes + predicted
    counts = np.bincount(bins, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


# Of all that counts pixels.
RULES = {"num_classes": num_classes(), "ignore_class": optional(integer())}


class ConfusionMatrix:
    """Counts pixels on the host, in int64, for whole-set evaluation.

    Args:
        num_classes: int, K.
        ignore_class: int or None. Pixels with this label are not counted.

    Attributes:
        counts: `(K, K)` int64, rows truth, columns predictions.
    """

    @checked(**RULES)
    def __init__(
        self, num_classes: int, ignore_class: int | None = 255
    ) -> None:
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.counts = np.zeros((num_classes, num_classes), "int64")

    def update(self, labels: np.ndarray, predictions: Any) -> None:
        """Adds the pixels of two integer arrays of one shape.

        Raises:
            ValueError: shapes differ, an array holds no integers, or a value
                that is to be counted lies outside `0..K-1`.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        for name, values in (("labels", labels), ("predictions", predictions)):
            if values.dtype.kind not in "iu":
                raise ValueError(
                    f"{name} must be integers. Received: {values.dtype}; "
                    "reduce logits with argmax over the classes first."
                )
        if labels.shape != predictions.shape:
            raise ValueError(
                "labels and predictions must have one shape. Received: "
                f"{labels.shape} and {predictions.shape}."
            )
        num_classes, ignore_class = self.num_classes, self.ignore_class
        check_labels(labels, num_classes, ignore_class, "labels")
        counted = np.where(labels != ignore_class, predictions, 0)
        check_labels(counted, num_classes, None, "predictions")
        self.counts += count_pixels(
            labels, predictions, num_classes, ignore_class
        )
