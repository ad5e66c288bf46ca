"""The batches of `Epochs` read by tf.data, by threads, or by Grain."""

import concurrent.futures
import itertools
import os

import keras
import numpy as np

from keras_setr.data.epochs import stack


def read_with_tf_data(epochs, batch_size, drop_remainder, initial_step):
    """A `tf.data.Dataset`, each pass over which is the next epoch."""
    import tensorflow as tf

    first, skipped = epochs.start(initial_step)
    numbers = itertools.count(first)

    def next_epoch():
        return np.int64(next(numbers))

    def order(epoch):
        return epochs.order(int(epoch))[skipped if epoch == first else 0 :]

    def load_in_graph(epoch, index):
        image, label = tf.numpy_function(
            epochs.sample, [epoch, index], [epochs.image_dtype, tf.int32]
        )
        image.set_shape(epochs.image_shape)
        label.set_shape(epochs.image_shape[:2])
        return image, label

    def samples_of(epoch):
        indices = tf.numpy_function(order, [epoch], tf.int64)
        return tf.data.Dataset.from_tensor_slices((indices,)).map(
            lambda index: (epoch, index)
        )

    # With a GPU in sight, TensorFlow would place the pipeline's constants on
    # it and reserve its memory, which belongs to JAX or torch.
    with tf.device("CPU"):
        passes = tf.data.Dataset.range(1)
        if epochs.repeat:
            passes = passes.repeat()
        # Every iterator runs this once per pass, so the counter, not the
        # dataset, knows the epoch. One pass follows the other, in order.
        dataset = passes.map(
            lambda _: tf.ensure_shape(
                tf.numpy_function(next_epoch, [], tf.int64), ()
            )
        )
        dataset = dataset.flat_map(samples_of)
        dataset = dataset.map(
            load_in_graph,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        # flat_map hides the length, which Keras' progress bar asks for. A
        # first pass that starts in the middle of an epoch is shorter.
        if epochs.repeat or not skipped:
            dataset = dataset.apply(
                tf.data.experimental.assert_cardinality(
                    tf.data.INFINITE_CARDINALITY
                    if epochs.repeat
                    else epochs.size
                )
            )
        dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
        return dataset.prefetch(tf.data.AUTOTUNE)


class ThreadedBatches(keras.utils.PyDataset):
    """Batches read by threads, without TensorFlow.

    For `fit` and `evaluate`, and for loops: each pass over it is the next
    epoch. The batches of a pass come in their own order, whatever index is
    asked for, as Keras shuffles the indices unless it is told not to.

    Args:
        epochs: `Epochs`.
        initial_step: int. The batch to start with.
    """

    def __init__(self, epochs, initial_step=0):
        super().__init__(workers=1)
        self._epochs = epochs
        self._step = initial_step
        self._first = initial_step  # of this pass
        self._in_pass = False
        self._waiting = {}  # step -> futures of its samples
        self._pool = None

    @property
    def num_batches(self):
        """Batches of this pass; `None` where there is no end."""
        if self._epochs.repeat:
            return None
        steps = self._epochs.steps_per_epoch
        return steps - self._first % steps

    def __len__(self):
        if self._epochs.repeat:
            raise TypeError("endless batches have no length")
        return self.num_batches

    def __getitem__(self, index):
        if self._epochs.repeat or not self._in_pass:
            # Not shuffled, or a look ahead of Keras that reads no epoch.
            return self._read(self._first + index)
        self._step += 1
        return self._read(self._step - 1)

    def on_epoch_begin(self):
        self._in_pass = True

    def on_epoch_end(self):
        """Goes to the next pass; stays, if Keras only looked at one batch."""
        self._in_pass = False
        if self._epochs.repeat:
            return
        if self._step - self._first == 1 < self.num_batches:
            self._step = self._first
        self._first = self._step

    def __iter__(self):
        if self._epochs.repeat:
            for step in itertools.count(self._first):
                self._first = self._step = step + 1
                yield self._read(step)
        first = self._first
        last = first + self.num_batches
        for step in range(first, last):
            yield self._read(step)
        self._first = self._step = last

    def _read(self, step):
        """Batch `step`; meanwhile the threads go on with the next two."""
        ahead = [step + 1, step + 2]
        if not self._epochs.repeat:
            end = self._first + self.num_batches
            ahead = [later for later in ahead if later < end]
        for number in (step, *ahead):
            if number not in self._waiting:
                self._waiting[number] = self._submit(number)
        futures = self._waiting.pop(step)
        for number in set(self._waiting).difference(ahead):
            del self._waiting[number]
        return stack([future.result() for future in futures])

    def _submit(self, step):
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
        return [
            self._pool.submit(self._epochs.sample, epoch, index)
            for epoch, index in self._epochs.members(step)
        ]


def read_with_grain(epochs, initial_step):
    """A `grain.IterDataset` without end."""
    import grain

    def batch(step):
        members = epochs.members(initial_step + int(step))
        return stack([epochs.sample(*member) for member in members])

    # Grain counts its elements in 64 bits; no training sees a fraction.
    dataset = grain.MapDataset.range(2**40).map(batch)
    threads = os.cpu_count()
    return dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
    )
