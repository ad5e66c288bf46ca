"""Virtual CPUs for the distributed tests: 2 of TensorFlow, 4 of JAX."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if os.environ.get("KERAS_BACKEND") == "jax":
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + " --xla_force_host_platform_device_count=4"
    )
    # The models are tiny: compiling them takes far longer than running them.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import keras  # noqa: E402
import pytest  # noqa: E402

if keras.config.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
elif keras.config.backend() == "torch":
    import torch

    # On tensors this small further threads only wait for each other.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_state():
    """The same random weights and no policy left over from another test."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
