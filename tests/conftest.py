"""Virtual CPUs for the distributed tests, and memory that is given back."""

import gc
import os

import pytest

# Tests of these take as long as whole files of others.
LONGEST = (
    "test_notebooks",
    "test_distribute_workers",
    "test_exchange",
    "test_without_tensorflow",
)


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "no_backend: computes nothing on a backend; `python -m tests` runs it "
        "once, on Keras' NumPy backend.",
    )


def pytest_sessionstart(session):
    # A process that only hands out the tests needs no backend, and a start of
    # one takes seconds.
    if session.config.getoption("dist", "no") == "no":
        start_backend()


def start_backend():
    """2 virtual CPUs of TensorFlow, 4 of JAX, one thread of torch."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND") == "jax":
        os.environ["XLA_FLAGS"] = (
            os.environ.get("XLA_FLAGS", "")
            + " --xla_force_host_platform_device_count=4"
        )
        # The models are tiny: compiling them takes far longer than running.
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    import keras

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


def pytest_collection_modifyitems(items):
    # First, so that in the end no worker waits for one of them.
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="module", autouse=True)
def freed_memory():
    """What a module has compiled, and its models, are dropped behind it."""
    yield
    import keras

    # On torch there is nothing else, and importing what would be cleared
    # takes seconds.
    if keras.config.backend() != "torch":
        keras.utils.clear_session(free_memory=False)
    if keras.config.backend() == "jax":
        import jax

        jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def fresh_state():
    """The same random weights and no policy left over from another test."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
