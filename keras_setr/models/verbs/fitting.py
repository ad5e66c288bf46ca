"""What `fit` and `evaluate` do to a `SETRSegmenter`.

Each function is handed the model; Keras and KerasHub do the rest.
"""

import functools
import warnings
from collections.abc import Iterator

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_setr.losses import PixelLoss
from keras_setr.losses import loss_inputs
from keras_setr.models import keras_internals
from keras_setr.models.verbs import division
from keras_setr.models.verbs import feeding
from keras_setr.models.verbs import inputs
from keras_setr.models.verbs.runs import Run
from keras_setr.optimizers import Decay
from keras_setr.optimizers import schedule_of
from keras_setr.optimizers import unwrapped
from keras_setr.tables import counted

# Of arrays, as in Keras.
_BATCH_SIZE = 32
# The main head's logits at its own resolution, in what a model returns in
# training.
MAIN_HEAD = "decode_head"


def refuse_folded(model):
    """Raise where a model of `for_inference` is to be trained."""
    if model.folded:
        raise ValueError(
            "A model of for_inference() cannot be compiled or trained: its "
            "batch norms are folded, its auxiliary heads gone. Train the "
            "model that it was made of, and call for_inference() again."
        )


def prepare(
    model, x, y=None, sample_weight=None, *, expected=None, class_weights=None
):
    """A batch as it comes, checked, weighed, divided and normalised.

    Args:
        model: `SETRSegmenter`.
        x: images `(B, H, W, C)`.
        y: labels `(B, H, W)`, `(B, H, W, 1)` or one-hot, or None.
        sample_weight: one per image or per pixel, or None.
        expected: `inputs.Expected` to check it against, or None.
        class_weights: `(K,)` float32 array, or None.

    Returns:
        What the model is trained on: this worker's part of the batch.
    """
    if inputs.in_tf_graph(x):
        if expected is not None:
            x = expected.check_in_graph(x, y)
    else:
        x = feeding.to_array(x)
        y = feeding.to_array(y, "y")
        sample_weight = feeding.to_array(sample_weight, "sample_weight")
        if expected is not None:
            expected.check_arrays(x, y, sample_weight)
    if class_weights is not None:
        sample_weight = pixel_weights(y, sample_weight, class_weights)
    x, y, sample_weight = division.divide_batch(
        x, y, sample_weight, *model._division, model.ignore_class
    )
    return keras_hub.models.ImageSegmenter.preprocess_samples(
        model, x, y, sample_weight
    )


def pixel_weights(y, sample_weight, class_weights):
    """The weight of each pixel's class, times that of the sample.

    Args:
        y: labels `(B, H, W)`, `(B, H, W, 1)` or one-hot `(B, H, W, K)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, or None.
        class_weights: `(K,)` float32 array. Labels that are no class, which
            count nowhere, get 1.

    Returns:
        `(B, H, W)` float32, array or tensor as `y` came.
    """
    if inputs.in_tf_graph(y):
        import tensorflow as xp

        take, minimum, shape = xp.gather, xp.minimum, y.shape
    else:
        xp, take, minimum, shape = np, np.take, np.minimum, y.shape
    num_classes = len(class_weights)
    if len(shape) == 4 and shape[-1] == num_classes:
        y = xp.argmax(y, -1)
    elif len(shape) == 4:
        y = y[..., 0]
    y = y.astype("int32") if xp is np else xp.cast(y, "int32")
    table = np.append(class_weights, np.float32(1))
    known = xp.where(y < 0, num_classes, minimum(y, num_classes))
    weights = take(table, known)
    if sample_weight is None:
        return weights
    if xp is not np:
        sample_weight = xp.cast(sample_weight, "float32")
    if len(sample_weight.shape) == 1:
        return weights * sample_weight[:, None, None]
    if len(sample_weight.shape) == 4:
        sample_weight = sample_weight[..., 0]
    return weights * sample_weight


def class_weights_of(model, class_weight):
    """`fit(class_weight=..)` as a `(K,)` float32 array, or None.

    Args:
        model: `SETRSegmenter`.
        class_weight: dict from classes to weights, 1 for the others; or a
            sequence of K.
    """
    if class_weight is None:
        return None
    count = model.num_classes
    weights = np.ones(count, "float32")
    if isinstance(class_weight, dict):
        if outside := [k for k in class_weight if not 0 <= k < count]:
            raise ValueError(
                "class_weight must weigh classes of the model, 0.."
                f"{count - 1}. Received: {outside}."
            )
        weights[list(class_weight)] = list(class_weight.values())
    elif len(class_weight) != count:
        raise ValueError(
            "class_weight must hold one weight per class, "
            f"num_classes={count}. Received: {len(class_weight)}."
        )
    else:
        weights[:] = class_weight
    return weights


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


