"""`keras-setr segment` into one file: a raster larger than the memory."""

import os

from keras_setr_commands import backends
from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import parsing
from keras_setr_commands import values
from keras_setr_commands.loading import load_model

DEFAULTS = {
    "output": "labels",
    "bands": None,
    "nodata": None,
    "memory": 1,
    "dry_run": False,
}
# What goes with a folder of images alone.
_OF_FOLDERS = ("confidence", "alpha", "scales")


def is_file(path):
    """Whether the results go into one file, by the name of it."""
    return path.lower().endswith(names.RASTER_SUFFIXES)


def new_output(path):
    """A raster that can be written, or a folder."""
    return (values.new_file if is_file(path) else values.new_folder)(path)


def add_options(parser):
    add = parser.add_argument_group(
        f"rasters, with --out FILE of {', '.join(names.RASTER_SUFFIXES)}"
    ).add_argument
    add(
        "--output",
        type=values.one_of(names.RASTER_OUTPUTS, "output"),
        metavar="NAME",
        help=f"one of {', '.join(names.RASTER_OUTPUTS)}",
    )
    add(
        "--bands",
        type=values.integer(1),
        nargs="+",
        metavar="N",
        help="those that the model gets, as 1 2 3 of four",
    )
    add(
        "--nodata",
        type=float,
        metavar="VALUE",
        help="of pixels without data; by default as the file says",
    )
    add(
        "--memory",
        type=values.number(above=0),
        metavar="GB",
        help="that may be held besides the model; 1 by default",
    )
    add(
        "--dry-run",
        action="store_true",
        help="say what would be read, run and written",
    )


def check(parser, given):
    """Rules that join several options; whether a raster is meant."""
    if not is_file(given["out"]):
        for name in DEFAULTS:
            if name in given:
                parser.error(
                    f"{parsing.dashed(name)} goes with --out FILE of "
                    f"{', '.join(names.RASTER_SUFFIXES)}. Received: --out "
                    f"{given['out']}"
                )
        return False
    for name in _OF_FOLDERS:
        if name in given:
            parser.error(
                f"--{name} goes with --out DIR. Received: --out {given['out']}"
            )
    path, *more = given["paths"]
    if more or os.path.isdir(path):
        parser.error(
            "--out FILE takes one raster. Received: "
            f"{' '.join(given['paths'])}; for several images give --out DIR"
        )
    out = given["out"]
    if os.path.exists(out) and os.path.samefile(path, out):
        parser.error(f"--out must be another file than {path}")
    if os.path.exists(out) and not given.get("overwrite"):
        parser.error(
            f"{out} is there already; name another --out, or say --overwrite "
            "to replace it"
        )
    for file in (path, out):
        if not file.lower().endswith(".npy"):
            backends.require("rasterio", "rasters", file)
    return True


def run(args):
    import keras_setr as ks

    views = options.views(args)
    result = ks.segment_raster(
        load_model(args.preset),
        args.paths[0],
        args.out,
        output=args.output,
        bands=args.bands,
        nodata=args.nodata,
        memory=int(1e9 * args.memory),
        shard=args.shard,
        dry_run=args.dry_run,
        **views,
    )
    if args.dry_run:
        return
    print(
        f"{result.written} bands segmented, {result.kept} there already, "
        + (f"in {args.out}" if result.complete else "others are to come")
    )
