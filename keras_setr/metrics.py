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

import keras
import numpy as np
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import num_classes
from keras_setr.arguments import optional
from keras_setr.classes import check_labels


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


def per_class_iou(confusion: Any, xp: Any = np) -> Any:
    """IoU of each class: `(K,)` fractions, NaN for an absent class.

    Args:
        confusion: `(K, K)` counts, rows truth, columns predictions. A further
            column, `(K, K+1)`, may count the pixels predicted as no class.
        xp: `numpy` or `keras.ops`.
    """
    truth, predicted, hit = _areas(confusion, xp)
    return _ratio(hit, truth + predicted - hit, xp)


def per_class_accuracy(confusion: Any, xp: Any = np) -> Any:
    """Share of each class's pixels that were found: `(K,)`, NaN if none."""
    truth, _, hit = _areas(confusion, xp)
    return _ratio(hit, truth, xp)


def mean_iou(confusion: Any, xp: Any = np) -> Any:
    """Mean of `per_class_iou` over the classes present, a scalar."""
    return _mean_of_present(per_class_iou(confusion, xp), xp)


def mean_accuracy(confusion: Any, xp: Any = np) -> Any:
    """Mean of `per_class_accuracy` over the classes in the truth, a scalar."""
    return _mean_of_present(per_class_accuracy(confusion, xp), xp)


def pixel_accuracy(confusion: Any, xp: Any = np) -> Any:
    """Share of all pixels that were predicted right, a scalar."""
    truth, _, hit = _areas(confusion, xp)
    return xp.sum(hit) / xp.maximum(xp.sum(truth), 1)


_RULES = {"num_classes": num_classes(), "ignore_class": optional(integer())}


class ConfusionMatrix:
    """Counts pixels on the host, in int64, for whole-set evaluation.

    Args:
        num_classes: int, K.
        ignore_class: int or None. Pixels with this label are not counted.

    Attributes:
        counts: `(K, K)` int64, rows truth, columns predictions.
    """

    @checked(**_RULES)
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
        num_classes = self.num_classes
        check_labels(labels, num_classes, self.ignore_class, "labels")
        counted = np.ones(labels.shape, bool)
        if self.ignore_class is not None:
            counted = labels != self.ignore_class
        check_labels(
            np.where(counted, predictions, 0), num_classes, None, "predictions"
        )
        labels, predictions = labels[counted], predictions[counted]
        bins = labels.astype("int64") * num_classes + predictions
        self.counts += np.bincount(
            bins.astype("int64"), minlength=num_classes * num_classes
        ).reshape(num_classes, num_classes)


class _ConfusionMetric(keras.metrics.Metric):
    """Accumulates a confusion matrix; a subclass reads one number off it.

    The counts stay exact up to 2^40 = 1.1e12 pixels per cell, four million
    images of 512 x 512 that are all one class, on every backend. Each count is
    held as `high * 2^16 + low` in two float32 variables, because

    - one float32 loses integers above 2^24, which is 64 such images;
    - int64 does not exist in JAX by default, and int32 ends at 2^31;
    - TensorFlow keeps int32 variables in host memory, out of reach of a
      compiled step on a GPU;
    - replicas add up their variables when they are read: with `low` below
      2^16, the sum of 256 replicas is still below 2^24.
    """

    _BASE = 2**16
    _NAME: str  # by default, also in logs
    # What Keras' callbacks with mode="auto" go by.
    _direction = "up"

    @checked(**_RULES)
    def __init__(
        self,
        num_classes: int,
        ignore_class: int | None = 255,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name or self._NAME, dtype=dtype)
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        # The last column counts the valid pixels predicted as no class at all:
        # they are a miss of their class, though a hit of none.
        shape = (num_classes, num_classes + 1)
        # Always float32, whatever the dtype policy.
        self.high = self.add_variable(shape, "zeros", "float32", name="high")
        self.low = self.add_variable(shape, "zeros", "float32", name="low")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: `(B, H, W)` or `(B, H, W, 1)` labels, or one-hot
                `(B, H, W, K)`. A label outside `0..K-1`, or a row of zeros,
                is not counted, be it `ignore_class` or not: a compiled step
                cannot raise. `keras_setr.evaluate` does.
            y_pred: `(B, H, W, K)` logits or probabilities, or `(B, H, W)` or
                `(B, H, W, 1)` labels.
            sample_weight: must be None; pixels are counted, not weighed.

        Raises:
            ValueError: for other shapes, or with a `sample_weight`.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{type(self).__name__} counts pixels and takes no "
                "sample_weight; list it under metrics=, not "
                "weighted_metrics=, and mark pixels to leave out with "
                f"ignore_class={self.ignore_class} in y_true."
            )
        truth, predicted = self._label_maps(y_true, y_pred)
        counts = self._count(ops.reshape(truth, -1), ops.reshape(predicted, -1))
        low = self.low + ops.cast(counts % self._BASE, "float32")
        carry = ops.floor(low / self._BASE)
        high = ops.cast(counts // self._BASE, "float32") + carry
        self.low.assign(low - carry * self._BASE)
        self.high.assign(self.high + high)

    def _label_maps(self, y_true, y_pred):
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        received = (tuple(y_true.shape), tuple(y_pred.shape))
        if len(y_true.shape) == 4 and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        elif len(y_true.shape) == 4 and y_true.shape[-1] == self.num_classes:
            none = ops.max(y_true, axis=-1) <= 0
            y_true = ops.where(none, -1, ops.argmax(y_true, axis=-1))
        if len(y_pred.shape) == 4 and y_pred.shape[-1] == 1:
            y_pred = ops.squeeze(y_pred, -1)
        elif len(y_pred.shape) == 4 and y_pred.shape[-1] == self.num_classes:
            y_pred = ops.argmax(y_pred, axis=-1)
        if (
            len(y_true.shape) != 3
            or len(y_pred.shape) != 3
            or any(
                a is not None and b is not None and a != b
                for a, b in zip(y_true.shape, y_pred.shape)
            )
        ):
            raise ValueError(
                f"{type(self).__name__}(num_classes={self.num_classes}) "
                "takes y_true (B, H, W) or (B, H, W, 1), and y_pred "
                f"(B, H, W, {self.num_classes}) or (B, H, W) of the same "
                f"B, H, W. Received: y_true {received[0]}, y_pred "
                f"{received[1]}."
            )
        # uint8 holds neither a bin number nor a negative ignore_class.
        return ops.cast(y_true, "int32"), ops.cast(y_pred, "int32")

    def _count(self, truth, predicted):
        """`(N,)` and `(N,)` int32 labels -> `(K, K+1)` int32 counts."""
        k = self.num_classes
        valid = ops.logical_and(truth >= 0, truth < k)
        if self.ignore_class is not None:
            valid = ops.logical_and(valid, truth != self.ignore_class)
        known = ops.logical_and(predicted >= 0, predicted < k)
        bins = truth * (k + 1) + ops.where(known, predicted, k)
        # One spare bin at the end takes the pixels that are not counted.
        bins = ops.where(valid, bins, k * (k + 1))
        # A scatter-add: 1 to 10 ms for 512 x 512 pixels, K=150 on a CPU, where
        # the product of two one-hot matrices takes 200 to 900 ms and 300 MB.
        # `ops.bincount` cannot be traced by JAX. TPUs run scatters serially;
        # there the product, in chunks, would be the form to prefer.
        counts = ops.segment_sum(
            ops.ones_like(bins), bins, num_segments=k * (k + 1) + 1
        )
        return ops.reshape(counts[:-1], (k, k + 1))

    def _confusion(self):
        return self.high * float(self._BASE) + self.low

    def confusion_matrix(self) -> Any:
        """The counts so far: `(K, K)` int64 NumPy array, rows truth."""
        high = ops.convert_to_numpy(self.high).astype("int64")
        low = ops.convert_to_numpy(self.low).astype("int64")
        return (high * self._BASE + low)[:, : self.num_classes]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
        }


