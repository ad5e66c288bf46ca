"""Segment image files or folders with a preset.

    keras-setr segment PRESET PATH [PATH ...] --out DIR

Writes NAME_labels.png, whose values are the class labels, and
NAME_overlay.png; with --confidence also NAME_confidence.png, 0..255 for 0..1;
with --sort-by entropy NAME_entropy.png, 0..255 for 0 to that of a guess, and
entropy.csv, a list of all images with their mean, the least certain first:
those that teach a model most once they are labelled.
Folders below a PATH are mirrored. An image that cannot be read is reported and
skipped, and the exit code is 1 at the end. Run it again after an interruption:
what is written already is kept. With another preset or other options all is
written anew. Several workers, each with its own --shard and otherwise the same
command, share the images.

    keras-setr segment PRESET RASTER --out FILE.tif

segments one raster, which may be larger than the memory, into a GeoTIFF that
lies where it lies, or a .npy. The same command goes on after an interruption,
and --shard shares its bands.
"""

import argparse
import csv
import io
import math
import os
import pathlib

from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import outputs
from keras_setr_commands import raster
from keras_setr_commands import values
from keras_setr_commands.loading import load_model
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import say

AFTER_INTERRUPT = "What is written is kept, and the same command goes on"
DEFAULTS = {
    **options.VIEW_DEFAULTS,
    **raster.DEFAULTS,
    "confidence": False,
    "sort_by": None,
    "overwrite": False,
    "shard": None,
    "alpha": 0.5,
}
RECORD = "keras_setr_segment.json"
_ENDINGS = ("_labels.png", "_overlay.png", "_confidence.png", "_entropy.png")
_LIST = "entropy.csv"
# Lines of it that are printed.
_SHOWN = 5


def add_options(parser):
    options.add_model(parser)
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        type=values.file_or_folder,
        help="image files or folders of them",
    )
    add(
        "--out",
        required=True,
        type=raster.new_output,
        metavar="DIR",
        help="folder for the results, or the file of a raster's",
    )
    options.add_views(parser)
    add("--confidence", action="store_true", help="write confidence maps")
    add(
        "--sort-by",
        type=values.one_of(("entropy",), "order"),
        metavar="WHAT",
        help="entropy, in nats, of the mean probabilities over all views: "
        "write maps and a list of the images",
    )
    add("--overwrite", action="store_true", help="write all files anew")
    add(
        "--shard",
        type=values.shard,
        metavar="N/M",
        help="the Nth of M workers that share the images, as 1/4",
    )
    add(
        "--alpha",
        type=values.number(0, 1),
        metavar="SHARE",
        help="opacity of the colours, 0..1",
    )
    raster.add_options(parser)


def check(parser, given):
    options.check_out(parser, given)
    options.check_views(parser, given)
    if raster.check(parser, given):
        return
    for path in given["paths"]:
        if images := _images_beside_masks(path):
            parser.error(
                f"argument PATH: {path} holds images and their masks, which "
                f"would be segmented, too; name {images}"
            )
    # Folders are listed once: `run` has what was found.
    given["plan"] = plan(argparse.Namespace(**{**DEFAULTS, **given}))


def _images_beside_masks(path):
    """The folder of images in one of pairs; `None` where it is none."""
    from keras_setr.data.folder import layouts

    folders = {
        name.lower(): os.path.join(path, name)
        for name in (os.listdir(path) if os.path.isdir(path) else ())
        if os.path.isdir(os.path.join(path, name))
    }
    if not any(name in folders for name in layouts.MASK_FOLDERS):
        return None
    images = (folders.get(name) for name in layouts.IMAGE_FOLDERS)
    return next(filter(None, images), None)


def plan(args):
    """`(record, chosen)`: what `--out` holds, and what it is going to get.

    Raises:
        CommandError: something would be overwritten, or nothing is to do.
    """
    out = pathlib.Path(os.path.abspath(args.out))
    further = {"sort_by": args.sort_by} if args.sort_by else {}
    settings = outputs.settings_of(
        args, confidence=args.confidence, alpha=args.alpha, **further
    )
    record = outputs.OutputFolder(out, RECORD, settings)
    found = list(find_images(args.paths))
    for path in args.paths:
        folder = pathlib.Path(os.path.abspath(path))
        if folder.is_dir() and not any(folder in f.parents for f, _ in found):
            raise CommandError(
                f"argument PATH: {path} holds no image "
                f"({', '.join(names.IMAGE_SUFFIXES)}) that is no result of "
                "this command"
            )
    chosen = choose_names(found, out, record.names, args.overwrite)
    if not chosen:
        raise CommandError(
            f"{', '.join(args.paths)} hold nothing but results of this command."
        )
    return record, chosen


def find_images(paths):
    """`(file, place)` of every image once.

    What this command has written is none, whatever the run, but where it is
    named itself. The place is the file's path without its ending, relative to
    the folder; to what all paths have in common where there are several.
    """
    paths = [pathlib.Path(os.path.abspath(path)) for path in paths]
    roots = [path if path.is_dir() else path.parent for path in paths]
    try:
        root = pathlib.Path(os.path.commonpath(roots))
    except ValueError:
        # On several drives of Windows.
        root = None
    seen = set()
    for path, own in zip(paths, roots):
        files = [path]
        if path.is_dir():
            found = sorted(path.rglob("*"))
            results = _results(path, found)
            files = [
                file
                for file in found
                if file.suffix.lower() in names.IMAGE_SUFFIXES
                and file not in results
                and file.is_file()
            ]
        for file in files:
            if file not in seen:
                seen.add(file)
                yield file, file.relative_to(root or own)


