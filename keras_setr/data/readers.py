"""The batches of `Epochs` read by tf.data, by threads, or by Grain."""

import collections
import concurrent.futures
import itertools
import os
import threading

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

    For `fit` and `evaluate`, which ask for the batches of one epoch after the
    other, and for loops: each pass over it is the next epoch.

    Args:
        epochs: `Epochs`.
        initial_step: int. The batch to start with.
    """

    def __init__(self, epochs, initial_step=0):
        # Keras' one worker asks for batches ahead; their samples are read by
        # as many threads as there are cores, which OpenCV and Pillow allow.
        super().__init__(workers=1, max_queue_size=2)
        self._epochs = epochs
        self._step = initial_step
        self._pool = None
        self._lock = threading.Lock()

    @property
    def num_batches(self):
        """Batches left in this epoch; `None` where there is no end."""
        if self._epochs.repeat:
            return None
        steps = self._epochs.steps_per_epoch
        return steps - self._step % steps

    def __len__(self):
        if self._epochs.repeat:
            raise TypeError("endless batches have no length")
        return self.num_batches

    def __getitem__(self, index):
        return stack([f.result() for f in self._submit(self._step + index)])

    def __iter__(self):
        if self._epochs.repeat:
            steps = itertools.count(self._step)
        else:
            steps = iter(range(self._step, self._step + self.num_batches))
        waiting = collections.deque()
        for step in itertools.chain(steps, [None, None]):
            if step is not None:
                waiting.append(self._submit(step))
            # Two batches are being read while a third is in use.
            if len(waiting) > 2 or (step is None and waiting):
                batch = stack([f.result() for f in waiting.popleft()])
                if self._epochs.repeat:
                    self._step += 1
                yield batch
        if not self._epochs.repeat:
            self.on_epoch_end()

    def on_epoch_end(self):
        if not self._epochs.repeat:
            self._step += self.num_batches

    def _submit(self, step):
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(
                    os.cpu_count()
                )
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
