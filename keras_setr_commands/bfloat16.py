"""Whether this machine multiplies bfloat16 faster than float32.

GPUs do since NVIDIA's compute capability 8, TPUs all. Of processors those with
AVX-512 BF16 do, where the backend makes use of it: TensorFlow was measured to.
"""

import pathlib

_CAPABILITY = (8, 0)


def multiplies_bfloat16():
    """Of the devices that the backend trains on."""
    import keras

    of_backend = {
        "tensorflow": _by_tensorflow,
        "jax": _by_jax,
        "torch": _by_torch,
    }
    return of_backend[keras.config.backend()]()


def _by_tensorflow():
    import tensorflow as tf

    if tf.config.list_physical_devices("TPU"):
        return True
    if gpus := tf.config.list_physical_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        return all(
            gpu.get("compute_capability", (0, 0)) >= _CAPABILITY
            for gpu in details
        )
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags


def _by_jax():
    import jax

    return all(
        device.platform == "tpu"
        or float(getattr(device, "compute_capability", 0)) >= _CAPABILITY[0]
        for device in jax.local_devices()
    )


def _by_torch():
    import torch

    return torch.cuda.is_available() and all(
        torch.cuda.get_device_capability(index) >= _CAPABILITY
        for index in range(torch.cuda.device_count())
    )
