"""What the losses on label maps share: ignored pixels, weights, replicas."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import shown
from keras_setr.arguments import string
from keras_setr.arrays import differ
from keras_setr.layers.constructor import config_of
from keras_setr.layers.resampling import resize_bilinear
from keras_setr.tables import counted


def _class_weights(value):
    weights = sequence(number(0)).take(value)
    if not any(weights):
        raise ValueError
    return tuple(float(weight) for weight in weights)


# For `checked`: the arguments of every loss on pixels.
COMMON = {
    "ignore_class": optional(integer()),
    "class_weights": optional(
        Rule(
            "one finite number of at least 0 per class, not all of them 0",
            _class_weights,
        )
    ),
    "name": string(),
}


class PixelLoss(keras.losses.Loss):
    """A loss of the pixels of the global batch.

    The global batch is that of all devices: sums run over the replicas of a
    `tf.distribute` strategy, and under `keras.distribution` on JAX they do by
    themselves. Loss and gradients are therefore those of one device.

    Args:
        ignore_class: int or None. Pixels with this label have no loss.
        class_weights: tuple of K floats, or None.
        name: str.

    Calling it:
        y_true: `(B, H, W)` or `(B, H, W, 1)` integers in 0..K-1 or
            `ignore_class`. Any other label is an error in an array of NumPy;
            in a tensor, of which no compiled step can tell, it makes the loss
            NaN and its gradient 0.
        y_pred: `(B, H, W, K)` logits. Computed in float32 whatever their
            dtype.
        sample_weight: None, `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Raises:
        ValueError: for other shapes and labels.
    """

    # Whether `of_resized` holds no logits of the labels' size.
    works_in_parts = False

    @checked(**COMMON)
    def __init__(
        self,
        ignore_class: int | None,
        class_weights: Sequence[float] | None,
        name: str,
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.ignore_class = ignore_class
        self.class_weights = class_weights

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        labels, logits = self._checked(y_true, y_pred)
        if sample_weight is not None:
            sample_weight = per_pixel(sample_weight, labels)
        labels, unknown = self._known(y_true, labels, logits.shape[-1])
        loss = self.of_batch(labels, logits, sample_weight)
        return as_share(nan_where(ops.any(unknown), loss))

    def of_batch(self, labels: Any, logits: Any, sample_weight: Any) -> Any:
        """The loss of the global batch, a scalar.

        Args:
            labels: `(B, H, W)` int32, in 0..K-1 or `ignore_class`.
            logits: `(B, H, W, K)` float32.
            sample_weight: float32 that scales `(B, H, W)`, or None.
        """
        raise NotImplementedError

    def of_resized(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        align_corners: bool = False,
    ) -> Any:
        """The loss of logits of another size, resized to that of the labels.

        Args:
            y_true, sample_weight: as for a call.
            y_pred: `(B, h, w, K)` logits.
            align_corners: bool. Of the bilinear resize.

        Returns:
            A float32 scalar.
        """
        logits = resized_logits(y_true, y_pred, align_corners)
        return self(y_true, logits, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The same without weights; Keras asks for it."""
        return self(y_true, y_pred)

    def valid(self, labels: Any) -> Any:
        """`(B, H, W)` bool, where a label counts."""
        if self.ignore_class is None:
            return ops.ones_like(labels, dtype="bool")
        return labels != self.ignore_class

    def _known(self, y_true, labels, num_classes):
        """Labels that are classes or ignored, and where they were not.

        Args:
            y_true: what `labels` are made of.
            labels: `(B, H, W)` int32.
            num_classes: int.

        Returns:
            `(labels, unknown)`, `(B, H, W)` int32 and bool.
        """
        wrong = (labels < 0) | (labels >= num_classes)
        unknown = ops.logical_and(self.valid(labels), wrong)
        if isinstance(y_true, np.ndarray):
            self._check_labels(y_true, num_classes)
        return ops.where(unknown, 0, labels), unknown

    def _check_labels(self, labels, num_classes):
        # Neither a fraction nor NaN.
        known = (labels >= 0) & (labels < num_classes) & (labels % 1 == 0)
        if self.ignore_class is not None:
            known |= labels == self.ignore_class
        if not known.all():
            raise ValueError(
                f"y_true must hold classes in 0..{num_classes - 1} or "
                f"ignore_class={self.ignore_class}. Received: label "
                f"{labels[~known][0]} for logits of "
                f"{counted(num_classes, 'class')}."
            )

    def weights_of(self, classes: Any) -> Any:
        """`(B, H, W)` float32, the weight of each pixel's class."""
        if self.class_weights is None:
            return ops.ones_like(classes, dtype="float32")
        table = ops.convert_to_tensor(self.class_weights, "float32")
        return ops.take(table, classes)

    def _checked(self, y_true, y_pred):
        """Labels `(B, H, W)` int32 and logits `(B, H, W, K)` float32."""
        labels = label_maps(y_true)
        logits = numbers("y_pred", y_pred)
        if (
            len(labels.shape) != 3
            or len(logits.shape) != 4
            or differ(labels.shape, logits.shape)
            or logits.shape[-1] == 1
            or 0 in (*labels.shape, *logits.shape)
        ):
            raise ValueError(
                f"{type(self).__name__} takes y_true (B, H, W) or (B, H, W, "
                "1) and y_pred (B, H, W, K), K > 1, of the same B, H, W, none "
                "of them 0. Received: "
                f"y_true {tuple(labels.shape)}, y_pred {tuple(logits.shape)}."
            )
        self._check_class_weights(logits.shape[-1])
        return labels, ops.cast(logits, "float32")

    def _check_class_weights(self, num_classes):
        weights = self.class_weights
        if weights is not None and len(weights) != num_classes:
            raise ValueError(
                "class_weights must hold one weight per class. Received: "
                f"{counted(len(weights), 'weight')} for logits of "
                f"{counted(num_classes, 'class')}."
            )

    def get_config(self):
        return config_of(self, type(self))


def nan_where(condition, loss):
    """`loss`, but NaN without a gradient where a condition holds."""
    return ops.where(condition, float("nan"), loss)


def numbers(name, value):
    """A value as a tensor.

    Raises:
        ValueError: it is None or a string, or holds such.
    """
    try:
        tensor = ops.convert_to_tensor(value)
        if keras.backend.standardize_dtype(tensor.dtype) != "string":
            return tensor
    except (RuntimeError, TypeError, ValueError):
        pass
    raise ValueError(
        f"{name} must be an array or tensor of numbers. Received: "
        f"{shown(value)}."
    )


def label_maps(y_true):
    """`(B, H, W)` int32 of these or of `(B, H, W, 1)`."""
    labels = numbers("y_true", y_true)
    if len(labels.shape) == 4 and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, -1)
    # uint8 holds no negative ignore_class.
    return ops.cast(labels, "int32")


def resized_logits(y_true, y_pred, align_corners):
    """Logits `(B, h, w, K)` at the size of the labels, `(B, H, W, K)`."""
    size = ops.shape(label_maps(y_true))[1:]
    logits = ops.cast(y_pred, "float32")
    return resize_bilinear(logits, size, align_corners)


def per_pixel(sample_weight, labels):
    """`(B,)`, `(B, H, W)` or `(B, H, W, 1)` to what scales `(B, H, W)`."""
    weight = ops.cast(numbers("sample_weight", sample_weight), "float32")
    if len(weight.shape) == 4 and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    if len(weight.shape) not in (1, 3) or differ(weight.shape, labels.shape):
        raise ValueError(
            "sample_weight must have shape (B,), (B, H, W) or (B, H, W, 1). "
            f"Received: {tuple(weight.shape)} for labels "
            f"{tuple(labels.shape)}."
        )
    if len(weight.shape) == 1:
        return ops.reshape(weight, (-1, 1, 1))
    return weight


def _replicas():
    """The context of a TensorFlow replica that is one of several, or None."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return tf.distribute.get_replica_context() if several else None


def global_sum(x: Any) -> Any:
    """`x` summed over the replicas of a TensorFlow strategy.

    The gradient is that of this replica's part: TensorFlow's optimizers add
    up those of all replicas.
    """
    context = _replicas()
    if context is None:
        return x
    import tensorflow as tf

    total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(x))
    return x + tf.stop_gradient(total - x)


def global_mean(total: Any, weights: Any, sample_weight: Any = None) -> Any:
    """The sum of `total` over that of `weights`, or 0, over all replicas.

    A `sample_weight` scales what is summed and does not stand in the divisor.
    """
    if sample_weight is not None:
        total = total * sample_weight
    return ops.divide_no_nan(
        global_sum(ops.sum(total)), global_sum(ops.sum(weights))
    )


def as_share(loss: Any) -> Any:
    """A loss of the global batch as each replica has to report it.

    What Keras reports is the mean over the replicas, weighted by their
    samples, of the value times the number of replicas: with the same value
    everywhere that is the loss, however the last batch was divided.
    """
    if _replicas() is None:
        return loss
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return loss + tf.stop_gradient(loss / replicas - loss)
