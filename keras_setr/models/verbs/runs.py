"""A `fit` as its callbacks see it, and where it starts."""

import contextlib
import warnings

import keras

from keras_setr.models import keras_internals


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
