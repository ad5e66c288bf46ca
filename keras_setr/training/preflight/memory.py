"""What a training step holds in memory, worked out before it runs."""

import contextlib
import dataclasses
import math
import os

import keras
import numpy as np

# Beside what is kept, for what operations work in. TensorFlow runs those that
# do not wait for each other at the same time, all updates of weights among
# them. Calibrated with tests/benchmarks/training_memory.py on CPUs.
_WORKING_SHARE = {"tensorflow": 0.15, "jax": 0.0, "torch": 0.0}
_HOLDS_ALL_UPDATES = {"tensorflow": True, "jax": False, "torch": False}


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device during a training step.

    Args:
        weights: int. All variables of the model.
        optimizer: int. Momenta and the like, accumulated gradients included.
        gradients: int. Of the trainable weights.
        activations: int. What the forward pass keeps for the backward pass.
        working: int. What single operations need in between.
    """

    weights: int
    optimizer: int
    gradients: int
    activations: int
    working: int

    @property
    def total(self):
        """Their sum; measured peaks lie within 30 % of it."""
        return sum(dataclasses.astuple(self))

    def largest_batch(self, batch_size, memory):
        """How many of `batch_size` images fit into `memory`; 0 if none does."""
        fixed = self.weights + self.optimizer + self.gradients
        for_images = self.activations + self.working
        return max(0, int(batch_size * (memory - fixed) / for_images))


def estimate_memory(model, batch_size, image_size=None, rematerialize=None):
    """Estimate the memory of a step of `fit`, without running one.

    Takes seconds: the step is traced on shapes.

    Args:
        model: a compiled `SETRSegmenter`.
        batch_size: int. Images on one device.
        image_size: `(H, W)` of the crops. Defaults to the model's size.
        rematerialize: bool. Defaults to what the backbone does.

    Returns:
        `MemoryEstimate`.
    """
    backbone = model.backbone
    if image_size is None:
        image_size = backbone.native_size
    if rematerialize is None:
        rematerialize = backbone.rematerialize
    plain = _kept(model, batch_size, image_size, False)
    activations, one_layer = plain, 0
    if rematerialize:
        activations = _kept(model, batch_size, image_size, True)
        # In the backward pass one layer at a time is there in full.
        one_layer = max(0, plain - activations) // backbone.num_layers
    trainable = _sum_sizes(model.trainable_variables)
    backend = keras.config.backend()
    updates = trainable if _HOLDS_ALL_UPDATES[backend] else 0
    return MemoryEstimate(
        weights=_sum_sizes(model.variables),
        optimizer=_optimizer_size(model.optimizer, trainable),
        gradients=trainable,
        activations=activations,
        working=one_layer
        + updates
        + int(_WORKING_SHARE[backend] * activations),
    )


def device_memory():
    """Bytes of memory of one device, or `None` where nothing tells.

    That of the first GPU or TPU; on CPUs the machine's, or its container's.
    """
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        device = jax.local_devices()[0]
        if device.platform != "cpu":
            return (device.memory_stats() or {}).get("bytes_limit")
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.mem_get_info()[1]
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            from tensorflow.python.client import device_lib

            devices = device_lib.list_local_devices()
            return next(
                d.memory_limit for d in devices if d.device_type == "GPU"
            )
        if tf.config.list_physical_devices("TPU"):
            return None
    return _system_memory()


def _system_memory():
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None  # Windows
    for path in (
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ):
        with contextlib.suppress(OSError, ValueError):
            with open(path) as file:
                total = min(total, int(file.read()))
    return total


def _optimizer_size(optimizer, trainable):
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer.built:
        return _sum_sizes(optimizer.variables)
    # How many values it keeps for each weight shows on a copy with one.
    copy = type(optimizer).from_config(optimizer.get_config())
    copy.build([keras.Variable(np.zeros(3, "float32"), name="kernel")])
    return trainable * sum(tuple(v.shape) == (3,) for v in copy.variables)


def _sum_sizes(variables):
    return sum(_size(v.shape, v.dtype) for v in variables)


def _size(shape, dtype):
    dtype = keras.backend.standardize_dtype(dtype)
    width = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    return math.prod(shape) * width


def _kept(model, batch_size, image_size, rematerialize):
    """Bytes that the forward pass keeps for the backward pass.

    The forward pass and the loss are traced on shapes alone, without a
    computation or an allocation, and what the backend's differentiation
    reads again is added up: each tensor once, weights left out.
    """
    channels = model.backbone.image_shape[-1]
    images = (batch_size, *image_size, channels)
    labels = (batch_size, *image_size)
    trace = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    before = [block.rematerialize for block in model.backbone.blocks]
    model.backbone.rematerialize = rematerialize
    try:
        return trace[keras.config.backend()](model, images, labels)
    finally:
        for block, value in zip(model.backbone.blocks, before):
            block.rematerialize = value


def _loss(model, images, labels):
    outputs = model(images, training=True)
    return model.compute_loss(images, labels, outputs, None, training=True)


def _tensorflow(model, images, labels):
    import tensorflow as tf

    kept = {}  # device -> tensors

    def step(images, labels):
        graph = tf.compat.v1.get_default_graph()
        device = tf.no_op().device  # of this replica

        def operations():
            return [op for op in graph.get_operations() if op.device == device]

        variables = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = _loss(model, images, labels)
        forward = set(operations())
        tape.gradient(loss, variables)
        found = kept.setdefault(device, {})
        for operation in operations():
            if operation in forward:
                continue
            for x in operation.inputs:
                known = x.shape.is_fully_defined() and x.dtype != tf.resource
                if known and x.op in forward and _is_computed(x.op):
                    found[x.ref()] = _size(x.shape, x.dtype.name)

    strategy = model.distribute_strategy
    tf.function(
        lambda *batch: strategy.run(step, args=batch)
    ).get_concrete_function(
        tf.TensorSpec(images, "float32"), tf.TensorSpec(labels, "int32")
    )
    return max(sum(found.values()) for found in kept.values())


def _is_computed(operation):
    return operation.type not in ("ReadVariableOp", "Const", "Placeholder")


def _jax(model, images, labels):
    import jax

    def shape_of(variable):
        return jax.ShapeDtypeStruct(variable.shape, variable.dtype)

    def residuals(trainable, non_trainable, images, labels):
        def loss(trainable):
            mapping = list(zip(model.trainable_variables, trainable))
            mapping += zip(model.non_trainable_variables, non_trainable)
            with keras.StatelessScope(state_mapping=mapping):
                return _loss(model, images, labels)

        return jax.vjp(loss, trainable)[1]

    traced = jax.make_jaxpr(residuals)(
        [shape_of(v) for v in model.trainable_variables],
        [shape_of(v) for v in model.non_trainable_variables],
        jax.ShapeDtypeStruct(images, "float32"),
        jax.ShapeDtypeStruct(labels, "int32"),
    ).jaxpr
    # What has the shape of a weight is one: activations have a batch.
    weights = {(tuple(v.shape), v.dtype) for v in model.trainable_variables}
    kept = {id(v): v.aval for v in traced.outvars}
    return sum(
        _size(x.shape, x.dtype)
        for x in kept.values()
        if (x.shape, str(x.dtype)) not in weights
    )


@contextlib.contextmanager
def _without_drop_path(model):
    """Its mask is a value per image, made from a seed that must be a number."""
    dropouts = [
        (layer, layer.rate)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Dropout) and layer.noise_shape
    ]
    for layer, _ in dropouts:
        layer.rate = 0.0
    try:
        yield
    finally:
        for layer, rate in dropouts:
            layer.rate = rate


def _torch(model, images, labels):
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    kept = {}

    def keep(x):
        storage = x.untyped_storage()
        # With the storage, so that its address is not used anew.
        kept[storage._cdata] = storage
        return x

    with FakeTensorMode(), _without_drop_path(model):
        given = [
            torch.empty(
                tuple(v.shape),
                dtype=v.value.dtype,
                device=v.value.device,
                requires_grad=v.trainable,
            )
            for v in model.variables
        ]
        weights = {x.untyped_storage()._cdata for x in given}
        mapping = list(zip(model.variables, given))
        with (
            keras.StatelessScope(state_mapping=mapping),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
        ):
            _loss(
                model,
                torch.empty(images),
                torch.empty(labels, dtype=torch.int32),
            )
    return sum(x.nbytes() for key, x in kept.items() if key not in weights)
