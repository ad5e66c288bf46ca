"""Export a preset for a runtime that needs no Keras.

    keras-setr export PRESET OUT [--format onnx]

OUT ends in .onnx, .tflite (LiteRT), .xml (OpenVINO) or .pt2 (torch.export); a
name without an ending is the folder of a SavedModel. The file takes images as
they are and gives labels. It is run in its own runtime and kept only if its
labels are the model's. keras-setr segment, evaluate and submit take it for a
preset.

With --int8 --calibration DIR it computes by integers, on some tens of images
of whose like it will see; if they have masks, the line at the end tells what
mean IoU it costs.
"""

import argparse
import os
from typing import Any

from keras_setr_commands import names
from keras_setr_commands import options
from keras_setr_commands import presets
from keras_setr_commands import values
from keras_setr_commands.messages import say
from keras_setr_commands.segment import find_images

AFTER_INTERRUPT = "No file was written; the same command starts anew"
DEFAULTS = {
    "format": None,
    "image_size": None,
    "any_size": False,
    "outputs": ("labels",),
    "image": None,
    "int8": False,
    "calibration": None,
    "float_parts": "auto",
}


def add_options(parser):
    add = parser.add_argument
    add("preset", type=presets.segmenter, help="preset folder or name")
    add("out", metavar="OUT", help="file or folder to write")
    add(
        "--format",
        type=values.one_of(names.FORMATS, "format"),
        metavar="NAME",
        help=f"one of {', '.join(names.FORMATS)}; by default as OUT ends",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--image-size",
        type=values.integer(1),
        nargs=2,
        metavar=("H", "W"),
        help="of the images in one pass; defaults to the preset's",
    )
    size.add_argument(
        "--any-size",
        action="store_true",
        help="height and width stay open, on TensorFlow and torch; windows "
        "are of the preset's size where no --window is asked for",
    )
    add(
        "--outputs",
        type=values.one_of(names.EXPORT_OUTPUTS, "output"),
        nargs="+",
        metavar="NAME",
        help="what the file gives: labels, by default, and any of "
        f"{', '.join(names.EXPORT_OUTPUTS[1:])}; windows of larger images are "
        "averaged only with probabilities or logits",
    )
    add(
        "--image",
        type=values.file,
        metavar="FILE",
        help="the image to compare the labels of",
    )
    group = parser.add_argument_group("int8, of ONNX and OpenVINO")
    group.add_argument("--int8", action="store_true", help="by integers")
    group.add_argument(
        "--calibration",
        type=values.folder,
        metavar="DIR",
        help="images, with masks or without, whose values are measured",
    )
    group.add_argument(
        "--float-parts",
        type=values.one_of(names.FLOAT_PARTS, "part"),
        nargs="*",
        metavar="NAME",
        help=f"what stays in float, of {', '.join(names.FLOAT_PARTS)}; by "
        "default what it takes for 99 %% of equal labels",
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
        place = f"end in {needed}" if needed else "be a folder"
        parser.error(
            f"argument OUT: must {place} for --format {format}. Received: "
            f"{out!r}"
        )
    try:
        (values.new_file if ending else values.new_folder)(out)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument OUT: {error}")
    if ("int8" in given) != ("calibration" in given):
        parser.error("--int8 and --calibration must be given together")
    if "float_parts" in given and "int8" not in given:
        parser.error("--float-parts goes with --int8")
    if "int8" in given and ending not in names.INT8_SUFFIXES:
        parser.error(
            "argument OUT: must end in "
            f"{' or '.join(names.INT8_SUFFIXES)} for --int8. Received: {out!r}"
        )
    patch_size = presets.patch_size_of(given["preset"])
    size = given.get("image_size")
    if problem := options.crop_problem(size, patch_size, "--image-size"):
        parser.error(problem)
    if "calibration" in given:
        if not next(find_images([given["calibration"]]), None):
            parser.error(
                f"--calibration must hold images. Received: "
                f"{given['calibration']!r}, which has none "
                f"({', '.join(names.IMAGE_SUFFIXES)})"
            )
    outputs = given.get("outputs", ("labels",))
    if "labels" not in outputs:
        parser.error("--outputs must have labels among them")
    if len(set(outputs)) < len(outputs):
        parser.error(
            f"--outputs must all differ. Received: {' '.join(outputs)}"
        )


def check_backend(args, backend):
    """Whether it writes the format, and all packages for it are there."""
    from keras_setr.export import formats

    out = args["out"]
    format = formats.FORMATS[args["format"] or formats.format_of(out)]
    formats.check_format(format, backend, out, args["any_size"])
    if args["int8"]:
        formats.check_quantizer(format)


def run(args: argparse.Namespace, given: dict) -> None:
    import keras_setr as ks

    resized: dict[str, Any] = {}
    if args.image_size or args.any_size:
        # A preset of another size resamples its positions.
        found = ks.SETRSegmenter.from_preset(
            args.preset, load_weights=False, verbose=False
        )
        channels = found.backbone.image_shape[-1]
        size = args.image_size or (None, None)
        resized["image_shape"] = (*size, channels)
    model = ks.SETRSegmenter.from_preset(args.preset, **resized)
    int8: dict[str, Any] = {}
    if args.int8:
        int8 = {
            "quantize": "int8",
            "calibration": _calibration(args.calibration, model),
            "float_parts": args.float_parts,
        }
    model.export(
        args.out,
        args.format,
        image_size="any" if args.any_size else None,
        outputs=tuple(args.outputs),
        image=args.image,
        **int8,
    )


def _calibration(directory, model):
    """Images with their labels, or the folder as one of images alone."""
    import keras_setr as ks

    # Masks are read as those that the preset was trained on.
    masks = model.classes and model.classes.masks
    options = masks.folder_options() if masks else {}
    try:
        folder = ks.data.SegmentationFolder(
            directory, num_classes=model.num_classes, **options
        )
        folder.check()
    except (OSError, ValueError) as error:
        say(f"{directory} is taken for images without masks: {error}")
        return directory
    return folder
