"""Keras' own losses, made to take a segmenter's labels and logits."""

from typing import Any

import keras
from keras import ops

from keras_setr.losses.base import PixelLoss
from keras_setr.losses.sums import by_name

# Keras' losses that take the probabilities of all classes and cannot take
# logits.
_ON_PROBABILITIES = (
    keras.losses.Dice,
    keras.losses.Tversky,
    keras.losses.KLDivergence,
)
# Those whose labels are one-hot; where a row of zeros is a pixel that counts
# nowhere.
_ON_ONE_HOT = (
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    *_ON_PROBABILITIES,
)
_ON_INTEGERS = (PixelLoss, keras.losses.SparseCategoricalCrossentropy)
# Those that sum over the pixels, so that only an image can be weighed.
_ON_WHOLE_IMAGES = (keras.losses.Dice, keras.losses.Tversky)


def _classes_of_functions():
    """dict from Keras' functions, which names stand for, to their classes."""
    losses = keras.losses
    return {
        losses.binary_crossentropy: losses.BinaryCrossentropy,
        losses.binary_focal_crossentropy: losses.BinaryFocalCrossentropy,
        losses.categorical_crossentropy: losses.CategoricalCrossentropy,
        losses.categorical_focal_crossentropy: (
            losses.CategoricalFocalCrossentropy
        ),
        losses.dice: losses.Dice,
        losses.kl_divergence: losses.KLDivergence,
        losses.sparse_categorical_crossentropy: (
            losses.SparseCategoricalCrossentropy
        ),
        losses.tversky: losses.Tversky,
    }


def for_logits(loss: Any, ignore_class: int | None) -> Any:
    """A loss by name or of Keras, made to take a segmenter's logits.

    A name such as `"sparse_categorical_crossentropy"` stands in Keras for a
    loss of probabilities, and so does `from_logits=False`: it would take
    logits for them.

    Args:
        loss: name, function, `keras.Loss` or whatever `compile` takes. Of
            names that Keras has too, `"dice"` and `"tversky"`, that of
            `keras_setr.losses` is meant, which leaves ignored pixels out.
        ignore_class: int or None. Of the model; for losses by name, and for a
            `SparseCategoricalCrossentropy` without its own.

    Returns:
        `loss`, or a copy of it with other arguments.
    """
    if isinstance(loss, str):
        loss = by_name(loss, ignore_class) or keras.losses.get(loss)
    if callable(loss) and not isinstance(loss, keras.losses.Loss):
        found = [c for f, c in _classes_of_functions().items() if f is loss]
        loss = found[0]() if found else loss
    if not type(loss).__module__.startswith("keras."):
        return loss
    config = loss.get_config()
    changed: dict[str, Any] = {}
    if config.get("from_logits") is False:
        changed["from_logits"] = True
    if "ignore_class" in config and config["ignore_class"] is None:
        changed["ignore_class"] = ignore_class
    return type(loss).from_config({**config, **changed})


def takes_one_hot(loss: Any) -> bool:
    """Whether labels `(B, H, W, K)` may come with a loss."""
    return not isinstance(loss, _ON_INTEGERS)


def loss_inputs(
    loss: Any,
    labels: Any,
    logits: Any,
    sample_weight: Any,
    ignore_class: int | None,
) -> tuple[Any, Any, Any]:
    """`(y_true, y_pred, sample_weight)` as a loss of Keras expects them.

    Integer labels become one-hot, logits probabilities, and weights per image
    weights per pixel, where the loss works on those. Other losses get what
    there is.

    Args:
        loss: what `compile` took.
        labels: `(B, H, W)`, `(B, H, W, 1)` or one-hot `(B, H, W, K)`.
        logits: `(B, H, W, K)`.
        sample_weight: `(B,)`, `(B, H, W)`, `(B, H, W, 1)` or None.
        ignore_class: int or None.

    Raises:
        ValueError: for weights per pixel where the loss only knows images.
    """
    if isinstance(loss, PixelLoss):
        return labels, logits, sample_weight
    if isinstance(loss, _ON_ONE_HOT):
        num_classes = logits.shape[-1]
        labels = one_hot(labels, num_classes, ignore_class)
        if isinstance(loss, _ON_PROBABILITIES):
            counted = ops.max(labels, axis=-1, keepdims=True) > 0
            logits = ops.softmax(logits, axis=-1) * ops.cast(
                counted, logits.dtype
            )
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight)
        per_image = len(sample_weight.shape) == 1
        if isinstance(loss, _ON_WHOLE_IMAGES):
            if not per_image:
                raise ValueError(
                    f"{type(loss).__name__} sums over the pixels and takes no "
                    "weights per pixel, as class_weight makes them. "
                    "Received: weights of shape "
                    f"{tuple(sample_weight.shape)}. Compile with "
                    "keras_setr.losses.PixelCrossEntropy, or weigh whole "
                    "images."
                )
        elif per_image:
            # In full: Keras multiplies it by a mask in place on torch.
            sample_weight = ops.broadcast_to(
                ops.reshape(sample_weight, (-1, 1, 1)), ops.shape(logits)[:3]
            )
        elif len(sample_weight.shape) == 4:
            sample_weight = ops.squeeze(sample_weight, -1)
    return labels, logits, sample_weight


def one_hot(labels: Any, num_classes: int, ignore_class: int | None) -> Any:
    """Labels as `(B, H, W, K)` float32, zeros where they count nowhere.

    Args:
        labels: integers `(B, H, W)` or `(B, H, W, 1)`, or one-hot already.
        num_classes: int. K.
        ignore_class: int or None.
    """
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 4 and labels.shape[-1] == num_classes:
        return ops.cast(labels, "float32")
    labels = ops.cast(labels, "int32")
    if len(labels.shape) == 4:
        labels = ops.squeeze(labels, -1)
    counted = ops.logical_and(labels >= 0, labels < num_classes)
    if ignore_class is not None:
        counted = ops.logical_and(counted, labels != ignore_class)
    hot = ops.one_hot(ops.where(counted, labels, 0), num_classes)
    return ops.cast(hot, "float32") * ops.cast(counted[..., None], "float32")
