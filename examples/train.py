"""Train a SETR: on a folder of images and masks, or a published recipe.

    python examples/train.py --data DIR --out runs/a [--model pup] [options]
    python examples/train.py --recipe NAME --data-dir DIR --out runs/b
    python examples/train.py --recipe NAME --smoke
    python examples/train.py --list

DIR of --data holds images/ and masks/ (split at random), images/{train,val}
and annotations/{train,val}, or train/ and trainannot/, val/ and valannot/.
DIR of --data-dir is where TFDS keeps its datasets, with the official archives
in DIR/downloads/manual unless they are prepared already. --smoke runs a recipe
end to end in seconds: a small model of its structure on generated images.

It trains on all devices that it finds. Killed and started again by the same
command, it goes on where it was; --out holds checkpoints, log and previews.

Of a folder the weights with the best mean IoU on whole validation images are
kept, of a recipe the last, as published. At the end they are evaluated with
sliding windows and saved as a preset, which examples/evaluate.py and
examples/segment.py read.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import tempfile
import time


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", help="folder of images and masks")
    add("--recipe", metavar="NAME", help="one of --list")
    add("--list", action="store_true", help="print the recipes and stop")
    add("--out", help="folder for weights, log and preset")
    add("--backend", choices=("tensorflow", "jax", "torch"))
    add("--crop", type=int, nargs=2, metavar=("H", "W"))
    add("--batch-size", type=int)
    add("--learning-rate", type=float)
    add("--seed", type=int, default=0)
    add("--devices", type=int, help="how many of those found; all by default")
    add = parser.add_argument_group("memory and speed").add_argument
    add(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
    )
    add(
        "--rematerialize",
        action="store_true",
        help="compute encoder layers anew in the backward pass",
    )
    add(
        "--accumulate",
        type=int,
        metavar="N",
        help="N batches of --data make one update; the batch of a recipe is "
        "read in N parts",
    )
    add = parser.add_argument_group("checkpoints and logs").add_argument
    add("--checkpoint-every", type=int, default=500, metavar="STEPS")
    add("--patience", type=int, help="validations without improvement")
    add("--tensorboard", action="store_true")
    add = parser.add_argument_group("with --data").add_argument
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
    add(
        "--scale-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        default=(0.5, 2.0),
        help="of the random resize before the crop",
    )
    add("--epochs", type=int, default=100)
    add("--optimizer", choices=("sgd", "adamw"), default="sgd")
    add("--layer-decay", type=float, help="of the rate, from layer to layer")
    add("--frozen-layers", type=int, default=0, help="first ones of --preset")
    add = parser.add_argument_group("with --recipe").add_argument
    add("--smoke", action="store_true", help="try it out in seconds")
    add("--data-dir", help="of TFDS; defaults to its own")
    add("--manual-dir", help="folder of the official archives")
    add("--image-dir", help="the dataset as a folder of images and masks")
    add("--steps", type=int, help="of the whole training")
    add("--interval", type=int, help="steps of an epoch in the log")
    add("--image-scale", type=float, help="of the images, 1 as published")
    add("--random", action="store_true", help="no pretrained weights")
    add("--multi-scale", action="store_true", help="test at several, too")
    add("--eager", action="store_true", help="compile no steps, to debug")
    args = parser.parse_args()
    if not args.list:
        if bool(args.data) == bool(args.recipe):
            parser.error("give either --data or --recipe")
        if not args.out and not args.smoke:
            parser.error("--out says where weights, log and preset go")
    return args


@dataclasses.dataclass
class Run:
    """A compiled model, what it trains on, and how it is tested.

    `val` are whole images, `val_batches` crops of them for the loss, or
    `None`. `tests` maps the name of a test to the arguments of `ks.evaluate`;
    "mean_iou" also scores the model while it trains.
    """

    model: object
    batches: object
    val: object
    val_batches: object | None
    epochs: int
    tests: dict


# === A folder ===


def folder_run(keras, ks, args, shard):
    crop = tuple(args.crop or (512, 512))
    batch_size = args.batch_size or 8
    folder = ks.data.SegmentationFolder(
        args.data, ignore_values=args.ignore, class_names=args.names
    )
    print(folder.report())
    train, val = folder.split(args.fraction, seed=args.seed)
    augment = ks.data.TrainingTransform(
        crop, scale_range=tuple(args.scale_range)
    )
    batches = train.batches(
        batch_size, augment=augment, seed=args.seed, cache=True, shard=shard
    )
    model = build_model(ks, args, crop, folder)
    compile_model(keras, model, args, args.epochs * len(batches))
    return Run(
        model,
        batches,
        val,
        val.batches(batch_size, crop, cache=True, shard=shard),
        epochs=args.epochs,
        tests={"mean_iou": {}},
    )


def build_model(ks, args, crop, folder):
    model_class = ks.models.MODELS[args.model]
    options = {"num_classes": folder.num_classes, "classes": folder.classes}
    image = {
        "image_shape": (*crop, 3),
        "drop_path_rate": args.drop_path,
        "rematerialize": args.rematerialize,
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
    if args.frozen_layers:
        model.backbone.freeze(args.frozen_layers)
    if args.optimizer == "sgd" or args.layer_decay or args.accumulate:
        is_sgd = args.optimizer == "sgd"
        model.compile(
            "auto" if is_sgd else args.optimizer,
            learning_rate=args.learning_rate or (0.01 if is_sgd else None),
            layer_decay=args.layer_decay,
            gradient_accumulation_steps=args.accumulate,
        )
        return
    learning_rate = args.learning_rate or 0.01
    # Without pretrained weights a transformer learns far faster with AdamW.
    warmup = max(1, total_steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        total_steps - warmup,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0)
    )


# === A recipe ===


def recipe_run(ks, args, shard):
    recipe, options = ks.recipes[args.recipe], {}
    if args.smoke:
        recipe, options = ks.training.miniature(recipe)
    recipe = changed(recipe, args)
    print(recipe)
    if args.smoke:
        train, val = (
            ks.training.GeneratedImages(recipe, count, training, args.seed)
            for count, training in ((3, True), (1, False))
        )
    else:
        train, val = recipe.load_data(
            args.data_dir, args.manual_dir, args.image_dir
        )
    try:
        fit_options = recipe.fit_options(
            train,
            args.interval,
            1 if args.accumulate is None else args.accumulate,
            seed=args.seed,
            shard=shard,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    model = recipe.build_model(
        weights=not args.random, rematerialize=args.rematerialize, **options
    )
    recipe.compile(
        model,
        gradient_accumulation_steps=args.accumulate,
        run_eagerly=args.eager,
    )
    tests = {"mean_iou": recipe.test_options()}
    if args.multi_scale or (args.smoke and recipe.miou_multi_scale):
        tests["mean_iou_multi_scale"] = recipe.test_options(multi_scale=True)
    return Run(
        model,
        fit_options["x"],
        val,
        # The published figures are those of the last step.
        None,
        epochs=fit_options["epochs"],
        tests=tests,
    )


def changed(recipe, args):
    """The recipe with what the command line says otherwise."""
    if args.image_scale is not None:
        recipe = recipe.scaled(args.image_scale)
    changes = {
        "steps": args.steps,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "crop_size": args.crop and tuple(args.crop),
    }
    return dataclasses.replace(
        recipe, **{k: v for k, v in changes.items() if v is not None}
    )


# === Both ===


def fit(ks, run, out, args):
    """Train; the model is left with its best weights, or its last."""
    run.model.fit(
        run.batches,
        validation_data=run.val_batches,
        epochs=run.epochs,
        callbacks=ks.callbacks(
            out,
            validation=run.val,
            checkpoint_every=args.checkpoint_every,
            patience=args.patience,
            tensorboard=args.tensorboard,
            **run.tests["mean_iou"],
        ),
    )
    if args.data:
        run.model.load_weights(str(out / "best.weights.h5"))


def test(ks, run):
    """The scores on whole images by sliding windows, as a dict."""
    results = {}
    for name, options in run.tests.items():
        result = ks.evaluate(run.model, run.val, **options)
        print(result)
        results[name] = result.as_dict()
    single = results.pop("mean_iou")
    others = {name: result["mean_iou"] for name, result in results.items()}
    return single | others


def check_preset(run, folder):
    """Load the preset and compare its output."""
    import numpy as np

    again = type(run.model).from_preset(str(folder))
    image = run.val[0][0]
    expected, logits = (
        model.segment(image, output="logits", **run.tests["mean_iou"])
        for model in (run.model, again)
    )
    difference = np.abs(logits - expected).max() / np.abs(expected).max()
    if not difference < 1e-5:
        raise SystemExit(
            f"The loaded preset differs by {difference:.2g} in its logits."
        )
    print("the preset loads with equal output")


def main():
    args = parse()
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras

    import keras_setr as ks
    from keras_setr.files.whole import written_whole

    if args.list:
        print(ks.recipes)
        return
    start = time.monotonic()
    with ks.distribute(args.devices) as devices:
        keras.utils.set_random_seed(args.seed)
        keras.mixed_precision.set_dtype_policy(args.precision)
        out = pathlib.Path(args.out or tempfile.mkdtemp())
        out.mkdir(parents=True, exist_ok=True)
        if args.recipe:
            run = recipe_run(ks, args, devices.shard)
        else:
            run = folder_run(keras, ks, args, devices.shard)
        print(
            f"{type(run.model).__name__} with {run.model.count_params():,} "
            f"parameters on {keras.config.backend()}: {run.epochs} epochs of "
            f"{len(run.batches)} batches"
        )
        fit(ks, run, out, args)
        result = test(ks, run)
        if not devices.is_chief:
            return
        run.model.save_to_preset(str(out / "preset"))
        with written_whole(out / "result.json") as partial:
            partial.write_text(json.dumps(result, indent=2))
        if args.smoke:
            check_preset(run, out / "preset")
    print(f"preset in {out / 'preset'}")
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
