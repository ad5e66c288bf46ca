"""Seconds and memory beside mmsegmentation's.

    python tests/benchmarks/speed.py --peer PYTHON REFERENCE [--rows NAME ..]
    python tests/benchmarks/speed.py --train --head mla [options]

Without `--rows` one setting is measured, that of the options: a forward pass
of T-Large at 512 x 512, 150 classes, batch 1, random weights, float32; with
`--train` a step with all auxiliary heads, T-Small, batch 2. PUP's auxiliary
heads and MLA's widths are mmsegmentation's. `--rows`, without names all of
them, measures the settings of `ROWS`, each beside its goal: of forward passes
and steps, of sliding windows down to labels of an image of 1024 x 2048, of
`MeanIoU` on label maps of that size, and of `import keras_setr` behind
`import keras_hub`.

Each backend runs in a process of its own, mmsegmentation's among them if
`--peer` names the Python of an environment that has it and the script
`reference.py` that builds and times it. Ratios are to its run in the same
round, medians over the rounds are printed. The limit is what the
multiply-adds take at the rate of a product of two 4096 x 4096 matrices, which
the peer measures; a training step's are three times those of a forward pass,
heads that only training has not counted. Memory is what is held at most above
the model. `--append FILE` adds the dated rows to a CSV file.
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

# Of the image that windows slide over.
SIZE = (1024, 2048)
PEER = pathlib.Path(__file__).with_name("mmsegmentation_speed.py")
SMALL = {"dim": 768, "layers": 12, "heads": 12}
# The setting of each row, and the ratios to mmsegmentation's seconds that it
# is to reach on TensorFlow, JAX and torch.
ROWS = {
    "forward, naive": ({"head": "naive"}, (0.75, 0.80, 0.75)),
    "forward, PUP": ({}, (0.60, 0.62, 0.60)),
    "forward, PUP, batch 4": ({"batch": 4}, (0.60, 0.62, 0.60)),
    "forward, MLA": ({"head": "mla"}, (0.75, 0.80, 0.75)),
    "forward, PUP, patches of 32": ({"patch_size": 32}, (0.25, 0.27, 0.25)),
    "forward, T-Small 512": (SMALL, None),
    "forward, T-Small 1024": (SMALL | {"size": 1024}, None),
    "step, naive": ({"kind": "train", "head": "naive"}, (0.35, 0.45, 0.35)),
    "step, PUP": ({"kind": "train"}, (0.35, 0.45, 0.35)),
    "step, MLA": ({"kind": "train", "head": "mla"}, (0.65, 0.75, 0.65)),
    "sliding window, T-Small": (SMALL | {"kind": "slide"}, (0.60, 0.65, 0.60)),
    "metric": ({"kind": "metric"}, None),
    "import": ({"kind": "import"}, None),
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
    if args.kind == "import":
        import keras_hub  # noqa: F401

        start = time.perf_counter()
        import keras_setr  # noqa: F401

        print(json.dumps({"seconds": time.perf_counter() - start}))
        return
    model = None if args.kind == "metric" else build(args)
    run = RUNS[args.kind](args, model)
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
    found = {
        "seconds": min(seconds),
        "first": first,
        "memory": peak.value - before,
    }
    if args.kind in ("forward", "train"):
        found["multiply_adds"] = multiply_adds(model)
    print(json.dumps(found))


def _random(args):
    rng = np.random.default_rng(0)
    shape = (args.batch, args.size, args.size)
    images = rng.uniform(0, 255, (*shape, 3)).astype("float32")
    return images, rng.integers(0, args.classes, shape).astype("int32")


def _forward(args, model):
    from keras_setr.models.verbs.forward import compile_forward
    from keras_setr.models.verbs.forward import to_numpy

    forward = compile_forward(model)
    images, _ = _random(args)
    return lambda: to_numpy(forward(images))


def _train(args, model):
    images, labels = _random(args)
    model.compile(learning_rate=0.001, total_steps=1000, metrics=None)
    return lambda: model.train_on_batch(images, labels)


def _slide(args, model):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), dtype="uint8")
    options = {"window_size": args.size, "stride": args.size * 2 // 3}
    return lambda: model.segment(image, **options)


def _metric(args, model):
    import keras_setr as ks

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, args.classes, (2, 1, *SIZE))
    metric = ks.metrics.MeanIoU(args.classes)
    return lambda: metric.update_state(truth, predicted)


RUNS = {
    "forward": _forward,
    "train": _train,
    "slide": _slide,
    "metric": _metric,
}


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
    options = []
    for name in ("head", "size", "classes", "dim", "heads", "batch", "runs"):
        options += [f"--{name}", str(getattr(args, name))]
    return [*options, depth, str(args.layers)]


def peer(args):
    """What mmsegmentation takes for the same, or an empty dict."""
    if not args.peer or args.kind == "import":
        return {}
    python, reference = args.peer
    options = options_of(args, "--depth")
    if args.kind == "train":
        return last_json([python, reference, "time", "--train", *options])
    return last_json([python, str(PEER), reference, args.kind, *options])


def compare(args):
    """Medians over the rounds, a dict for each backend."""
    rows = {backend: [] for backend in args.backends}
    for _ in range(args.rounds):
        found = {}
        for index, backend in enumerate(args.backends):
            command = [sys.executable, __file__, "--measure", args.kind]
            command += options_of(args, "--layers")
            command += ["--patch-size", str(args.patch_size)]
            found[backend] = last_json(command, backend)
            if index == len(args.backends) // 2:
                beside = peer(args)
        for backend, row in found.items():
            rows[backend].append(row | _ratios(args, row, beside))
    return {
        backend: {
            name: statistics.median(row[name] for row in found)
            for name in found[0]
        }
        for backend, found in rows.items()
    }


def _ratios(args, row, beside):
    ratios = {}
    if beside:
        ratios["ratio"] = row["seconds"] / beside["seconds"]
    if "memory" in beside and args.kind != "metric":
        ratios["memory_ratio"] = row["memory"] / beside["memory"]
    if beside and "multiply_adds" in row:
        passes = 3 if args.kind == "train" else 1
        flops = 2 * passes * args.batch * row["multiply_adds"]
        limit = flops / beside["gemm_gflops"] / 1e9
        ratios["limit"] = limit / row["seconds"]
    return ratios


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--peer", nargs=2, metavar=("PYTHON", "REFERENCE"))
    add("--backends", nargs="+", default=BACKENDS)
    add("--rounds", type=int, default=3)
    add("--rows", nargs="*", choices=ROWS, metavar="NAME")
    add("--train", dest="kind", action="store_const", const="train")
    add("--append", type=pathlib.Path, metavar="FILE")
    add("--head", default="pup", choices=("naive", "pup", "mla"))
    add("--size", type=int, default=512)
    add("--classes", type=int, default=150)
    add("--dim", type=int)
    add("--layers", type=int)
    add("--heads", type=int)
    add("--patch-size", type=int, default=16)
    add("--batch", type=int)
    add("--runs", type=int, default=3)
    add("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.kind = args.measure or args.kind or "forward"
    if args.measure:
        return measure(args)

    names = ROWS if args.rows == [] else args.rows
    print(
        f"{'':28}{'backend':12}"
        + "".join(f"{title:>9}" for title in COLUMNS.values())
        + f"{'goal':>9}"
    )
    for name in names or ("",):
        setting, goals = ROWS[name] if name else ({}, None)
        row = argparse.Namespace(**vars(args) | setting)
        # T-Small and T-Large.
        usual = (768, 12, 12, 2) if row.kind == "train" else (1024, 24, 16, 1)
        for option, value in zip(("dim", "layers", "heads", "batch"), usual):
            if getattr(row, option) is None:
                setattr(row, option, value)
        found = compare(row)
        goals = dict(zip(BACKENDS, goals)) if goals else {}
        for backend, numbers in found.items():
            goal = f"{goals.get(backend, '-'):>9}"
            cells = "".join(_cell(column, numbers) for column in COLUMNS)
            print(f"{name:28}{backend:12}{cells}{goal}", flush=True)
        if args.append:
            append(args.append, name, row, found)


# Of the table and of a file's last columns.
COLUMNS = {
    "seconds": "s",
    "first": "first, s",
    "memory": "MB",
    "ratio": "ratio",
    "memory_ratio": "of MB",
    "limit": "of limit",
}


def _cell(column, numbers):
    if column not in numbers:
        return f"{'-':>9}"
    if column == "memory":
        return f"{numbers[column] / 1e6:9.0f}"
    return f"{numbers[column]:9.3f}"


def append(path, name, args, found):
    setting = {
        option: getattr(args, option)
        for option in (
            *("kind", "head", "size", "patch_size", "layers", "dim", "batch"),
            *("classes", "rounds"),
        )
    }
    is_new = not path.exists()
    date = datetime.date.today().isoformat()
    with path.open("a", newline="") as file:
        rows = csv.writer(file)
        if is_new:
            rows.writerow(["date", "row", "backend", *setting, *COLUMNS])
        for backend, numbers in found.items():
            cells = [
                f"{numbers[column]:.4g}" if column in numbers else ""
                for column in COLUMNS
            ]
            rows.writerow([date, name, backend, *setting.values(), *cells])


if __name__ == "__main__":
    main()
