"""Seconds of one forward pass, and the ratio to mmsegmentation's.

    python tests/benchmarks/forward.py [--peer PYTHON REFERENCE] [options]

T-Large PUP at 512 x 512, 150 classes, batch 1, random weights, float32, is
the default. Each backend runs in a process of its own, in alternation with
mmsegmentation if `--peer` names the Python of an environment that has it and
the script `reference.py` that times it; the ratio is that of neighbours in
time, and the median over the rounds is printed.
"""

import argparse
import json
import statistics
import sys
import time

from processes import BACKENDS
from processes import last_json


def measure(args):
    """Time this process's backend; prints one JSON line."""
    import numpy as np

    import keras_setr as ks
    from keras_setr.models.forward import compile_forward
    from keras_setr.models.forward import to_numpy

    model_class = {
        "naive": ks.SETRNaive,
        "pup": ks.SETRPUP,
        "mla": ks.SETRMLA,
    }[args.head]
    size = args.size
    backbone = ks.SETRBackbone(
        num_layers=args.layers,
        hidden_dim=args.dim,
        num_heads=args.heads,
        image_shape=(size, size, 3),
    )
    published = (
        {"neck_filters": 256, "head_filters": (128, 128)}
        if args.head == "mla"
        else {}
    )
    model = model_class(backbone, num_classes=args.classes, **published)
    forward = compile_forward(model)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (args.batch, size, size, 3)).astype("float32")
    start = time.perf_counter()
    to_numpy(forward(images))
    first = time.perf_counter() - start
    seconds = []
    for _ in range(args.runs):
        start = time.perf_counter()
        to_numpy(forward(images))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(seconds), "first": first}))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "REFERENCE"))
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--head", default="pup", choices=("naive", "pup", "mla")
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="internal")
    args = parser.parse_args()
    if args.measure:
        return measure(args)

    options = []
    for name in ("head", "size", "classes", "dim", "heads", "batch", "runs"):
        options += [f"--{name}", str(getattr(args, name))]
    seconds = {backend: [] for backend in args.backends}
    ratios = {backend: [] for backend in args.backends}
    first = {}
    for _ in range(args.rounds):
        for backend in args.backends:
            ours = last_json(
                [sys.executable, __file__, "--measure", *options]
                + ["--layers", str(args.layers)],
                backend,
            )
            seconds[backend].append(ours["seconds"])
            first[backend] = ours["first"]
            if args.peer:
                python, reference = args.peer
                peer = last_json(
                    [python, reference, "time", *options]
                    + ["--depth", str(args.layers)],
                )
                ratios[backend].append(ours["seconds"] / peer["seconds"])
    print(f"{'backend':12}{'seconds':>9}{'first call':>12}{'ratio':>8}")
    for backend in args.backends:
        ratio = ratios[backend]
        print(
            f"{backend:12}{statistics.median(seconds[backend]):9.2f}"
            f"{first[backend]:12.1f}"
            + (f"{statistics.median(ratio):8.2f}" if ratio else f"{'-':>8}")
        )


if __name__ == "__main__":
    main()
