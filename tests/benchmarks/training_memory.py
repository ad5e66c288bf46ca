"""A training step's memory and time with and without rematerialisation.

    python tests/benchmarks/training_memory.py

memory: the most that a process holds during steps of `train_on_batch`, above
    what it holds after a step of the same model on one patch, so that what
    libraries and compilation take does not count; in a process for each
    setting. Beside it what `keras_setr.training` estimates before the first
    step.
time: seconds of a step, the two settings alternating in one process.

Prints a table in Markdown. Linux only.
"""

import argparse
import gc
import json
import statistics
import sys
import time

import numpy as np
from processes import BACKENDS
from processes import last_json
from resident import Peak
from resident import resident


def build(args, rematerialize):
    import keras

    import keras_setr as ks

    keras.config.set_dtype_policy(args.policy)
    if args.model in ("fcn", "semantic_fpn"):
        return baseline(ks, args)
    backbone = ks.SETRBackbone(
        num_layers=args.layers,
        hidden_dim=args.dim,
        num_heads=args.heads,
        image_shape=(args.crop, args.crop, 3),
        rematerialize=rematerialize,
    )
    build = {"naive": ks.SETRNaive, "pup": ks.SETRPUP, "mla": ks.SETRMLA}
    model = build[args.model](backbone, args.classes)
    model.compile(args.optimizer, metrics=None)
    return model


def baseline(ks, args):
    """On ResNet-50; nothing of it is rematerialised."""
    size = (args.crop, args.crop, 3)
    cls = ks.models.MODELS[args.model]
    stride = 8 if args.model == "fcn" else 32
    backbone = ks.ResNetBackbone(output_stride=stride, image_shape=size)
    model = cls(backbone, args.classes)
    model.compile(args.optimizer, metrics=None)
    return model


def batch_of(args):
    rng = np.random.default_rng(0)
    size = (args.batch_size, args.crop, args.crop)
    images = rng.integers(0, 256, (*size, 3)).astype("float32")
    return images, rng.integers(0, args.classes, size)


def memory(args):
    from keras_setr import training

    crop, args.crop = args.crop, 16
    model = build(args, args.rematerialize)
    model.train_on_batch(*batch_of(args))
    del model
    args.crop = crop
    gc.collect()
    before = resident()
    model = build(args, args.rematerialize)
    estimate = training.estimate_memory(model, args.batch_size)
    batch = batch_of(args)
    # The first step compiles, which may take more than the step itself.
    model.train_on_batch(*batch)
    with Peak() as peak:
        for _ in range(args.rounds):
            model.train_on_batch(*batch)
    return {"measured": peak.value - before, "estimated": estimate.total}


def seconds(args):
    models = [build(args, rematerialize) for rematerialize in (False, True)]
    batch = batch_of(args)
    for model in models:
        model.train_on_batch(*batch)
    steps = ([], [])
    for _ in range(args.rounds):
        for model, times in zip(models, steps):
            start = time.perf_counter()
            model.train_on_batch(*batch)
            times.append(time.perf_counter() - start)
    return {
        "plain": statistics.median(steps[0]),
        "again": statistics.median(steps[1]),
        "ratio": statistics.median(b / a for a, b in zip(*steps)),
    }


def measure(backend, *arguments):
    return last_json(
        [sys.executable, *sys.argv, "--measure", *arguments],
        backend,
        # Freed blocks go back to the system, so that the memory held is that
        # in use.
        MALLOC_MMAP_THRESHOLD_="65536",
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--model",
        choices=("naive", "pup", "mla", "fcn", "semantic_fpn"),
        default="naive",
    )
    parser.add_argument("--optimizer", default="auto")
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--crop", type=int, default=384)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--without-time", action="store_true")
    parser.add_argument(
        "--measure", choices=("memory", "seconds"), help="internal"
    )
    parser.add_argument("--rematerialize", action="store_true", help="internal")
    args = parser.parse_args()
    if args.measure:
        run = memory if args.measure == "memory" else seconds
        return print(json.dumps(run(args)))
    print("| backend | rematerialised | memory | estimated | step |")
    print("|---|---|---|---|---|")
    for backend in args.backends:
        rows = [
            measure(backend, "memory"),
            measure(backend, "memory", "--rematerialize"),
        ]
        steps = ["", ""]
        if not args.without_time:
            times = measure(backend, "seconds")
            steps = [
                f"{times['plain']:.2f} s",
                f"{times['again']:.2f} s (x {times['ratio']:.2f})",
            ]
        for setting, row, step in zip(("no", "yes"), rows, steps):
            print(
                f"| {backend} | {setting} | {row['measured'] / 1e6:.0f} MB "
                f"| {row['estimated'] / 1e6:.0f} MB | {step} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
