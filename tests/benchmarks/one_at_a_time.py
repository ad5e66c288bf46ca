"""A measured training shortened, with one option at a time changed.

    KERAS_BACKEND=tensorflow python tests/benchmarks/one_at_a_time.py CAMVID \
        WEIGHTS

Each row is `keras-setr train` by the recipe `setr_naive_dinov2_small_camvid`
over `--epochs`, with the row's options beside it, in a process of its own.
CAMVID has train/, trainannot/, val/ and valannot/; WEIGHTS is DINOv2 ViT-S/14,
anything that `--preset` takes. Every Nth validation image is scored, whole, by
the averaged weights. Rows of other seeds say how much a difference means.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

RECIPE = "setr_naive_dinov2_small_camvid"
ROWS = {
    "the recipe": "",
    "seed 1": "--seed 1",
    "seed 2": "--seed 2",
    "cross-entropy alone": "--loss ce",
    "with Lovasz": "--loss ce+lovasz",
    "focal": "--loss focal",
    "OHEM": "--loss ohem",
    "balanced crops": "--balanced-crops 0.5",
    "mosaic": "--mosaic 0.5",
    "CutMix": "--cutmix 0.5",
    "copy-paste": "--copy-paste 0.5",
    "cosine": "--schedule cosine --warmup 20",
    "rate of 2e-4": "--learning-rate 2e-4 --head-multiplier 5",
    "no layer decay": "--layer-decay 1",
    "PUP": "--model pup",
    "MLA": "--model mla",
    "LoRA": "--lora-rank 8",
    "encoder frozen": "--frozen-layers 12",
    "patches of 14": "--patch-size 14 --crop 168 168",
    "random weights": "--layers 12 --dim 384 --heads 6",
}


def every(camvid, folder, step):
    """CamVid with every `step`-th validation image, as links."""
    for name in ("train", "trainannot", "val", "valannot"):
        target = folder / name
        target.mkdir()
        files = sorted((camvid / name).iterdir())
        for path in files[:: step if name.startswith("val") else 1]:
            (target / path.name).symlink_to(path.resolve())
    return folder


def train(name, data, weights, epochs, out):
    """`result.json` of a row, with its seconds and parameters trained."""
    options = ROWS[name].split()
    if name != "random weights":
        options += ["--preset", weights]
    command = [sys.executable, "-m", "keras_setr_commands", "train"]
    command += ["--recipe", RECIPE, "--data", str(data), "--out", str(out)]
    command += ["--epochs", str(epochs), *options]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}:\n{done.stderr[-2000:]}")
    result = json.loads((out / "result.json").read_text())
    return result | {"seconds": time.perf_counter() - started}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("camvid", type=pathlib.Path)
    add("weights")
    add("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    add("--epochs", type=int, default=2)
    add("--every", type=int, default=4)
    args = parser.parse_args()
    print(f"{'':20}  mean IoU  accuracy  minutes  options", flush=True)
    for name in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            data = folder / "data"
            data.mkdir()
            found = train(
                name,
                every(args.camvid, data, args.every),
                args.weights,
                args.epochs,
                folder / "run",
            )
        print(
            f"{name:20}  {100 * found['mean_iou']:8.1f}"
            f"  {100 * found['pixel_accuracy']:8.1f}"
            f"  {found['seconds'] / 60:7.1f}  {ROWS[name]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
