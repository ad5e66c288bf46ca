"""`distribute()`: what the machine has, as one scope around a training."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_setr import workers as worker_job
from keras_setr.arguments import checked
from keras_setr.arguments import either
from keras_setr.arguments import flag
from keras_setr.arguments import integer
from keras_setr.arguments import optional
from keras_setr.arguments import sequence
from keras_setr.arguments import string
from keras_setr.tables import counted

# The transformer's kernels, cut over the `model` axis: by columns on the way
# into a wider layer, by rows on the way back, so that what lies between them
# stays where it is.
_MODEL_PARALLEL_LAYOUT = {
    r".*/attention/qkv/kernel": (None, "model"),
    r".*/attention/qkv/bias": ("model",),
    r".*/attention/projection/kernel": ("model", None),
    r".*/mlp/expansion/kernel": (None, "model"),
    r".*/mlp/expansion/bias": ("model",),
    r".*/mlp/projection/kernel": ("model", None),
}

_JAX_JOB = "KERAS_DISTRIBUTION_"


@checked(
    devices=optional(either(integer(1), sequence(string(), minimum_length=1))),
    model_parallel=optional(sequence(integer(1), length=2)),
    workers=optional(integer(1)),
    tpu=optional(string()),
    verbose=flag(),
)
def distribute(
    devices: int | Sequence[str] | None = None,
    *,
    model_parallel: tuple[int, int] | None = None,
    workers: int | None = None,
    tpu: str | None = None,
    verbose: bool | int | str = True,
) -> "Distribution":
    """Train on everything that the machine, or the job, has.

        with ks.distribute() as run:
            model = ks.SETRPUP.from_preset(...)
            model.fit(train.batches(16, shard=run.shard), ...)

    Model, optimizer and metrics are made inside, and `fit` is called inside.
    A batch is the global one: it divides among all devices of all workers,
    and where it does not, it is filled up with images whose labels do not
    count. What is picked, and why, is printed as one line.

    - TensorFlow: a TPU if there is one, or else `MirroredStrategy` over
      several GPUs (or logical CPUs), or else the one device. If `TF_CONFIG`
      names several workers, `MultiWorkerMirroredStrategy`; this must then
      come before anything that TensorFlow computes.
    - JAX: `keras.distribution.DataParallel` over several devices, or
      `ModelParallel`. If `KERAS_DISTRIBUTION_NUM_PROCESSES` and its like name
      several workers, they are joined; this must then come before anything
      that JAX computes.
    - torch: one device. Keras 3.16 begins to distribute on torch, which is
      not tried here yet, so several workers are an error.

    Args:
        devices: int or list of str. How many of the devices, or which, by
            their names in the framework (`"GPU:1"`, `"cuda:1"`). Defaults
            to all; several workers always use all of theirs.
        model_parallel: `(int, int)`, JAX only. Cut each batch in the first
            number of parts, and the transformer's kernels in the second;
            their product is the number of devices.
        workers: int. The number of workers that the job must have; another
            one is an error. On JAX, where the cluster itself tells who is in
            the job (a TPU pod, SLURM), more than one joins it.
        tpu: str, TensorFlow only. The TPU to use, `"local"` on a TPU VM.
            Defaults to the local one, if TensorFlow finds it.
        verbose: bool. Print the line once, on the first worker.

    Returns:
        A `Distribution`.

    Raises:
        ValueError: an argument does not fit the backend, the devices or the
            job.
        RuntimeError: the job has several workers, and something was computed
            before it was joined.
    """
    backend = keras.config.backend()
    if model_parallel is not None and backend != "jax":
        raise ValueError(
            "model_parallel needs JAX, whose keras.distribution cuts kernels. "
            f"Received: model_parallel={model_parallel} on {backend}; set "
            "KERAS_BACKEND=jax, or leave it out."
        )
    if tpu is not None and backend != "tensorflow":
        raise ValueError(
            f"tpu names a TPU for TensorFlow. Received: tpu={tpu!r} on "
            f"{backend}; JAX finds its TPU itself, so leave it out."
        )
    if backend == "tensorflow":
        run = _tensorflow(devices, workers, tpu)
    elif backend == "jax":
        run = _jax(devices, workers, model_parallel)
    else:
        run = _torch(devices, workers)
    return dataclasses.replace(run, verbose=verbose)


@dataclasses.dataclass
class Distribution:
    """What `distribute()` picked; a context in which it holds.

    On leaving it, what was set before is set again.

    Attributes:
        picked: str. The framework and its strategy.
        reason: str. What was found that led to it.
        num_devices: int. Among which a global batch divides.
        num_workers: int. Processes in the job.
        worker: int. This one, from 0.
        strategy: `tf.distribute.Strategy`, `keras.distribution.Distribution`
            or None where there is nothing to distribute.
    """

    picked: str
    reason: str
    num_devices: int = 1
    num_workers: int = 1
    worker: int = 0
    strategy: Any = None
    verbose: bool = True

    def __post_init__(self):
        self._scopes = []

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the one that writes files."""
        return self.worker == 0

    @property
    def shard(self) -> tuple[int, int]:
        """`(worker, num_workers)`, for `batches(shard=...)`."""
        return self.worker, self.num_workers

    def describe(self) -> str:
        """One line: what was picked, why, and what it does to batches."""
        batches = "one device"
        if self.num_devices > 1:
            batches = f"batches divide by {self.num_devices}"
        return f"{self.picked}, {self.reason}: {batches}"

    def __enter__(self) -> "Distribution":
        scope = contextlib.ExitStack()
        if self.strategy is not None:
            scope.enter_context(self.strategy.scope())
        self._scopes.append(scope)
        if self.verbose and self.is_chief:
            print(self.describe())
        self.verbose = False  # once, however often it is entered
        return self

    def __exit__(self, *error):
        return self._scopes.pop().__exit__(*error)


