"""Pairs of images and labels as batches."""

import cv2
import numpy as np

from keras_setr.data.batches.plan import Epochs
from keras_setr.data.batches.plan import one
from keras_setr.data.batches.readers import ThreadedBatches
from keras_setr.data.batches.readers import read_with_grain
from keras_setr.data.batches.readers import read_with_tf_data

READERS = {
    "tf.data": read_with_tf_data,
    "threads": ThreadedBatches,
    "grain": read_with_grain,
}


def segmentation_batches(
    source,
    batch_size,
    transform,
    *,
    shuffle=False,
    seed=0,
    steps_per_epoch=None,
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

    A pass is what one iterator gives, or one epoch of Keras. It counts once
    its second batch was taken, or its only one: an iterator that was left
    before only looked, as Keras does on JAX and torch before it trains, and
    the next one gives the same batches.

    Args:
        source: sequence with `len` and `source[i] -> (image, label)`, an
            `(H, W, C)` array and an `(H, W)` uint8 array. Read by several
            threads. See `Epochs` for what else it may have.
        batch_size: int.
        transform: callable `(image, label, rng) -> (image, label)` with
            attribute `crop_size`, such as `TrainingTransform`.
        shuffle: bool. A new order in every epoch.
        seed: int, not negative.
        steps_per_epoch: int. Batches of a pass, for recipes that count in
            steps. Epoch then follows epoch through the passes, and every
            batch is full: one may hold the end of one epoch and the start of
            the next. By default a pass is one epoch.
        drop_remainder: bool. Leave out the last batch of an epoch if it is
            short.
        cache: bool. Keep what `source` gives in memory, before augmentation.
        reader: `"tf.data"`, a `tf.data.Dataset`; `"threads"`, a
            `keras.utils.PyDataset` that needs no TensorFlow; or `"grain"`, a
            `grain.IterDataset` and `PyDataset` in one.
        initial_step: int. The batch to start with; see `batches_from`.
        shard: `(worker, num_workers)`, for a job of several workers. Only
            the rows of each batch that this worker computes are read; the
            others are black images without labels, which `fit` leaves out.

    Raises:
        ValueError: an argument does not fit, or no batch would come out.
        ImportError: Grain is asked for and not installed.
    """
    size = len(source)
    _check_integer("batch_size", batch_size, 1)
    _check_integer("seed", seed, 0)
    if steps_per_epoch is not None:
        _check_integer("steps_per_epoch", steps_per_epoch, 1)
    elif drop_remainder and size < batch_size:
        raise ValueError(
            "batch_size must not exceed the number of pairs with "
            f"drop_remainder=True. Received: batch_size={batch_size} for "
            f"{size} pairs; pass batch_size={size} or drop_remainder=False."
        )
    if reader not in READERS:
        raise ValueError(
            f"reader must be one of {tuple(READERS)}. Received: {reader!r}."
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
        drop_remainder,
        steps_per_epoch,
        cache,
        shard,
    )
    return _read(epochs, reader, initial_step)


def batches_from(batches, step):
    """The same batches from one on, to go on after an interruption.

    ```python
    step = int(model.optimizer.iterations)
    batches = ks.data.batches_from(batches, step)
    model.fit(batches, initial_epoch=step // len(batches), epochs=80)
    ```

    The first pass is what is left of the one that the batch lies in. The
    length stays that of a whole one, which Keras takes for all epochs of a
    fit; so it may warn after the first that the input ran out of data, and
    then goes on.

    Args:
        batches: what `segmentation_batches` or `batches()` of a folder or a
            dataset returned, with any reader.
        step: int. The number of the batch, counted from the start of the
            training.

    Raises:
        ValueError: the batches are others, or were mapped since.
    """
    epochs, reader = _plan("batches_from", batches)
    return _read(epochs, reader, step)


def batch_files(batches, step):
    """The files that the images of a batch come from.

    Args:
        batches, step: as for `batches_from`.

    Returns:
        tuple of str, an entry for each image; `"pair 3"` if its source knows
        no file name.
    """
    epochs, _ = _plan("batch_files", batches)
    _check_integer("step", step, 0)
    _, indices = epochs.pairs(one(int(step)))
    return tuple(epochs.file_name(int(index)) for index in indices)


def _read(epochs, reader, step):
    _check_integer("step", step, 0)
    batches = READERS[reader](epochs, int(step))
    batches.segmentation_plan = (epochs, reader)
    return batches


def _plan(function, batches):
    plan = getattr(batches, "segmentation_plan", None)
    if plan is None:
        raise ValueError(
            f"{function} takes what segmentation_batches or batches() of a "
            "SegmentationFolder or PublishedDataset returned, as it came: "
            "with map, take or the like on top, apply those afterwards. "
            f"Received: {batches!r}."
        )
    return plan


def _check_integer(argument, value, lowest):
    if not isinstance(value, (int, np.integer)) or value < lowest:
        raise ValueError(
            f"{argument} must be an integer of at least {lowest}. "
            f"Received: {value!r}."
        )
