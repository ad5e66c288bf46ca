"""A raster larger than the memory: its peak, two kills, and the same result.

    KERAS_BACKEND=torch python tests/benchmarks/rasters.py
    KERAS_BACKEND=torch python tests/benchmarks/rasters.py --size 6000

A random raster of 8 bits lies on the disk, `--size` pixels high and wide. A
tiny SETR segments it in a process that is killed by SIGKILL at `--kills`
moments and started again, and in one that nobody disturbs. Printed: the plan
of 100,000 x 100,000 and this one's, the peak of the memory above that of the
model at work on single batches of windows, and whether the results are equal.
`--folder` keeps the raster (3 bytes a pixel) and results.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

BATCH = 2


def build(args):
    import keras

    import keras_setr as ks

    keras.utils.set_random_seed(0)
    return ks.SETRNaive(
        ks.SETRBackbone(
            num_layers=1,
            hidden_dim=16,
            num_heads=1,
            patch_size=32,
            image_shape=(args.window, args.window, 3),
        ),
        args.classes,
        filters=8,
        auxiliary_layers=(),
    )


def write_raster(path, size):
    """Smooth colours with noise, some rows at a time."""
    rng = np.random.default_rng(0)
    raster = np.lib.format.open_memmap(path, "w+", np.uint8, (size, size, 3))
    across = np.sin(np.arange(size) / 700)[None, :, None]
    for top in range(0, size, 500):
        rows = np.arange(top, min(top + 500, size))
        waves = across + np.cos(rows / 900)[:, None, None]
        colors = 127 + 50 * waves * np.array([1, -1, 0.5])
        noise = rng.integers(-27, 28, (len(rows), size, 3), np.int8)
        raster[top : top + 500] = colors + noise
    raster.flush()


def child(args):
    """Segments, and prints its peak above that of the model alone."""
    from resident import Peak

    import keras_setr as ks
    from keras_setr.inference import Views

    model = build(args)
    forward = model.windowed(Views(window_size=args.window)).forward
    windows = np.zeros((BATCH, args.window, args.window, 3), np.float32)
    with Peak() as alone:
        for _ in range(3):
            forward(windows)
    started = time.perf_counter()
    with Peak() as peak:
        run = ks.segment_raster(
            model,
            args.folder / "raster.npy",
            args.out,
            memory=args.memory,
            output=args.output,
            stride=args.stride,
            batch_size=BATCH,
            verbose=0,
        )
    print(
        json.dumps(
            {
                "written": run.written,
                "kept": run.kept,
                "seconds": round(time.perf_counter() - started, 1),
                "peak_mb": round((peak.value - alone.value) / 1e6, 1),
            }
        )
    )


def done(out):
    try:
        text = out.with_name(f"{out.name}.progress").read_text()
        return json.loads(text)["done"]
    except (OSError, ValueError):
        return 0


def run(args, out, kills=()):
    """Rows of the runs; each kill comes after so many bands."""
    rows = []
    command = [sys.executable, __file__, *sys.argv[1:]]
    command += ["--folder", str(args.folder), "--out", str(out)]
    for bands in (*kills, None):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while bands is not None and process.poll() is None:
            if done(out) >= bands:
                # Not between two bands: in one of them.
                time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.01)
        output, _ = process.communicate()
        rows.append(
            {"killed_after": done(out)}
            if process.returncode
            else json.loads(output.splitlines()[-1])
        )
        print(f"{out.name}: {rows[-1]}", flush=True)
    return rows


def equal(first, second):
    """Of two arrays on the disk, some rows at a time."""
    first, second = (np.load(path, mmap_mode="r") for path in (first, second))
    return first.shape == second.shape and all(
        np.array_equal(first[row : row + 500], second[row : row + 500])
        for row in range(0, len(first), 500)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--size", type=int, default=30_000)
    add("--window", type=int, default=1024)
    add("--stride", type=int, default=None)
    add("--classes", type=int, default=19)
    add("--memory", type=int, default=10**9)
    add("--output", default="labels")
    add("--kills", type=int, default=2)
    add("--folder", type=pathlib.Path)
    add("--out", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out:
        return child(args)
    import keras_setr as ks

    options = {"window_size": args.window, "memory": args.memory}
    options.update(stride=args.stride, output=args.output, batch_size=BATCH)
    print(ks.rasters.plan_raster((100_000,) * 2, args.classes, **options))
    plan = ks.rasters.plan_raster((args.size,) * 2, args.classes, **options)
    print(plan, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        args.folder = args.folder or pathlib.Path(folder)
        args.folder.mkdir(exist_ok=True)
        raster = args.folder / "raster.npy"
        if not raster.exists():
            write_raster(raster, args.size)
        count = len(plan.bands())
        kills = [
            max(count * k // (args.kills + 1), k)
            for k in range(1, args.kills + 1)
        ]
        outs = [args.folder / name for name in ("killed.npy", "whole.npy")]
        rows = run(args, outs[0], kills) + run(args, outs[1])
        peaks = [row["peak_mb"] for row in rows if "peak_mb" in row]
        verdict = "equal" if equal(*outs) else "NOT EQUAL"
        labels = np.unique(np.load(outs[1], mmap_mode="r")[::97, ::97])
        print(
            f"{os.environ.get('KERAS_BACKEND')}: killed {len(kills)} times and "
            f"whole: {verdict}; {len(labels)} values; at most "
            f"{max(peaks):.0f} MB above the model"
        )
        sys.exit(verdict != "equal" or max(peaks) > 1000)


if __name__ == "__main__":
    main()
