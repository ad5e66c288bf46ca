"""What `compile` makes of its arguments, and refuses at once.

A loss, metrics and an optimizer that fit the model; what no step could be
made with is an error here rather than in the first step.
"""

import keras

from keras_setr.arguments import choice
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import nearest
from keras_setr.arguments import number
from keras_setr.arguments import shown
from keras_setr.losses import PixelCrossEntropy
from keras_setr.losses import for_logits
from keras_setr.losses.sums import NAMES
from keras_setr.losses.sums import SumOfLosses
from keras_setr.losses.sums import by_name as loss_by_name
from keras_setr.metrics import MeanAccuracy
from keras_setr.metrics import MeanIoU
from keras_setr.metrics import PixelAccuracy
from keras_setr.metrics import by_name
from keras_setr.models.verbs import compatibility
from keras_setr.optimizers import SGD
from keras_setr.optimizers import AdamW
from keras_setr.optimizers import CosineDecay
from keras_setr.optimizers import PolynomialDecay
from keras_setr.optimizers import constant_rate_of
from keras_setr.optimizers import layer_decay_multipliers
from keras_setr.optimizers import unwrapped

_JIT = either(choice("auto"), flag())

# Names that Keras knows by the outputs of a model alone.
_METRICS = ("mean_iou", "mean_accuracy", "pixel_accuracy", "accuracy")
_OF_KERAS = ("acc", "accuracy")


def options(
    model,
    optimizer,
    loss,
    metrics,
    weighted_metrics,
    jit_compile,
    **automatic,
):
    """The arguments of `keras.Model.compile`; see `SETRSegmenter.compile`.

    Args:
        model: `SETRSegmenter`.
        optimizer, loss, metrics, weighted_metrics, jit_compile: as for
            `SETRSegmenter.compile`.
        **automatic: those that belong to the automatic optimizers.
    """
    _check_loss(loss, model.num_classes)
    jit_compile = _JIT.check("jit_compile", jit_compile)
    if isinstance(optimizer, str) and optimizer in ("auto", "adamw"):
        optimizer = _automatic_optimizer(optimizer, model.backbone, **automatic)
    elif given := {k: v for k, v in automatic.items() if v is not None}:
        raise ValueError(
            f"{', '.join(given)} belong to the automatic optimizers "
            '"auto" and "adamw"; set them on the optimizer that you '
            f"pass. Received: optimizer={optimizer!r}, "
            + ", ".join(f"{k}={v}" for k, v in given.items())
            + "."
        )
    _check_optimizer(optimizer)
    _check_accumulation(model, optimizer)
    _check_rate(optimizer)
    if isinstance(loss, str) and loss == "auto":
        loss = PixelCrossEntropy(model.ignore_class)
    loss = for_logits(loss, model.ignore_class)
    compatibility.check_loss(loss, model.num_classes, model.ignore_class)
    if isinstance(metrics, str) and metrics == "auto":
        metrics = [
            MeanIoU(model.num_classes, model.ignore_class),
            PixelAccuracy(model.num_classes, model.ignore_class),
        ]
    return {
        "optimizer": optimizer,
        "loss": loss,
        "metrics": _metrics("metrics", metrics, model),
        "weighted_metrics": _metrics(
            "weighted_metrics", weighted_metrics, model
        ),
        "jit_compile": _resolve_jit(jit_compile),
    }


def _automatic_optimizer(
    name,
    backbone,
    learning_rate,
    total_steps,
    head_multiplier,
    weight_decay,
    layer_decay,
    gradient_accumulation_steps,
    schedule,
    warmup_steps,
    clipnorm,
):
    """The optimizers of `compile`; see there."""
    multipliers = {"head": 10.0 if head_multiplier is None else head_multiplier}
    if layer_decay is not None:
        multipliers |= layer_decay_multipliers(
            backbone.depths, backbone.num_layers, layer_decay
        )
    common = {
        "learning_rate_multipliers": multipliers,
        # Keras has no accumulation over a single batch.
        "gradient_accumulation_steps": None
        if gradient_accumulation_steps == 1
        else gradient_accumulation_steps,
        "clipnorm": clipnorm,
    }
    is_adamw = name == "adamw"
    if learning_rate is None:
        learning_rate = 6e-5 if is_adamw else 0.001
    rates = {"decay_steps": total_steps, "warmup_steps": warmup_steps or 0}
    if schedule == "cosine":
        schedule = CosineDecay(learning_rate, **rates)
    else:
        if is_adamw:
            rates.update(end_learning_rate=0.0, power=1.0)
        schedule = PolynomialDecay(learning_rate, **rates)
    if is_adamw:
        decay = 0.01 if weight_decay is None else weight_decay
        return AdamW(schedule, weight_decay=decay, **common)
    return SGD(schedule, momentum=0.9, l2=weight_decay or 0.0, **common)