def _results(folder, files):
    """What the records in a folder, below it and above it tell of.

    Args:
        folder: path.
        files: paths of all that is in it and below.
    """
    records = [file for file in files if file.name == RECORD]
    records += [parent / RECORD for parent in folder.parents]
    return {
        record.parent / f"{name}{ending}"
        for record in records
        for name in outputs.names_in(record)
        for ending in _ENDINGS
    }


def choose_names(found, out, kept, settle_for_any=False):
    """The files that each image gets, none of which is another's.

    Args:
        found: `(file, place)` of images.
        out: path of the folder.
        kept: dict of file -> name of earlier runs, which is followed.
        settle_for_any: bool. Overwrite files that no earlier run wrote.

    Returns:
        dict of file -> name relative to `out`, without the outputs of
        earlier runs among the images.

    Raises:
        CommandError: an output would replace an image or another file.
    """
    own = {
        out / f"{name}{ending}" for name in kept.values() for ending in _ENDINGS
    }
    images = {file: place for file, place in found if file not in own}
    chosen = {
        str(file): kept[str(file)] for file in images if str(file) in kept
    }
    taken = set(chosen.values())
    for file, place in images.items():
        if str(file) in chosen:
            continue
        # Of a.jpg and a.png the second keeps its ending.
        name = place.with_suffix("").as_posix()
        if name in taken:
            name = place.as_posix()
        number = 2
        while name in taken:
            name, number = f"{place.as_posix()}_{number}", number + 1
        taken.add(name)
        chosen[str(file)] = name
    for file, name in chosen.items():
        for ending in _ENDINGS:
            target = out / f"{name}{ending}"
            if target in images:
                raise CommandError(
                    f"The result of {file} would replace {target}, which is "
                    "an image itself; name another --out."
                )
            if not settle_for_any and target not in own and target.exists():
                raise CommandError(
                    f"{target} is there already and was not written by this "
                    "command; name another --out, or say --overwrite to "
                    "replace it."
                )
    return chosen


def write_list(path, means):
    """Write a CSV of files and their means, the largest first.

    Args:
        path: path.
        means: dict of file -> mean entropy in nats.
    """
    from keras_setr.files.whole import written_whole

    order = sorted(means, key=lambda file: (-means[file], file))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "entropy"))
    table.writerows((file, f"{means[file]:.4f}") for file in order)
    with written_whole(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
    shown = ", ".join(f"{f} {means[f]:.3f}" for f in order[:_SHOWN])
    print(f"least certain, of {len(order)} in {path}: {shown}")


def run(args: argparse.Namespace, given: dict) -> int:
    if raster.is_file(args.out):
        raster.run(args)
        return 0
    record, chosen = args.plan
    out = record.folder

    import keras_setr as ks
    from keras_setr.files.whole import written_whole
    from keras_setr.tables import counted

    model = load_model(args.preset)
    classes = model.classes or ks.Classes.numbered(model.num_classes)
    if record.changed:
        say(
            f"{args.out} holds results of another preset or of other options. "
            "They are written anew; those of images not given now stay."
        )
    record.names.update(chosen)
    record.start()

    def target(file, ending):
        return out / f"{chosen[str(file)]}{ending}"

    asked = {
        "confidence": args.confidence,
        "entropy": args.sort_by == "entropy",
    }
    # What is white in the map of each.
    largest = {"confidence": 1.0, "entropy": math.log(model.num_classes)}

    def save(file, image, result):
        wanted = [name for name in asked if asked[name]]
        labels, *maps = result if wanted else (result,)
        picture = ks.visualization.overlay(image, labels, classes, args.alpha)
        with written_whole(target(file, "_overlay.png")) as partial:
            picture.save(partial)
        for name, scores in zip(wanted, maps):
            grey = (255 / largest[name] * scores).round().astype("uint8")
            ks.data.save_labels(target(file, f"_{name}.png"), grey)
        # Last: where it is, the others are too.
        ks.data.save_labels(target(file, "_labels.png"), labels, classes)

    def done(file):
        return record.is_current(target(file, "_labels.png"), file)

    result = ks.segment_files(
        model,
        map(pathlib.Path, chosen),
        save,
        done=None if args.overwrite else done,
        **asked,
        # Names are chosen for all images, so that no two workers share one.
        shard=args.shard,
        **options.views(args),
    )
    print(
        f"{counted(result.written, 'image')} segmented, "
        f"{len(result.failed)} skipped, {result.kept} there already, in "
        f"{args.out}"
    )
    if args.sort_by:
        means = {
            file: float(
                ks.data.load_mask(target(file, "_entropy.png")).mean()
                * largest["entropy"]
                / 255
            )
            for file in chosen
            # Another worker's may be still to come.
            if done(pathlib.Path(file))
        }
        write_list(out / _LIST, means)
    return 1 if result.failed else 0
