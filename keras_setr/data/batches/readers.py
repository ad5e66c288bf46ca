"""The batches of `Epochs` read by tf.data, by threads, or by Grain."""

import concurrent.futures
import os

import keras
import numpy as np

from keras_setr.data.batches.plan import Passes
from keras_setr.data.batches.plan import one
from keras_setr.data.batches.plan import stack


def read_with_tf_data(epochs, initial_step):
    """A `tf.data.Dataset`, each pass over which is the next of `Passes`."""
    import tensorflow as tf

    passes = Passes(epochs.steps_per_epoch, initial_step)
    pairs_in_pass = epochs.steps_per_epoch * epochs.batch_size
    if not epochs.in_full_batches:
        pairs_in_pass = epochs.size

    def next_pass():
        steps = passes.next()
        members, indices = epochs.members(steps)
        first = steps.start + np.arange(len(indices)) // epochs.batch_size
        return first, members, indices

    def pass_in_graph(_):
        columns = tf.numpy_function(next_pass, [], [tf.int64] * 3)
        for column in columns:
            # The number of batches is part of the dataset and Keras' fit
            # takes it for all passes, while a first pass that starts in the
            # middle is shorter. TensorFlow does not check it.
            column.set_shape((pairs_in_pass,))
        return tuple(columns)

    def load_in_graph(step, epoch, index):
        image, label = tf.numpy_function(
            epochs.sample, [epoch, index], [epochs.image_dtype, tf.int32]
        )
        image.set_shape(epochs.image_shape)
        label.set_shape(epochs.image_shape[:2])
        return step, image, label

    def take_in_graph(steps, images, labels):
        tf.numpy_function(
            passes.took, [steps[0]], [], stateful=True, name="took"
        )
        return images, labels

    # With a GPU in sight, TensorFlow would place the pipeline's constants on
    # it and reserve its memory, which belongs to JAX or torch.
    with tf.device("CPU"):
        # Every iterator runs this map when its first batch is asked for.
        dataset = tf.data.Dataset.range(1).map(pass_in_graph).unbatch()
        dataset = dataset.map(
            load_in_graph,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        dataset = dataset.batch(
            epochs.batch_size, drop_remainder=epochs.in_full_batches
        )
        dataset = dataset.prefetch(tf.data.AUTOTUNE).map(take_in_graph)
    options = tf.data.Options()
    # Batches that TensorFlow reads ahead by itself were not taken.
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)


class BatchesByPass(keras.utils.PyDataset):
    """Batches for Keras and for loops, each pass over which is the next.

    The batches of a pass come in their own order, whatever index Keras asks
    for, as it shuffles the indices unless it is told not to. Subclasses have
    `_read(steps)`, an iterator over the batches of a range of numbers, which
    tells `_passes` of each that is taken.

    Args:
        epochs: `Epochs`.
        initial_step: int. The batch to start with.
    """

    def __init__(self, epochs, initial_step):
        super().__init__(workers=1)
        self._epochs = epochs
        self._passes = Passes(epochs.steps_per_epoch, initial_step)
        self._iterator = None  # of the pass that Keras is in
        self._size = epochs.steps_per_epoch

    @property
    def num_batches(self):
        """Batches of a pass.

        At the start of one, when Keras decides how many batches to ask for,
        those that this one has. Otherwise those of all but the first, as
        Keras takes it for the length of every epoch.
        """
        return self._size

    def __len__(self):
        return self._epochs.steps_per_epoch

    def __getitem__(self, index):
        if self._iterator is None:
            # A look of Keras at the sizes.
            return self._epochs.batch(self._passes.next().start + index)
        self._size = len(self)
        return next(self._iterator)

    def __iter__(self):
        return self._read(self._passes.next())

    def on_epoch_begin(self):
        steps = self._passes.next()
        self._size = len(steps)
        self._iterator = self._read(steps)

    def on_epoch_end(self):
        self._size = len(self)
        self._iterator = None


class ThreadedBatches(BatchesByPass):
    """Batches read by threads, without TensorFlow."""

    def __init__(self, epochs, initial_step):
        super().__init__(epochs, initial_step)
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def _read(self, steps):
        """Batches `steps`; the threads meanwhile go on with the next two."""
        waiting = {}
        for position, step in enumerate(steps):
            for number in steps[position : position + 3]:
                if number not in waiting:
                    waiting[number] = self._submit(number)
            samples = [future.result() for future in waiting.pop(step)]
            self._passes.took(step)
            yield stack(samples)

    def _submit(self, step):
        return [
            self._pool.submit(self._epochs.sample, epoch, index)
            for epoch, index in zip(*self._epochs.members(one(step)))
        ]


def read_with_grain(epochs, initial_step):
    """A `grain.IterDataset` that is a `keras.utils.PyDataset` as well.

    Keras prefers the latter. Its way with others of Grain's datasets knows no
    length, and takes the first two batches off to look at them.
    """
    import grain

    class GrainBatches(BatchesByPass, grain.IterDataset):
        def __init__(self):
            grain.IterDataset.__init__(self)
            BatchesByPass.__init__(self, epochs, initial_step)

        def _read(self, steps):
            threads = os.cpu_count()
            dataset = grain.MapDataset.range(steps.start, steps.stop)
            dataset = dataset.map(lambda step: (step, epochs.batch(int(step))))
            dataset = dataset.to_iter_dataset(
                grain.ReadOptions(
                    num_threads=threads, prefetch_buffer_size=threads + 1
                )
            )
            return iter(dataset.map(self._take))

        def _take(self, element):
            step, batch = element
            self._passes.took(int(step))
            return batch

    return GrainBatches()
