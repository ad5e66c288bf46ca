"""One worker of a job that trains a tiny SETR, and the job itself.

    python -m tests.training.worker DIR [--epochs N] [--die-before STEP]

The environment names the job, as on a cluster. Each worker prints a line of
JSON: what it was, its losses and its scores. The first one writes checkpoints,
a log and a preset into DIR; started again, the job goes on from them.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import keras
import numpy as np

import keras_setr as ks
from keras_setr.data.batches.source import SegmentationSource
from tests import tiny

SIZE = (16, 24)


class Pairs(SegmentationSource):
    """Ten pairs, of which pair `i` has its first `i` rows unlabelled."""

    classes = ks.Classes.numbered(tiny.CLASSES)

    def __init__(self):
        self.images = tiny.images(10, SIZE)
        self.labels = (
            np.random.default_rng(1)
            .integers(0, tiny.CLASSES, (10, *SIZE))
            .astype("uint8")
        )
        for index, label in enumerate(self.labels):
            label[:index] = 255
        self.read = set()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.add(index)
        return self.images[index], self.labels[index]

    def file_name(self, index):
        return f"pair_{index}.png"

    def _image_sizes(self):
        return [SIZE]


class Death(keras.callbacks.Callback):
    """Kills the process before a step, counted from the first one."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_begin(self, batch, logs=None):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def train(run, out, epochs=2, callbacks=()):
    """Fit and evaluate inside `run`; what this worker saw of it."""
    with run:
        model = tiny.smallest()
        tiny.set_weights_by_path(model)
        model.compile(learning_rate=0.05, ema=0.9)
        train, val = Pairs(), Pairs()
        options = {"augment": False, "check": False, "shard": run.shard}
        options["model"] = model
        history = model.fit(
            train.batches(4, shuffle=True, **options),
            # The last of three batches is short: 4, 4 and 2 images.
            validation_data=val.batches(4, shuffle=False, **options),
            epochs=epochs,
            verbose=0,
            callbacks=[
                *callbacks,
                ks.training.Checkpoints(out, every=1),
                ks.training.CSVLog(out / "log.csv"),
            ],
        ).history
        # Arrays, of which every worker has all; of the type that batches have,
        # for which the step is compiled already.
        evaluated = model.evaluate(
            val.images,
            val.labels.astype("int32"),
            batch_size=4,
            verbose=0,
            return_dict=True,
        )
        labels = model.segment(val.images[0])
        if run.is_chief:
            model.save_to_preset(str(out / "preset"))
        weights = [keras.ops.convert_to_numpy(v) for v in model.weights]
    return {
        "worker": run.worker,
        "read": sorted(train.read),
        "history": history,
        "evaluated": evaluated,
        "labels": int(labels.sum()),
        "weights": float(sum(np.abs(array).sum() for array in weights)),
    }


def start_job(out, *arguments, options=((), ())):
    """Two workers on this machine, as processes.

    Args:
        out: path of the folder for their files.
        *arguments: for both of them.
        options: further arguments of each.
    """
    addresses = [f"localhost:{port}" for port in _free_ports(2)]
    backend = keras.config.backend()
    processes = []
    for worker, own in enumerate(options):
        environment = {**os.environ, "KERAS_BACKEND": backend}
        # Without the virtual devices of the test process.
        environment["XLA_FLAGS"] = re.sub(
            r"--xla_force_host_platform_device_count=\d+",
            "",
            environment.get("XLA_FLAGS", ""),
        )
        if backend == "tensorflow":
            task = {"type": "worker", "index": worker}
            cluster = {"worker": addresses}
            environment["TF_CONFIG"] = json.dumps(
                {"cluster": cluster, "task": task}
            )
        else:
            environment.update(
                KERAS_DISTRIBUTION_JOB_ADDRESSES=",".join(addresses),
                KERAS_DISTRIBUTION_NUM_PROCESSES="2",
                KERAS_DISTRIBUTION_PROCESS_ID=str(worker),
            )
        command = [sys.executable, "-m", __spec__.name, str(out)]
        processes.append(
            subprocess.Popen(
                [*command, *arguments, *own],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def reports(processes, timeout=300):
    """What each worker printed last, after all have ended well."""
    results = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=timeout)
            assert process.returncode == 0, errors[-3000:]
            results.append(json.loads(output.strip().splitlines()[-1]))
    finally:
        end(processes)
    return results


def end(processes):
    """Kill what is left of a job."""
    for process in processes:
        process.kill()
        process.communicate()


def _free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--die-before", type=int)
    args = parser.parse_args()
    run = ks.distribute()
    callbacks = [] if args.die_before is None else [Death(args.die_before)]
    print(json.dumps(train(run, args.out, args.epochs, callbacks)))


if __name__ == "__main__":
    main()
