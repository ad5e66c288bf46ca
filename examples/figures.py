"""Write the figures of the paper for an image and a model.

    python examples/figures.py IMAGE --model PRESET [--out DIR] [--point Y X]

Writes overlay.png, legend.png, entropy.png, features.png, attention_from.png,
attention_to.png, rollout.png and positions.png into DIR. With --beside PRESET
also side_by_side.png, of two models; with --mask FILE, whose values are
labels but for those of --ignore, errors.png and confusion.png; with --log FILE,
a run's log.csv, curves.png. A model without attention has features alone to see
inside.
"""

import argparse
import pathlib
import sys

import numpy as np

from keras_setr_commands import backends
from keras_setr_commands import options
from keras_setr_commands import parsing
from keras_setr_commands import presets
from keras_setr_commands import values
from keras_setr_commands.main import running
from keras_setr_commands.messages import load_package
from keras_setr_commands.messages import say

DEFAULTS = {
    "out": "runs/figures",
    "point": None,
    "beside": None,
    "mask": None,
    "ignore": (),
    "log": None,
}


def parse():
    parser = parsing.Parser(prog=f"python {sys.argv[0]}", description=__doc__)
    add = parser.add_argument
    add("image", type=values.file, metavar="IMAGE", help="an image file")
    add(
        "--model",
        required=True,
        type=presets.preset,
        metavar="PRESET",
        help="preset folder, as keras-setr train writes it, or a name",
    )
    add("--out", type=values.new_folder, help="defaults to runs/figures")
    add(
        "--point",
        type=values.integer(0),
        nargs=2,
        metavar=("Y", "X"),
        help="whose attention is shown, in pixels; defaults to the middle",
    )
    add("--beside", type=presets.preset, metavar="PRESET")
    add("--mask", type=values.file, metavar="FILE")
    add(
        "--ignore",
        type=values.integer(0, 255),
        nargs="+",
        metavar="VALUE",
        help="of the mask, not compared; 255 never is",
    )
    add("--log", type=values.file, metavar="FILE")
    options.add_common(parser)
    given = parser.parse(sys.argv[1:])
    backends.choose_backend(parser, given)
    return parser, argparse.Namespace(debug=False, **{**DEFAULTS, **given})


def figures(ks, args, model, image):
    """Yields `(name, PIL.Image or matplotlib figure)`, one after another."""
    draw = ks.visualization
    classes = model.classes or ks.Classes.numbered(model.num_classes)
    truth = None
    if args.mask is not None:
        truth = ks.data.load_mask(args.mask)
        truth = np.where(np.isin(truth, args.ignore), 255, truth)

    # === What it says (Figures 2 to 4) ===
    labels, entropy = model.segment(image, entropy=True)
    yield "overlay", draw.overlay(image, labels, classes)
    yield "legend", draw.legend(classes, labels=labels, width=640)
    yield "entropy", draw.entropy_map(entropy)
    if args.beside is not None:
        models = {"model": model, "beside": load(ks, args.beside)}
        truths = None if truth is None else [truth]
        yield "side_by_side", draw.model_comparison(models, [image], truths)
    if truth is not None:
        yield "errors", draw.error_map(image, truth, labels, model.ignore_class)
        result = ks.evaluate(model, [(image, truth)], verbose=0)
        yield "confusion", draw.confusion_matrix(result)
    if args.log is not None:
        yield "curves", draw.training_curves(args.log)

    # === What it sees inside (Figures 5 to 10) ===
    yield "features", draw.features(model, image)
    backbone = model.backbone
    if not isinstance(backbone, ks.SETRBackbone):
        return
    point = args.point or [side // 2 for side in image.shape[:2]]
    for direction in ("from", "to"):
        yield (
            f"attention_{direction}",
            draw.attention(model, image, point, direction=direction),
        )
    layers = range(1, backbone.num_layers + 1)
    yield "rollout", draw.attention_rollout(model, image, point, layers)
    if backbone.rotary_base is None:
        yield "positions", draw.position_similarity(model)


def load(ks, preset):
    return ks.SETRSegmenter.from_preset(preset)


def main(args):
    load_package(args.debug)
    import keras_setr as ks
    from keras_setr.files.whole import written_whole

    model = load(ks, args.model)
    image = model.load_image(args.image)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(ks, args, model, image):
        save = getattr(figure, "save", None) or figure.savefig
        with written_whole(out / f"{name}.png") as partial:
            save(partial)
        say(out / f"{name}.png")


if __name__ == "__main__":
    parser, args = parse()
    sys.exit(
        running(
            lambda: main(args),
            parser.prog,
            parser.options,
            "What is written is kept",
            args.debug,
        )
    )
