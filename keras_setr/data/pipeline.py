"""Pairs of images and labels as batches."""

import cv2
import numpy as np

from keras_setr.data.epochs import Epochs
from keras_setr.data.readers import ThreadedBatches
from keras_setr.data.readers import read_with_grain
from keras_setr.data.readers import read_with_tf_data

READERS = ("tf.data", "threads", "grain")


def segmentation_batches(
    source,
    batch_size,
    transform,
    *,
    shuffle=False,
    seed=0,
    repeat=False,
    drop_remainder=False,
    cache=False,
    reader="tf.data",
    initial_step=0,
    shard=None,
):
    """Batches `(images, labels)` of `source` for Keras' `fit`.

    Images are `(B, h, w, C)` as `source` gives them and labels `(B, h, w)`
    int32, with `(h, w) = transform.crop_size`. Each pass over the batches is
    one epoch: the first gets the order and the augmentation of epoch 0, the
    next those of epoch 1, and batches made anew with the same seed start at
    epoch 0 again. Every reader gives the same batches, and nothing depends on
    the timing of the threads.

    Args:
        source: sequence with `len` and `source[i] -> (image, label)`, an
            `(H, W, C)` array and an `(H, W)` uint8 array. Read by several
            threads. See `Epochs` for what else it may have.
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
        reader: `"tf.data"`, a `tf.data.Dataset`; `"threads"`, a
            `keras.utils.PyDataset` that needs no TensorFlow; or `"grain"`, a
            `grain.IterDataset`, which is endless and so asks for `repeat`.
        initial_step: int. The number of the batch to start with, counted
            from the start of the training: `int(optimizer.iterations)` after
            an interruption. The first pass is then what is left of its epoch.
        shard: `(worker, num_workers)`, for a job of several workers. Only
            the rows of each batch that this worker computes are read; the
            others are black images without labels. `fit` passes them over.

    Raises:
        ValueError: an argument does not fit, or no batch would come out.
        ImportError: Grain is asked for and not installed.
    """
    size = len(source)
    for argument, value, lowest in (
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("initial_step", initial_step, 0),
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
    if reader not in READERS:
        raise ValueError(
            f"reader must be one of {READERS}. Received: {reader!r}."
        )
    if reader == "grain" and not repeat:
        raise ValueError(
            'reader="grain" gives batches without end, as a Grain dataset '
            "does not know which epoch it is in. Received: repeat=False; "
            "pass repeat=True, and steps_per_epoch to fit."
        )
    shard = (0, 1) if shard is None else tuple(shard)
    if len(shard) != 2 or not 0 <= shard[0] < shard[1]:
        raise ValueError(
            "shard must be (worker, num_workers) with worker in "
            f"0..num_workers-1. Received: {shard}."
        )
    # The readers already call from as many threads as there are cores, and
    # OpenCV's own pool on top of them costs CPU time. The setting holds for
    # the whole process, so it is made here and not on import.
    cv2.setNumThreads(0)
    epochs = Epochs(
        source,
        batch_size,
        transform,
        shuffle,
        seed,
        repeat,
        drop_remainder,
        cache,
        shard,
    )
    if reader == "tf.data":
        return read_with_tf_data(
            epochs, batch_size, drop_remainder, initial_step
        )
    if reader == "threads":
        return ThreadedBatches(epochs, initial_step)
    return read_with_grain(epochs, initial_step)
