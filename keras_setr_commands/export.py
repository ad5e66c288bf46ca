"""Export a preset for a runtime that needs no Keras.

    keras-setr export PRESET OUT [--format onnx]

OUT ends in .onnx, .tflite (LiteRT), .xml (OpenVINO) or .pt2 (torch.export); a
name without an ending is the folder of a SavedModel. The file takes images as
they are and gives labels. It is run in its own runtime and kept only if its
labels are the model's. keras-setr segment, evaluate and submit take it for a
preset.
"""

import argparse
import os
from typing import Any

from keras_setr_commands import names
from keras_setr_commands import options

AFTER_INTERRUPT = "No file was written; the same command starts anew"
DEFAULTS = {
    "format": None,
    "image_size": None,
    "outputs": ("labels",),
    "image": None,
}


def add_options(parser):
    add = parser.add_argument
    add("preset", type=options.preset, help="preset folder or name")
    add("out", metavar="OUT", help="file or folder to write")
    add(
        "--format",
        type=options.one_of(names.FORMATS, "format"),
        metavar="NAME",
        help=f"one of {', '.join(names.FORMATS)}; by default as OUT ends",
    )
    add(
        "--image-size",
        type=options.integer(1),
        nargs=2,
        metavar=("H", "W"),
        help="of the images in one pass; defaults to the preset's",
    )
    add(
        "--outputs",
        type=options.one_of(names.EXPORT_OUTPUTS, "output"),
        nargs="+",
        metavar="NAME",
        help="what the file gives: labels, by default, and any of "
        f"{', '.join(names.EXPORT_OUTPUTS[1:])}; windows of larger images are "
        "averaged only with probabilities or logits",
    )
    add(
        "--image",
        type=options.file,
        metavar="FILE",
        help="the image to compare the labels of",
    )


def check(parser, given):
    out, format = given["out"], given.get("format")
    ending = os.path.splitext(out)[1].lower()
    if ending not in names.EXPORT_SUFFIXES:
        # A dot before a digit begins no ending, as in setr-1.2.
        if format is None and ending[1:2].isalpha():
            known = ", ".join(names.EXPORT_SUFFIXES)
            parser.error(
                f"argument OUT: must end in {known}, or be a folder, for a "
                f"SavedModel. Received: {out!r}; say --format tf_saved_model "
                "for a folder of this name"
            )
        ending = ""
    if format is not None and names.FORMATS[format] != ending:
        needed = names.FORMATS[format]
        parser.error(
            f"argument OUT: must {'end in ' + needed if needed else 'be a'}"
            f"{'' if needed else ' folder'} for --format {format}. Received: "
            f"{out!r}"
        )
    try:
        (options.new_file if ending else options.new_folder)(out)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument OUT: {error}")
    outputs = given.get("outputs", ("labels",))
    if "labels" not in outputs:
        parser.error("--outputs must have labels among them")
    if len(set(outputs)) < len(outputs):
        parser.error(
            f"--outputs must all differ. Received: {' '.join(outputs)}"
        )


def run(args: argparse.Namespace, given: dict) -> None:
    import keras_setr as ks

    resized: dict[str, Any] = {}
    if args.image_size:
        # A preset of another size resamples its positions.
        found = ks.SETRSegmenter.from_preset(
            args.preset, load_weights=False, verbose=False
        )
        channels = found.backbone.image_shape[-1]
        resized["image_shape"] = (*args.image_size, channels)
    model = ks.SETRSegmenter.from_preset(args.preset, **resized)
    model.export(
        args.out, args.format, outputs=tuple(args.outputs), image=args.image
    )
