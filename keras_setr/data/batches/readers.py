"""The batches of a plan read by tf.data, by threads, or by Grain."""

import concurrent.futures
import os
import weakref

import keras

from keras_setr.data.batches.plan import stack


def read_with_tf_data(position):
    """A `tf.data.Dataset`, each pass over which is the next."""
    import tensorflow as tf

    plan = position.plan
    # TensorFlow keeps the functions that it is given here until the process
    # ends; the plan, the source and its cache live as long as the dataset.
    next_pairs = _held_weakly(position.next_pairs)
    mark_taken = _held_weakly(position.mark_taken)
    sample = _held_weakly(plan.sample)
    pairs_in_pass = plan.num_pairs
    if plan.all_full:
        pairs_in_pass = plan.num_batches * plan.batch_size

    def pass_in_graph(_):
        columns = tf.numpy_function(next_pairs, [], [tf.int64] * 3)
        for column in columns:
            # The number of batches is part of the dataset and Keras' fit
            # takes it for all passes, while a first pass that starts in the
            # middle is shorter. TensorFlow does not check it.
            column.set_shape((pairs_in_pass,))
        return tuple(columns)

    def load_in_graph(number, epoch, index):
        image, label = tf.numpy_function(
            sample, [epoch, index], [plan.image_dtype, tf.int32]
        )
        image.set_shape(plan.image_shape)
        label.set_shape(plan.image_shape[:2])
        return number, image, label

    def take_in_graph(numbers, images, labels):
        tf.numpy_function(mark_taken, [numbers[0]], [], stateful=True)
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
        dataset = dataset.batch(plan.batch_size, drop_remainder=plan.all_full)
        dataset = dataset.prefetch(tf.data.AUTOTUNE).map(take_in_graph)
    options = tf.data.Options()
    # Batches that TensorFlow reads ahead by itself were not taken.
    options.experimental_optimization.inject_prefetch = False
    dataset = dataset.with_options(options)
    dataset.position = position
    return dataset


def _held_weakly(method):
    """A function that calls a method, but does not keep its object alive."""
    method = weakref.WeakMethod(method)
    return lambda *arguments: method()(*arguments)


class BatchesByPass(keras.utils.PyDataset):
    """Batches for Keras and for loops, each pass over which is the next.

    The batches of a pass come in their own order, whatever index Keras asks
    for, as it shuffles the indices unless it is told not to. Subclasses have
    `_read(steps)`, an iterator over the batches of a range of numbers, which
    tells `position` of each that is taken. Pickled, they go on from where the
    next pass would begin.

    Args:
        position: `Position`.
    """

    def __init__(self, position):
        super().__init__(workers=1)
        self.position = position
        self._iterator = None  # of the pass that Keras is in
        self._num_batches = len(self)

    def __reduce__(self):
        return type(self), (self.position,)

    @property
    def num_batches(self):
        """Batches of a pass.

        At the start of one, when Keras decides how many batches to ask for,
        those that this one has. Otherwise those of all but the first, as
        Keras takes it for the length of every epoch.
        """
        return self._num_batches

    def __len__(self):
        return self.position.plan.num_batches

    def __getitem__(self, index):
        if self._iterator is None:
            # A look of Keras at the sizes.
            position = self.position
            return position.plan.batch(position.step + index)
        self._num_batches = len(self)
        return next(self._iterator)

    def __iter__(self):
        return self._read(self.position.next_pass())

    def on_epoch_begin(self):
        steps = self.position.next_pass()
        self._num_batches = len(steps)
        self._iterator = self._read(steps)

    def on_epoch_end(self):
        self._num_batches = len(self)
        self._iterator = None


class ThreadedBatches(BatchesByPass):
    """Batches read by threads, without TensorFlow."""

    def __init__(self, position):
        super().__init__(position)
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def _read(self, steps):
        """Batches `steps`; the threads meanwhile go on with the next two."""
        plan = self.position.plan
        waiting = {}
        for place, step in enumerate(steps):
            for ahead in steps[place : place + 3]:
                if ahead not in waiting:
                    waiting[ahead] = plan.samples(ahead, self._pool.map)
            batch = stack(waiting.pop(step))
            self.position.mark_taken(step)
            yield batch


def read_with_grain(position):
    """A `grain.IterDataset` that is a `keras.utils.PyDataset` as well.

    Keras prefers the latter. Its way with others of Grain's datasets knows no
    length, and takes the first two batches off to look at them.
    """
    import grain

    class GrainBatches(BatchesByPass, grain.IterDataset):
        def __init__(self):
            grain.IterDataset.__init__(self)
            BatchesByPass.__init__(self, position)

        def __reduce__(self):
            return read_with_grain, (self.position,)

        def _read(self, steps):
            plan, threads = position.plan, os.cpu_count()
            dataset = grain.MapDataset.range(steps.start, steps.stop)
            dataset = dataset.map(lambda step: (step, plan.batch(int(step))))
            dataset = dataset.to_iter_dataset(
                grain.ReadOptions(
                    num_threads=threads, prefetch_buffer_size=threads + 1
                )
            )
            return iter(dataset.map(self._take))

        def _take(self, element):
            step, batch = element
            self.position.mark_taken(int(step))
            return batch

    return GrainBatches()
