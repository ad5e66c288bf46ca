"""What fitting takes from Keras under private names, all of it here.

Seen with Keras 3.15.1 and KerasHub 0.32.0, which have no public way to each.
"""

import keras_hub


def start_in_epoch(model, epoch):
    """Let the fit that is going on start in another epoch.

    As `keras.callbacks.BackupAndRestore` does in `on_train_begin`. It stays
    set, so that every fit has to set it.
    """
    model._initial_epoch = epoch


def compiled_loss(model, y, y_pred, sample_weight):
    """The loss of `compile` alone, as Keras weighs it, without regularisers."""
    return model._compile_loss(y, y_pred, sample_weight)


def symbolic_build_without_data(model, iterator=None, data_batch=None):
    """`_maybe_symbolic_build` of a model that `fitting.build_scores` built.

    Keras would take a first batch off the data under a TensorFlow strategy,
    and with it a pass of batches that know what was taken.
    """
    if iterator is None:
        keras_hub.models.ImageSegmenter._maybe_symbolic_build(
            model, data_batch=data_batch
        )
