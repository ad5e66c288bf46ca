"""Groups of options that several commands have, and what must fit in them.

A command declares its options without defaults, so that it can tell what was
said from what was not; `DEFAULTS` of each command has the rest.
"""

import argparse
import os
import pathlib

from keras_setr_commands.backends import BACKENDS
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import in_options
from keras_setr_commands.presets import model
from keras_setr_commands.presets import patch_size_of
from keras_setr_commands.values import color
from keras_setr_commands.values import integer
from keras_setr_commands.values import label_pair
from keras_setr_commands.values import one_of
from keras_setr_commands.values import scale
from keras_setr_commands.values import text


def crop_problem(crop, patch_size, option="--crop"):
    """What is wrong with `--crop`; None where nothing is, or nothing is said.

    Args:
        crop: pair of int or None.
        patch_size: int or None.
        option: str. `"--crop"`, or another that takes whole patches.
    """
    if not crop or not patch_size:
        return None
    fit = [max(round(side / patch_size), 1) * patch_size for side in crop]
    if list(crop) == fit:
        return None
    patches = "--patch-size" if option == "--crop" else "the patch size"
    return (
        f"{option} must be multiples of {patches} {patch_size}. Received: "
        f"{crop[0]} {crop[1]}; {fit[0]} {fit[1]} would do"
    )


def add_model(parser):
    """The segmenter that is run."""
    parser.add_argument(
        "preset",
        type=model,
        help="preset folder, as keras-setr train writes it, a name, or a "
        "file of keras-setr export",
    )


def add_common(parser):
    """`--backend` and `--debug`."""
    add = parser.add_argument
    add(
        "--backend",
        type=one_of(BACKENDS, "backend"),
        metavar="NAME",
        help="tensorflow, jax or torch; defaults to Keras' own",
    )
    add("--debug", action="store_true", help="show where an error comes from")


def add_labels(parser, remembered):
    """How masks are found and read."""
    title = "how the masks are read"
    group = parser.add_argument_group(
        f"{title}, by default as the preset remembers" if remembered else title
    )
    add = group.add_argument
    add(
        "--images",
        type=text,
        metavar="TEMPLATE",
        help="where the images are, such as 'left/{split}/{name}.png', or a "
        "folder; relative to the data",
    )
    add("--masks", type=text, metavar="TEMPLATE", help="and their masks")
    add(
        "--ignore",
        type=integer(0, 255),
        nargs="+",
        metavar="VALUE",
        help="mask values that mean unlabelled, besides 255",
    )
    add(
        "--label-map",
        type=label_pair,
        nargs="+",
        metavar="VALUE=LABEL",
        help="mask values and the classes that they are: 0=0 255=1 for black "
        "and white",
    )
    add(
        "--reduce-zero-label",
        action="store_true",
        help="0 means unlabelled and classes count from 1, as in ADE20K",
    )
    add(
        "--colors",
        type=color,
        nargs="+",
        metavar="R,G,B",
        help="those of RGB masks: the first is value 0, the next 1, ..; "
        "'none' where the masks hold values, whatever a preset remembers",
    )
    add(
        "--leave-out",
        type=one_of(("problems",), "kind of pair"),
        metavar="problems",
        help="pairs with a problem are left out, and said",
    )
    return group


def add_views(parser, window=True):
    """How images are looked at."""
    add = parser.add_argument_group("sliding windows").add_argument
    if window:
        for name in ("--window", "--stride"):
            add(name, type=integer(1), nargs=2, metavar=("H", "W"))
    add(
        "--scales",
        nargs="+",
        type=scale,
        metavar="FACTOR",
        help="of the images; 'paper' for six with flip",
    )
    add("--flip", action=argparse.BooleanOptionalAction, help="mirrored, too")
    add(
        "--protocol",
        type=one_of(("authors", "mmsegmentation"), "protocol"),
        metavar="NAME",
        help="authors or mmsegmentation: what the scales multiply",
    )
    add(
        "--batch-size",
        type=integer(1),
        metavar="N",
        help="windows in one forward pass",
    )


