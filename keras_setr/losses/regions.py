"""Losses on the overlap of regions: Tversky, Dice, Jaccard, Lovasz-softmax."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import string
from keras_setr.losses.base import COMMON
from keras_setr.losses.base import PixelLoss
from keras_setr.losses.base import global_mean
from keras_setr.losses.base import global_sum


def _truth_and_probabilities(loss, labels, logits):
    """`(N, K)` one-hot labels and probabilities, both 0 where ignored."""
    num_classes = logits.shape[-1]
    valid = loss.valid(labels)
    classes = ops.where(valid, labels, 0)
    counted = ops.reshape(ops.cast(valid, "float32"), (-1, 1))
    truth = ops.one_hot(ops.reshape(classes, (-1,)), num_classes)
    found = ops.reshape(ops.softmax(logits, axis=-1), (-1, num_classes))
    return ops.cast(truth, "float32") * counted, found * counted


def _weights_of_present(loss, present):
    """`(K,)` float32, the classes' weights, 0 where one is not in the truth."""
    weights = ops.cast(present, "float32")
    if loss.class_weights is None:
        return weights
    return weights * ops.convert_to_tensor(loss.class_weights, "float32")


@keras.saving.register_keras_serializable(package="keras_setr")
class Tversky(PixelLoss):
    """1 minus the Tversky index (arXiv 1706.05721, equation 4), by class.

    With p_ik the probabilities and y_ik the one-hot labels of the valid
    pixels of the whole batch, s_i their sample weights and w_k the class
    weights,

        hit_k   = sum_i s_i * p_ik * y_ik
        false_k = sum_i s_i * p_ik * (1 - y_ik)
        miss_k  = sum_i s_i * (1 - p_ik) * y_ik
        index_k = (hit_k + smooth) / (hit_k + alpha * false_k + beta * miss_k
                                      + smooth)
        loss    = sum_k w_k * (1 - index_k)^gamma / sum_k w_k

    where k runs over the classes that are in the batch's labels.

    Args:
        alpha: float. Weight of what was found wrongly.
        beta: float. Of what was missed.
        gamma: float above 0. Below 1 it stresses classes that are found well,
            above 1 the others (arXiv 1810.07842 has 4 / 3, written 1 / gamma).
        smooth: float. Softens the index of classes with few pixels.
        ignore_class, class_weights, name: as for `PixelCrossEntropy`.
    """

    @checked(
        **COMMON,
        alpha=number(0),
        beta=number(0),
        gamma=number(above=0),
        smooth=number(0),
    )
    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        smooth: float = 0.0,
        ignore_class: int | None = 255,
        class_weights: Sequence[float] | None = None,
        name: str = "tversky",
    ) -> None:
        super().__init__(ignore_class, class_weights, name)
        if not (alpha or beta):
            raise ValueError(
                "alpha and beta must not both be 0, as nothing would count "
                f"against a class. Received: alpha={alpha}, beta={beta}."
            )
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smooth = smooth

    def of_batch(self, labels: Any, logits: Any, sample_weight: Any) -> Any:
        truth, found = _truth_and_probabilities(self, labels, logits)
        present = global_sum(ops.sum(truth, axis=0)) > 0
        weight = 1.0
        if sample_weight is not None:
            weight = ops.broadcast_to(sample_weight, ops.shape(labels))
            weight = ops.reshape(weight, (-1, 1))

        def total(x):
            return global_sum(ops.sum(weight * x, axis=0))

        hit = total(truth * found)
        false, missed = total(found) - hit, total(truth) - hit
        whole = hit + self.alpha * false + self.beta * missed
        index = ops.divide_no_nan(hit + self.smooth, whole + self.smooth)
        losses = 1.0 - index
        if self.gamma != 1:
            # The slope of x^gamma at 0 is infinite for gamma < 1.
            done = losses <= 0
            losses = ops.where(done, 1.0, losses) ** self.gamma
            losses = ops.where(done, 0.0, losses)
        weights = _weights_of_present(self, present)
        return ops.divide_no_nan(ops.sum(weights * losses), ops.sum(weights))


_BY_DEFAULT_NAMED = dict(COMMON, name=optional(string()))


class _Overlap(Tversky):
    """A `Tversky` whose alpha and beta are one number, `_weight`."""

    @checked(**_BY_DEFAULT_NAMED, smooth=number(0))
    def __init__(
        self,
        smooth: float = 0.0,
        ignore_class: int | None = 255,
        class_weights: Sequence[float] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            alpha=self._weight,
            beta=self._weight,
            smooth=smooth,
            ignore_class=ignore_class,
            class_weights=class_weights,
            name=name or type(self).__name__.lower(),
        )


@keras.saving.register_keras_serializable(package="keras_setr")
class Dice(_Overlap):
    """1 minus the Dice coefficient, 2 |A & B| / (|A| + |B|), by class.

    `Tversky` with alpha = beta = 1 / 2 (arXiv 1606.04797, section 3).

    Args:
        smooth: float. Softens the index of classes with few pixels.
        ignore_class, class_weights, name: as for `PixelCrossEntropy`.
    """

    _weight = 0.5


@keras.saving.register_keras_serializable(package="keras_setr")
class Jaccard(_Overlap):
    """1 minus the Jaccard index, |A & B| / |A or B|, by class: soft IoU.

    `Tversky` with alpha = beta = 1.

    Args:
        smooth: float. Softens the index of classes with few pixels.
        ignore_class, class_weights, name: as for `PixelCrossEntropy`.
    """

    _weight = 1.0


@keras.saving.register_keras_serializable(package="keras_setr")
class LovaszSoftmax(PixelLoss):
    """The Lovasz extension of 1 - IoU (arXiv 1705.08790, equation 11).

    For each class in the batch's labels the errors |y_ik - p_ik| of all valid
    pixels, from the largest on, times what each adds to 1 - IoU when the
    pixels before it are wrong already; then the mean over these classes. The
    sort is over the pixels of one device.

    Args:
        ignore_class, class_weights, name: as for `PixelCrossEntropy`.
    """

    @checked(**COMMON)
    def __init__(
        self,
        ignore_class: int | None = 255,
        class_weights: Sequence[float] | None = None,
        name: str = "lovasz_softmax",
    ) -> None:
        super().__init__(ignore_class, class_weights, name)

    def of_batch(self, labels: Any, logits: Any, sample_weight: Any) -> Any:
        truth, found = _truth_and_probabilities(self, labels, logits)
        errors = ops.abs(truth - found)  # 0 where ignored, so these come last
        if sample_weight is not None:
            weight = ops.broadcast_to(sample_weight, ops.shape(labels))
            errors = errors * ops.reshape(weight, (-1, 1))
        order = ops.argsort(ops.stop_gradient(-errors), axis=0)
        errors = ops.take_along_axis(errors, order, axis=0)
        truth = ops.take_along_axis(truth, order, axis=0)
        size = ops.sum(truth, axis=0)
        # Once the first n are wrong: those of the class that are left, over
        # the class and all others that were taken for it.
        left = size - ops.cumsum(truth, axis=0)
        union = size + ops.cumsum(1.0 - truth, axis=0)
        lost = 1.0 - left / union
        steps = ops.concatenate([lost[:1], lost[1:] - lost[:-1]], axis=0)
        losses = ops.sum(errors * ops.stop_gradient(steps), axis=0)
        weights = _weights_of_present(self, size > 0)
        return global_mean(weights * losses, weights)
