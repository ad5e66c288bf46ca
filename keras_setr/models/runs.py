"""A `fit` as callbacks see it before it starts, and where it starts."""

import contextlib
import warnings

import keras

from keras_setr.models import inputs


class Run:
    """What one `fit` is going to do.

    Each callback with a method `before_fit(run)` is called with it, after
    model, metrics and optimizer are built and before a batch is read. It may
    set where the run starts.

    Attributes:
        model: the model.
        batches: what was passed to `fit` as `x`.
        callbacks: flat list of all callbacks passed to `fit`.
        epochs: int. The epoch before which the run ends.
        steps_per_epoch: int, or None where `batches` have no known length.
        epoch: int. The epoch that it starts in.
        step: int. The steps of that epoch that are done already.
        steps: int. All steps that are done, which is the number of the batch
            to start with.
        last_checkpoint: path of the newest checkpoint, or None.
    """

    def __init__(self, model, batches, batch_size, validation_data, options):
        self.model = model
        self.batches = batches
        self._batch_size = batch_size or 32  # of arrays, as in Keras
        self._validation_data = validation_data
        callbacks = options.get("callbacks") or []
        # Keras takes its own list of them as well.
        callbacks = getattr(callbacks, "callbacks", callbacks)
        self.callbacks = keras.tree.flatten(callbacks)
        self.epochs = options.get("epochs", 1)
        self.epoch = options.get("initial_epoch", 0)
        self.step = self.steps = 0
        self.last_checkpoint = None
        steps = options.get("steps_per_epoch")
        # With fit(steps_per_epoch=..) Keras reads on where the last epoch
        # ended, so that no epoch can be shorter than the others.
        self._passes_are_epochs = steps is None
        if steps is None:
            steps = inputs.count_batches(batches, self._batch_size)
        self.steps_per_epoch = steps

    @property
    def listeners(self):
        """The callbacks that ask to be told of the run."""
        return [c for c in self.callbacks if hasattr(c, "before_fit")]

    @property
    def _numbered(self):
        """Whether these are batches of `keras_setr.data`, with numbers."""
        return hasattr(self.batches, "position")

    @property
    def starts_within_epochs(self):
        """Whether an epoch can be started in its middle."""
        return self._numbered and self._passes_are_epochs

    @property
    def validation_images(self):
        """The `(image, label)` behind validation batches, or None."""
        position = getattr(self._validation_data, "position", None)
        return position and position.plan.source

    @property
    def batch_shape(self):
        """`(B, H, W)` of a batch over all devices; None where not known."""
        if self._numbered:
            return self.batches.position.plan.batch_shape
        if inputs.is_tf_dataset(self.batches):
            spec = self.batches.element_spec
            images = spec[0] if isinstance(spec, tuple) else spec
            shape = tuple(images.shape)[:3] if images.shape.rank else (None,)
            return None if None in shape else shape
        if hasattr(self.batches, "shape"):
            return self._batch_size, *self.batches.shape[1:3]
        return None

    @property
    def batch_settings(self):
        """What makes a batch what it is, as far as that is known."""
        return self.batches.position.plan.settings if self._numbered else {}

    def steps_before(self, epoch):
        """Steps from the start of the training to that of `epoch`."""
        whole = (epoch - self.epoch) * self.steps_per_epoch
        return self.steps - self.step + whole

    def file_names(self, steps):
        """The files of the batch after so many steps; None if not known."""
        if not self._numbered:
            return None
        return self.batches.position.plan.files(steps)

    def batches_from_start(self):
        """The batches from where the run starts."""
        if self._numbered:
            self.batches.position.seek(self.steps)
        return self.batches

    @contextlib.contextmanager
    def short_first_epoch(self):
        """Where the first epoch ends before the length that Keras is told."""
        if not self.step:
            yield
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Your input ran out of data")
            yield
