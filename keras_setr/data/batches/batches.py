"""Pairs of images and labels as batches."""

from collections.abc import Callable
from typing import Any

from keras_setr.arguments import checked
from keras_setr.arguments import choice
from keras_setr.arguments import integer
from keras_setr.data.batches.plan import OPTION_RULES
from keras_setr.data.batches.plan import BatchPlan
from keras_setr.data.batches.position import Position
from keras_setr.opencv import cv2

READERS = ("tf.data", "threads", "grain")


@checked(*OPTION_RULES)
def segmentation_batches(
    source: Any,
    batch_size: int,
    transform: Callable[..., Any],
    *,
    reader: str = "tf.data",
    initial_step: int = 0,
    **options: Any,
) -> Any:
    """Batches `(images, labels)` of `source` for Keras' `fit`.

    Images are `(B, h, w, C)` as `source` gives them and labels `(B, h, w)`
    int32, with `(h, w) = transform.crop_size`. Each pass over the batches is
    one epoch: the first gets the order and the augmentation of epoch 0, the
    next those of epoch 1, and batches made anew with the same seed start at
    epoch 0 again. Every reader gives the same batches, and nothing depends on
    the timing of the threads. What a pass is, `Position` says.

    Args:
        source, batch_size, transform: see `BatchPlan`.
        reader: `"tf.data"`, a `tf.data.Dataset`; `"threads"`, a
            `keras.utils.PyDataset` that needs no TensorFlow; or `"grain"`, a
            `grain.IterDataset` and `PyDataset` in one.
        initial_step: int. The batch to start with; see `batches_from`.
        **options: `shuffle`, `seed`, `steps_per_epoch`, `drop_remainder`,
            `cache`, `shard` and `mixing` of `BatchPlan`.

    Returns:
        The batches; their `position` has the `plan` and a method `seek(step)`.

    Raises:
        ValueError: an argument does not fit, or no batch would come out.
        ImportError: Grain is asked for and not installed.
    """
    plan = BatchPlan(source, batch_size, transform, **options)
    return read(plan, reader, initial_step)


@checked(reader=choice(*READERS), initial_step=integer(0))
def read(plan, reader="tf.data", initial_step=0):
    """The batches of a `BatchPlan`; see `segmentation_batches`."""
    # The readers already call from as many threads as there are cores, and
    # OpenCV's own pool on top of them costs CPU time. The setting holds for
    # the whole process, so it is made here and not on import.
    cv2.setNumThreads(0)
    # With it Keras is imported, without which folders are read as well.
    from keras_setr.data.batches import readers

    read_with = {
        "tf.data": readers.read_with_tf_data,
        "threads": readers.ThreadedBatches,
        "grain": readers.read_with_grain,
    }
    return read_with[reader](Position(plan, reader, initial_step))


@checked(step=integer(0))
def batches_from(batches: Any, step: int) -> Any:
    """The same batches from one on, to go on after an interruption.

    ```python
    step = int(model.optimizer.iterations)
    batches = ks.data.batches_from(batches, step)
    model.fit(batches, initial_epoch=step // len(batches), epochs=80)
    ```

    The first pass is what is left of the one that the batch lies in. The
    length stays that of a whole one, which Keras takes for all epochs of a
    fit; so it may warn after the first that the input ran out of data, and
    then goes on. `batches.position.seek(step)` does the same to the batches
    themselves.

    Args:
        batches: what `segmentation_batches` or `batches()` of a folder or a
            dataset returned, with any reader.
        step: int. The number of the batch, counted from the start of the
            training.

    Raises:
        ValueError: the batches are others, or were mapped since.
    """
    position = _position("batches_from", batches)
    return read(position.plan, position.reader, step)


@checked(step=integer(0))
def batch_files(batches: Any, step: int) -> Any:
    """The files that the images of a batch come from.

    Args:
        batches, step: as for `batches_from`.

    Returns:
        tuple of str, an entry for each image; `"pair 3"` if its source knows
        no file name.
    """
    return _position("batch_files", batches).plan.files(step)


def _position(function, batches):
    position = getattr(batches, "position", None)
    if not isinstance(position, Position):
        raise ValueError(
            f"{function} takes what segmentation_batches or batches() of a "
            "SegmentationFolder or PublishedDataset returned, as it came: "
            "with map, take or the like on top, apply those afterwards. "
            f"Received: {batches!r}."
        )
    return position
