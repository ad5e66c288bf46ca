"""Batches, and losses with their gradients, on any backend."""

import keras
import numpy as np
from keras import ops
from keras.ops import convert_to_numpy as array

from tests import tiny

BACKEND = keras.config.backend()


def loss_and_gradient(loss, labels, logits, *sample_weight):
    """Of a function of `(labels, logits)`, the gradient by the logits."""
    logits = ops.convert_to_tensor(logits)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits, *sample_weight)
        return array(value), array(tape.gradient(value, logits))
    if BACKEND == "jax":
        import jax

        value, gradient = tiny.program(
            jax.value_and_grad(
                lambda logits: loss(labels, logits, *sample_weight)
            )
        )(logits)
        return array(value), array(gradient)
    logits.requires_grad_(True)
    value = loss(labels, logits, *sample_weight)
    value.backward()
    return array(value), array(logits.grad)


def batch(num_classes=5, size=(7, 4), ignored=255):
    """Two images: 3 rows of one and all but 2 pixels of the other ignored."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(2, *size, num_classes))
    labels = rng.integers(0, num_classes, (2, *size))
    labels[0, :3] = ignored
    labels[1].flat[2:] = ignored
    return labels.astype("int32"), logits.astype("float32")
