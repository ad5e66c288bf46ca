"""What `compile`, `fit` and `evaluate` do to a `SETRSegmenter`.

Each function is handed the model; Keras and KerasHub do the rest.
"""

import warnings

import keras
import keras_hub
from keras import ops

from keras_setr.layers.resampling import resize_bilinear
from keras_setr.losses import PixelCrossEntropy
from keras_setr.metrics import MeanIoU
from keras_setr.metrics import PixelAccuracy
from keras_setr.models import division
from keras_setr.models import inputs
from keras_setr.models import keras_internals
from keras_setr.models.runs import Run
from keras_setr.optimizers import SGD
from keras_setr.optimizers import AdamW
from keras_setr.optimizers import PolynomialDecay
from keras_setr.optimizers import layer_decay_multipliers
from keras_setr.optimizers import schedule_of
from keras_setr.optimizers import unwrapped


def compile_options(model, optimizer, loss, metrics, jit_compile, **automatic):
    """The arguments of `keras.Model.compile`; see `SETRSegmenter.compile`.

    Args:
        model: `SETRSegmenter`.
        optimizer, loss, metrics, jit_compile: as for `SETRSegmenter.compile`.
        **automatic: those that belong to the automatic optimizers.
    """
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
    _check_accumulation(model, optimizer)
    if isinstance(loss, str) and loss == "auto":
        loss = PixelCrossEntropy(model.ignore_class)
    if isinstance(metrics, str) and metrics == "auto":
        metrics = [
            MeanIoU(model.num_classes, model.ignore_class),
            PixelAccuracy(model.num_classes, model.ignore_class),
        ]
    return {
        "optimizer": optimizer,
        "loss": loss,
        "metrics": metrics,
        "jit_compile": _resolve_jit(jit_compile),
    }


def prepare(model, x, y=None, sample_weight=None):
    """A batch as it comes, checked, divided and normalised.

    Args:
        model: `SETRSegmenter`.
        x: images `(B, H, W, C)`.
        y: labels `(B, H, W)` or `(B, H, W, 1)`, or None.
        sample_weight: array of B rows, or None.

    Returns:
        What the model is trained on: this worker's part of the batch.
    """
    x = _checked(model, x, y)
    x, y, sample_weight = _divided(model, x, y, sample_weight)
    return _normalised(model, x, y, sample_weight)


def _checked(model, x, y):
    """`x`; arrays were checked before the fit, batch by batch tf.data is."""
    if not inputs.in_tf_graph(x):
        return x
    return inputs.assert_batch(
        x, y, model.backbone.patch_size, model.num_classes, model.ignore_class
    )


def _divided(model, x, y, sample_weight):
    """This worker's part, filled up to divide among its devices."""
    return division.divide_batch(
        x, y, sample_weight, *model._division, model.ignore_class
    )


def _normalised(model, x, y, sample_weight):
    """The part after the model's preprocessor."""
    return keras_hub.models.ImageSegmenter.preprocess_samples(
        model, x, y, sample_weight
    )


def logits_of_heads(y_pred):
    """`(main, auxiliary)` of what the model returns, auxiliary a list."""
    if not isinstance(y_pred, dict):
        return y_pred, []
    names = [name for name in y_pred if name != "logits"]
    return y_pred["logits"], [y_pred[name] for name in names]


def auxiliary_loss(model, y, main, auxiliary, sample_weight):
    """The weighted losses of the auxiliary heads, enlarged to the main one.

    Args:
        model: `SETRSegmenter`.
        y: labels `(B, H, W)` or `(B, H, W, 1)`.
        main: logits `(B, H, W, K)`.
        auxiliary: list of logits `(B, h, w, K)`.
        sample_weight: `(B,)` or None.
    """
    height, width = ops.shape(main)[1:3]
    total = 0.0
    for logits in auxiliary:
        logits = resize_bilinear(ops.cast(logits, "float32"), (height, width))
        loss = keras_internals.compiled_loss(model, y, logits, sample_weight)
        total = total + model.auxiliary_weight * loss
    return total


def fit(
    model,
    x=None,
    y=None,
    batch_size=None,
    sample_weight=None,
    validation_data=None,
    *,
    callbacks=None,
    epochs=1,
    initial_epoch=0,
    steps_per_epoch=None,
    **kwargs,
):
    """`SETRSegmenter.fit`; see there."""
    inputs.check_fit_data(model, x, y, validation_data)
    run = Run(
        x,
        batch_size,
        validation_data,
        callbacks,
        epochs,
        initial_epoch,
        steps_per_epoch,
    )
    _spread_decay(model, run)
    kwargs.update(
        callbacks=callbacks, epochs=epochs, steps_per_epoch=steps_per_epoch
    )
    keras_internals.start_in_epoch(model, initial_epoch)
    model.run = run
    try:
        # What a callback silences is heard again after the fit.
        with warnings.catch_warnings():
            if isinstance(x, keras.utils.PyDataset):
                # KerasHub takes tf.data and Grain only.
                return keras.Model.fit(
                    model,
                    inputs.preprocessed(x, model.preprocess_samples),
                    validation_data=inputs.preprocessed(
                        validation_data, model.preprocess_samples
                    ),
                    **kwargs,
                )
            if inputs.is_tf_dataset(x):
                # Its order is its own; Keras warns where it is to shuffle it.
                kwargs.setdefault("shuffle", False)
            return keras_hub.models.ImageSegmenter.fit(
                model,
                x,
                y,
                batch_size,
                sample_weight,
                validation_data,
                **kwargs,
            )
    finally:
        model.run = None
        run.at_end.close()


def evaluate(model, x=None, y=None, **kwargs):
    """`SETRSegmenter.evaluate`; see there."""
    if isinstance(x, keras.utils.PyDataset):
        # KerasHub takes tf.data and Grain only.
        x = inputs.preprocessed(x, model.preprocess_samples)
        return keras.Model.evaluate(model, x, **kwargs)
    return keras_hub.models.ImageSegmenter.evaluate(model, x, y, **kwargs)


def _spread_decay(model, run):
    """Spread a schedule that leaves its length open over this fit."""
    schedule = schedule_of(model.optimizer)
    if not isinstance(schedule, PolynomialDecay) or schedule.decay_steps:
        return
    if run.steps_per_epoch is None:
        raise ValueError(
            "The learning rate decays over the whole training, but the "
            "number of steps is not known: this dataset has no length. "
            "Pass fit(steps_per_epoch=...) or compile(total_steps=...)."
        )
    optimizer = unwrapped(model.optimizer)
    iterations = int(ops.convert_to_numpy(optimizer.iterations))
    batches = optimizer.gradient_accumulation_steps or 1
    schedule.spread(
        iterations - run.epoch * run.steps_per_epoch // batches,
        max(1, run.epochs * run.steps_per_epoch // batches),
    )
    # The schedule is a constant of the compiled step.
    model.train_function = None


def _automatic_optimizer(
    name,
    backbone,
    learning_rate,
    total_steps,
    head_multiplier,
    layer_decay,
    gradient_accumulation_steps,
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
    }
    if name == "adamw":
        schedule = PolynomialDecay(
            6e-5 if learning_rate is None else learning_rate,
            decay_steps=total_steps,
            end_learning_rate=0.0,
            power=1.0,
        )
        return AdamW(schedule, weight_decay=0.01, **common)
    schedule = PolynomialDecay(
        0.001 if learning_rate is None else learning_rate,
        decay_steps=total_steps,
    )
    return SGD(schedule, momentum=0.9, **common)


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
