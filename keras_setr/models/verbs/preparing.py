"""A batch, from what was passed to what the model is trained on."""

import keras_hub
import numpy as np

from keras_setr.arrays import in_tf_graph
from keras_setr.arrays import to_array
from keras_setr.models.verbs import division


def prepare(
    model, x, y=None, sample_weight=None, *, expected=None, class_weights=None
):
    """A batch as it comes, checked, weighed, divided and normalised.

    Args:
        model: `SETRSegmenter`.
        x: images `(B, H, W, C)`.
        y: labels `(B, H, W)`, `(B, H, W, 1)` or one-hot, or None.
        sample_weight: one per image or per pixel, or None.
        expected: `inputs.Expected` to check it against, or None.
        class_weights: `(K,)` float32 array, or None.

    Returns:
        What the model is trained on: this worker's part of the batch.
    """
    if in_tf_graph(x):
        if expected is not None:
            x = expected.check_in_graph(x, y)
    else:
        x = to_array(x)
        y = to_array(y, "y")
        sample_weight = to_array(sample_weight, "sample_weight")
        if expected is not None:
            expected.check_arrays(x, y, sample_weight)
    if class_weights is not None:
        sample_weight = pixel_weights(y, sample_weight, class_weights)
    x, y, sample_weight = division.divide_batch(
        x, y, sample_weight, *model._division, model.ignore_class
    )
    return keras_hub.models.ImageSegmenter.preprocess_samples(
        model, x, y, sample_weight
    )


def pixel_weights(y, sample_weight, class_weights):
    """The weight of each pixel's class, times that of the sample.

    Args:
        y: labels `(B, H, W)`, `(B, H, W, 1)` or one-hot `(B, H, W, K)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, or None.
        class_weights: `(K,)` float32 array. Labels that are no class, which
            count nowhere, get 1.

    Returns:
        `(B, H, W)` float32, array or tensor as `y` came.
    """
    if in_tf_graph(y):
        import tensorflow as xp

        take, minimum, shape = xp.gather, xp.minimum, y.shape
    else:
        xp, take, minimum, shape = np, np.take, np.minimum, y.shape
    num_classes = len(class_weights)
    if len(shape) == 4 and shape[-1] == num_classes:
        y = xp.argmax(y, -1)
    elif len(shape) == 4:
        y = y[..., 0]
    y = y.astype("int32") if xp is np else xp.cast(y, "int32")
    table = np.append(class_weights, np.float32(1))
    known = xp.where(y < 0, num_classes, minimum(y, num_classes))
    weights = take(table, known)
    if sample_weight is None:
        return weights
    if xp is not np:
        sample_weight = xp.cast(sample_weight, "float32")
    if len(sample_weight.shape) == 1:
        return weights * sample_weight[:, None, None]
    if len(sample_weight.shape) == 4:
        sample_weight = sample_weight[..., 0]
    return weights * sample_weight
