"""What `fit` and `evaluate` do, each handed the model; Keras does the rest."""

import contextlib
import functools
import warnings

import keras
import numpy as np
from keras import ops

from keras_setr import backends
from keras_setr.models import keras_internals
from keras_setr.models.verbs import feeding
from keras_setr.models.verbs import preparing
from keras_setr.models.verbs.inputs import Expected
from keras_setr.optimizers import spread_over
from keras_setr.optimizers import unwrapped
from keras_setr.tables import counted

# Of arrays, as in Keras.
_BATCH_SIZE = 32


def refuse_folded(model):
    """Raise where a model of `for_inference` is to be trained."""
    if model.folded:
        raise ValueError(
            "A model of for_inference() cannot be compiled or trained: its "
            "batch norms are folded, its auxiliary heads gone. Train the "
            "model that it was made of, and call for_inference() again."
        )


class Run:
    """What one `fit` is going to do: `model.run` as long as it goes on.

    Callbacks read it from `on_train_begin` on, when model, metrics and
    optimizer are built and no batch was read.

    Args:
        data: `feeding.Data` of what was passed to `fit` as `x`.
        validation: the same of what it validates on, or None.
        callbacks: what was passed to `fit`, or None.
        epochs: int. The epoch before which the run ends.
        initial_epoch: int. The epoch that it starts in.
        steps_per_epoch: int or None. As for `fit`.

    Attributes:
        epochs: as given.
        callbacks: flat list.
        steps_per_epoch: int, or None where `data` have no known length.
        epoch: int. The epoch that it starts in.
        step: int. The steps of that epoch that are done already.
        steps: int. All steps that are done, which is the number of the batch
            to start with.
        last_checkpoint: path of the newest checkpoint, or None.
        at_end: `contextlib.ExitStack` that is closed when the fit ends, by an
            error too.
    """

    def __init__(
        self,
        data,
        validation=None,
        callbacks=None,
        epochs=1,
        initial_epoch=0,
        steps_per_epoch=None,
    ):
        self._data = data
        self._validation = validation
        # Keras takes its own list of them as well.
        callbacks = getattr(callbacks, "callbacks", callbacks or [])
        self.callbacks = keras.tree.flatten(callbacks)
        self.epochs = epochs
        self.epoch = initial_epoch
        self.step = self.steps = 0
        self.last_checkpoint = None
        self.at_end = contextlib.ExitStack()
        # With fit(steps_per_epoch=..) Keras reads on where the last epoch
        # ended, so that no epoch can be shorter than the others.
        self._passes_are_epochs = steps_per_epoch is None
        if steps_per_epoch is None:
            steps_per_epoch = data.num_batches
        self.steps_per_epoch = steps_per_epoch

    @property
    def starts_within_epochs(self):
        """Whether an epoch can be started in its middle."""
        return self._data.position is not None and self._passes_are_epochs

    @property
    def validation_images(self):
        """The `(image, label)` behind validation batches, or None."""
        position = self._validation and self._validation.position
        return position and position.plan.source

    @property
    def batch_shape(self):
        """`(B, H, W)` of a batch over all devices; None where not known."""
        return self._data.batch_shape

    @property
    def batch_settings(self):
        """What makes a batch what it is, as far as that is known."""
        position = self._data.position
        return position.plan.settings if position else {}

    def steps_before(self, epoch):
        """Steps from the start of the training to that of `epoch`."""
        whole = (epoch - self.epoch) * self.steps_per_epoch
        return self.steps - self.step + whole

    def file_names(self, steps):
        """The files of the batch after so many steps; None if not known."""
        position = self._data.position
        return position and position.plan.files(steps)

    def start_at(self, model, epoch, step, steps):
        """Start elsewhere, as a callback may decide in `on_train_begin`.

        Args:
            model: the model that is fitted.
            epoch, step, steps: the attributes.
        """
        self.epoch, self.step, self.steps = epoch, step, steps
        keras_internals.start_in_epoch(model, epoch)
        self._data.seek(epoch, steps)
        if step:
            # The first epoch is shorter than Keras was told.
            warnings.filterwarnings("ignore", "Your input ran out of data")


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
    if initial_epoch > epochs:
        raise ValueError(
            "initial_epoch must be at most epochs, that of the last one. "
            f"Received: initial_epoch={initial_epoch} and epochs={epochs}."
        )
    class_weights = class_weights_of(model, class_weight)
    expected = Expected(model, needs_labels=True)
    data = feeding.resolve(x, y, sample_weight, batch_size)
    if validation_split:
        if validation_data is not None or not isinstance(data, feeding.Arrays):
            raise ValueError(
                "validation_split takes the last of the arrays x and y, and "
                "goes with nothing else. Received: validation_split="
                f"{validation_split} with x={type(x).__name__}, "
                f"validation_data={type(validation_data).__name__}. Pass "
                "validation_data alone."
            )
        data.check(expected)
        data, validation = data.split(validation_split)
    else:
        data.check(expected)
        validation = feeding.resolve_validation(validation_data)
        if validation is not None:
            validation.check(expected, "validation ")
    size = _BATCH_SIZE if batch_size is None else batch_size
    data.set_batch_size(size, shuffle)
    if validation is not None:
        validation.set_batch_size(validation_batch_size or size)
        validation.check_repeats(validation_steps, epochs - initial_epoch)
    if data.num_batches == 0:
        raise ValueError(
            f"x must give a batch at least. Received: a {type(x).__name__} of "
            "length 0."
        )
    if data.is_endless and steps_per_epoch is None:
        raise ValueError(
            "steps_per_epoch must say where an epoch of a dataset ends that "
            "repeats for ever. Received: None."
        )
    run = Run(
        data, validation, callbacks, epochs, initial_epoch, steps_per_epoch
    )
    _check_trainable(model)
    if spread_over(model.optimizer, initial_epoch, epochs, run.steps_per_epoch):
        model.train_function = None  # a constant of what is compiled
    keras_internals.start_in_epoch(model, initial_epoch)
    model.run = run
    prepare = functools.partial(preparing.prepare, model)
    weigh = functools.partial(prepare, class_weights=class_weights)
    try:
        # What a callback silences is heard again after the fit.
        with warnings.catch_warnings():
            backends.check_computes()
            history = keras.Model.fit(
                model,
                data.feed(weigh),
                validation_data=validation and validation.feed(prepare),
                validation_steps=validation_steps,
                # Arrays are shuffled here; the order of most other data is
                # their own.
                shuffle=shuffle and data.keras_shuffles,
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
    data = feeding.resolve(x, y, sample_weight, batch_size)
    data.check(Expected(model, needs_labels=True))
    data.set_batch_size(_BATCH_SIZE if batch_size is None else batch_size)
    prepare = functools.partial(preparing.prepare, model)
    fed = data.feed(prepare, again=False)
    backends.check_computes()
    return keras.Model.evaluate(model, fed, **options)


def single_batch(
    model,
    x,
    y=None,
    sample_weight=None,
    class_weight=None,
    needs_labels=True,
):
    """One batch as tensors, for the verbs that end in `_on_batch`."""
    if x is None:
        raise ValueError("x must be a batch of images. Received: None.")
    batch = preparing.prepare(
        model,
        x,
        y,
        sample_weight,
        expected=Expected(model, needs_labels),
        class_weights=class_weights_of(model, class_weight),
    )
    return keras.tree.map_structure(
        lambda part: part if part is None else ops.convert_to_tensor(part),
        keras.utils.unpack_x_y_sample_weight(batch),
    )


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
    if not weights.any():
        raise ValueError(
            "class_weight must leave a class above 0, or there is no loss. "
            f"Received: {class_weight}."
        )
    return weights


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
