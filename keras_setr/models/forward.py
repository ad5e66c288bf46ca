"""A model's inference step as one compiled function, NumPy to NumPy."""

import keras
import numpy as np
from keras import ops


def _tensorflow(step, model):
    import tensorflow as tf

    strategy = model.distribute_strategy
    replicas = _local_replicas(strategy)
    if replicas == 1:
        compiled = tf.function(step, jit_compile=model.jit_compile)
        # Unlike .numpy(), this copies nothing.
        return lambda batch: np.asarray(compiled(tf.constant(batch)))

    compiled = tf.function(lambda part: strategy.run(step, args=(part,)))

    def forward(batch):
        parts = np.split(batch, replicas)
        parts = strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(parts[c.replica_id_in_sync_group])
        )
        results = strategy.experimental_local_results(compiled(parts))
        return np.concatenate([np.asarray(result) for result in results])

    return forward


def _local_replicas(strategy):
    """Replicas that share a batch: those of one process."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1 or replicas > len(strategy.extended.worker_devices):
        # Several workers predict each for itself.
        return 1
    return replicas


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
        distribution = keras.distribution.distribution()
        if distribution is not None:
            layout = distribution.get_data_layout(batch.shape)
            batch = keras.distribution.distribute_tensor(batch, layout)
        return np.asarray(compiled(trainable, non_trainable, batch))

    return forward


def _torch(step, model):
    import torch

    def forward(batch):
        # Without this, every call would keep its graph for a gradient.
        with torch.inference_mode():
            # Unlike ops.convert_to_numpy, this copies nothing on a CPU.
            return step(ops.convert_to_tensor(batch)).cpu().numpy()

    return forward


def compile_forward(model, logits=None):
    """`forward(batch) -> logits` for raw images, with the model's own weights.

    Each shape of `batch` is compiled once (on torch nothing is compiled);
    later changes of the weights are seen. The preprocessor, if any, is part
    of the function, so that images travel to the device as they are.

    Args:
        model: a model with a `preprocessor` or `None`.
        logits: callable from normalised images. Defaults to the model.

    Returns:
        callable from `(b, H, W, C)` to `(b, H, W, K)`, NumPy to NumPy. The
        batch must divide by `batch_divisor(model)`.
    """
    if logits is None:

        def logits(batch):
            return model(batch, training=False)

    def step(batch):
        if model.preprocessor is not None:
            batch = model.preprocessor(batch)
        return logits(batch)

    build = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return build[keras.config.backend()](step, model)


def batch_divisor(model):
    """The number of devices among which a batch is divided."""
    if keras.config.backend() == "tensorflow":
        return _local_replicas(model.distribute_strategy)
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
