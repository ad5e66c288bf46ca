"""How a batch is divided among the devices and workers that train a model.

Batches are global: every worker is given the same ones, or ones that hold at
least its own rows (`batches(shard=...)`), and computes its part.
"""

import contextlib

import keras
import numpy as np

from keras_setr import workers
from keras_setr.arrays import in_tf_graph


def batch_divisor(model):
    """The number of this worker's devices, which share its batches."""
    if keras.config.backend() == "tensorflow":
        strategy = model.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return 1
        return len(strategy.extended.worker_devices)
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    size = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    return size // workers.job()[1]


def worker_of(model):
    """`(worker, num_workers)` among those that train `model` together."""
    if keras.config.backend() == "tensorflow":
        strategy = model.distribute_strategy
        if strategy.num_replicas_in_sync == batch_divisor(model):
            return 0, 1
    elif keras.distribution.distribution() is None:
        return 0, 1
    return workers.job()


def variable_scope(model):
    """Where the variables of a model may be made, read and assigned."""
    if keras.config.backend() == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()


def division_of(model):
    """`(worker, num_workers, divisor)` of the batches of `model`."""
    return *worker_of(model), batch_divisor(model)


def divide_batch(
    x, y, sample_weight, worker, num_workers, divisor, ignore_class
):
    """This worker's part of a global batch, filled up to divide.

    Images that come again, so that the part divides among the devices, are
    unlabelled: they change neither the loss nor the metrics. The statistics
    of batch norm do see them.

    Args:
        x: images `(B, H, W, C)`.
        y: labels `(B, H, W)` or `(B, H, W, 1)`, one-hot `(B, H, W, K)`, or
            None.
        sample_weight: array of B rows, or None.
        worker, num_workers, divisor: as for `workers.rows_of`.
        ignore_class: int or None.

    Returns:
        `(x, y, sample_weight)`, arrays or tensors as they came.

    Raises:
        ValueError: the batch is to be filled up and `ignore_class` is None.
    """
    if num_workers == divisor == 1:
        return x, y, sample_weight
    size = x.shape[0]
    known = size is not None
    if known and num_workers == 1 and size % divisor == 0:
        return x, y, sample_weight
    if known:
        rows, repeated = workers.rows_of(size, worker, num_workers, divisor)
    else:
        import tensorflow as tf

        rows, repeated = workers.rows_of(
            tf.shape(x)[0], worker, num_workers, divisor, tf.range
        )
    fills_up = not known or repeated.any()
    if y is not None and fills_up:
        if ignore_class is None:
            raise ValueError(
                f"A batch must divide among the {num_workers * divisor} "
                "devices, or have an ignore_class for the images that fill it "
                f"up. Received: {size if known else 'any number of'} images "
                "and ignore_class=None; pass drop_remainder=True "
                "and a batch_size that divides, or build the model with an "
                "ignore_class."
            )
        one_hot = len(y.shape) == 4 and y.shape[-1] != 1
        ignored = 0 if one_hot else ignore_class
        y = _take(_holding(y, ignored), rows)
        y = _ignored(y, repeated, ignored)
    elif y is not None:
        y = _take(y, rows)
    if sample_weight is not None:
        sample_weight = _take(sample_weight, rows)
    return _take(x, rows), y, sample_weight


def _take(values, rows):
    if in_tf_graph(values):
        import tensorflow as tf

        return tf.gather(values, rows)
    return values[rows]


def _holding(y, ignore_class):
    """`y`, as int32 where its own dtype cannot hold `ignore_class`."""
    dtype = keras.backend.standardize_dtype(y.dtype)
    if np.can_cast(np.min_scalar_type(ignore_class), dtype):
        return y
    if in_tf_graph(y):
        import tensorflow as tf

        return tf.cast(y, "int32")
    return y.astype("int32")


def _ignored(y, repeated, ignore_class):
    if in_tf_graph(y):
        import tensorflow as tf

        shape = (-1,) + (1,) * (y.shape.rank - 1)
        ignored = tf.cast(ignore_class, y.dtype)
        return tf.where(tf.reshape(repeated, shape), ignored, y)
    y = np.array(y)
    y[repeated] = ignore_class
    return y
