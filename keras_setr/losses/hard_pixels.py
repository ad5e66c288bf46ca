"""Losses that weigh a pixel by how hard it is: focal loss and OHEM."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_setr.arguments import checked
from keras_setr.arguments import number
from keras_setr.losses.base import COMMON
from keras_setr.losses.base import PixelLoss
from keras_setr.losses.base import global_mean
from keras_setr.losses.pixel_cross_entropy import cross_entropy


def _weighted_losses(loss, labels, logits):
    """Cross-entropy of each pixel, 0 where ignored, and its class's weight."""
    valid = loss.valid(labels)
    classes = ops.where(valid, labels, 0)
    losses = ops.where(valid, cross_entropy(classes, logits), 0.0)
    return losses, ops.where(valid, loss.weights_of(classes), 0.0)


@keras.saving.register_keras_serializable(package="keras_setr")
class Focal(PixelLoss):
    """Focal loss (arXiv 1708.02002, equation 4) over softmax probabilities.

    With p_i the probability of pixel i's label and w_i the weight of its
    class,

        loss = sum over valid i of w_i * (1 - p_i)^gamma * -log(p_i)
               / sum over valid i of w_i

    Args:
        gamma: float. How much less easy pixels count; 0 is cross-entropy.
        ignore_class, class_weights, name: as for `PixelCrossEntropy`.
    """

    @checked(**COMMON, gamma=number(0))
    def __init__(
        self,
        gamma: float = 2.0,
        ignore_class: int | None = 255,
        class_weights: Sequence[float] | None = None,
        name: str = "focal",
    ) -> None:
        super().__init__(ignore_class, class_weights, name)
        self.gamma = gamma

    def of_batch(self, labels: Any, logits: Any, sample_weight: Any) -> Any:
        losses, weights = _weighted_losses(self, labels, logits)
        # 1 - p, exact where p is close to 1.
        missing = -ops.expm1(-losses)
        # The slope of x^gamma at 0 is infinite for gamma < 1.
        easy = missing <= 0
        missing = ops.where(easy, 1.0, missing)
        losses = ops.where(easy, 0.0, missing**self.gamma * losses)
        return global_mean(weights * losses, weights, sample_weight)


@keras.saving.register_keras_serializable(package="keras_setr")
class OHEM(PixelLoss):
    """Cross-entropy of the hard pixels (online hard example mining).

    Those whose label has a probability below `threshold` count, and at least
    the hardest `kept_share` of the valid pixels; the loss is the mean over
    them. The pixels are chosen among those of one device.

    mmsegmentation's `OHEMPixelSampler(thresh=0.7, min_kept=100000)` keeps a
    number of pixels an image instead: 100000 of 769 x 769 is a share of 0.17.

    Args:
        threshold: float in (0, 1].
        kept_share: float in (0, 1].
        ignore_class, class_weights, name: as for `PixelCrossEntropy`.
    """

    @checked(
        **COMMON,
        threshold=number(maximum=1, above=0),
        kept_share=number(maximum=1, above=0),
    )
    def __init__(
        self,
        threshold: float = 0.7,
        kept_share: float = 0.17,
        ignore_class: int | None = 255,
        class_weights: Sequence[float] | None = None,
        name: str = "ohem",
    ) -> None:
        super().__init__(ignore_class, class_weights, name)
        self.threshold = threshold
        self.kept_share = kept_share

    def of_batch(self, labels: Any, logits: Any, sample_weight: Any) -> Any:
        losses, weights = _weighted_losses(self, labels, logits)
        hardness = ops.reshape(ops.stop_gradient(losses), (-1,))
        # Ignored pixels have a loss of 0 and come last.
        ranked = -ops.sort(-hardness)
        count = ops.sum(ops.cast(self.valid(labels), "int32"))
        kept = ops.ceil(ops.cast(count, "float32") * self.kept_share)
        last = ops.cast(kept, "int32") - 1
        least = ops.take(ranked, ops.maximum(last, 0))
        # -log of the threshold: a smaller probability is a larger loss.
        least = ops.minimum(least, -math.log(self.threshold))
        # A loss that is NaN is no easy pixel's.
        weights = ops.where(losses < least, 0.0, weights)
        return global_mean(weights * losses, weights, sample_weight)
