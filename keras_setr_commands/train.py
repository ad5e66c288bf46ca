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
from keras_setr_commands import train_options
from keras_setr_commands.messages import say
from keras_setr_commands.settings import Settings

AFTER_INTERRUPT = "The same command goes on from the last checkpoint"
add_options = train_options.add_options
DEFAULTS = train_options.DEFAULTS
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
    has, other, wrong = "data", "recipe", train_options.RECIPE
    if "recipe" in given:
        has, other, wrong = "recipe", "data", train_options.FOLDER
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
        run = build(args, devices)
        if devices.is_chief:
            Settings(out).write({**given, **run.settings})
        say(
            f"{type(run.model).__name__} with {run.model.count_params():,} "
            f"parameters on {keras.config.backend()}: {run.epochs} x "
            f"{len(run.batches)} steps"
        )
        known = runs.fit(run, out, args)
        if devices.is_chief:
            run.model.save_to_preset(str(out / "preset"))
            say(f"preset in {out / 'preset'}")
        result = runs.test(run, known, brief=args.smoke)
        if not devices.is_chief:
            return
        with written_whole(out / "result.json") as partial:
            partial.write_text(json.dumps(result, indent=2))
        if args.smoke:
            runs.check_preset(run, out / "preset")
    say(f"{(time.monotonic() - start) / 60:.1f} minutes")
    if run.folder is not None:
        say(f"next: keras-setr segment {out / 'preset'} IMAGES --out DIR")
