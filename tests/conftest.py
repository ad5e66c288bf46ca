"""Virtual CPUs for the distributed tests, and memory that is given back."""

import ctypes
import functools
import gc
import os
import re

import pytest

from tests.benchmarks.resident import resident

# Bytes that a process may take before it gives back.
ENOUGH = 2**31
# A module adds up to 0.75 GB to it.
ENOUGH_OF_JAX = 9 * 2**28
# Tests of these take as long as whole files of others.
LONGEST = (
    "test_notebooks",
    "test_distribute_workers",
    "test_examples",
    "test_recipe_runs",
    "test_without_tensorflow",
)
# What a file says of which all tests need no backend.
WHOLE = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.no_backend\b", re.M)


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "no_backend: computes nothing on a backend; `python -m tests` runs it "
        "once, on Keras' NumPy backend.",
    )
    config.addinivalue_line(
        "markers",
        "backends(*names): runs on these alone, where it is about them or "
        "where what it proves is the same on all.",
    )


def pytest_sessionstart(session):
    # By default a sixth of the time is spent in search of garbage.
    gc.set_threshold(200_000, 20, 20)
    # A process that only hands out the tests needs no backend, and a start of
    # one takes seconds.
    if session.config.getoption("dist", "no") == "no":
        start_backend()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """The first worker that ends leaves a core to `python -m tests`."""
    held = os.environ.pop("HELD_BY_WORKERS", None)
    if held:
        os.close(int(held))


def start_backend():
    """2 virtual CPUs of TensorFlow, 4 of JAX; one thread, also of torch."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND") == "jax":
        # The models are tiny: compiling them takes far longer than running.
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        # XLA carries along where in the code each operation came from.
        os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
        os.environ["XLA_FLAGS"] = " ".join(
            [
                os.environ.get("XLA_FLAGS", ""),
                "--xla_force_host_platform_device_count=4",
                "--xla_cpu_use_fusion_emitters=false",
                "--xla_cpu_parallel_codegen_split_count=1",
            ]
        )
    import keras
    from keras.src.saving import saving_lib

    # Keras' own memo of it is kept under another name than it is looked for
    # by, and a layer is built for each that is saved.
    saving_lib.get_attr_skipset = functools.cache(saving_lib.get_attr_skipset)
    # On tensors this small further threads only wait for each other.
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * 2,
        )
    elif keras.config.backend() == "torch":
        import torch

        torch.set_num_threads(1)


def pytest_ignore_collect(collection_path, config):
    """Files of which `python -m tests` runs nothing here are not imported.

    Some build models and import torch, in each worker of each backend.
    """
    if not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text()
    marked = config.getoption("markexpr")
    if marked == "no_backend":
        return "no_backend" not in text or None
    if marked == "not no_backend":
        return WHOLE.search(text) is not None or None
    return None


def pytest_collection_modifyitems(config, items):
    import keras

    backend = keras.config.backend()
    kept, dropped = [], []
    for item in items:
        mark = item.get_closest_marker("backends")
        elsewhere = mark is not None and backend not in mark.args
        if elsewhere and not item.get_closest_marker("no_backend"):
            dropped.append(item)
        else:
            kept.append(item)
    config.hook.pytest_deselected(items=dropped)
    # First, so that in the end no worker waits for one of them.
    items[:] = sorted(kept, key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish(session):
    collect_and_keep()


def collect_and_keep():
    """Free what nothing refers to; what is left is not looked at again.

    That is some 800,000 objects, a quarter of a second each time.
    """
    gc.collect()
    gc.freeze()


def held():
    """Bytes that this process holds; 0 where the system does not tell."""
    try:
        return resident()
    except OSError:  # not Linux
        return 0


@pytest.fixture(scope="module", autouse=True)
def freed_memory():
    """What a module has compiled, and its models, are dropped behind it.

    Of JAX once the process has grown by it: as long as there is memory it is
    worth it, for the next module runs many of the same operations.
    """
    yield
    import keras

    backend = keras.config.backend()
    # On torch there is nothing else, and importing what would be cleared
    # takes seconds.
    if backend != "torch":
        keras.utils.clear_session(free_memory=False)
    grown = backend == "jax" and held() > ENOUGH_OF_JAX
    if grown:
        import jax

        jax.clear_caches()
        gc.unfreeze()
    collect_and_keep()
    if grown:
        trim()


def trim():
    """Free memory goes back to the system, where the C library is glibc."""
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def uncompiled():
    """TensorFlow's functions are run as they stand: tracing takes longer.

    For tests of what they compute. Those of data sets are traced all the same.
    """
    import keras

    if keras.config.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True)
def fresh_state():
    """The same random weights and no policy left over from another test."""
    import keras

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    # Without a backend whole T-Large models are built, by one test each.
    if keras.config.backend() == "numpy" and held() > ENOUGH:
        gc.collect()
