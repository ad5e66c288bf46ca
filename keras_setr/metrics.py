"""Mean IoU and the two accuracies, counted while a model trains.

`keras_setr.confusion` has the formulas, which are mmsegmentation's.
"""

from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arrays import differ
from keras_setr.confusion import RULES
from keras_setr.confusion import ConfusionMatrix
from keras_setr.confusion import mean_accuracy
from keras_setr.confusion import mean_iou
from keras_setr.confusion import per_class_accuracy
from keras_setr.confusion import per_class_iou
from keras_setr.confusion import pixel_accuracy
from keras_setr.losses.base import numbers

__all__ = [
    "ConfusionMatrix",
    "MeanAccuracy",
    "MeanIoU",
    "PixelAccuracy",
    "by_name",
    "mean_accuracy",
    "mean_iou",
    "per_class_accuracy",
    "per_class_iou",
    "pixel_accuracy",
]


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

    @checked(**RULES)
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
                `(B, H, W, 1)` labels. A pixel with a NaN is no class, a miss.
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
        y_true = numbers("y_true", y_true)
        y_pred = numbers("y_pred", y_pred)
        received = (tuple(y_true.shape), tuple(y_pred.shape))
        if len(y_true.shape) == 4 and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        elif len(y_true.shape) == 4 and y_true.shape[-1] == self.num_classes:
            none = ops.max(y_true, axis=-1) <= 0
            y_true = ops.where(none, -1, ops.argmax(y_true, axis=-1))
        if len(y_pred.shape) == 4 and y_pred.shape[-1] == 1:
            y_pred = ops.squeeze(y_pred, -1)
        elif len(y_pred.shape) == 4 and y_pred.shape[-1] == self.num_classes:
            unknown = ops.any(ops.isnan(y_pred), axis=-1)
            y_pred = ops.where(unknown, -1, ops.argmax(y_pred, axis=-1))
        if (
            len(y_true.shape) != 3
            or len(y_pred.shape) != 3
            or differ(y_true.shape, y_pred.shape)
        ):
            raise ValueError(
                f"{type(self).__name__}(num_classes={self.num_classes}) "
                "takes y_true (B, H, W) or (B, H, W, 1), and y_pred "
                f"(B, H, W, {self.num_classes}) or (B, H, W) of the same "
                f"B, H, W. Received: y_true {received[0]}, y_pred "
                f"{received[1]}."
            )
        return _whole_numbers(y_true), _whole_numbers(y_pred)

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


def _whole_numbers(labels):
    """int32 labels; -1, which is no class, for NaN and fractions."""
    # uint8 holds neither a bin number nor a negative ignore_class.
    whole = ops.cast(labels, "int32")
    if "float" not in keras.backend.standardize_dtype(labels.dtype):
        return whole
    return ops.where(ops.equal(ops.floor(labels), labels), whole, -1)


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
