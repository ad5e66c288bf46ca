"""What `compile` refuses at once, rather than in the first step."""

import keras

from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import nearest
from keras_setr.arguments import shown
from keras_setr.losses.sums import NAMES
from keras_setr.losses.sums import SumOfLosses
from keras_setr.losses.sums import by_name

JIT = either(choice("auto"), flag())

# Names that Keras knows by the outputs of a model alone.
_METRICS = ("mean_iou", "mean_accuracy", "pixel_accuracy", "accuracy")
_OF_KERAS = ("acc", "accuracy", "ce", "crossentropy")


def check_loss(loss, num_classes):
    """Raise at what is no loss of a segmenter.

    Args:
        loss: as of `SETRSegmenter.compile`.
        num_classes: int.
    """
    if isinstance(loss, str):
        if loss != "auto" and by_name(loss, None) is None:
            _check_name(keras.losses.get, "loss", loss, NAMES)
        return
    if loss is not None and not _is_function(loss):
        raise ValueError(
            "loss must be 'auto', a name, a keras.Loss, a function of y_true "
            f"and y_pred, or None. Received: {shown(loss)}."
        )
    for part in loss.losses if isinstance(loss, SumOfLosses) else [loss]:
        weights = getattr(part, "class_weights", None)
        if weights is not None and len(weights) != num_classes:
            raise ValueError(
                "class_weights of the loss must hold one weight per class. "
                f"Received: {len(weights)} for num_classes={num_classes}."
            )


def check_metrics(metrics, num_classes):
    """Raise at names of no metric, and at metrics of other classes.

    Args:
        metrics: str, sequence or whatever else Keras takes.
        num_classes: int.
    """
    if metrics is None or isinstance(metrics, dict):
        return
    if not isinstance(metrics, (str, list, tuple)):
        raise ValueError(
            "metrics must be 'auto' or a list of names and of keras.Metric. "
            f"Received: {shown(metrics)}."
        )
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        known = (*_METRICS, *_OF_KERAS, "auto")
        if isinstance(metric, str) and metric not in known:
            _check_name(keras.metrics.get, "metrics", metric, _METRICS)
        counted = getattr(metric, "num_classes", num_classes)
        if counted != num_classes:
            raise ValueError(
                "metrics must count the classes of the model. Received: "
                f"{metric.name} of num_classes={counted} for a model of "
                f"{num_classes}."
            )


def check_optimizer(optimizer):
    """Raise at what is no optimizer.

    Args:
        optimizer: as of `SETRSegmenter.compile`.
    """
    if isinstance(optimizer, type):
        raise ValueError(
            "optimizer must be 'auto', 'adamw', another name or a "
            f"keras.Optimizer. Received: the class {optimizer.__name__}; pass "
            f"{optimizer.__name__}()."
        )
    if isinstance(optimizer, str):
        known = ("auto", "adamw", "adam", "sgd", "rmsprop", "lion")
        _check_name(keras.optimizers.get, "optimizer", optimizer, known)


def _is_function(loss):
    is_object = isinstance(loss, (type, keras.Layer))
    return callable(loss) and not is_object


def _check_name(get, argument, name, known):
    try:
        get(name)
    except ValueError:
        raise ValueError(
            f"{argument} must be a name that is known here or in Keras, such "
            f"as {', '.join(known)}. Received: {name!r}. "
            f"{nearest(name, known)}".rstrip()
        ) from None