@keras.saving.register_keras_serializable(package="keras_setr")
class MeanIoU(_ConfusionMetric):
    """Mean intersection over union of pixels, mmsegmentation's mIoU.

    Unlike `keras.metrics.MeanIoU` it takes logits as they come and costs a few
    milliseconds per image on every backend.

    Args:
        num_classes: int, K.
        ignore_class: int or None. Pixels with this label are not counted.
        name, dtype: as in `keras.metrics.Metric`. The counts are exact under
            every dtype.
    """

    _NAME = "mean_iou"

    def result(self):
        return mean_iou(self._confusion(), xp=ops)

    def per_class_iou(self) -> Any:
        """`(K,)` fractions, NaN for a class neither true nor predicted."""
        return per_class_iou(self._confusion(), xp=ops)


@keras.saving.register_keras_serializable(package="keras_setr")
class MeanAccuracy(_ConfusionMetric):
    """Mean over classes of the share of pixels found, mmsegmentation's mAcc.

    Args:
        num_classes: int, K.
        ignore_class: int or None. Pixels with this label are not counted.
        name, dtype: as in `keras.metrics.Metric`.
    """

    _NAME = "mean_accuracy"

    def result(self):
        return mean_accuracy(self._confusion(), xp=ops)

    def per_class_accuracy(self) -> Any:
        """`(K,)` fractions, NaN for a class that is never true."""
        return per_class_accuracy(self._confusion(), xp=ops)


@keras.saving.register_keras_serializable(package="keras_setr")
class PixelAccuracy(_ConfusionMetric):
    """Share of the counted pixels that are right, mmsegmentation's aAcc.

    Args:
        num_classes: int, K.
        ignore_class: int or None. Pixels with this label are not counted.
        name, dtype: as in `keras.metrics.Metric`.
    """

    _NAME = "pixel_accuracy"

    def result(self):
        return pixel_accuracy(self._confusion(), xp=ops)


# Keras' names for the share of right pixels. It would count ignored ones as
# wrong.
_ACCURACIES = (
    "acc",
    "accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
)


def by_name(metric: Any, num_classes: int, ignore_class: int | None) -> Any:
    """The metric of this module that a name of `compile` stands for.

    Args:
        metric: `"mean_iou"`, `"mean_accuracy"`, `"pixel_accuracy"`, one of
            Keras' names for the last, or whatever else `compile` takes.
        num_classes, ignore_class: of the model.
    """
    classes = {
        "mean_iou": MeanIoU,
        "mean_accuracy": MeanAccuracy,
        "pixel_accuracy": PixelAccuracy,
        **dict.fromkeys(_ACCURACIES, PixelAccuracy),
    }
    if not isinstance(metric, str) or metric not in classes:
        return metric
    return classes[metric](num_classes, ignore_class, name=metric)
