"""A model's inference step as one compiled function, NumPy to NumPy."""

import keras
import numpy as np
from keras import ops

from keras_setr.models.division import batch_divisor


def _tensorflow(step, model):
    import tensorflow as tf

    strategy = model.distribute_strategy
    replicas = batch_divisor(model)
    if replicas == 1:
        compiled = tf.function(step, jit_compile=model.jit_compile)
        # Unlike .numpy(), this copies nothing.
        return lambda batch: np.asarray(compiled(tf.constant(batch)))

    compiled = tf.function(lambda part: strategy.run(step, args=(part,)))

    def forward(batch):
        parts = np.split(batch, replicas)
        parts = strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(parts[c.replica_id_in_sync_group % replicas])
        )
        results = strategy.experimental_local_results(compiled(parts))
        return np.concatenate([np.asarray(result) for result in results])

    return forward


def _jax(step, model):
    import jax

    def stateless(trainable, non_trainable, batch):
        mapping = list(zip(model.trainable_variables, trainable))
        mapping += zip(model.non_trainable_variables, non_trainable)
        with keras.StatelessScope(state_mapping=mapping):
            return step(batch)

    compiled = jax.jit(stateless)

    def forward(batch):
        distribution = keras.distribution.distribution()
        if distribution is not None:
            layout = distribution.get_data_layout(batch.shape).backend_layout
            batch = jax.device_put(batch, _of_this_worker(layout))
        trainable, non_trainable = (
            [_local_value(v.value) for v in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
            )
        )
        return np.asarray(compiled(trainable, non_trainable, batch))

    return forward


def _local_value(value):
    """A variable's value on this worker's devices, without a copy.

    Several workers predict each for itself, so that one of them may do so
    alone.
    """
    import jax

    if value.is_fully_addressable:
        return value
    return jax.make_array_from_single_device_arrays(
        value.shape,
        _of_this_worker(value.sharding),
        [shard.data for shard in value.addressable_shards],
    )


def _of_this_worker(sharding):
    """The same sharding over those rows of its mesh that this worker has."""
    import jax

    mesh = sharding.mesh
    if sharding.is_fully_addressable:
        return sharding
    local = [
        row
        for row in mesh.devices
        if np.ravel(row)[0].process_index == jax.process_index()
    ]
    return jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.stack(local), mesh.axis_names), sharding.spec
    )


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
