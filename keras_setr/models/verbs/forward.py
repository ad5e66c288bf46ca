"""A model's inference step as one compiled function."""

import keras
import numpy as np
from keras import ops

from keras_setr import backends
from keras_setr.inference.devices import build_device
from keras_setr.models.verbs.division import batch_divisor


def _tensorflow(step, model):
    import tensorflow as tf

    strategy = model.distribute_strategy
    replicas = batch_divisor(model)
    if replicas == 1:
        compiled = tf.function(step, jit_compile=model.jit_compile)
        return lambda batch: compiled(tf.convert_to_tensor(batch))

    compiled = tf.function(lambda part: strategy.run(step, args=(part,)))

    def forward(batch):
        split = np.split if isinstance(batch, np.ndarray) else tf.split
        parts = split(batch, replicas)
        parts = strategy.experimental_distribute_values_from_function(
            lambda c: tf.convert_to_tensor(
                parts[c.replica_id_in_sync_group % replicas]
            )
        )
        results = strategy.experimental_local_results(compiled(parts))
        return tf.concat(results, axis=0)

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
        return compiled(trainable, non_trainable, batch)

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
            return step(ops.convert_to_tensor(batch))

    return forward


def to_numpy(logits):
    """What `forward` gives, on the host; on a CPU without a copy."""
    # ops.convert_to_numpy and .numpy() would copy.
    if keras.config.backend() == "torch":
        return logits.cpu().numpy()
    return np.asarray(logits)


def device_of(model):
    """The `Device` on which a model's logits are blended."""
    placement = None
    distribution = keras.config.backend() == "jax" and (
        keras.distribution.distribution()
    )
    if distribution:
        import jax

        layout = distribution.get_variable_layout(model.weights[0])
        mesh = _of_this_worker(layout.backend_layout).mesh
        placement = jax.sharding.NamedSharding(
            mesh, jax.sharding.PartitionSpec()
        )
    return build_device(model.weights[0], placement)


def compile_forward(model, logits=None):
    """`forward(batch) -> logits` for raw images, with the model's own weights.

    Each shape of `batch` is compiled once (on torch nothing is compiled);
    later changes of the weights are seen. The preprocessor, if any, is part
    of the function, so that images travel to the device as they are.

    Args:
        model: a model with a `preprocessor` or `None`.
        logits: callable from normalised images. Defaults to the model.

    Returns:
        callable from `(b, H, W, C)`, on the host or the device, to
        `(b, H, W, K)` on the device. The batch must divide by
        `batch_divisor(model)`.
    """
    if logits is None:

        def logits(batch):
            return model(batch, training=False)

    def step(batch):
        if model.preprocessor is not None:
            batch = model.preprocessor(batch)
        return logits(batch)

    build = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    backends.check_computes()
    return build[keras.config.backend()](step, model)
