"""What people hand to `fit` and `evaluate`: an object for each kind of data.

`resolve` picks the kind, once. From there on the data know themselves how they
are checked, how long they are, where they go on and how Keras reads them: as a
`tf.data.Dataset`, a `PyDataset` or a generator, whose batches a function has
weighed, divided and normalised. KerasHub's own way takes fewer kinds and loses
arguments.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from collections.abc import Mapping

import keras
import numpy as np

from keras_setr import workers
from keras_setr.arrays import gives_batches
from keras_setr.arrays import is_tf_dataset
from keras_setr.arrays import to_array
from keras_setr.arrays import unpack
from keras_setr.tables import counted


def resolve(x, y=None, sample_weight=None, batch_size=None):
    """What a fit is given, as the `Data` of its kind.

    Args:
        x, y, sample_weight, batch_size: as for `fit`.

    Raises:
        ValueError: `x` is nothing that holds batches, or the other arguments
            do not belong to it.
    """
    if isinstance(x, Mapping):
        x, labels, weights = unpack(x)
        y = labels if y is None else y
        sample_weight = weights if sample_weight is None else sample_weight
        if not _is_array(x):
            raise ValueError(
                f"A dict as x must hold arrays. Received: {type(x).__name__}."
            )
    if _is_array(x):
        return Arrays(
            to_array(x),
            to_array(y, "y"),
            to_array(sample_weight, "sample_weight"),
        )
    kind = type(x).__name__
    if not gives_batches(x):
        single = hasattr(x, "__getitem__") and hasattr(x, "__len__")
        raise ValueError(
            "x must be arrays, or give batches: a tf.data.Dataset, a "
            "keras.utils.PyDataset, a torch DataLoader, a Grain dataset or a "
            f"generator. Received: {'None' if x is None else kind}"
            + (
                ", which gives single images; pass its batches(..), or wrap "
                "it in a torch DataLoader."
                if single and not isinstance(x, (str, bytes))
                else "."
            )
        )
    given = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} belongs to arrays; a {kind} gives it with its "
                f"batches. Received: {name} beside a {kind}."
            )
    if is_tf_dataset(x):
        return TensorFlowDataset(x)
    if isinstance(x, keras.utils.PyDataset):
        return KerasDataset(x)
    return Stream(x) if isinstance(x, Iterator) else Passes(x)


def resolve_validation(given):
    """The same of `fit(validation_data=..)`; None of None."""
    if given is None:
        return None
    in_parts = isinstance(given, (tuple, list))
    return resolve(*unpack(given)) if in_parts else resolve(given)


def _is_array(x):
    """Whether `x` is an array, a tensor of any library or a list of them."""
    return hasattr(x, "shape") or isinstance(x, (list, tuple))


class Data:
    """Batches, as they were passed to `fit`.

    Args:
        given: what was passed.

    Attributes:
        given: as it was passed.
        position: the `Position` of batches of `keras_setr.data`; None of
            others, which cannot be started in their middle.
        keras_shuffles: bool. Whether Keras can take its batches in any order.
    """

    keras_shuffles = False
    # Whether a pass has no end.
    is_endless = False
    # What its batches are checked against as they come.
    _expected = None

    def __init__(self, given):
        self.given = given
        self.position = getattr(given, "position", None)

    @property
    def num_batches(self):
        """In one pass, or None where that is not known."""
        try:
            count = len(self.given)
        except TypeError:
            # A PyDataset may have this alone, or nothing.
            with contextlib.suppress(NotImplementedError):
                return getattr(self.given, "num_batches", None)
            return None
        # A Grain dataset that was repeated.
        return count if count < sys.maxsize else None

    @property
    def batch_shape(self):
        """`(B, H, W)` of a batch over all devices; None where not known."""
        return self.position and self.position.plan.batch_shape

    def seek(self, epoch, steps):
        """Let the next pass be that of an epoch, from a step on.

        Args:
            epoch: int.
            steps: int. Since the start of the training.
        """
        if self.position is not None:
            self.position.seek(steps)

    def check(self, expected, prefix=""):
        """Raise at what shows before a batch is read; the rest is fed so.

        Args:
            expected: `inputs.Expected`.
            prefix: str. Before the names of arrays in messages.
        """
        self._expected = expected
        if self.position is not None:
            expected.check_size(
                self.position.plan.image_shape[:2],
                "pass batches(.., model=model) for crops of the model's size",
            )

    def check_repeats(self, steps, epochs):
        """Raise where it cannot be validated on as often.

        Args:
            steps: int or None. `validation_steps` of `fit`.
            epochs: int.
        """

    def set_batch_size(self, batch_size, shuffle=False):
        """Of arrays, which batches are made of here; others have their own."""

    def feed(self, prepare, again=True):
        """What Keras reads.

        Args:
            prepare: callable `(x, y, sample_weight, expected=..) -> batch`.
            again: bool. Whether to go on with the first batch behind the last
                where Keras is told no length.
        """

        def prepare_batch(batch):
            return prepare(*unpack(batch), expected=self._expected)

        return self._feed(prepare_batch, again)

    def _feed(self, prepare, again):
        return _Fed(self, prepare)

    # As of a `PyDataset`, where it is fed by the numbers of its batches.

    def __getitem__(self, index):
        raise NotImplementedError

    def on_epoch_begin(self):
        pass

    def on_epoch_end(self):
        pass


class Arrays(Data):
    """Images, labels and weights of a whole set, N rows each.

    With a seed that was set, the number of an epoch alone decides its order,
    so that a training that is taken up again gets the same.

    Args:
        x: `(N, H, W, C)`.
        y: `(N, H, W)`, `(N, H, W, 1)` or one-hot `(N, H, W, K)`, or None.
        sample_weight: `(N,)`, `(N, H, W)` or `(N, H, W, 1)`, or None.
    """

    def __init__(self, x, y=None, sample_weight=None):
        super().__init__((x, y, sample_weight))
        self._epoch = self._next_epoch = 0

    @property
    def num_batches(self):
        return -(-len(self._order) // self._batch_size)

    @property
    def batch_shape(self):
        return self._batch_size, *self.given[0].shape[1:3]

    def seek(self, epoch, steps):
        self._next_epoch = epoch

    def check(self, expected, prefix=""):
        # All there is; nothing is left for the batches.
        expected.check_arrays(*self.given, prefix)
        expected.check_counted(self.given[1], f"{prefix}y")

    def set_batch_size(self, batch_size, shuffle=False):
        self._batch_size = batch_size
        self._order = np.arange(len(self.given[0]))
        self._seed = _common_seed() if shuffle else None

    def split(self, share):
        """The first rows, and a last `share` of them, as Keras takes it."""
        count = len(self.given[0])
        first = int(count * (1 - share))
        if not 0 < first < count:
            raise ValueError(
                "validation_split must leave images to train on and to "
                f"validate on. Received: {share} of {counted(count, 'image')}."
            )
        return (
            Arrays(*self._rows(slice(first))),
            Arrays(*self._rows(slice(first, None))),
        )

    def __getitem__(self, index):
        # With fit(steps_per_epoch=..) a pass is longer than an epoch.
        if index == 0 and self._seed is not None:
            rng = np.random.default_rng((self._seed, self._epoch))
            self._order = rng.permutation(len(self._order))
        start = index * self._batch_size
        return self._rows(self._order[start : start + self._batch_size])

    def _rows(self, rows):
        """The parts of some rows: a slice or an array of integers."""
        return tuple(
            part if part is None else part[rows] for part in self.given
        )

    def on_epoch_begin(self):
        self._epoch = self._next_epoch
        self._next_epoch += 1


def _common_seed():
    """Drawn from what keras.utils.set_random_seed sets, or one for all.

    Several workers take their parts of the same batches.
    """
    _, num_workers = workers.job()
    return np.random.randint(2**31) if num_workers == 1 else 0


class TensorFlowDataset(Data):
    """A `tf.data.Dataset`, which is prepared in its own graph."""

    @property
    def is_endless(self):
        # TensorFlow's INFINITE_CARDINALITY.
        return self.position is None and int(self.given.cardinality()) == -1

    @property
    def num_batches(self):
        # Negative: infinite or unknown.
        count = int(self.given.cardinality())
        return count if count >= 0 else None

    @property
    def batch_shape(self):
        if self.position is not None:
            return super().batch_shape
        images, _, _ = unpack(self.given.element_spec)
        shape = tuple(images.shape)[:3] if images.shape.rank else (None,)
        return None if None in shape else shape

    def check(self, expected, prefix=""):
        super().check(expected)
        expected.check_spec(self.given.element_spec)

    def _feed(self, prepare, again):
        import tensorflow as tf

        def prepare_in_graph(*batch):
            return prepare(batch if len(batch) > 1 else batch[0])

        fed = self.given.map(
            prepare_in_graph, num_parallel_calls=tf.data.AUTOTUNE
        )
        return fed.prefetch(tf.data.AUTOTUNE)


class KerasDataset(Data):
    """A `keras.utils.PyDataset`, whose batches have numbers."""

    @property
    def keras_shuffles(self):
        return self.num_batches is not None

    def _feed(self, prepare, again):
        # Its processes become threads: what prepares belongs to a model.
        options = {"max_queue_size": self.given.max_queue_size}
        return _Fed(self.given, prepare, workers=self.given.workers, **options)


class Passes(Data):
    """What can be gone through from its start, again and again.

    Such are torch's loaders and Grain's datasets.
    """

    def __getitem__(self, index):
        # Keras asks in order, and begins each pass with 0.
        if index == 0:
            self._iterator = iter(self.given)
        return next(self._iterator)

    def _feed(self, prepare, again):
        if self.num_batches is not None:
            return _Fed(self, prepare)
        passes = itertools.repeat(self.given) if again else [self.given]
        # Keras takes what is made of `yield`, and no other iterator.
        return (prepare(b) for b in itertools.chain.from_iterable(passes))


class Stream(Data):
    """An iterator, of which each batch comes once."""

    def check_repeats(self, steps, epochs):
        if steps is None and epochs > 1:
            raise ValueError(
                "validation_data is read to its end after each epoch. "
                f"Received: a {type(self.given).__name__}, which ends once, "
                f"and {epochs} epochs. Pass an endless one with "
                "validation_steps=.., or a PyDataset, arrays or a "
                "tf.data.Dataset."
            )

    def _feed(self, prepare, again):
        count = 0
        for count, batch in enumerate(self.given, start=1):
            yield prepare(batch)
        if not count:
            raise ValueError(
                "Data must give a batch. Received: a "
                f"{type(self.given).__name__} at its end; make it anew for "
                "each fit and evaluate."
            )


class _Fed(keras.utils.PyDataset):
    """Batches by their numbers, each passed through a function.

    Args:
        dataset: `Data`, or another `PyDataset`.
        prepare: callable from a batch to what Keras takes.
        **options: of `keras.utils.PyDataset`.
    """

    def __init__(self, dataset, prepare, **options):
        super().__init__(**options)
        self._prepare = prepare
        self._dataset = dataset

    @property
    def num_batches(self):
        # In the first pass it may be another than later.
        return self._dataset.num_batches

    def __getitem__(self, index):
        return self._prepare(self._dataset[index])

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()
