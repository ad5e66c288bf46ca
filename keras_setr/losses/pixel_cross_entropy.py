"""The cross-entropy of a batch of label maps.

`keras.losses.SparseCategoricalCrossentropy(ignore_class=...)` gives the same
mean on a single device, but under `tf.distribute` it averages the means of
the replicas: a pixel of an image that is mostly ignored then counts more than
one of an image that is not.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.layers.resampling import resize_bilinear
from keras_setr.losses.resized import resized_cross_entropy

AVERAGES = ("valid", "all")


def _class_weights(value):
    weights = sequence(number(0)).take(value)
    if not any(weights):
        raise ValueError
    return tuple(float(weight) for weight in weights)


_CLASS_WEIGHTS = Rule(
    "one finite number of at least 0 per class, not all of them 0",
    _class_weights,
)


@keras.saving.register_keras_serializable(package="keras_setr")
class PixelCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy, averaged over the pixels of the global batch.

    With logits z_i, label y_i and weight w_i of pixel i, which is valid
    unless y_i is `ignore_class`,

        l_i  = log(sum_k exp(z_ik)) - z_i,y_i
        loss = sum over valid i of w_i * s_i * l_i / sum over i of w_i

    where w_i is the weight of class y_i, 1 without `class_weights`, and s_i
    the sample weight. The sum in the divisor runs over the pixels named by
    `average_over`; a batch in which it is 0 has the loss 0.

    Class weights thus stand in the divisor as well, as in torch's
    `CrossEntropyLoss(weight=...)` and in mmsegmentation: they shift the
    balance between classes, not the size of the loss. Sample weights only
    scale, as everywhere in Keras; mark pixels to leave out with
    `ignore_class`.

    The global batch is that of all devices: both sums run over the replicas
    of a `tf.distribute` strategy, and under `keras.distribution` on JAX they
    do by themselves. Loss and gradients are therefore those of one device.

    Args:
        ignore_class: int or None. Pixels with this label have no loss.
        average_over: `"valid"`, the pixels that are not ignored, or `"all"`,
            ignored ones included with a weight of 1, as the authors' code
            and mmsegmentation (`avg_non_ignore=False`) train. The latter
            weakens the gradients of batches with many ignored pixels.
        class_weights: sequence of K floats, such as
            `SegmentationFolder.class_weights()` gives, or None.
        name: str.

    Calling it:
        y_true: `(B, H, W)` or `(B, H, W, 1)` integers in 0..K-1 or
            `ignore_class`. Any other label is an error, or makes the loss NaN
            where a compiled step cannot raise (JAX, TensorFlow on a GPU).
        y_pred: `(B, H, W, K)` logits. Computed in float32 whatever their
            dtype.
        sample_weight: None, `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Raises:
        ValueError: for other arguments or shapes.

    Example:

    ```python
    loss = keras_setr.losses.PixelCrossEntropy(
        class_weights=folder.class_weights()
    )
    model.compile(loss=loss)
    ```
    """

    @checked(
        ignore_class=optional(integer()),
        average_over=choice(*AVERAGES),
        class_weights=optional(_CLASS_WEIGHTS),
        name=string(),
    )
    def __init__(
        self,
        ignore_class: int | None = 255,
        average_over: str = "valid",
        class_weights: Sequence[float] | None = None,
        name: str = "pixel_cross_entropy",
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.ignore_class = ignore_class
        self.average_over = average_over
        self.class_weights = class_weights

    def call(self, y_true, y_pred):
        """The loss of each pixel, `(B, H, W)`: w_i * l_i, 0 where ignored."""
        return self._losses_and_weights(y_true, y_pred)[0]

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        losses, weights = self._losses_and_weights(y_true, y_pred)
        if sample_weight is not None:
            losses = losses * _per_pixel(sample_weight)
        return _global_mean(ops.sum(losses), ops.sum(weights))

    def of_resized(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        align_corners: bool = False,
    ) -> Any:
        """The loss of logits of another size, resized to that of the labels.

        It equals resizing them bilinearly first, without holding the result
        or its gradient in memory.

        Args:
            y_true, sample_weight: as for a call.
            y_pred: `(B, h, w, K)` logits.
            align_corners: bool. Of the resize.

        Returns:
            A float32 scalar.
        """
        labels = _labels(y_true)
        if None in (*labels.shape[1:], *y_pred.shape[1:]):
            logits = ops.cast(y_pred, "float32")
            logits = resize_bilinear(
                logits, ops.shape(labels)[1:], align_corners
            )
            return self(y_true, logits, sample_weight)
        _check_class_weights(self.class_weights, y_pred.shape[-1])
        classes, valid, weights = self._weights(labels)
        pixel_weights = ops.where(valid, weights, 0.0)
        if sample_weight is not None:
            pixel_weights = pixel_weights * _per_pixel(sample_weight)
        total = resized_cross_entropy(
            classes, y_pred, pixel_weights, align_corners
        )
        return _global_mean(total, ops.sum(weights))

    def _losses_and_weights(self, y_true, y_pred):
        labels, logits = _checked(y_true, y_pred, self.class_weights)
        classes, valid, weights = self._weights(labels)
        losses = weights * _cross_entropy(classes, logits)
        return ops.where(valid, losses, 0.0), weights

    def _weights(self, labels):
        """Classes, 0 where there is none; which are; and what they weigh."""
        if self.ignore_class is None:
            valid = ops.ones_like(labels, dtype="bool")
        else:
            valid = labels != self.ignore_class
        classes = ops.where(valid, labels, 0)
        if self.class_weights is None:
            weights = ops.ones_like(labels, dtype="float32")
        else:
            weights = ops.take(
                ops.convert_to_tensor(self.class_weights, "float32"), classes
            )
        ignored = 1.0 if self.average_over == "all" else 0.0
        return classes, valid, ops.where(valid, weights, ignored)

    def get_config(self):
        return {
            "ignore_class": self.ignore_class,
            "average_over": self.average_over,
            "class_weights": self.class_weights,
            "name": self.name,
        }


def _checked(y_true, y_pred, class_weights):
    """Labels `(B, H, W)` int32 and logits `(B, H, W, K)` float32."""
    labels = _labels(y_true)
    logits = ops.convert_to_tensor(y_pred)
    received = f"y_true {tuple(labels.shape)}, y_pred {tuple(logits.shape)}"
    if (
        len(labels.shape) != 3
        or len(logits.shape) != 4
        or any(
            a is not None and b is not None and a != b
            for a, b in zip(labels.shape, logits.shape)
        )
    ):
        raise ValueError(
            "PixelCrossEntropy takes y_true (B, H, W) or (B, H, W, 1) and "
            f"y_pred (B, H, W, K) of the same B, H, W. Received: {received}."
        )
    _check_class_weights(class_weights, logits.shape[-1])
    return labels, ops.cast(logits, "float32")


def _labels(y_true):
    """`(B, H, W)` int32 of these or of `(B, H, W, 1)`."""
    labels = ops.convert_to_tensor(y_true)
    if len(labels.shape) == 4 and labels.shape[-1] == 1:
        labels = ops.squeeze(labels, -1)
    # uint8 holds no negative ignore_class.
    return ops.cast(labels, "int32")


def _check_class_weights(class_weights, num_classes):
    if class_weights is not None and len(class_weights) != num_classes:
        raise ValueError(
            "class_weights must hold one weight per class. Received: "
            f"{len(class_weights)} weights for logits of {num_classes} "
            "classes."
        )


def _per_pixel(sample_weight):
    """`(B,)`, `(B, H, W)` or `(B, H, W, 1)` to what scales `(B, H, W)`."""
    weight = ops.convert_to_tensor(sample_weight, "float32")
    if len(weight.shape) == 4 and weight.shape[-1] == 1:
        return ops.squeeze(weight, -1)
    if len(weight.shape) == 1:
        return ops.reshape(weight, (-1, 1, 1))
    if len(weight.shape) != 3:
        raise ValueError(
            "sample_weight must have shape (B,), (B, H, W) or (B, H, W, 1). "
            f"Received: {tuple(weight.shape)}."
        )
    return weight


def _cross_entropy(labels, logits):
    """log(sum_k exp(z_k)) - z_label, `(B, H, W)`, without a one-hot of K.

    One image of 512 x 512 with 150 classes has 157 MB of logits; each form
    keeps one array of that size for the gradient.
    """
    backend = keras.config.backend()
    if backend == "jax":
        return _jax_cross_entropy(labels, logits)
    if backend == "torch":
        import torch

        # Keras moves the classes to axis 1, which copies and takes 4 times
        # as long.
        losses = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1).long(),
            reduction="none",
        )
        return losses.reshape(labels.shape)
    return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def _jax_cross_entropy(labels, logits):
    """With its gradient, softmax - one_hot, written out.

    JAX would keep the exponentials beside the logits, and turn a lookup of
    the label's logit into a scatter, which TPUs run one element at a time.
    Here both directions are one pass that XLA fuses.
    """
    import jax
    import jax.numpy as jnp

    num_classes = logits.shape[-1]

    def is_label(labels):
        return labels[..., None] == jnp.arange(num_classes)

    def forward(logits, labels):
        log_sum = jax.nn.logsumexp(logits, axis=-1)
        at_label = jnp.where(is_label(labels), logits, 0.0).sum(axis=-1)
        known = (labels >= 0) & (labels < num_classes)
        losses = jnp.where(known, log_sum - at_label, jnp.nan)
        return losses, (logits, labels, log_sum)

    def backward(kept, gradient):
        logits, labels, log_sum = kept
        softmax = jnp.exp(logits - log_sum[..., None])
        return (softmax - is_label(labels)) * gradient[..., None], None

    cross_entropy = jax.custom_vjp(lambda *args: forward(*args)[0])
    cross_entropy.defvjp(forward, backward)
    return cross_entropy(logits, labels)


def _global_mean(total, divisor):
    """`total / divisor`, both summed over the replicas of a strategy.

    TensorFlow's optimizers add up the replicas' gradients, so that each
    replica has to derive its own share. What Keras reports is the mean over
    the replicas, weighted by their samples, of the value times the number of
    replicas: with the same value everywhere that is the global mean, however
    the last batch was divided.
    """
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        context = tf.distribute.get_replica_context()
        if replicas > 1 and context is not None:
            sums = tf.stack([tf.stop_gradient(total), divisor])
            sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
            share = ops.divide_no_nan(total, sums[1])
            mean = ops.divide_no_nan(sums[0], sums[1])
            return share + tf.stop_gradient(mean / replicas - share)
    return ops.divide_no_nan(total, divisor)
