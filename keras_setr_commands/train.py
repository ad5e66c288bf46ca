"""Train a SETR: on a folder of images and masks, or a published recipe.

    keras-setr train --data DIR --out runs/a [--model pup] [options]
    keras-setr train --recipe NAME --data-dir DIR --out runs/b
    keras-setr train --recipe NAME --data DIR --preset PRESET --out runs/c
    keras-setr train --recipe NAME --smoke
    keras-setr train --list

DIR of --data holds images/ and masks/ (split at random), images/{train,val}
and annotations/{train,val}, or train/ and trainannot/, val/ and valannot/.
DIR of --data-dir is where TFDS keeps its datasets, with the official archives
in DIR/downloads/manual unless they are prepared already. --smoke runs a recipe
end to end in seconds: a small model of its structure on generated images.

It trains on all devices that it finds. Killed and started again by the same
command, it goes on where it was, and so it does with more --epochs or --steps;
options that are not said again stay as they were. --out holds checkpoints, log
and previews. Of a folder it fine-tunes a pretrained encoder; what else is not
said depends on the images and on --preset, and a line tells what it is.

Of a folder the weights with the best mean IoU on whole validation images are
kept, of a recipe the last, as published. At the end they are saved as a
preset, which keras-setr evaluate and keras-setr segment read, and evaluated
with sliding windows.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

from keras_setr_commands import backends
from keras_setr_commands import defaults
from keras_setr_commands import folder_recipes
from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import parsing
from keras_setr_commands import presets
from keras_setr_commands import values
from keras_setr_commands.messages import say
from keras_setr_commands.settings import Settings

AFTER_INTERRUPT = "The same command goes on from the last checkpoint"
# What is None here and in `defaults.TABLE` is decided there.
_FOLDER = {
    **options.LABEL_DEFAULTS,
    "num_classes": None,
    "names": None,
    "fraction": None,
    "fold": None,
    "model": None,
    "preset": None,
    "layers": None,
    "dim": None,
    "heads": None,
    "resnet": "50",
    "filters": None,
    "auxiliary": None,
    "drop_path": 0.0,
    "scale_range": None,
    "balanced_crops": None,
    "mosaic": None,
    "cutmix": None,
    "copy_paste": None,
    "epochs": None,
    "optimizer": None,
    "schedule": None,
    "warmup": None,
    "head_multiplier": None,
    "layer_decay": None,
    "loss": None,
    "frozen_layers": 0,
    "validate_every": None,
}
_RECIPE = {
    "smoke": False,
    "data_dir": None,
    "manual_dir": None,
    "image_dir": None,
    "steps": None,
    "interval": None,
    "image_scale": None,
    "random": False,
    "multi_scale": False,
    "eager": False,
}
DEFAULTS = {
    **_FOLDER,
    **_RECIPE,
    "data": None,
    "recipe": None,
    "list": False,
    "out": None,
    "crop": None,
    "batch_size": None,
    "learning_rate": None,
    "ema": None,
    "patch_size": None,
    "lora_rank": None,
    "seed": 0,
    "devices": None,
    "precision": None,
    "rematerialize": None,
    "accumulate": None,
    "checkpoint_every": 500,
    "patience": None,
    "tensorboard": False,
}
_OF_TRANSFORMERS = (
    *("layers", "dim", "heads", "patch_size"),
    *("drop_path", "rematerialize", "lora_rank"),
)
# What a run may be continued with otherwise than it was started.
_FREE = {
    "epochs",
    "steps",
    "patience",
    "tensorboard",
    "checkpoint_every",
    "validate_every",
    "multi_scale",
    "devices",
    "eager",
}


def add_options(parser):
    integer, number = values.integer, values.number
    add = parser.add_argument
    add(
        "--data",
        type=values.folder,
        metavar="DIR",
        help="folder of images and masks",
    )
    add(
        "--recipe",
        type=values.one_of((*names.RECIPES, *folder_recipes.RECIPES), "recipe"),
        metavar="NAME",
        help="one of --list",
    )
    add("--list", action="store_true", help="print the recipes and stop")
    add(
        "--out",
        type=values.new_folder,
        metavar="DIR",
        help="folder for weights, log and preset",
    )
    add(
        "--crop",
        type=integer(1, 16_384),
        nargs=2,
        metavar=("H", "W"),
        help="what is trained on",
    )
    add(
        "--batch-size",
        type=integer(1),
        metavar="N",
        help="images of an update; what is not said is read in parts where "
        "the memory that is free asks for it",
    )
    add("--learning-rate", type=number(above=0), metavar="RATE")
    add(
        "--ema",
        type=number(above=0, below=1),
        metavar="DECAY",
        help="average the weights, by 0.999 for example; what is validated, "
        "kept and saved is the average",
    )
    add(
        "--patch-size",
        type=integer(1, 512),
        metavar="N",
        help="of the encoder; weights are resampled for another than theirs",
    )
    add(
        "--lora-rank",
        type=integer(1),
        metavar="N",
        help="train low-rank updates of a pretrained encoder, the rest of "
        "which is frozen, and the decoder",
    )
    add("--seed", type=integer(0, 2**32 - 1), metavar="N")
    add(
        "--devices",
        type=integer(1),
        metavar="N",
        help="how many of those found; all by default",
    )
    add = parser.add_argument_group("memory and speed").add_argument
    add(
        "--precision",
        type=values.one_of(
            ("float32", "mixed_bfloat16", "mixed_float16"), "precision"
        ),
        metavar="NAME",
        help="float32, mixed_bfloat16 or mixed_float16; by default of --data "
        "the second where the processor multiplies it",
    )
    add(
        "--rematerialize",
        action=argparse.BooleanOptionalAction,
        help="compute encoder layers anew in the backward pass; by default "
        "where the memory asks for it",
    )
    add(
        "--accumulate",
        type=integer(1),
        metavar="N",
        help="N batches of --data make one update; the batch of a recipe is "
        "read in N parts",
    )
    add = parser.add_argument_group("checkpoints and logs").add_argument
    add("--checkpoint-every", type=integer(1), metavar="STEPS")
    add(
        "--patience",
        type=integer(1),
        metavar="N",
        help="validations without improvement",
    )
    add("--tensorboard", action="store_true")
    options.add_labels(parser, remembered=False)
    add = parser.add_argument_group("with --data").add_argument
    add(
        "--num-classes",
        type=integer(2, 255),
        metavar="N",
        help="where the masks do not show all",
    )
    add(
        "--names",
        type=values.file,
        metavar="FILE",
        help="text file with a class name per line, or JSON",
    )
    add(
        "--fraction",
        type=number(above=0, below=1),
        metavar="SHARE",
        help="of the pairs to validate with",
    )
    add(
        "--fold",
        type=values.fold,
        metavar="K/N",
        help="validate with the Kth of N equal parts, the same for one --seed, "
        "and train on the others",
    )
    add(
        "--model",
        type=values.one_of(names.MODELS, "model"),
        metavar="NAME",
        help=", ".join(names.MODELS),
    )
    add(
        "--preset",
        type=presets.preset_or_none,
        help="weights to start from, anything that from_preset takes: a "
        "segmenter keeps its decoder, an encoder gets a new one; --layers, "
        "--dim, --heads and --resnet are then the preset's. By default "
        f"{defaults.ENCODER}; none for random weights",
    )
    add("--layers", type=integer(1, 1_000), metavar="N")
    add("--dim", type=integer(1, 16_384), metavar="N")
    add("--heads", type=integer(1, 16_384), metavar="N")
    add(
        "--resnet",
        type=values.one_of(("50", "101"), "depth"),
        metavar="DEPTH",
        help="50 or 101, of fcn and semantic_fpn",
    )
    add(
        "--filters", type=integer(2, 16_384), metavar="N", help="of the decoder"
    )
    add(
        "--auxiliary",
        action=argparse.BooleanOptionalAction,
        help="heads that only train, as the published ones have",
    )
    add("--drop-path", type=number(0, below=1), metavar="RATE")
    add(
        "--scale-range",
        type=number(above=0),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="of the random resize before the crop",
    )
    add(
        "--balanced-crops",
        type=number(0),
        metavar="POWER",
        help="crops over a pixel of a class that is drawn by its share of all "
        "pixels to minus POWER, 0.5 for example",
    )
    for name, what in (
        ("mosaic", "four crops share one"),
        ("cutmix", "a box of a crop shows another"),
        ("copy-paste", "half of the classes of another crop lie over one"),
    ):
        add(
            f"--{name}",
            type=number(0, 1),
            metavar="SHARE",
            help=f"how often {what}; never by default",
        )
    add("--epochs", type=integer(1), metavar="N")
    add(
        "--optimizer",
        type=values.one_of(("sgd", "adamw"), "optimizer"),
        metavar="NAME",
        help="sgd or adamw",
    )
    add(
        "--schedule",
        type=values.one_of(("poly", "cosine"), "schedule"),
        metavar="NAME",
        help="poly or cosine, how the rate decays",
    )
    add(
        "--warmup",
        type=integer(0),
        metavar="STEPS",
        help="updates in which the rate rises before it decays",
    )
    add(
        "--head-multiplier",
        type=number(above=0),
        metavar="FACTOR",
        help="of the decoder's rate",
    )
    add(
        "--layer-decay",
        type=number(above=0, maximum=1),
        metavar="FACTOR",
        help="of the rate, from layer to layer",
    )
    add(
        "--loss",
        type=values.sum_of(names.LOSSES, "loss"),
        metavar="SUM",
        help="as ce+0.5*dice, of " + ", ".join(names.LOSSES),
    )
    add(
        "--frozen-layers",
        type=integer(0),
        metavar="N",
        help="first ones of --preset",
    )
    add(
        "--validate-every",
        type=integer(1),
        metavar="EPOCHS",
        help="how often whole validation images are segmented",
    )
    add = parser.add_argument_group("with --recipe").add_argument
    add("--smoke", action="store_true", help="try it out in seconds")
    add("--data-dir", metavar="DIR", help="of TFDS; defaults to its own")
    add(
        "--manual-dir",
        type=values.folder,
        metavar="DIR",
        help="folder of the official archives",
    )
    add(
        "--image-dir",
        type=values.folder,
        metavar="DIR",
        help="the dataset as a folder of images and masks",
    )
    add("--steps", type=integer(1), metavar="N", help="of the whole training")
    add(
        "--interval",
        type=integer(1),
        metavar="N",
        help="steps of an epoch in the log",
    )
    add(
        "--image-scale",
        type=number(above=0),
        metavar="FACTOR",
        help="of the images, 1 as published",
    )
    add("--random", action="store_true", help="no pretrained weights")
    add("--multi-scale", action="store_true", help="test at several, too")
    add("--eager", action="store_true", help="compile no steps, to debug")


def check(parser, given):
    """Rules that join several options; what a run was started with."""
    if given.get("list"):
        return
    _check_model(parser, given)
    settings = Settings(given["out"]) if "out" in given else None
    if settings is not None:
        # Of a run that is continued, what is not said is as it was.
        given.update(settings.missing(given, parser))
        if "data" in given and not os.path.isdir(given["data"]):
            parser.error(
                f"the run in {given['out']} was on {given['data']}, which "
                "does not exist any more; say --data"
            )
    if given.get("recipe") in folder_recipes.RECIPES:
        _take_folder_recipe(parser, given)
    if ("data" in given) == ("recipe" in given):
        parser.error("give either --data or --recipe")
    if "out" not in given and not given.get("smoke"):
        parser.error("--out says where weights, log and preset go")
    if settings is not None:
        settings.check(given, DEFAULTS, _FREE, parser)
    _check_group(parser, given)
    options.check_labels(parser, given)
    if "data" in given:
        if os.path.realpath(given.get("out", "")) in (
            os.path.realpath(os.path.join(given["data"], part))
            for part in ("", "images", "masks")
        ):
            parser.error(
                "--out must be another folder than that of the images. "
                f"Received: {given['out']}; name a new one, such as runs/a"
            )
        _check_folder(parser, {**DEFAULTS, **given})
        options.check_pairs(parser, given, least=2)
    elif "smoke" not in given and "image_dir" not in given:
        backends.require("tensorflow_datasets", "data", "--recipe")
    if "tensorboard" in given:
        backends.require("tensorboard", "tensorboard", "--tensorboard")


def _take_folder_recipe(parser, given):
    """Its options in place of its name; what is said beside it prevails."""
    recipe = folder_recipes.RECIPES[given.pop("recipe")]
    if "data" not in given:
        parser.error(f"--recipe {recipe.name} goes with --data: {recipe.data}")
    for name, value in recipe.options.items():
        given.setdefault(name, value)


def _check_group(parser, given):
    """Options of --data with --recipe, or the other way."""
    has, other, wrong = "data", "recipe", _RECIPE
    if "recipe" in given:
        has, other, wrong = "recipe", "data", _FOLDER
    for name in wrong:
        if name in given:
            option = parsing.dashed(name)
            parser.error(f"{option} goes with --{other}, not with --{has}")
    if given.get("preset", defaults.RANDOM) != defaults.RANDOM:
        for name in ("layers", "dim", "heads", "resnet"):
            if name in given:
                option = parsing.dashed(name)
                parser.error(f"{option} is that of --preset; leave it out")


def _check_model(parser, given):
    """Options that belong to other models."""
    model = given.get("model")
    on_resnet = model in names.RESNET_MODELS
    for name in _OF_TRANSFORMERS if on_resnet else ("resnet",):
        if name in given:
            option = parsing.dashed(name)
            parser.error(
                f"{option} is no option of --model {model}"
                if on_resnet
                else f"{option} goes with --model "
                + " or ".join(names.RESNET_MODELS)
            )


def _check_folder(parser, args):
    if args["fold"] and args["fraction"]:
        parser.error(
            "--fold and --fraction must not both be given; a fold of "
            f"{args['fold']} is one part of {args['fold'].split('/')[1]}"
        )
    low, high = args["scale_range"] or (1, 1)
    if low > high:
        parser.error(
            "--scale-range must be LOW and HIGH, LOW at most HIGH. Received: "
            f"{low:g} {high:g}"
        )
    patch = args["patch_size"]
    if args["model"] in names.RESNET_MODELS:
        return
    if defaults.starts_from(args) == "new":
        args = {**args, **defaults.new_encoder(args)}
        _check_new_encoder(parser, args)
        patch = args["patch_size"]
    elif args["lora_rank"] and args["frozen_layers"]:
        parser.error(
            "--lora-rank freezes all of the encoder but its updates; leave "
            "--frozen-layers out"
        )
    if problem := options.crop_problem(args["crop"], patch):
        parser.error(problem)


def _check_new_encoder(parser, args):
    """Options of an encoder without pretrained weights."""
    if args["lora_rank"]:
        parser.error(
            "--lora-rank updates pretrained weights; --preset names some"
        )
    if args["dim"] % args["heads"]:
        parser.error(
            "--heads must divide --dim. Received: --heads "
            f"{args['heads']} for --dim {args['dim']}"
        )
    if args["frozen_layers"] > args["layers"]:
        parser.error(
            f"--frozen-layers must be at most --layers {args['layers']}. "
            f"Received: {args['frozen_layers']}"
        )


def run(args: argparse.Namespace, given: dict) -> None:
    import keras

    import keras_setr as ks
    from keras_setr.files.whole import written_whole
    from keras_setr_commands import runs

    if args.list:
        print(ks.recipes)
        print(*folder_recipes.RECIPES.values(), sep="\n")
        return
    start = time.monotonic()
    out = pathlib.Path(args.out or tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    with ks.distribute(args.devices) as devices:
        keras.utils.set_random_seed(args.seed)
        build = runs.recipe_run if args.recipe else runs.folder_run
        run = build(ks, args, devices)
        if devices.is_chief:
            Settings(out).write({**given, **run.settings})
        say(
            f"{type(run.model).__name__} with {run.model.count_params():,} "
            f"parameters on {keras.config.backend()}: {run.epochs} x "
            f"{len(run.batches)} steps"
        )
        known = runs.fit(ks, run, out, args)
        if devices.is_chief:
            run.model.save_to_preset(str(out / "preset"))
            say(f"preset in {out / 'preset'}")
        result = runs.test(ks, run, known, brief=args.smoke)
        if not devices.is_chief:
            return
        with written_whole(out / "result.json") as partial:
            partial.write_text(json.dumps(result, indent=2))
        if args.smoke:
            runs.check_preset(run, out / "preset")
    say(f"{(time.monotonic() - start) / 60:.1f} minutes")
    if run.folder is not None:
        say(f"next: keras-setr segment {out / 'preset'} IMAGES --out DIR")
