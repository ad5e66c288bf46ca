"""The loss of what a model returns in training."""

import functools

from keras import ops

from keras_setr.losses import PixelLoss
from keras_setr.losses import loss_inputs
from keras_setr.models import keras_internals

# The main head's logits at its own resolution, in what a model returns in
# training.
MAIN_HEAD = "decode_head"


def compute_loss(
    model, compiled_loss, x, y, y_pred, sample_weight, training, weighted=False
):
    """The loss of the main head and the weighted ones of the auxiliary heads.

    Ours take all heads at their own resolution; other losses take them
    resized to the images.

    Args:
        model: `SETRSegmenter`.
        compiled_loss: `keras.Model.compute_loss` of the model.
        x: images, as Keras hands them on.
        y: labels `(B, H, W)`, `(B, H, W, 1)` or one-hot `(B, H, W, K)`.
        y_pred: what the model returns.
        sample_weight: one per image or per pixel, or None.
        training: bool.
        weighted: bool. Whether `compile` got `loss_weights`.
    """

    def loss_of(logits, function):
        return function(
            *loss_inputs(
                model.loss, y, logits, sample_weight, model.ignore_class
            )
        )

    if not isinstance(y_pred, dict):
        return loss_of(y_pred, lambda *args: compiled_loss(x, *args, training))
    heads = dict(y_pred)
    resized = heads.pop("logits")
    main = heads.pop(MAIN_HEAD, None)
    ours = isinstance(model.loss, PixelLoss) and not weighted
    if ours and main is not None:
        further = functools.partial(
            model.loss.of_resized,
            align_corners=model.get_layer("resize_logits").align_corners,
        )
        total = loss_of(main, further)
        total += keras_internals.additional_losses(model)
    else:
        further = functools.partial(keras_internals.compiled_loss, model)
        total = loss_of(
            resized, lambda *args: compiled_loss(x, *args, training)
        )
        size = ops.shape(resized)[1:3]
        heads = {
            name: model.resize_logits(logits, size)
            for name, logits in heads.items()
        }
    for logits in heads.values():
        total += model.auxiliary_weight * loss_of(logits, further)
    return total
