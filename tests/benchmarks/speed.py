"""Seconds of forward passes and training steps, beside mmsegmentation's.

    python tests/benchmarks/speed.py [--peer PYTHON REFERENCE] [options]
    python tests/benchmarks/speed.py --train [--peer PYTHON REFERENCE]

forward: T-Large at 512 x 512, 150 classes, batch 1, random weights, float32.
--train: a step with all auxiliary heads, T-Small, batch 2; PUP's auxiliary
    heads and MLA's widths are mmsegmentation's.

Each backend runs in a process of its own, in alternation with mmsegmentation
if `--peer` names the Python of an environment that has it and the script
`reference.py` that times it; the ratio is that of neighbours in time, and the
median over the rounds is printed. The limit is what the multiply-adds take at
the rate of a product of two 4096 x 4096 matrices, which the peer measures;
a training step's are three times those of a forward pass, heads that only
training has not counted. `--append FILE` adds the dated rows to a CSV file.
"""

import argparse
import csv
import datetime
import json
import pathlib
import statistics
import sys
import time

import numpy as np
from processes import BACKENDS
from processes import last_json
from resident import Peak
from resident import resident

# Arguments of the decoders as mmsegmentation trains them.
_PEER = {
    "naive": {"upsampling": (4,), "auxiliary_upsampling": (4, 4)},
    "pup": {
        "upsampling": (2, 2, 2, 2),
        "auxiliary_upsampling": (4, 4),
        "auxiliary_kernel_size": 3,
    },
    "mla": {
        "neck_filters": 256,
        "head_filters": (128, 128),
        "auxiliary": "neck",
    },
}


def build(args):
    import keras_setr as ks

    model_class = {
        "naive": ks.SETRNaive,
        "pup": ks.SETRPUP,
        "mla": ks.SETRMLA,
    }[args.head]
    backbone = ks.SETRBackbone(
        num_layers=args.layers,
        hidden_dim=args.dim,
        num_heads=args.heads,
        patch_size=args.patch_size,
        image_shape=(args.size, args.size, 3),
    )
    options = _PEER[args.head] if args.patch_size == 16 else {}
    if args.head != "mla":
        # Those of the peer, by the same share of the layers.
        taps = {"naive": (10, 15, 20), "pup": (10, 15, 20)}[args.head]
        layers = sorted({-(-tap * args.layers // 24) for tap in taps})
        options = options | {"auxiliary_layers": layers}
    return model_class(backbone, num_classes=args.classes, **options)


def measure(args):
    """Time this process's backend; prints one JSON line."""
    from keras_setr.models.verbs.forward import compile_forward
    from keras_setr.models.verbs.forward import to_numpy

    model = build(args)
    rng = np.random.default_rng(0)
    shape = (args.batch, args.size, args.size)
    images = rng.uniform(0, 255, (*shape, 3)).astype("float32")
    if args.train:
        labels = rng.integers(0, args.classes, shape).astype("int32")
        model.compile(learning_rate=0.001, total_steps=1000, metrics=None)

        def run():
            model.train_on_batch(images, labels)
    else:
        forward = compile_forward(model)

        def run():
            to_numpy(forward(images))

    before = resident()
    start = time.perf_counter()
    with Peak() as peak:
        run()
        first = time.perf_counter() - start
        seconds = []
        for _ in range(args.runs):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    print(
        json.dumps(
            {
                "seconds": min(seconds),
                "first": first,
                "memory": peak.value - before,
                "multiply_adds": multiply_adds(model),
            }
        )
    )


def multiply_adds(model):
    from keras_setr.models.costs import cost_of

    backbone = model.backbone
    cost, _ = cost_of(
        type(model),
        backbone.get_config(),
        model.get_config(),
        backbone.image_shape[:2],
    )
    return cost.multiply_adds


def options_of(args, depth):
    options = ["--train"] if args.train else []
    for name in ("head", "size", "classes", "dim", "heads", "batch", "runs"):
        options += [f"--{name}", str(getattr(args, name))]
    return [*options, depth, str(args.layers)]


def compare(args):
    """One row for each backend."""
    rows = {backend: [] for backend in args.backends}
    for _ in range(args.rounds):
        for backend in args.backends:
            command = [sys.executable, __file__, "--measure"]
            command += options_of(args, "--layers")
            command += ["--patch-size", str(args.patch_size)]
            row = last_json(command, backend)
            if args.peer:
                command = [*args.peer[:1], args.peer[1], "time"]
                peer = last_json(command + options_of(args, "--depth"))
                row["ratio"] = row["seconds"] / peer["seconds"]
                passes = 3 if args.train else 1
                flops = 2 * passes * args.batch * row["multiply_adds"]
                limit = flops / peer["gemm_gflops"] / 1e9
                row["limit"] = limit / row["seconds"]
            rows[backend].append(row)
    return {
        backend: {
            name: statistics.median(row[name] for row in found)
            for name in found[0]
        }
        for backend, found in rows.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "REFERENCE"))
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--append", type=pathlib.Path, metavar="FILE")
    parser.add_argument(
        "--head", default="pup", choices=("naive", "pup", "mla")
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--dim", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--patch-size", type=int, default=16)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="internal")
    args = parser.parse_args()
    # T-Small and T-Large.
    usual = (768, 12, 12, 2) if args.train else (1024, 24, 16, 1)
    for name, value in zip(("dim", "layers", "heads", "batch"), usual):
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.measure:
        return measure(args)

    titles = ("seconds", "first call", "memory", "ratio", "of the limit")
    print(f"{'backend':12}" + "".join(f"{title:>14}" for title in titles))
    found = compare(args)
    for backend, row in found.items():
        cells = [f"{row['seconds']:.2f}", f"{row['first']:.1f}"]
        cells.append(f"{row['memory'] / 1e6:.0f} MB")
        cells += [
            f"{row[name]:.2f}" if name in row else "-"
            for name in ("ratio", "limit")
        ]
        print(f"{backend:12}" + "".join(f"{cell:>14}" for cell in cells))
    if args.append:
        append(args, found)


def append(args, found):
    setting = {
        name: getattr(args, name)
        for name in (
            *("train", "head", "size", "patch_size", "layers", "dim", "batch"),
            *("classes", "rounds"),
        )
    }
    date = datetime.date.today().isoformat()
    with args.append.open("a", newline="") as file:
        rows = csv.writer(file)
        for backend, row in found.items():
            numbers = [f"{value:.4g}" for value in row.values()]
            rows.writerow([date, backend, *setting.values(), *numbers])


if __name__ == "__main__":
    main()