def check_labels(parser, given):
    """Rules that join several options about masks."""
    if ("images" in given) != ("masks" in given):
        parser.error("--images and --masks must be given together")
    if "label_map" in given and "reduce_zero_label" in given:
        parser.error(
            "--reduce-zero-label and --label-map must not both be given; let "
            "the map say 0=255"
        )
    colors = given.get("colors", [])
    if "none" in colors and colors != ["none"]:
        parser.error("--colors takes 'none' alone, or colours")
    values = [value for value, _ in given.get("label_map", ())]
    twice = sorted({v for v in values if values.count(v) > 1})
    if twice:
        parser.error(f"--label-map must name a value once. Twice: {twice[0]}")
    mapped = dict(given.get("label_map", ()))
    for value in given.get("ignore", ()):
        if value != 255 and mapped.get(value, 255) != 255:
            parser.error(
                f"--ignore and --label-map contradict each other: {value} is "
                f"ignored, and label {mapped[value]}"
            )


def check_pairs(parser, given, least=1):
    """End the command where --data does not hold pairs, or not --subset.

    What finds them needs no Keras, so that nobody waits for it.

    Args:
        parser: `Parser`.
        given: dict of the options that were said.
        least: int. How many pairs it takes beside those of a subset test.
    """
    from keras_setr.data.folder.pairs import find_pairs
    from keras_setr.data.folder.pairs import subset_of

    place = given["data"]
    try:
        pairs, _ = find_pairs(place, given.get("images"), given.get("masks"))
        if "subset" in given:
            subset_of(pairs, given["subset"], place)
        count = sum(pair.subset != "test" for pair in pairs)
        if count < least:
            parser.error(
                f"--data must hold at least {least} pairs, one of them to "
                f"validate with. Received: {place}, which holds {count}"
            )
    except (OSError, ValueError) as error:
        parser.error(in_options(str(error), parser.options))


def check_out(parser, given):
    """End the command where --out would lie in the preset."""
    out, preset = given.get("out"), given["preset"]
    if out is None or not os.path.isdir(preset):
        return
    preset = pathlib.Path(preset).resolve()
    out = pathlib.Path(out).resolve()
    if preset in (out, *out.parents):
        parser.error(
            f"--out must lie outside of the preset. Received: {given['out']}"
        )


def check_views(parser, given):
    """Rules that join several options about windows."""
    scales = given.get("scales", [])
    if "paper" in scales and scales != ["paper"]:
        parser.error("--scales takes 'paper' alone, or numbers")
    window, stride = given.get("window"), given.get("stride")
    if window and stride and any(s > w for s, w in zip(stride, window)):
        parser.error(
            "--stride must be at most --window, or pixels would be left out. "
            f"Received: {stride} and {window}"
        )
    patch_size = patch_size_of(given["preset"])
    if problem := crop_problem(window, patch_size, "--window"):
        parser.error(problem)


def views(args):
    """The arguments of `segment` and `evaluate` that options gave."""
    found = {
        "window_size": getattr(args, "window", None),
        "stride": getattr(args, "stride", None),
        "scales": args.scales,
        "flip": args.flip,
        "protocol": args.protocol,
        "batch_size": args.batch_size,
    }
    if found["scales"] == ["paper"]:
        found["scales"] = "paper"
    return {name: value for name, value in found.items() if value is not None}


VIEW_DEFAULTS = dict.fromkeys(
    ("scales", "flip", "protocol", "batch_size", "window", "stride")
)
LABEL_DEFAULTS = {
    "images": None,
    "masks": None,
    "ignore": (255,),
    "label_map": None,
    "reduce_zero_label": False,
    "colors": None,
    "leave_out": None,
}


def folder_options(args):
    """The arguments of `SegmentationFolder` that options gave."""
    colors = None if args.colors == ["none"] else args.colors
    return {
        "images": args.images,
        "masks": args.masks,
        "ignore_values": list(args.ignore),
        "label_map": args.label_map and dict(args.label_map),
        "reduce_zero_label": args.reduce_zero_label,
        "colors": colors and [tuple(color) for color in colors],
        "leave_out": args.leave_out,
    }


def check_folder(folder, report, listed=True):
    """End the command where a folder has problems.

    Args:
        folder: `SegmentationFolder`.
        report: its `FolderReport`.
        listed: bool. Whether the report was printed.

    Raises:
        CommandError: names the first problem.
    """
    problems = report.problems
    if not problems:
        return
    from keras_setr.tables import counted

    way_out = ""
    try:
        folder.check()
    except ValueError as error:
        if "leave_out=" in str(error):
            way_out = (
                ". --leave-out problems leaves out the pairs that have one"
            )
    raise CommandError(
        f"{folder.directory} has {counted(len(problems), 'problem')}"
        f"{', as listed above' if listed else ''}; the first: "
        f"{problems[0].removesuffix('.')}{way_out}"
    )
