"""What fitting takes from Keras under private names, all of it here.

Seen with Keras 3.15.1 and KerasHub 0.32.0, which have no public way to each.
"""

import keras

from keras_setr.models.division import variable_scope


def start_in_epoch(model, epoch):
    """Let the fit that is going on start in another epoch.

    As `keras.callbacks.BackupAndRestore` does in `on_train_begin`. It stays
    set, so that every fit has to set it.
    """
    model._initial_epoch = epoch


def compiled_loss(model, y, y_pred, sample_weight):
    """The loss of `compile` alone, as Keras weighs it, without regularisers."""
    return model._compile_loss(y, y_pred, sample_weight)


def build_scores(model, iterator=None, data_batch=None):
    """Build loss, metrics and optimizer on symbols, once after `compile`.

    It stands before `_symbolic_build` and `_maybe_symbolic_build` of
    `keras.Model`. They look at a first batch, which the epoch then misses, as
    long as some layer was never called, such as the resizing in KerasHub's
    preprocessors, and always under a TensorFlow strategy; without a strategy
    TensorFlow builds the metrics within the first step, when no callback can
    restore them any more.

    Args:
        model: `SETRSegmenter`.
        iterator, data_batch: what Keras would look at.
    """
    optimizer_is_built = model.optimizer is None or model.optimizer.built
    if model._scores_are_built and optimizer_is_built:
        return
    size = model.backbone.native_size
    channels = model.backbone.image_shape[-1]
    images = keras.KerasTensor((1, *size, channels), "float32")
    labels = keras.KerasTensor((1, *size), "int32")
    with variable_scope(model):
        # On torch it also registers the parameters whose gradients are set
        # to zero before each step.
        keras.Model._symbolic_build(model, data_batch=(images, labels, None))
    model._scores_are_built = True
