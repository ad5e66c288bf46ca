"""Which worker of a job this process is, and its rows of a batch.

A job of several workers runs the same program in each of them. What is read
here is what TensorFlow and JAX read themselves; nothing is kept.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def job() -> tuple[int, int]:
    """`(worker, num_workers)`: this process's number, from 0, and how many.

    On TensorFlow the environment variable `TF_CONFIG` tells; elsewhere the
    job that the process has joined (`keras.distribution.initialize`).
    """
    if "keras" not in sys.modules:
        # As of an exported model, which computes on one.
        return 0, 1
    import keras

    backend = keras.config.backend()
    if backend == "tensorflow":
        return _tensorflow_job(os.environ.get("TF_CONFIG"))
    if backend == "jax":
        import jax

        # Asking for the process before that would start JAX without the job.
        if jax.distributed.is_initialized():
            return jax.process_index(), jax.process_count()
    if backend == "torch":
        import torch.distributed

        if torch.distributed.is_available():
            if torch.distributed.is_initialized():
                rank = torch.distributed.get_rank()
                return rank, torch.distributed.get_world_size()
    return 0, 1


def _tensorflow_job(text):
    if not text:
        return 0, 1
    config = json.loads(text)
    cluster, task = config.get("cluster", {}), config.get("task", {})
    # In a cluster with a chief, TensorFlow counts it before the workers.
    numbers = [
        (kind, index)
        for kind in ("chief", "worker")
        for index in range(len(cluster.get(kind, ())))
    ]
    place = (task.get("type"), int(task.get("index", 0)))
    if len(numbers) < 2 or place not in numbers:
        return 0, 1
    return numbers.index(place), len(numbers)


def is_chief() -> bool:
    """Whether this process is the one of its job that writes files."""
    return job()[0] == 0


def say(text: object) -> None:
    """Print a line, once among all workers."""
    if is_chief():
        print(text, flush=True)


def rows_of(
    size: Any,
    worker: int,
    num_workers: int,
    divisor: int = 1,
    arange: Callable[..., Any] = np.arange,
) -> Any:
    """The rows of a batch that one worker computes, and which are repeats.

    The batch is cut into one run of rows per worker, in order. All workers
    get the same number of rows, a multiple of `divisor`; where the batch does
    not give that, rows of it come again. Of 5 rows, 2 workers with a divisor
    of 2 get 0, 1, 2, 0 and 3, 4, 0, 3, the last one and two being repeats.

    Args:
        size: int, or an integer tensor. Rows of the batch, at least 1.
        worker: int. From 0.
        num_workers: int.
        divisor: int. Devices of the worker.
        arange: callable, `numpy.arange` or that of the framework of `size`.

    Returns:
        `(rows, repeated)`: integers in 0..size-1 and booleans.
    """
    share = -(-size // num_workers)
    place = arange(-(-share // divisor) * divisor)
    rows = worker * share + place % share
    return rows % size, (place >= share) | (rows >= size)


def computes_row(row: Any, size: int, worker: int, num_workers: int) -> bool:
    """Whether a worker computes `row` of a batch of `size`, elementwise."""
    share = -(-size // num_workers)
    return (row - worker * share) % size < share
