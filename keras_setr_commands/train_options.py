"""What `keras-setr train` takes, and what it means where it is not said."""

import argparse

from keras_setr_commands import defaults
from keras_setr_commands import folder_recipes
from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import presets
from keras_setr_commands import values
from keras_setr_commands.values import integer
from keras_setr_commands.values import number

# Of --data alone. What is None here and in `defaults.TABLE` is decided there.
FOLDER = {
    **options.LABEL_DEFAULTS,
    **dict.fromkeys(("num_classes", "names", "fraction", "fold")),
    **dict.fromkeys(("model", "preset", "layers", "dim", "heads")),
    "resnet": "50",
    **dict.fromkeys(("filters", "auxiliary")),
    "drop_path": 0.0,
    **dict.fromkeys(("scale_range", "balanced_crops")),
    **dict.fromkeys(("mosaic", "cutmix", "copy_paste")),
    **dict.fromkeys(("epochs", "optimizer", "schedule", "warmup")),
    **dict.fromkeys(("head_multiplier", "layer_decay", "loss")),
    "frozen_layers": 0,
    "validate_every": None,
}
# Of --recipe alone.
RECIPE = {
    **dict.fromkeys(("data_dir", "manual_dir", "image_dir")),
    **dict.fromkeys(("steps", "interval", "image_scale")),
    **dict.fromkeys(("smoke", "random", "multi_scale", "eager"), False),
}
DEFAULTS = {
    **FOLDER,
    **RECIPE,
    **dict.fromkeys(("data", "recipe", "out", "crop", "batch_size")),
    **dict.fromkeys(("learning_rate", "ema", "patch_size", "lora_rank")),
    **dict.fromkeys(("devices", "precision", "rematerialize", "accumulate")),
    "list": False,
    "seed": 0,
    "checkpoint_every": 500,
    "patience": None,
    "tensorboard": False,
}


def add_options(parser):
    group = parser.add_argument_group
    _add_training(parser.add_argument)
    _add_speed(group("memory and speed").add_argument)
    _add_logs(group("checkpoints and logs").add_argument)
    options.add_labels(parser, remembered=False)
    folder = group("with --data").add_argument
    _add_folder(folder)
    _add_optimization(folder)
    _add_recipe(group("with --recipe").add_argument)


def _add_training(add):
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


def _add_speed(add):
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


def _add_logs(add):
    add("--checkpoint-every", type=integer(1), metavar="STEPS")
    add(
        "--patience",
        type=integer(1),
        metavar="N",
        help="validations without improvement",
    )
    add("--tensorboard", action="store_true")


def _add_folder(add):
    """What is trained on, and what is trained."""
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


def _add_optimization(add):
    """How a folder's model is trained."""
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


def _add_recipe(add):
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
