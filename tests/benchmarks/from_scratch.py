"""Every model on the same crops from random weights: CamVid, a few minutes.

    KERAS_BACKEND=torch python tests/benchmarks/from_scratch.py CAMVID

CAMVID has train/, trainannot/, val/ and valannot/, with 11 as void. SETR's
decoders stand on 12 layers of width 384 with patches of 16, the hybrid puts a
ResNet-50 at output stride 16 in front of them, FCN stands on a ResNet-50 at
output stride 8, and Semantic FPN on one at 32; all decoders have the same
filters. Each trains in a process of its own, with the same seed, crops and
steps, and is scored by windows of the crop's size on every Nth validation
image.

What a transformer makes of a few hundred random crops is no measure of it: the
paper's own T-Large drops from 78.39 to 42.27 without pretraining (Table 1c).
The table shows that each of them learns, and what a step of it costs.
"""

import argparse
import json
import sys
import time

import camvid
from processes import last_json
from processes import passed_on

MODELS = ("naive", "pup", "mla", "hybrid", "fcn", "semantic_fpn")
PASSED_ON = (
    *("steps", "batch", "every", "filters"),
    *("learning_rate", "seed"),
)


def build(name, crop, filters):
    """The model of the table's row, at random."""
    import keras_setr as ks

    image = {"image_shape": (*crop, 3)}
    resnet = dict(ks.RESNET_50)
    if name == "fcn":
        backbone = ks.ResNetBackbone(**resnet, output_stride=8, **image)
        return ks.FCN(backbone, 11, filters=filters)
    if name == "semantic_fpn":
        backbone = ks.ResNetBackbone(**resnet, **image)
        return ks.SemanticFPN(
            backbone, 11, neck_filters=filters, filters=filters
        )
    if name == "hybrid":
        image["stem"] = ks.ResNetBackbone(**resnet, output_stride=16)
    backbone = ks.SETRBackbone(
        num_layers=12, hidden_dim=384, num_heads=6, patch_size=16, **image
    )
    if name == "mla":
        half = (filters // 2, filters // 2)
        return ks.SETRMLA(backbone, 11, neck_filters=filters, head_filters=half)
    model_class = ks.models.MODELS["pup" if name == "hybrid" else name]
    return model_class(backbone, 11, filters=filters, auxiliary_filters=filters)


def train(args):
    """Prints one JSON line on one model."""
    import keras

    import keras_setr as ks

    keras.utils.set_random_seed(args.seed)
    (name,) = args.models
    crop = tuple(args.crop)
    model = build(name, crop, args.filters)
    batches, images = camvid.load(
        args.camvid, args.batch, crop, args.steps, args.every, args.seed
    )
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0,
                args.steps - args.steps // 10,
                warmup_target=args.learning_rate,
                warmup_steps=args.steps // 10,
            ),
            weight_decay=0.05,
            clipnorm=1.0,
        )
    )
    start = time.process_time()
    history = model.fit(batches, verbose=0)
    found = {
        "parameters": model.count_params(),
        "cpu_seconds": (time.process_time() - start) / args.steps,
        "loss": history.history["loss"][-1],
    }
    result = ks.evaluate(model, images, stride=crop, verbose=0)
    found |= {
        "mean_iou": result.mean_iou,
        "pixel_accuracy": result.pixel_accuracy,
    }
    print(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("camvid")
    add("--models", nargs="+", default=MODELS, choices=MODELS)
    add("--steps", type=int, default=200)
    add("--batch", type=int, default=4)
    add("--crop", type=int, nargs=2, default=(128, 160), metavar=("H", "W"))
    add("--filters", type=int, default=64, help="of the decoders")
    add("--learning-rate", type=float, default=5e-4)
    add("--every", type=int, default=2, help="Nth image to validate with")
    add("--seed", type=int, default=0)
    add("--train", action="store_true", help="internal")
    args = parser.parse_args()
    if args.train:
        return train(args)

    print("model         parameters  CPU s a step  loss  mean IoU  accuracy")
    for name in args.models:
        line = [sys.executable, __file__, args.camvid, "--train"]
        line += ["--models", name, "--crop", *map(str, args.crop)]
        row = last_json([*line, *passed_on(args, PASSED_ON)])
        print(
            f"{name:12}{row['parameters']:12,}{row['cpu_seconds']:14.2f}"
            f"{row['loss']:6.2f}{100 * row['mean_iou']:10.2f}"
            f"{100 * row['pixel_accuracy']:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
