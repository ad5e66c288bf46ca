"""What sliding windows cost beside the forward passes of their windows.

    python tests/benchmarks/sliding.py overhead
    python tests/benchmarks/sliding.py memory

overhead: seconds of `segment` on one 1024 x 2048 image, over those of the
    compiled forward pass alone on as many batches, alternating in one process;
    and over those of the passes inside `segment`, which noise hits alike.
memory: the peak above the loaded model while its first image is segmented;
    8192 x 8192, 150 classes, windows of 512 and a tiny encoder.

Each backend runs in a process of its own. Linux only.
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


def build(args):
    import keras_setr as ks

    backbone = ks.SETRBackbone(
        num_layers=args.layers,
        hidden_dim=args.dim,
        num_heads=args.heads,
        image_shape=(args.window, args.window, 3),
    )
    return ks.SETRPUP(
        backbone, args.classes, filters=args.filters, auxiliary_layers=()
    )


def image_of(args):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*args.size, 3), dtype="uint8")


def overhead(args):
    from keras_setr import inference
    from keras_setr.models.verbs.forward import to_numpy

    model = build(args)
    image = image_of(args)
    options = {"batch_size": args.batch_size}
    model.segment(image, **options)
    window = (args.window,) * 2
    predictor = model._predictor
    batch = predictor.resolve_batch_size(args.batch_size, window)
    (view,) = inference.Views(window).of(args.size)
    windows = len(view.tops()) * len(view.lefts())
    x = np.zeros((batch, *window, 3), "float32")
    ratios, passes, within = [], [], []
    on_device = predictor._forward

    def forward(batch):
        return to_numpy(on_device(batch))

    def timed(batch):
        start = time.perf_counter()
        logits = to_numpy(on_device(batch))
        within[-1] += time.perf_counter() - start
        return logits

    predictor._forward = timed
    for _ in range(args.rounds):
        start = time.perf_counter()
        for _ in range(-(-windows // batch)):
            forward(x)
        middle = time.perf_counter()
        within.append(0)
        model.segment(image, **options)
        seconds = time.perf_counter() - middle
        passes.append(middle - start)
        ratios.append(seconds / passes[-1])
        within[-1] = seconds / within[-1]
    return {
        "windows": windows,
        "batch": batch,
        "forward seconds": statistics.median(passes),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "to its own passes": statistics.median(within),
    }


def memory(args):
    model = build(args)
    gc.collect()
    before = resident()
    image = image_of(args)
    start = time.perf_counter()
    with Peak() as peak:
        labels = model.segment(image, batch_size=args.batch_size)
    assert labels.shape == image.shape[:2]
    above = peak.value - before
    return {
        "model MB": before / 1e6,
        "peak above it MB": above / 1e6,
        "without the image MB": (above - image.nbytes) / 1e6,
        "seconds": time.perf_counter() - start,
    }


# The model and image of each measurement.
MEASUREMENTS = {
    "overhead": (
        overhead,
        {"size": [1024, 2048], "window": 768, "classes": 19, "filters": 64}
        | {"layers": 4, "dim": 192, "heads": 3},
    ),
    "memory": (
        memory,
        {"size": [8192, 8192], "window": 512, "classes": 150, "filters": 8}
        | {"layers": 1, "dim": 16, "heads": 1},
    ),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=MEASUREMENTS)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int)
    for name in ("window", "classes", "filters", "layers", "dim", "heads"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--measure", action="store_true", help="internal")
    args = parser.parse_args()
    measure, defaults = MEASUREMENTS[args.what]
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.measure:
        return print(json.dumps(measure(args)))
    for backend in args.backends:
        figures = last_json([sys.executable, *sys.argv, "--measure"], backend)
        shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
        print(f"{backend:12}{shown}", flush=True)


if __name__ == "__main__":
    main()
