"""A model's inference step as one compiled function, NumPy to NumPy."""

import keras
import numpy as np
from keras import ops


def _tensorflow(step, model):
    import tensorflow as tf

    compiled = tf.function(step, jit_compile=model.jit_compile)
    return lambda batch: compiled(tf.constant(batch)).numpy()


def _jax(step, model):
    import jax

    def stateless(trainable, non_trainable, batch):
        mapping = list(zip(model.trainable_variables, trainable))
        mapping += zip(model.non_trainable_variables, non_trainable)
        with keras.StatelessScope(state_mapping=mapping):
            return step(batch)

    compiled = jax.jit(stateless)

    def forward(batch):
        trainable = [v.value for v in model.trainable_variables]
        non_trainable = [v.value for v in model.non_trainable_variables]
        return np.asarray(compiled(trainable, non_trainable, batch))

    return forward


def _torch(step, model):
    import torch

    def forward(batch):
        # Without this, every call would keep its graph for a gradient.
        with torch.inference_mode():
            return ops.convert_to_numpy(step(ops.convert_to_tensor(batch)))

    return forward


def compile_forward(model):
    """`forward(batch) -> logits` for raw images, with the model's own weights.

    Each shape of `batch` is compiled once (on torch nothing is compiled);
    later changes of the weights are seen. The preprocessor, if any, is part
    of the function, so that images travel to the device as they are.

    Args:
        model: a model with a `preprocessor` or `None`.

    Returns:
        callable from `(b, H, W, C)` to `(b, H, W, K)`, NumPy to NumPy.
    """

    def step(batch):
        if model.preprocessor is not None:
            batch = model.preprocessor(batch)
        return model(batch, training=False)

    build = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return build[keras.config.backend()](step, model)