def _chosen(found, devices):
    """The devices asked for among those found, all by default."""
    if devices is None:
        return found
    if isinstance(devices, int):
        if devices > len(found):
            raise ValueError(
                f"devices must lie between 1 and the {len(found)} that were "
                f"found ({', '.join(found)}). Received: {devices}."
            )
        return found[:devices]
    by_name = {name.lower(): name for name in found}
    unknown = [name for name in devices if name.lower() not in by_name]
    if unknown:
        raise ValueError(
            f"devices must name some of {found}. Received: {list(devices)}."
        )
    return [by_name[name.lower()] for name in devices]


def _counted(devices):
    kind = devices[0].split(":")[0].upper()
    return counted(len(devices), kind)


def _check_job(devices, workers, num_workers, source):
    if workers not in (None, num_workers):
        raise ValueError(
            f"workers={workers}, but {source} names {num_workers}. Start as "
            "many workers as it names, or change it."
        )
    if num_workers > 1 and devices is not None:
        raise ValueError(
            "Workers of a job use all of their devices. Received: devices="
            f"{devices!r} with {num_workers} workers; hide devices from a "
            "worker by its environment (CUDA_VISIBLE_DEVICES)."
        )


# === TensorFlow ===


def _tensorflow(devices, workers, tpu):
    import tensorflow as tf

    worker, num_workers = worker_job.job()
    _check_job(devices, workers, num_workers, "TF_CONFIG")
    if num_workers > 1:
        # Before anything looks at the devices, which would start TensorFlow
        # without the other workers.
        return _tensorflow_workers(worker, num_workers)
    if tpu is not None or tf.config.list_physical_devices("TPU"):
        return _tensorflow_tpu(tpu or "local", devices)
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    found = [
        device.name.removeprefix("/device:")
        for device in tf.config.list_logical_devices(kind)
    ]
    chosen = _chosen(found, devices)
    reason = f"{_counted(found)} found"
    if devices is not None:
        reason = f"{', '.join(chosen)} chosen of {_counted(found)}"
    if len(chosen) > 1:
        return Distribution(
            "TensorFlow MirroredStrategy",
            reason,
            num_devices=len(chosen),
            strategy=_mirrored(tuple(chosen)),
        )
    if len(found) == 1:
        return Distribution(f"TensorFlow on {chosen[0]}", reason)
    return Distribution(
        "TensorFlow OneDeviceStrategy",
        reason,
        strategy=tf.distribute.OneDeviceStrategy(chosen[0]),
    )