def fit(
    model,
    x,
    y,
    sample_weight,
    batch_size,
    validation_data,
    validation_split,
    validation_batch_size,
    validation_steps,
    shuffle,
    class_weight,
    callbacks,
    epochs,
    initial_epoch,
    steps_per_epoch,
    **options,
):
    """`SETRSegmenter.fit`; see there."""
    expected = inputs.Expected(model, needs_labels=True)
    class_weights = class_weights_of(model, class_weight)
    data = feeding.gather(x, y, sample_weight, batch_size)
    if validation_split:
        if validation_data is not None or not isinstance(data, feeding.Arrays):
            raise ValueError(
                "validation_split takes the last of the arrays x and y, and "
                "goes with nothing else. Received: validation_split="
                f"{validation_split} with x={type(x).__name__}, "
                f"validation_data={type(validation_data).__name__}. Pass "
                "validation_data alone."
            )
        _check(data, expected)
        data, validation = data.split(validation_split)
    else:
        _check(data, expected)
        validation = _gather_validation(validation_data, expected)
    size = _BATCH_SIZE if batch_size is None else batch_size
    if isinstance(data, feeding.Arrays):
        data = feeding.Batches(data, size, shuffle)
    if isinstance(validation, feeding.Arrays):
        validation = feeding.Batches(
            validation,
            size if validation_batch_size is None else validation_batch_size,
        )
    elif validation is not None:
        _check_length(validation, validation_steps, epochs - initial_epoch)
    _check_trainable(model)
    run = Run(
        data, validation, callbacks, epochs, initial_epoch, steps_per_epoch
    )
    _spread_decay(model, run)
    keras_internals.start_in_epoch(model, initial_epoch)
    model.run = run
    # Arrays are shuffled here, a PyDataset's batches by Keras; the order of
    # other data is their own.
    shuffle = (
        shuffle
        and isinstance(data, keras.utils.PyDataset)
        and not isinstance(data, feeding.Batches)
        and feeding.count_batches(data) is not None
    )
    try:
        # What a callback silences is heard again after the fit.
        with warnings.catch_warnings():
            history = keras.Model.fit(
                model,
                _feed(model, data, expected, class_weights),
                validation_data=_feed(model, validation, expected),
                validation_steps=validation_steps,
                shuffle=shuffle,
                callbacks=callbacks,
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                **options,
            )
        if model.averages is not None:
            model.averages.take()
        return history
    finally:
        model.run = None
        run.at_end.close()


def evaluate(model, x, y, sample_weight, batch_size, **options):
    """`SETRSegmenter.evaluate`; see there."""
    expected = inputs.Expected(model, needs_labels=True)
    data = feeding.gather(x, y, sample_weight, batch_size)
    _check(data, expected)
    if isinstance(data, feeding.Arrays):
        size = _BATCH_SIZE if batch_size is None else batch_size
        data = feeding.Batches(data, size)
    data = _feed(model, data, expected, again=False)
    return keras.Model.evaluate(model, data, **options)


def single_batch(model, x, y, sample_weight, class_weight, needs_labels=True):
    """One batch as tensors, for the verbs that end in `_on_batch`."""
    batch = prepare(
        model,
        x,
        y,
        sample_weight,
        expected=inputs.Expected(model, needs_labels),
        class_weights=class_weights_of(model, class_weight),
    )
    return keras.tree.map_structure(
        lambda part: part if part is None else ops.convert_to_tensor(part),
        keras.utils.unpack_x_y_sample_weight(batch),
    )


def _check(data, expected, prefix=""):
    """Raise at what shows before a dataset is read."""
    if (position := getattr(data, "position", None)) is not None:
        expected.check_size(
            position.plan.image_shape[:2],
            "pass batches(.., model=model) for crops of the model's size",
        )
    if isinstance(data, feeding.Arrays):
        expected.check_arrays(data.x, data.y, data.sample_weight, prefix)
    elif feeding.is_tf_dataset(data):
        expected.check_spec(data.element_spec)


def _gather_validation(validation_data, expected):
    if validation_data is None:
        return None
    if isinstance(validation_data, (tuple, list)):
        data = feeding.gather(*feeding.unpack(validation_data))
    else:
        data = feeding.gather(validation_data)
    _check(data, expected, "validation ")
    return data


def _check_length(validation, steps, epochs):
    """Raise where the first epoch's validation would leave nothing over."""
    if steps is None and epochs > 1 and isinstance(validation, Iterator):
        raise ValueError(
            "validation_data is read to its end after each epoch. Received: "
            f"a {type(validation).__name__}, which ends once, and {epochs} "
            "epochs. Pass an endless one with validation_steps=.., or a "
            "PyDataset, arrays or a tf.data.Dataset."
        )


def _check_trainable(model):
    """Raise where an optimizer lacks variables that are to be trained."""
    optimizer = unwrapped(model.optimizer)
    if optimizer is None or not optimizer.built:
        return
    known = {id(v) for v in keras_internals.trained_by(optimizer)}
    new = [v.path for v in model.trainable_variables if id(v) not in known]
    if new:
        raise ValueError(
            f"{counted(len(new), 'variable')} became trainable after compile, "
            f"which its optimizer does not know. Received: {new[0]}"
            f"{', ..' if len(new) > 1 else ''}. Call compile again."
        )


def _feed(model, data, expected, class_weights=None, again=True):
    """Batches for Keras; those of arrays were checked all at once."""
    if data is None:
        return None
    in_arrays = isinstance(data, feeding.Batches)
    function = functools.partial(
        prepare,
        model,
        expected=None if in_arrays else expected,
        class_weights=class_weights,
    )
    return feeding.feed(data, function, again)


def _spread_decay(model, run):
    """Spread a schedule that leaves its length open over this fit."""
    schedule = schedule_of(model.optimizer)
    if not isinstance(schedule, Decay) or schedule.decay_steps:
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
    if not schedule.is_followed:
        # It is a constant of the compiled step.
        model.train_function = None
    schedule.spread(
        iterations - run.epoch * run.steps_per_epoch // batches,
        max(1, run.epochs * run.steps_per_epoch // batches),
    )
