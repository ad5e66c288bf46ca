"""Train a SETR on a folder of images and masks.

    python examples/train.py --data DIR --out runs/a [--model pup] [options]

DIR holds images/ and masks/ (split at random), images/{train,val} and
annotations/{train,val}, or train/ and trainannot/, val/ and valannot/. The
weights with the best validation mean IoU are kept; at the end they are
evaluated on the whole validation images with sliding windows and saved as a
preset, which examples/evaluate.py and examples/segment.py read.
"""

import argparse
import json
import os
import pathlib
import time


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", required=True, help="folder of images and masks")
    add("--out", required=True, help="folder for weights, log and preset")
    add("--backend", choices=("tensorflow", "jax", "torch"))
    add("--ignore", type=int, nargs="+", default=[255], help="mask values")
    add("--names", help="text file with a class name per line")
    add("--fraction", type=float, help="share of the pairs to validate with")
    add("--model", choices=("naive", "pup", "mla"), default="pup")
    add(
        "--preset",
        help="weights to start from, anything that from_preset takes: a SETR "
        "keeps its decoder, an encoder gets a new one; --layers, --dim, "
        "--heads and --patch-size are then the preset's",
    )
    add("--layers", type=int, default=12)
    add("--dim", type=int, default=384)
    add("--heads", type=int, default=6)
    add("--filters", type=int, help="channels of the decoder")
    add("--patch-size", type=int, default=16)
    add("--drop-path", type=float, default=0.0)
    add("--crop", type=int, nargs=2, metavar=("H", "W"), default=(512, 512))
    add(
        "--scale-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=(0.5, 2.0),
        help="of the random resize before the crop",
    )
    add("--batch-size", type=int, default=8)
    add("--epochs", type=int, default=100)
    add("--optimizer", choices=("sgd", "adamw"), default="sgd")
    add("--learning-rate", type=float, default=0.01)
    add("--seed", type=int, default=0)
    return parser.parse_args()


def build_model(ks, args, folder):
    model_class = {
        "naive": ks.SETRNaive,
        "pup": ks.SETRPUP,
        "mla": ks.SETRMLA,
    }[args.model]
    options = {"num_classes": folder.num_classes, "classes": folder.classes}
    image = {
        "image_shape": (*args.crop, 3),
        "drop_path_rate": args.drop_path,
    }
    if args.filters and args.model == "mla":
        half = args.filters // 2
        options.update(neck_filters=args.filters, head_filters=(half, half))
    elif args.filters:
        options.update(filters=args.filters, auxiliary_filters=args.filters)
    if args.preset:
        return model_class.from_preset(args.preset, **image, **options)
    backbone = ks.SETRBackbone(
        num_layers=args.layers,
        hidden_dim=args.dim,
        num_heads=args.heads,
        patch_size=args.patch_size,
        **image,
    )
    return model_class(backbone, **options)


def compile_model(keras, model, args, total_steps):
    if args.optimizer == "sgd":
        model.compile(learning_rate=args.learning_rate)
        return
    # Without pretrained weights a transformer learns far faster with AdamW.
    warmup = max(1, total_steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        total_steps - warmup,
        warmup_target=args.learning_rate,
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0)
    )


def main():
    args = parse()
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras

    import keras_setr as ks

    start = time.monotonic()
    keras.utils.set_random_seed(args.seed)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    folder = ks.data.SegmentationFolder(
        args.data, ignore_class=args.ignore, class_names=args.names
    )
    print(folder.report())
    train, val = folder.split(args.fraction, seed=args.seed)
    augment = ks.data.TrainingTransform(
        tuple(args.crop), scale_range=tuple(args.scale_range)
    )
    batches = train.batches(
        args.batch_size, augment=augment, seed=args.seed, cache=True
    )
    model = build_model(ks, args, folder)
    compile_model(keras, model, args, args.epochs * len(batches))
    print(
        f"{type(model).__name__} with {model.count_params():,} parameters on "
        f"{keras.config.backend()}: {args.epochs} epochs of {len(batches)} "
        f"batches of {args.batch_size}"
    )
    best = str(out / "best.weights.h5")
    model.fit(
        batches,
        validation_data=val.batches(args.batch_size, args.crop, cache=True),
        epochs=args.epochs,
        callbacks=[
            keras.callbacks.ModelCheckpoint(
                best,
                monitor="val_mean_iou",
                mode="max",
                save_best_only=True,
                save_weights_only=True,
            ),
            keras.callbacks.CSVLogger(str(out / "log.csv")),
        ],
    )
    model.load_weights(best)
    model.save_to_preset(str(out / "preset"))
    result = ks.evaluate(model, val)
    print(result)
    (out / "result.json").write_text(json.dumps(result.as_dict(), indent=2))
    print(f"preset in {out / 'preset'}")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
