"""The memory of a device that nothing holds, as each backend tells it."""

import contextlib
import pathlib

import keras


def free_memory():
    """Bytes of one device that nothing holds, or `None` where nothing tells.

    Of the first GPU or TPU; on CPUs of the machine, or of its container.
    """
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        device = jax.local_devices()[0]
        if device.platform != "cpu":
            told = device.memory_stats() or {}
            if "bytes_limit" not in told:
                return None
            return told["bytes_limit"] - told.get("bytes_in_use", 0)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            return torch.cuda.mem_get_info()[0] + kept
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            in_use = tf.config.experimental.get_memory_info("GPU:0")["current"]
            return _tensorflow_gpu_limit() - in_use
        if tf.config.list_physical_devices("TPU"):
            return None
    return _free_system_memory()


def _tensorflow_gpu_limit():
    """Bytes of the first GPU that TensorFlow may take.

    Nothing public tells; seen with TensorFlow 2.21.0.
    """
    from tensorflow.python.client import device_lib

    devices = device_lib.list_local_devices()
    return next(d.memory_limit for d in devices if d.device_type == "GPU")


def _free_system_memory():
    """Of Linux, or of its container's limit; `None` on other systems."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        free = dict(line.split(":") for line in lines)["MemAvailable"]
        free = 1024 * int(free.removesuffix("kB"))
    except (OSError, KeyError):
        return None
    group = pathlib.Path("/sys/fs/cgroup")
    # No such files outside of a container; "max" where there is no limit.
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit = int((group / "memory.max").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        told = {name: int(n) for name, n in map(str.split, lines)}
        used = int((group / "memory.current").read_text())
        free = min(free, limit - used + told["inactive_file"])
    return max(0, free)