@functools.cache
def _mirrored(devices):
    """One for a process: the collectives of two get mixed up."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(list(devices))


def _tensorflow_workers(worker, num_workers):
    from keras_setr.training.devices.worker_strategy import worker_strategy

    try:
        strategy = worker_strategy()
    except RuntimeError as error:
        raise RuntimeError(
            f"TF_CONFIG names {num_workers} workers, and TensorFlow joins "
            "them only before it computes anything: call distribute() first "
            f"in the program. TensorFlow says: {error}"
        ) from error
    local = strategy.extended.worker_devices
    kind = local[0].split(":")[-2].split("/")[-1]
    return Distribution(
        "TensorFlow MultiWorkerMirroredStrategy",
        f"TF_CONFIG names {num_workers} workers, each with "
        f"{_counted([f'{kind}:{i}' for i in range(len(local))])}",
        num_devices=strategy.num_replicas_in_sync,
        num_workers=num_workers,
        worker=worker,
        strategy=strategy,
    )


def _tensorflow_tpu(tpu, devices):
    import tensorflow as tf

    if devices is not None:
        raise ValueError(
            "TPUStrategy uses all cores of the TPU. Received: "
            f"devices={devices!r}; leave it out."
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"TensorFlow found no TPU as tpu={tpu!r}. It needs the package "
            "tensorflow-tpu and a libtpu that fits; on Kaggle, which has "
            "neither, set KERAS_BACKEND=jax. TensorFlow says: "
            f"{error}"
        ) from error
    strategy = tf.distribute.TPUStrategy(resolver)
    replicas = strategy.num_replicas_in_sync
    return Distribution(
        "TensorFlow TPUStrategy",
        f"{replicas} TPU cores found as tpu={tpu!r}",
        num_devices=replicas,
        strategy=strategy,
    )


# === JAX ===


def _join(devices, workers):
    """`(worker, num_workers)` after joining the job, if there is one."""
    if worker_job.job()[1] == 1 and _named_workers(workers) > 1:
        try:
            keras.distribution.initialize()
        except RuntimeError as error:
            raise RuntimeError(
                "The job has several workers, and they are joined only before "
                "anything is computed: call distribute() first in the "
                f"program. JAX says: {error}"
            ) from error
    worker, num_workers = worker_job.job()
    _check_job(devices, workers, num_workers, f"the job ({_JAX_JOB}*)")
    return worker, num_workers


def _named_workers(workers):
    """The number of workers that the environment names, or the caller."""
    addresses = os.environ.get(f"{_JAX_JOB}JOB_ADDRESSES", "")
    named = os.environ.get(f"{_JAX_JOB}NUM_PROCESSES")
    return int(named or workers or len(addresses.split(",")))


def _jax(devices, workers, model_parallel):
    worker, num_workers = _join(devices, workers)
    found = keras.distribution.list_devices()
    chosen = _chosen(found, devices)
    reason = f"{_counted(found)} found"
    if devices is not None:
        reason = f"{', '.join(chosen)} chosen of {_counted(found)}"
    if num_workers > 1:
        reason = f"{num_workers} workers with {_counted(found)} in all"
    if model_parallel is not None:
        strategy = _model_parallel(chosen, num_workers, model_parallel)
        picked = f"JAX ModelParallel {model_parallel}"
        num_devices = model_parallel[0]
    elif len(found) == 1:
        return Distribution(f"JAX on {chosen[0]}", reason)
    else:
        # The batches of a worker are its part already.
        strategy = keras.distribution.DataParallel(
            devices=chosen, auto_shard_dataset=False
        )
        picked = "JAX DataParallel"
        num_devices = len(chosen)
    return Distribution(
        picked,
        reason,
        num_devices=num_devices,
        num_workers=num_workers,
        worker=worker,
        strategy=strategy,
    )


def _model_parallel(devices, num_workers, shape):
    batch, model = shape
    if batch * model != len(devices) or batch % num_workers:
        raise ValueError(
            "model_parallel=(batch, model) must have as many cells as there "
            f"are devices, {len(devices)}, and batch must be a multiple of "
            f"the {num_workers} workers, each of which holds whole models. "
            f"Received: {shape}."
        )
    mesh = keras.distribution.DeviceMesh(
        (batch, model), ("batch", "model"), devices
    )
    layout = keras.distribution.LayoutMap(mesh)
    for path, axes in _MODEL_PARALLEL_LAYOUT.items():
        layout[path] = axes
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
    )


# === torch ===


def _torch(devices, workers):
    import torch

    if _named_workers(workers) > 1:
        raise ValueError(_no_torch(f"{_named_workers(workers)} workers"))
    count = torch.cuda.device_count()
    found = [f"cuda:{index}" for index in range(count)] or ["cpu"]
    chosen = _chosen(found, devices)
    if devices is not None and len(chosen) > 1:
        raise ValueError(_no_torch(f"devices={devices!r}"))
    if chosen[0] != found[0]:
        raise ValueError(
            f"Keras on torch computes on {found[0]}. Received: devices="
            f"{devices!r}; hide the others by CUDA_VISIBLE_DEVICES."
        )
    reason = f"{_counted(found)} found"
    if len(found) > 1:
        reason += f" ({_no_torch('one process')})"
    return Distribution(f"torch on {found[0]}", reason)


def _no_torch(received):
    return (
        "keras_setr distributes nothing on torch, as Keras up to 3.15 does "
        f"not. Received: {received}; for several devices set "
        "KERAS_BACKEND=jax or tensorflow, whose models read the same files"
    )
