"""One model in Keras, ONNX Runtime and OpenVINO, float and int8, in turns.

    python tests/benchmarks/exports_in_turns.py --peer PYTHON REFERENCE

SETR-PUP with T-Large at 512 x 512, 150 classes, batch 1, random weights. The
four files are written once, into `--folder` if they are to be kept; then each
is run in a process of its own, one after another, with Keras on torch between
them and mmsegmentation if `--peer` names the Python of an environment that
has it and the script `reference.py` that times it. Printed are medians over
`--rounds` and their ratios to those of mmsegmentation, or of Keras without.
Every process takes all cores that it may use: `taskset -c 0,1` for two of them.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
from processes import last_json

FILES = {
    "onnxruntime": "float.onnx",
    "onnxruntime int8": "int8.onnx",
    "openvino": "float.xml",
    "openvino int8": "int8.xml",
}
KERAS, PEER = "keras on torch", "mmsegmentation"


def build(args):
    import keras

    import keras_setr as ks

    keras.utils.set_random_seed(0)
    return ks.SETRPUP(
        ks.SETRBackbone(
            num_layers=args.layers,
            hidden_dim=args.dim,
            num_heads=args.heads,
            image_shape=(args.size, args.size, 3),
        ),
        args.classes,
        auxiliary_layers=(),
    )


def image(args):
    """Coloured clouds, uint8."""
    from keras_setr.inference import resize_to

    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (args.size // 16,) * 2 + (3,))
    clouds = resize_to(coarse.astype(np.float32), (args.size,) * 2)
    return clouds.round().astype(np.uint8)


def write(args):
    """The files that are not there, in this process."""
    model, x = build(args), image(args)
    for name in FILES.values():
        path = args.folder / name
        if path.exists():
            continue
        options = {}
        if name.startswith("int8"):
            calibration = args.calibration or [x, x[::-1], x[:, ::-1]]
            options = {
                "quantize": "int8",
                "calibration": calibration,
                "float_parts": args.float_parts,
            }
        model.export(path, outputs=("labels", "logits"), **options)
    print("{}")


def seconds(run, count):
    """The least of some runs after a first one."""
    run()
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def one(args):
    """Seconds of an image, in this process."""
    x = image(args)[None]
    if args.one == KERAS:
        model = build(args)
        forward = model.windowed(_views(args), 1).forward
        taken = seconds(lambda: forward(x.astype(np.float32)), args.runs)
    else:
        from keras_setr.export.sessions import open_session

        session, _ = open_session(args.folder / FILES[args.one])
        taken = seconds(lambda: session.run(x, ("labels",)), args.runs)
    print(json.dumps({"seconds": taken}))


def _views(args):
    from keras_setr.inference import Views

    return Views(window_size=args.size)


def peer(args):
    python, reference = args.peer
    line = [python, reference, "time", "--head", "pup"]
    for name in ("size", "classes", "dim", "heads", "runs"):
        line += [f"--{name}", str(getattr(args, name))]
    return last_json([*line, "--depth", str(args.layers)])["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--peer", nargs=2, metavar=("PYTHON", "REFERENCE"))
    add("--rounds", type=int, default=5)
    add("--runs", type=int, default=2)
    add("--size", type=int, default=512)
    add("--layers", type=int, default=24)
    add("--dim", type=int, default=1024)
    add("--heads", type=int, default=16)
    add("--classes", type=int, default=150)
    add("--calibration", metavar="DIR")
    # Labels of random weights choose nothing.
    add("--float-parts", nargs="*", default=["ends"])
    add("--folder", type=pathlib.Path)
    add("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return write(args) if args.one == "write" else one(args)
    with tempfile.TemporaryDirectory() as folder:
        args.folder = args.folder or pathlib.Path(folder)
        args.folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, __file__, *sys.argv[1:]]
        line += ["--folder", str(args.folder), "--one"]
        last_json([*line, "write"], "torch")
        taken = {name: [] for name in (PEER, KERAS, *FILES)}
        for number in range(args.rounds):
            for name, found in taken.items():
                if name == PEER and args.peer:
                    found.append(peer(args))
                elif name != PEER:
                    found.append(last_json([*line, name], "torch")["seconds"])
            print(f"round {number + 1}: {_figures(taken, -1)}", flush=True)
        base = taken[PEER] or taken[KERAS]
        print(f"{'':18}{'seconds':>9}{'ratio':>8}{'MB':>9}")
        for name, found in taken.items():
            if found:
                ratio = statistics.median(a / b for a, b in zip(found, base))
                size = _megabytes(args.folder / FILES.get(name, ""))
                median = statistics.median(found)
                print(f"{name:18}{median:9.3f}{ratio:8.2f}{size:>9}")


def _figures(taken, index):
    return ", ".join(
        f"{name} {found[index]:.3f}" for name, found in taken.items() if found
    )


def _megabytes(path):
    if not path.is_file():
        return ""
    files = [path]
    files += [path.with_suffix(".bin")] * (path.suffix == ".xml")
    size = sum(file.stat().st_size for file in files)
    return f"{size / 1e6:.0f}"


if __name__ == "__main__":
    main()