def _check_rate(optimizer):
    """Raise at a learning rate that no step can be made with."""
    if (rate := constant_rate_of(optimizer)) is not None:
        number(0).check("learning_rate of the optimizer", rate)


def check_ema(model, ema):
    """Raise where the steps of an average would be rounded away."""
    dtype = keras.backend.standardize_dtype(model.variable_dtype)
    if ema is not None and dtype in ("bfloat16", "float16"):
        raise ValueError(
            f"ema needs weights of 32 bits. Received: ema={ema} for a model "
            f"of {dtype}; build it with the dtype mixed_{dtype}."
        )


def _check_accumulation(model, optimizer):
    """Raise where Keras would fail at the first step."""
    batches = getattr(unwrapped(optimizer), "gradient_accumulation_steps", None)
    if not batches or keras.config.backend() != "tensorflow":
        return
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            "Keras cannot accumulate gradients on several TensorFlow "
            f"replicas. Received: gradient_accumulation_steps={batches} on "
            f"{replicas} replicas. Fit a larger batch by "
            "SETRBackbone(rematerialize=True) or mixed precision, or train "
            "on JAX, where both go together."
        )


def _resolve_jit(jit_compile):
    """`"auto"` as in Keras, but under TensorFlow only for a single GPU.

    On CPUs XLA made training steps slower than TensorFlow's own kernels, and
    takes long to compile; under a strategy of several replicas it fails.
    """
    if jit_compile == "auto" and keras.config.backend() == "tensorflow":
        import tensorflow as tf

        if (
            not tf.config.list_physical_devices("GPU")
            or tf.distribute.get_strategy().num_replicas_in_sync > 1
        ):
            return False
    return jit_compile


def _check_loss(loss, num_classes):
    """Raise at what is no loss of a segmenter.

    Args:
        loss: as of `SETRSegmenter.compile`.
        num_classes: int.
    """
    if isinstance(loss, str):
        if loss != "auto" and loss_by_name(loss, None) is None:
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


def _metrics(argument, given, model):
    """What Keras gets for a list of names, metrics and functions.

    Args:
        argument: str. `"metrics"` or `"weighted_metrics"`.
        given: str or sequence, or a dict by the outputs of the model, of
            which there is one.
        model: `SETRSegmenter`.
    """
    # For None, Keras keeps those of the last `compile`.
    if given is None:
        return []
    if not isinstance(given, (str, list, tuple, dict)):
        raise ValueError(
            f"{argument} must be 'auto' or a list of names and of "
            f"keras.Metric. Received: {shown(given)}."
        )
    return [
        _metric(argument, metric, model) for metric in keras.tree.flatten(given)
    ]


def _metric(argument, metric, model):
    """One metric, which counts the classes of the model."""
    num_classes, ignore_class = model.num_classes, model.ignore_class
    if isinstance(metric, str):
        if metric not in (*_METRICS, *_OF_KERAS):
            _check_name(keras.metrics.get, argument, metric, _METRICS)
        metric = by_name(metric, num_classes, ignore_class)
    if isinstance(metric, str):
        metric = keras.metrics.get(metric)
    if not callable(metric):
        raise ValueError(
            f"{argument} must hold names, keras.Metric and functions of "
            f"y_true and y_pred. Received: {shown(metric)}."
        )
    ours = isinstance(metric, (MeanIoU, MeanAccuracy, PixelAccuracy))
    if ours and argument == "weighted_metrics":
        raise ValueError(
            f"{metric.name} counts pixels and weighs none; list it under "
            "metrics=. Received: it in weighted_metrics."
        )
    counted = getattr(metric, "num_classes", num_classes)
    if counted != num_classes:
        raise ValueError(
            f"{argument} must count the classes of the model. Received: "
            f"{metric.name} of num_classes={counted} for a model of "
            f"{num_classes}."
        )
    compatibility.check_metric(argument, metric, num_classes, ignore_class)
    return metric


def _check_optimizer(optimizer):
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
    elif not isinstance(optimizer, (keras.optimizers.Optimizer, dict)):
        raise ValueError(
            "optimizer must be 'auto', 'adamw', another name or a "
            f"keras.Optimizer. Received: {shown(optimizer)}."
        )


def _is_function(loss):
    is_object = isinstance(loss, (type, keras.Layer))
    return callable(loss) and not is_object


def _check_name(get, argument, name, known):
    try:
        get(name)
    except (ValueError, TypeError):
        raise ValueError(
            f"{argument} must be a name that is known here or in Keras, such "
            f"as {', '.join(known)}. Received: {name!r}. "
            f"{nearest(name, known)}".rstrip()
        ) from None
