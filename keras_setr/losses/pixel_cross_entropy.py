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

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import integer
from keras_setr.arguments import number
from keras_setr.losses.base import COMMON
from keras_setr.losses.base import PixelLoss
from keras_setr.losses.base import as_share
from keras_setr.losses.base import global_mean
from keras_setr.losses.base import label_maps
from keras_setr.losses.base import nan_where
from keras_setr.losses.base import per_pixel
from keras_setr.losses.resized import resized_cross_entropy

AVERAGES = ("valid", "all")


@keras.saving.register_keras_serializable(package="keras_setr")
class PixelCrossEntropy(PixelLoss):
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

    With `label_smoothing` e, the loss of a pixel is (1 - e) times this l_i
    and e times the mean of it over all classes (arXiv 1512.00567, section 7).
    With `boundary_weight` b, w_i is 1 + b times as large where a window of
    `2 * boundary_width + 1` pixels around i holds another class.

    Args:
        ignore_class: int or None. Pixels with this label have no loss.
        average_over: `"valid"`, the pixels that are not ignored, or `"all"`,
            ignored ones included with a weight of 1, as the authors' code
            and mmsegmentation (`avg_non_ignore=False`) train. The latter
            weakens the gradients of batches with many ignored pixels.
        class_weights: sequence of K floats, such as
            `SegmentationFolder.class_weights()` gives, or None.
        label_smoothing: float in [0, 1). e.
        boundary_weight: float. b.
        boundary_width: int. Pixels on either side of a boundary.
        name: str.

    It is called as `PixelLoss` is.

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

    works_in_parts = True

    @checked(
        **COMMON,
        average_over=choice(*AVERAGES),
        label_smoothing=number(0, below=1),
        boundary_weight=number(0),
        boundary_width=integer(1),
    )
    def __init__(
        self,
        ignore_class: int | None = 255,
        average_over: str = "valid",
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        boundary_weight: float = 0.0,
        boundary_width: int = 2,
        name: str = "pixel_cross_entropy",
    ) -> None:
        super().__init__(ignore_class, class_weights, name)
        self.average_over = average_over
        self.label_smoothing = label_smoothing
        self.boundary_weight = boundary_weight
        self.boundary_width = boundary_width

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each pixel, `(B, H, W)`: w_i * l_i, 0 where ignored."""
        labels, logits = self._checked(y_true, y_pred)
        labels, unknown = self._known(y_true, labels, logits.shape[-1])
        losses, _ = self._losses_and_weights(labels, logits)
        return nan_where(unknown, losses)

    def of_batch(self, labels: Any, logits: Any, sample_weight: Any) -> Any:
        losses, weights = self._losses_and_weights(labels, logits)
        return global_mean(losses, weights, sample_weight)

    def of_resized(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        align_corners: bool = False,
    ) -> Any:
        """As of every loss, but without holding the resized logits.

        Args:
            y_true, y_pred, sample_weight, align_corners: as of every loss.
        """
        labels = label_maps(y_true)
        if None in (*labels.shape[1:], *y_pred.shape[1:]):
            return super().of_resized(
                y_true, y_pred, sample_weight, align_corners
            )
        labels, unknown = self._known(y_true, labels, y_pred.shape[-1])
        self._check_class_weights(y_pred.shape[-1])
        classes, valid, weights = self._weights(labels)
        of_pixels = ops.where(valid, weights, 0.0)
        if sample_weight is not None:
            of_pixels = of_pixels * per_pixel(sample_weight, labels)
        total = resized_cross_entropy(
            classes, y_pred, of_pixels, self.label_smoothing, align_corners
        )
        loss = global_mean(total, weights)
        return as_share(nan_where(ops.any(unknown), loss))

    def _losses_and_weights(self, labels, logits):
        """Of each pixel; the losses are weighted, and 0 where ignored."""
        classes, valid, weights = self._weights(labels)
        losses = cross_entropy(classes, logits)
        if self.label_smoothing:
            uniform = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
            losses = losses + self.label_smoothing * (uniform - losses)
        return ops.where(valid, weights * losses, 0.0), weights

    def _weights(self, labels):
        """Classes, 0 where there is none; which are; and what they weigh."""
        valid = self.valid(labels)
        classes = ops.where(valid, labels, 0)
        weights = self.weights_of(classes)
        if self.boundary_weight:
            near = _near_another(labels, valid, self.boundary_width)
            weights = weights * (1.0 + self.boundary_weight * near)
        ignored = 1.0 if self.average_over == "all" else 0.0
        return classes, valid, ops.where(valid, weights, ignored)


def _near_another(labels, valid, width):
    """`(B, H, W)` float32, 1 where another class lies within `width`."""
    labels = ops.cast(labels, "float32")

    def largest(x):
        x = ops.where(valid, x, float("-inf"))[..., None]
        side = 2 * width + 1
        x = ops.max_pool(
            x, side, strides=1, padding="same", data_format="channels_last"
        )
        return x[..., 0]

    return ops.cast(largest(labels) + largest(-labels) > 0, "float32")


def cross_entropy(labels, logits):
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
        return log_sum - at_label, (logits, labels, log_sum)

    def backward(kept, gradient):
        logits, labels, log_sum = kept
        softmax = jnp.exp(logits - log_sum[..., None])
        return (softmax - is_label(labels)) * gradient[..., None], None

    cross_entropy = jax.custom_vjp(lambda *args: forward(*args)[0])
    cross_entropy.defvjp(forward, backward)
    return cross_entropy(logits, labels)
