"""kill -9 at random moments of a training, which is started again each time.

    KERAS_BACKEND=jax python tests/benchmarks/interruptions.py [--kills 20]

A tiny SETR with dropout, drop path, momentum and decay is trained once without
interruption. Then the same training is killed at random moments, drawn among
start-up, training, saving and validation, and started again, until it ends.
After each kill every file must be readable; at the end all weights must equal
those of the uninterrupted training to 1e-6, and the rows of the log as well.
"""

import argparse
import collections
import csv
import multiprocessing
import os
import pathlib
import random
import sys
import tempfile
import time

# The model is tiny: compiling it takes far longer than running it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import h5py  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from keras_setr.training.resume import checkpoint_folder as checkpoints  # noqa: E402
from tests.training import tiny_run  # noqa: E402

PHASES = ("start-up", "training", "saving", "validation")


class Moments(keras.callbacks.Callback):
    """Tells the other process what this one is doing."""

    def __init__(self, phase, steps):
        super().__init__()
        self.phase = phase
        self.steps = steps

    def on_train_batch_begin(self, batch, logs=None):
        self.phase.value = PHASES.index("training")
        self.steps.value += 1

    def on_test_begin(self, logs=None):
        self.phase.value = PHASES.index("validation")


def run(directory, epochs, phase, steps):
    """The training, in a process of its own."""
    write = checkpoints.CheckpointFolder.write

    def write_and_tell(*args):
        before, phase.value = phase.value, PHASES.index("saving")
        path = write(*args)
        phase.value = before
        return path

    checkpoints.CheckpointFolder.write = write_and_tell
    sys.stdout = open(os.devnull, "w")
    tiny_run.train(directory, epochs, Moments(phase, steps))


def start(context, directory, epochs):
    phase, steps = context.Value("i", 0), context.Value("i", 0)
    process = context.Process(
        target=run, args=(directory, epochs, phase, steps)
    )
    process.start()
    return process, phase, steps


def kill(rng, start_up, process, phase, steps):
    """Kill a process at a random moment of a phase drawn before.

    Args:
        start_up: float. Seconds that the process takes to its first step.

    Returns:
        `(phase, seconds)`, the phase None if the process had ended.
    """
    wanted = rng.randrange(len(PHASES))
    after = rng.randint(1, 5) if wanted else 0
    started = time.monotonic()
    while process.is_alive():
        if phase.value == wanted and steps.value >= after:
            break
        time.sleep(0.0005)
    # Saving takes some 20 ms, a step 50.
    longest = {"start-up": start_up, "saving": 0.02}.get(PHASES[wanted], 0.1)
    time.sleep(rng.uniform(0, longest))
    if not process.is_alive():
        return None, 0
    hit = PHASES[phase.value]
    process.kill()
    process.join()
    return hit, time.monotonic() - started


def unreadable_files(directory):
    """Every file of a run that cannot be read to its end."""
    found = []
    for path in sorted(directory.rglob("*")):
        try:
            if path.name.startswith(".partial-"):
                continue
            if path.suffix == ".npz":
                checkpoints.read_checkpoint(path)
            elif path.suffix == ".h5":
                with h5py.File(path) as file:
                    file.visititems(lambda name, item: None)
            elif path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".csv":
                read_log(path)
        except Exception as error:
            found.append(f"{path}: {error!r}")
    return found


def read_log(path):
    with open(path, newline="") as file:
        return [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # Forked from a process that has imported everything and run nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.tiny_run"])
    rng = random.Random(args.seed)
    folder = tempfile.TemporaryDirectory()
    whole, cut = (pathlib.Path(folder.name, n) for n in ("whole", "cut"))
    process, _, steps = start(context, whole, args.epochs)
    started = time.monotonic()
    while process.is_alive() and not steps.value:
        time.sleep(0.01)
    start_up = time.monotonic() - started
    process.join()
    print(
        f"{keras.config.backend()}: {steps.value} steps without interruption",
        flush=True,
    )
    hits, broken = collections.Counter(), []
    while True:
        process, phase, steps = start(context, cut, args.epochs)
        hit = None
        if hits.total() < args.kills:
            hit, seconds = kill(rng, start_up, process, phase, steps)
        process.join()
        if hit is None:
            break
        hits[hit] += 1
        broken += unreadable_files(cut)
        saved = [p.stem for p in (cut / "checkpoints").glob("step_*.npz")]
        print(
            f"kill {hits.total()}: in {hit} after {seconds:.1f} s and "
            f"{steps.value} steps; checkpoints {', '.join(sorted(saved))}",
            flush=True,
        )
    print("kills:", ", ".join(f"{hits[phase]} in {phase}" for phase in PHASES))
    failures = list(broken)
    if hits.total() < args.kills:
        failures.append(f"the run ended after {hits.total()} kills")
    if process.exitcode:
        failures.append(f"the last start ended with {process.exitcode}")
    else:
        failures += compare(whole, cut)
    print("unreadable files:", len(broken))
    print("\n".join(failures) if failures else "verdict: exact")
    folder.cleanup()
    sys.exit(bool(failures))


def compare(whole, cut):
    """What differs between the two runs, having printed how much."""
    weights = [np.load(path / "weights.npz") for path in (whole, cut)]
    largest = max(
        float(np.abs(weights[0][name] - weights[1][name]).max())
        for name in weights[0].files
    )
    print(f"largest difference of a weight: {largest:.1e}")
    failures = [] if largest <= 1e-6 else ["weights differ by more than 1e-6"]
    rows = [read_log(path / "log.csv") for path in (whole, cut)]
    same = len(rows[0]) == len(rows[1]) and all(
        np.allclose(list(a.values()), list(b.values()), rtol=1e-5, atol=1e-6)
        for a, b in zip(*rows)
    )
    print(f"rows of the log: {len(rows[1])} of {len(rows[0])}, same: {same}")
    return failures if same else [*failures, "rows of the log differ"]


if __name__ == "__main__":
    main()
