"""Whatever people hand to `fit` and `evaluate`, as what Keras takes.

Arrays, tf.data, PyDatasets, torch's loaders, Grain, iterators and dicts all
end as one of three: a `tf.data.Dataset`, a `PyDataset` or a generator, whose
batches a function `prepare(x, y, sample_weight)` has checked, weighed and
normalised. KerasHub's own way takes fewer kinds and loses arguments.
"""

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_setr import workers
from keras_setr.inference.images import gives_batches
from keras_setr.inference.images import is_tf_dataset
from keras_setr.inference.images import to_array
from keras_setr.inference.images import unpack
from keras_setr.tables import counted


def is_array(x):
    """Whether `x` is an array, a tensor of any library or a list of them."""
    return hasattr(x, "shape") or isinstance(x, (list, tuple))


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """Images, labels and weights of a whole set, B rows each.

    Args:
        x: `(B, H, W, C)`.
        y: `(B, H, W)`, `(B, H, W, 1)` or one-hot `(B, H, W, K)`, or None.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, or None.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None

    def rows(self, rows):
        """The parts of some rows: a slice or an array of integers."""
        return tuple(
            part if part is None else part[rows]
            for part in (self.x, self.y, self.sample_weight)
        )

    def split(self, share):
        """The first rows, and a last `share` of them, as Keras takes it."""
        count = len(self.x)
        first = int(count * (1 - share))
        if not 0 < first < count:
            raise ValueError(
                "validation_split must leave images to train on and to "
                f"validate on. Received: {share} of {counted(count, 'image')}."
            )
        return (
            Arrays(*self.rows(slice(first))),
            Arrays(*self.rows(slice(first, None))),
        )


def gather(x, y=None, sample_weight=None, batch_size=None):
    """What a fit is given: `Arrays`, or a dataset as it came.

    Args:
        x, y, sample_weight, batch_size: as for `fit`.

    Raises:
        ValueError: `x` is nothing that holds batches, or the other arguments
            do not belong to it.
    """
    given = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    if isinstance(x, Mapping):
        x, labels, weights = unpack(x)
        y = labels if y is None else y
        sample_weight = weights if sample_weight is None else sample_weight
        if not is_array(x):
            raise ValueError(
                f"A dict as x must hold arrays. Received: {type(x).__name__}."
            )
    if is_array(x):
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
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name} belongs to arrays; a {kind} gives it with its "
                f"batches. Received: {name} beside a {kind}."
            )
    return x


def count_batches(data):
    """Batches in one pass over `data`, or None where that is not known."""
    if is_tf_dataset(data):
        # Negative: infinite or unknown.
        count = int(data.cardinality())
        return count if count >= 0 else None
    try:
        count = len(data)
    except TypeError:
        # A PyDataset may have this alone, or nothing.
        with contextlib.suppress(NotImplementedError):
            return getattr(data, "num_batches", None)
        return None
    # A Grain dataset that was repeated.
    return count if count < sys.maxsize else None


def feed(data, prepare, again=True):
    """Batches for Keras, passed through a function.

    Args:
        data: `Batches`, or a dataset of `gather`.
        prepare: callable `(x, y, sample_weight) -> batch`.
        again: bool. Whether to go on with the first batch behind the last of
            a dataset that has no length.
    """
    if isinstance(data, Batches):
        return Prepared(data, prepare)
    if is_tf_dataset(data):
        import tensorflow as tf

        def prepare_in_graph(*batch):
            return prepare(*unpack(batch if len(batch) > 1 else batch[0]))

        mapped = data.map(prepare_in_graph, num_parallel_calls=tf.data.AUTOTUNE)
        return mapped.prefetch(tf.data.AUTOTUNE)
    if isinstance(data, keras.utils.PyDataset):
        return Prepared(data, prepare)
    if not isinstance(data, Iterator) and count_batches(data) is not None:
        return Prepared(Passes(data), prepare)
    if again and not isinstance(data, Iterator):
        data = itertools.chain.from_iterable(itertools.repeat(data))
    # Keras takes what is made of `yield`, and no other iterator.
    return (prepare(*unpack(batch)) for batch in data)


class Batches(keras.utils.PyDataset):
    """The batches of `Arrays`, in an order of its own for each epoch.

    Args:
        arrays: `Arrays`.
        batch_size: int.
        shuffle: bool.

    Attributes:
        epoch: int. The next one. With a seed that was set, its number alone
            decides its order, so that a training that is taken up again gets
            the same.
    """

    def __init__(self, arrays, batch_size, shuffle=False):
        super().__init__()
        self._arrays = arrays
        self._batch_size = batch_size
        self._seed = _common_seed() if shuffle else None
        self._order = np.arange(len(arrays.x))
        self._current = self.epoch = 0

    @property
    def batch_shape(self):
        """`(B, H, W)`."""
        return self._batch_size, *self._arrays.x.shape[1:3]

    def __len__(self):
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index):
        # With fit(steps_per_epoch=..) a pass is longer than an epoch.
        if index == 0 and self._seed is not None:
            rng = np.random.default_rng((self._seed, self._current))
            self._order = rng.permutation(len(self._order))
        start = index * self._batch_size
        return self._arrays.rows(self._order[start : start + self._batch_size])

    def on_epoch_begin(self):
        self._current = self.epoch
        self.epoch += 1


def _common_seed():
    """Drawn from what keras.utils.set_random_seed sets, or one for all.

    Several workers take their parts of the same batches.
    """
    _, num_workers = workers.job()
    return np.random.randint(2**31) if num_workers == 1 else 0


class Passes(keras.utils.PyDataset):
    """What can be gone through from its start, again and again.

    Args:
        batches: iterable with a length.
    """

    def __init__(self, batches):
        super().__init__()
        self._batches = batches
        self._iterator = None

    def __len__(self):
        return count_batches(self._batches)

    def __getitem__(self, index):
        # Keras asks in order, and begins each pass with 0.
        if index == 0:
            self._iterator = iter(self._batches)
        return next(self._iterator)


class Prepared(keras.utils.PyDataset):
    """The batches of a `PyDataset`, each passed through a function.

    Its worker processes become threads: the function belongs to a model.

    Args:
        dataset: `keras.utils.PyDataset`.
        function: callable `(x, y, sample_weight) -> batch`.
    """

    def __init__(self, dataset, function):
        super().__init__(
            workers=dataset.workers, max_queue_size=dataset.max_queue_size
        )
        self._dataset = dataset
        self._function = function

    @property
    def num_batches(self):
        return self._dataset.num_batches

    def __getitem__(self, index):
        return self._function(*unpack(self._dataset[index]))

    def on_epoch_begin(self):
        self._dataset.on_epoch_begin()

    def on_epoch_end(self):
        self._dataset.on_epoch_end()
