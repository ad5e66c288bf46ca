"""Sums of losses, and what the names in `compile(loss="ce+dice")` stand for."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_setr.arguments import Rule
from keras_setr.arguments import checked
from keras_setr.arguments import number
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.losses.base import PixelLoss
from keras_setr.losses.base import resized_logits
from keras_setr.losses.hard_pixels import OHEM
from keras_setr.losses.hard_pixels import Focal
from keras_setr.losses.pixel_cross_entropy import PixelCrossEntropy
from keras_setr.losses.regions import Dice
from keras_setr.losses.regions import Jaccard
from keras_setr.losses.regions import LovaszSoftmax
from keras_setr.losses.regions import Tversky

NAMES = {
    "ce": PixelCrossEntropy,
    "dice": Dice,
    "focal": Focal,
    "jaccard": Jaccard,
    "lovasz": LovaszSoftmax,
    "ohem": OHEM,
    "tversky": Tversky,
}
_TERM = re.compile(r"(?:(?P<weight>\d*\.?\d+)\*)?(?P<name>[a-z]+)")


def _pixel_losses(value):
    losses = [
        keras.saving.deserialize_keras_object(loss)
        if isinstance(loss, dict)
        else loss
        for loss in sequence(Rule("a loss", lambda x: x)).take(value)
    ]
    if not losses or not all(isinstance(loss, PixelLoss) for loss in losses):
        raise TypeError
    return tuple(losses)


@keras.saving.register_keras_serializable(package="keras_setr")
class SumOfLosses(PixelLoss):
    """The weighted sum of losses of this module.

    Args:
        losses: sequence of losses.
        weights: sequence of float, one for each. Defaults to 1.
        name: str.

    Raises:
        ValueError: where the weights are not as many as the losses.

    Example:

    ```python
    losses = keras_setr.losses
    model.compile(
        loss=losses.SumOfLosses([losses.PixelCrossEntropy(), losses.Dice()])
    )
    model.compile(loss="ce+0.5*dice")  # by their names
    ```
    """

    works_in_parts = True

    @checked(
        losses=Rule("a sequence of losses of keras_setr.losses", _pixel_losses),
        weights=optional(sequence(number(0))),
        name=string(),
    )
    def __init__(
        self,
        losses: Sequence[PixelLoss],
        weights: Sequence[float] | None = None,
        name: str = "sum_of_losses",
    ) -> None:
        super().__init__(None, None, name)
        if weights is None:
            weights = (1.0,) * len(losses)
        if len(weights) != len(losses):
            raise ValueError(
                "weights must hold one number per loss. Received: "
                f"{len(weights)} for {len(losses)} losses."
            )
        if not any(weights):
            raise ValueError(
                "weights must not all be 0. Received: "
                f"{tuple(weights)} for {len(losses)} losses."
            )
        self.losses = losses
        self.weights = weights

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> Any:
        return self._sum(lambda loss: loss(y_true, y_pred, sample_weight))

    def of_resized(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        align_corners: bool = False,
    ) -> Any:
        """As of every loss; those that need resized logits share them.

        Args:
            y_true, y_pred, sample_weight, align_corners: as of every loss.
        """
        resized = functools.cache(
            lambda: resized_logits(y_true, y_pred, align_corners)
        )
        return self._sum(
            lambda loss: (
                loss.of_resized(y_true, y_pred, sample_weight, align_corners)
                if loss.works_in_parts
                else loss(y_true, resized(), sample_weight)
            )
        )

    def _sum(self, value):
        terms = zip(self.weights, self.losses, strict=True)
        return sum(weight * value(loss) for weight, loss in terms)

    def get_config(self):
        return {
            "losses": [
                keras.saving.serialize_keras_object(loss)
                for loss in self.losses
            ],
            "weights": self.weights,
            "name": self.name,
        }


def by_name(name: str, ignore_class: int | None) -> PixelLoss | None:
    """The loss that a name such as `"ce+0.5*dice"` stands for.

    Args:
        name: str. `NAMES`, with weights before `*`, joined by `+`.
        ignore_class: int or None. Of the model.

    Returns:
        A loss, or None where the name is none of this module's.
    """
    parts = name.split("+")
    terms = [
        term
        for part in parts
        if (term := _TERM.fullmatch(part.strip())) and term["name"] in NAMES
    ]
    if len(terms) < len(parts):
        if len(parts) > 1 or "*" in name:
            raise ValueError(
                f"loss must be a sum of {', '.join(NAMES)}, with weights "
                f"before *, as in 'ce+0.5*dice'. Received: {name!r}."
            )
        return None
    losses = [NAMES[term["name"]](ignore_class=ignore_class) for term in terms]
    weights = [float(term["weight"] or 1) for term in terms]
    if len(losses) == 1 and weights == [1.0]:
        return losses[0]
    return SumOfLosses(losses, weights)
