"""Pairs of images and labels as batches of tf.data."""

import itertools

import cv2
import numpy as np


def segmentation_batches(
    source,
    batch_size,
    transform,
    *,
    shuffle,
    seed,
    repeat,
    drop_remainder,
    cache,
):
    """A `tf.data.Dataset` of `(images, labels)` batches.

    Images are `(B, h, w, 3)` uint8 and labels `(B, h, w)` int32, with
    `(h, w) = transform.crop_size`. Each pass over the dataset is one epoch:
    the first gets the order and the augmentation of epoch 0, the next those
    of epoch 1, and a dataset made anew with the same seed starts at epoch 0
    again. Nothing depends on the timing of the threads.

    Args:
        source: sequence with `len` and `source[i] -> (image, label)`, an
            `(H, W, 3)` and an `(H, W)` uint8 array. Read by several threads.
            If it has `pairs`, as `SegmentationFolder`, errors name the file.
        batch_size: int.
        transform: callable `(image, label, rng) -> (image, label)` with
            attribute `crop_size`, such as `TrainingTransform`.
        shuffle: bool. A new order in every epoch.
        seed: int, not negative.
        repeat: bool. Epoch follows epoch without end. Keras then needs
            `steps_per_epoch`.
        drop_remainder: bool. Leave out the last batch of an epoch if it is
            short.
        cache: bool. Keep what `source` gives in memory, before augmentation.

    Raises:
        ValueError: an argument does not fit, or no batch would come out.
    """
    size = len(source)
    for argument, value, lowest in (
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        if not isinstance(value, (int, np.integer)) or value < lowest:
            raise ValueError(
                f"{argument} must be an integer of at least {lowest}. "
                f"Received: {value!r}."
            )
    if drop_remainder and not repeat and size < batch_size:
        raise ValueError(
            "batch_size must not exceed the number of pairs with "
            f"drop_remainder=True. Received: batch_size={batch_size} for "
            f"{size} pairs; pass batch_size={size} or drop_remainder=False."
        )
    import tensorflow as tf

    # tf.data already calls from as many threads as there are cores, and
    # OpenCV's own pool on top of them costs CPU time. The setting holds for
    # the whole process, so it is made here and not on import.
    cv2.setNumThreads(0)
    read = _Memory(source) if cache else source.__getitem__
    height, width = transform.crop_size
    epochs = itertools.count()

    def next_epoch():
        return np.int64(next(epochs))

    def order(epoch):
        if not shuffle:
            return np.arange(size)
        # `size` is no index, so no sample has the same key.
        return np.random.default_rng((seed, epoch, size)).permutation(size)

    def load(epoch, index):
        image, label = read(int(index))
        rng = np.random.default_rng((seed, epoch, index))
        try:
            image, label = transform(image, label, rng)
        except Exception as error:
            pairs = getattr(source, "pairs", None)
            path = f" ({pairs[index].image})" if pairs is not None else ""
            raise ValueError(
                f"The transform failed on pair {index}{path}: {error!r}"
            ) from error
        if image.shape != (height, width, 3) or label.shape != (height, width):
            raise ValueError(
                "transform must return an image and a label of its crop_size="
                f"{height, width}. Received: {image.shape} and {label.shape} "
                f"for pair {index}."
            )
        return image, label.astype(np.int32)

    def load_in_graph(epoch, index):
        image, label = tf.numpy_function(
            load, [epoch, index], [tf.uint8, tf.int32]
        )
        image.set_shape((height, width, 3))
        label.set_shape((height, width))
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
        if repeat:
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
        # flat_map hides the length, which Keras' progress bar asks for.
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(
                tf.data.INFINITE_CARDINALITY if repeat else size
            )
        )
        dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
        return dataset.prefetch(tf.data.AUTOTUNE)


class _Memory:
    """Reads each pair of `source` once and hands out copies.

    Copies, because an augmentation may write into what it is given.
    """

    def __init__(self, source):
        self.source = source
        self.pairs = {}

    def __call__(self, index):
        # Two threads may both read a pair; they store the same.
        if index not in self.pairs:
            self.pairs[index] = self.source[index]
        image, label = self.pairs[index]
        return image.copy(), label.copy()
