"""Which of Keras' own losses and metrics take a segmenter's labels and logits.

Most of them want one probability per label. Each is tried on symbols, so that
`compile` refuses it rather than the first step, in which a shape is all that
Keras could tell.
"""

import inspect
import warnings

import keras

from keras_setr.losses import loss_inputs
from keras_setr.models import keras_internals

# It takes integers, and logits for probabilities.
_ON_PROBABILITIES = ("CategoricalGeneralizedCrossEntropy",)


def check_loss(loss, num_classes, ignore_class):
    """Raise where a loss of Keras cannot be one of a segmenter.

    Args:
        loss: as `for_logits` gives it.
        num_classes, ignore_class: of the model.
    """
    if not _is_of_keras(loss):
        return
    fits = (
        "'auto', 'ce+dice' and keras.losses.SparseCategoricalCrossentropy("
        "from_logits=True) do"
    )
    if _name(loss) in _ON_PROBABILITIES:
        raise ValueError(
            f"loss must take logits. Received: {_name(loss)}, which takes "
            f"probabilities; {fits}."
        )

    def score(labels, logits):
        labels, logits, _ = loss_inputs(
            loss, labels, logits, None, ignore_class
        )
        return loss(labels, logits)

    _try("loss", loss, score, num_classes, fits)


def check_metric(argument, metric, num_classes, ignore_class):
    """Raise where a metric of Keras cannot be one of a segmenter.

    One that counts ignored pixels is warned about.

    Args:
        argument: str. `"metrics"` or `"weighted_metrics"`.
        metric: `keras.Metric`, function or class.
        num_classes, ignore_class: of the model.
    """
    if isinstance(metric, type):
        raise ValueError(
            f"{argument} must hold objects. Received: the class "
            f"{metric.__name__}; pass {metric.__name__}(..)."
        )
    if not _is_of_keras(metric):
        return
    config = _config(metric)

    def score(labels, logits):
        if not isinstance(metric, keras.Metric):
            return metric(labels, logits)
        # The user's own stays as it is.
        return type(metric).from_config(config)(labels, logits)

    _try(
        argument,
        metric,
        score,
        num_classes,
        "'accuracy', 'mean_iou', keras_setr.metrics.MeanIoU("
        f"{num_classes}) and keras.metrics.MeanIoU({num_classes}, "
        "sparse_y_pred=False) do",
    )
    if config.get("from_logits") is False:
        raise ValueError(
            f"{argument} must take logits. Received: {_name(metric)}, which "
            "takes probabilities; pass keras.metrics."
            "SparseCategoricalCrossentropy(from_logits=True), or leave it out, "
            "as the loss is reported anyway."
        )
    if ignore_class is not None and config.get("ignore_class") != ignore_class:
        warnings.warn(
            f"{_name(metric)} counts pixels of ignore_class={ignore_class} as "
            "any others; 'accuracy', 'mean_iou' and keras_setr.metrics leave "
            "them out.",
            stacklevel=2,
        )


def _try(argument, score, call, num_classes, fits):
    """Raise where labels beside logits are not what a score takes."""
    # Sizes that differ, or one would be spread over another.
    labels = keras.KerasTensor((2, 5, 3), "int32")
    logits = keras.KerasTensor((2, 5, 3, num_classes), "float32")

    def tried(labels, logits):
        # NumPy tries with what lies in memory.
        return call(labels % num_classes, logits)

    try:
        keras_internals.tried(tried, labels, logits)
    except Exception as error:
        raise ValueError(
            f"{argument} must take labels (B, H, W) beside logits "
            f"(B, H, W, K). Received: {_name(score)}, which does not; {fits}."
        ) from error


def _is_of_keras(score):
    owner = score if inspect.isfunction(score) else type(score)
    return str(getattr(owner, "__module__", "")).startswith("keras.")


def _name(score):
    return getattr(score, "__name__", type(score).__name__)


def _config(metric):
    if isinstance(metric, keras.Metric):
        return metric.get_config()
    arguments = inspect.signature(metric).parameters
    return {name: argument.default for name, argument in arguments.items()}
