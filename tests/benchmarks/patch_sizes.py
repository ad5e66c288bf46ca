"""One pretrained encoder under several patch sizes: time, memory, mean IoU.

    KERAS_BACKEND=torch python tests/benchmarks/patch_sizes.py WEIGHTS CAMVID

WEIGHTS is anything that `from_preset` takes, such as DINOv2 ViT-S/14; CAMVID
has train/, trainannot/, val/ and valannot/, with 11 as void. The kernel of the
patches is resampled to each size, and a decoder of 64 filters trained with it,
each size in a process of its own with the same seed, crops and steps.

Forward passes are timed in turns, on images of CamVid's size made whole
patches, and shown with the median over the rounds of their ratio to those of
the smallest patches. Memory is the peak above what the process held before: of
one such pass, and of the fine-tuning.
"""

import argparse
import json
import statistics
import sys
import time

import camvid
from processes import last_json
from processes import passed_on
from resident import Peak
from resident import resident

IMAGE_SIZE = (360, 480)
PASSED_ON = (
    *("model", "steps", "batch", "crop", "stride", "every"),
    *("frozen_layers", "learning_rate", "head_multiplier"),
)


def build(args, patch_size, image_size):
    """The model, the image size rounded up to whole patches."""
    import keras

    import keras_setr as ks

    keras.utils.set_random_seed(0)
    size = [-(-side // patch_size) * patch_size for side in image_size]
    return ks.models.MODELS[args.model].from_preset(
        args.weights,
        num_classes=11,
        patch_size=patch_size,
        image_shape=(*size, 3),
        filters=64,
        auxiliary_layers=(),
        verbose=False,
    )


def forward_of(model):
    """A function without arguments: one pass over one image."""
    import numpy as np

    from keras_setr.models.verbs.forward import compile_forward

    forward = compile_forward(model)
    rng = np.random.default_rng(0)
    shape = (1, *model.backbone.image_shape)
    images = rng.normal(size=shape).astype("float32")
    return lambda: forward(images)


def time_forward(args):
    """patch size -> seconds of each round."""
    passes = {
        p: forward_of(build(args, p, IMAGE_SIZE)) for p in args.patch_sizes
    }
    seconds = {p: [] for p in passes}
    for number in range(args.rounds + 1):
        for patch_size, forward in passes.items():
            start = time.perf_counter()
            forward()
            if number:  # the first one is a warm-up
                seconds[patch_size].append(time.perf_counter() - start)
    return seconds


def fine_tune(args):
    """Prints one JSON line on one patch size."""
    import keras_setr as ks

    (patch_size,) = args.patch_sizes
    model = build(args, patch_size, IMAGE_SIZE)
    forward, before = forward_of(model), resident()
    with Peak() as peak:
        forward()
    found = {"forward": peak.value - before}
    del model, forward

    crop = (args.crop, args.crop)
    model = build(args, patch_size, crop)
    batches, images = camvid.load(
        args.camvid, args.batch, crop, args.steps, args.every, seed=0
    )
    if args.frozen_layers:
        model.backbone.freeze(args.frozen_layers)
    model.compile(
        "adamw",
        learning_rate=args.learning_rate,
        head_multiplier=args.head_multiplier,
    )
    before, start = resident(), time.perf_counter()
    with Peak() as peak:
        history = model.fit(batches, verbose=0)
    found |= {
        "tokens": (args.crop // patch_size) ** 2,
        "training": peak.value - before,
        "step": (time.perf_counter() - start) / args.steps,
        "loss": history.history["loss"][-1],
    }
    stride = (args.stride, args.stride)
    result = ks.evaluate(model, images, stride=stride, verbose=0)
    found["mean_iou"] = result.mean_iou
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("weights")
    add("camvid")
    add("--patch-sizes", type=int, nargs="+", default=[14, 16, 28, 32])
    add("--rounds", type=int, default=11, help="of the forward passes")
    add("--model", default="naive", choices=("naive", "pup"))
    add("--steps", type=int, default=150)
    add("--batch", type=int, default=4)
    add("--crop", type=int, default=224)
    add("--stride", type=int, default=148)
    add("--every", type=int, default=1, help="Nth image to validate with")
    add("--frozen-layers", type=int, default=0)
    add("--learning-rate", type=float, default=3e-5)
    add("--head-multiplier", type=float, default=30)
    add("--fine-tune", action="store_true", help="internal")
    args = parser.parse_args()
    if args.fine_tune:
        return fine_tune(args)

    rows = {}
    for patch_size in args.patch_sizes:
        options = ["--patch-sizes", str(patch_size), "--fine-tune"]
        line = [sys.executable, __file__, args.weights, args.camvid]
        rows[patch_size] = last_json(
            [*line, *options, *passed_on(args, PASSED_ON)]
        )
        print(patch_size, rows[patch_size], flush=True)
    seconds = time_forward(args)
    smallest = seconds[min(seconds)]
    print(
        "patch  tokens  forward s  ratio  forward MB  training MB  step s  "
        "mean IoU"
    )
    for patch_size, row in sorted(rows.items()):
        ratios = [a / b for a, b in zip(seconds[patch_size], smallest)]
        print(
            f"{patch_size:5}{row['tokens']:8}"
            f"{statistics.median(seconds[patch_size]):11.3f}"
            f"{statistics.median(ratios):7.2f}"
            f"{row['forward'] / 1e6:12.0f}{row['training'] / 1e6:13.0f}"
            f"{row['step']:8.2f}{100 * row['mean_iou']:10.2f}"
        )


if __name__ == "__main__":
    main()
