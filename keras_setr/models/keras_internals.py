"""What models take from Keras under private names, all of it here.

Seen with Keras 3.15.1 and KerasHub 0.32.0, which have no public way to each.
"""

import sys

import keras
from keras.src import backend

# There is no public way to the layer that a call began with.
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_setr.models.verbs.division import variable_scope

_VERSION = tuple(map(int, keras.__version__.split(".")[:2]))
_STATELESS_WITHOUT_CONTEXT = _VERSION < (3, 16)


def start_in_epoch(model, epoch):
    """Let the fit that is going on start in another epoch.

    As `keras.callbacks.BackupAndRestore` does in `on_train_begin`. It stays
    set, so that every fit has to set it.
    """
    model._initial_epoch = epoch


def compiled_loss(model, y, y_pred, sample_weight):
    """The loss of `compile` alone, as Keras weighs it, without regularisers."""
    return model._compile_loss(y, y_pred, sample_weight)


def tried(function, *tensors):
    """Call a function with `keras.KerasTensor`s, so that nothing is computed.

    Its variables are made and changed for the time of the call alone.
    """
    return backend.compute_output_spec(function, *tensors)


def additional_losses(model):
    """The sum of regularisers and the like, as Keras adds it to the loss."""
    return sum(model._aggregate_additional_loss(loss) for loss in model.losses)


def register_parameters(model):
    """Let torch list the parameters of a model of KerasHub.

    While it is constructed KerasHub's models set attributes past torch.
    """
    if keras.config.backend() == "torch":
        model._track_variables()


def forget_quantized(model, mode):
    """Let torch no longer list the parameters that `quantize` replaced."""
    model._post_quantize(mode)


def trained_by(optimizer):
    """The variables that a built optimizer can update."""
    return optimizer._trainable_variables


def is_part_of_another(model):
    """Whether the call that is going on is that of a model around `model`.

    On JAX Keras trains by `stateless_call`, where before 3.16 the outer model
    makes no context: `model` has one of its own then, but as the outer model
    none.
    """
    context = global_state.get_global_attribute("current_call_ctx")
    if context is None:
        return False
    if context.entry_layer is not model:
        return True
    return _STATELESS_WITHOUT_CONTEXT and in_stateless_scope()


def layers_by_name(model):
    """dict from `"layer/sublayer"` to each layer of a segmenter, outer first.

    The model itself is `""` and its encoder `"backbone"`.
    """
    found = {"": model, "backbone": model.backbone}

    def add(layers, prefix):
        for layer in layers:
            name = f"{prefix}{layer.name}"
            found.setdefault(name, layer)
            inner = layer._flatten_layers(include_self=False, recursive=False)
            add(inner, f"{name}/")

    add(model.layers, "")
    return found


def moving_statistics(model):
    """The moving means and variances of a model's batch norms."""
    return [
        variable
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def refuse_clone(model):
    """Raise where `keras.models.clone_model` asks for a compile config.

    It would make a plain Functional of the layers, which takes no raw images,
    and it leaves a model no other way to have a say.
    """
    if sys._getframe(2).f_code.co_name == "_clone_functional_model":
        name = type(model).__name__
        raise NotImplementedError(
            f"clone_model keeps the layers of a {name} alone: no preprocessor, "
            f"no predict for any size. Use copy = {name}.from_config("
            "model.get_config()), and copy.set_weights(model.get_weights()) "
            "for its weights."
        )


def refuse_legacy_file(model):
    """Raise where Keras asks for a config to write its legacy `.h5`.

    `keras.saving.save_model` does not ask the model before, and has opened
    the file by then.
    """
    if global_state.get_global_attribute("use_legacy_config"):
        raise NotImplementedError(
            f"Keras reads no {type(model).__name__} back from its legacy "
            "format, .h5, and what it has begun to write is no model. Save as "
            "model.keras, or the weights alone by "
            "save_weights('model.weights.h5')."
        )


def keeping_variables(model, step, groups):
    """A step of JAX that gives the model its variables back where it fails.

    Keras takes them off the model for an epoch. An error in the first batch,
    or while the step is traced, would leave the model without any.

    Args:
        model: `keras.Model`.
        step: callable `(state, iterator)`, `model.train_function` or
            `model.test_function`.
        groups: callable without arguments that gives the lists of variables
            of which `state` holds the values.
    """
    if keras.config.backend() != "jax":
        return step

    def kept(state, iterator):
        try:
            return step(state, iterator)
        except BaseException:
            for variables, values in zip(groups(), state):
                for variable, value in zip(variables, values):
                    if not value.is_deleted():
                        variable.assign(value)
            raise

    return kept


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
    if model.averages is not None:
        model.averages.build()
    model._scores_are_built = True
