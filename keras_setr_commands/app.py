"""Serve a page to try a preset on: drop an image, see its classes.

    keras-setr app PRESET
    keras-setr app PRESET --space DIR

The page shows the image under its labels, their shares and, at a click, what a
point attends to; labels are downloaded as PNG. Visitors queue for the model.
It listens on this machine alone; --host 0.0.0.0 lets others in. With --space
nothing is served: DIR gets the page as a folder for Hugging Face Spaces, with
a copy of PRESET where that is a folder or a file.
"""

import argparse
import os

from keras_setr_commands import backends
from keras_setr_commands import parsing
from keras_setr_commands import presets
from keras_setr_commands import values
from keras_setr_commands.loading import load_model
from keras_setr_commands.messages import say

AFTER_INTERRUPT = "The same command serves it again"
DEFAULTS = {
    "host": "127.0.0.1",
    "port": 7860,
    "share": False,
    "max_pixels": 16_000_000,
    "max_megabytes": 32.0,
    "space": None,
}


def add_options(parser):
    add = parser.add_argument
    add(
        "preset",
        type=presets.model,
        help="preset folder, a name, or a file of keras-setr export, which "
        "shows no attention",
    )
    add(
        "--host",
        type=values.text,
        metavar="ADDRESS",
        help=f"to listen at; {DEFAULTS['host']}, for this machine alone",
    )
    add(
        "--port",
        type=values.integer(1, 65535),
        metavar="N",
        help=f"defaults to {DEFAULTS['port']}",
    )
    add(
        "--share",
        action="store_true",
        help="a public address, too, through Gradio's servers",
    )
    add(
        "--max-pixels",
        type=values.integer(1),
        metavar="N",
        help=f"of an image; defaults to {DEFAULTS['max_pixels']:_}",
    )
    add(
        "--max-megabytes",
        type=values.number(above=0),
        metavar="N",
        help=f"of a file; defaults to {DEFAULTS['max_megabytes']:g}",
    )
    add(
        "--space",
        type=values.new_folder,
        metavar="DIR",
        help="write the page as a Space instead of serving it",
    )


def check(parser, given):
    if "space" in given:
        for name in ("host", "port", "share"):
            if name in given:
                parser.error(f"--{name} and --space must not both be given")
        if os.path.isdir(given["space"]) and os.listdir(given["space"]):
            parser.error(
                f"--space must be a new folder. Received: {given['space']}, "
                "which holds something"
            )
    else:
        backends.require("gradio", "app", "The page")


def run(args: argparse.Namespace, given: dict) -> None:
    from keras_setr import app

    if args.space:
        extras, said = _of_space(args.preset)
        for name in ("max_pixels", "max_megabytes"):
            said += [parsing.dashed(name), str(getattr(args, name))]
        app.write_space(args.space, args.preset, extras, said)
        say(
            f"{args.space} holds the Space; to publish it: hf upload USER/NAME "
            f"{args.space} --repo-type space"
        )
        return
    trial = app.Trial(load_model(args.preset), args.max_pixels)
    title = os.path.basename(os.path.normpath(args.preset))
    page = app.serve(
        trial, title, args.host, args.port, args.share, args.max_megabytes
    )
    say(f"{page.local_url} serves {args.preset}; Ctrl-C ends it")
    if page.share_url:
        say(f"{page.share_url} does, too")
    page.block_thread()


def _of_space(preset):
    """The extras that a Space installs, and its options for the backend."""
    if presets.is_exported(preset):
        from keras_setr.export.formats import FORMATS
        from keras_setr.export.formats import format_of

        return [FORMATS[format_of(preset)].extra], []
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    # TensorFlow comes with the package.
    extras = [] if backend == "tensorflow" else [backend]
    return extras, ["--backend", backend]
