"""Train, evaluate and use a small SETR-PUP in two minutes, offline.

    python examples/quickstart.py [--data DIR] [--backend jax] [--out DIR]

Without --data it draws synthetic street scenes, trains on crops of them and
evaluates whole scenes, which are larger than the crops, with sliding windows.
With --data DIR it does the same on a folder of images and masks, such as
DIR/images and DIR/masks, made small; keras-setr train trains on them as they
are.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from keras_setr_commands import backends
from keras_setr_commands import options
from keras_setr_commands import parsing
from keras_setr_commands import values
from keras_setr_commands.main import running
from keras_setr_commands.messages import CommandError
from keras_setr_commands.messages import in_options
from keras_setr_commands.messages import load_package
from keras_setr_commands.messages import say

PATCH = 8
# The longer side to which a user's images are brought, and the updates that
# then take some minutes on two cores.
LONGER_SIDE, STEPS = 160, 400
DEFAULTS = {
    **options.LABEL_DEFAULTS,
    "data": None,
    "out": "runs/quickstart",
    "crop": None,
    "epochs": None,
    "batch_size": 8,
}


def parse():
    parser = parsing.Parser(prog=f"python {sys.argv[0]}", description=__doc__)
    add = parser.add_argument
    add("--data", type=values.folder, help="folder of images and masks")
    add("--out", type=values.new_folder, help="defaults to runs/quickstart")
    add("--crop", type=values.integer(1), nargs=2, metavar=("H", "W"))
    add("--epochs", type=values.integer(1), metavar="N")
    add("--batch-size", type=values.integer(1), metavar="N")
    options.add_labels(parser, remembered=False)
    options.add_common(parser)
    given = parser.parse(sys.argv[1:])
    options.check_labels(parser, given)
    if any(side % PATCH for side in given.get("crop", ())):
        parser.error(f"--crop must be multiples of the patches of {PATCH}")
    if "data" in given:
        options.check_pairs(parser, given, least=2)
    backends.choose_backend(parser, given)
    return parser, argparse.Namespace(debug=False, **{**DEFAULTS, **given})


def load(ks, args, drawn):
    """The folder that was named, or scenes drawn into `drawn`."""
    if args.data is None:
        scenes = ks.data.StreetScenes(400, image_size=(128, 192), seed=0)
        scenes.write(drawn, subset="train")
        unseen = ks.data.StreetScenes(24, image_size=(128, 192), seed=1)
        unseen.write(drawn, subset="val")
        return ks.data.SegmentationFolder(drawn)
    from keras_setr.tables import counted

    folder = ks.data.SegmentationFolder(
        args.data, **options.folder_options(args)
    )
    say(f"reading {counted(len(folder), 'pair')} of {args.data} ..")
    return folder


def sizes(report, args):
    """`(crop, base_scale)`; the second is `None` for images as they are."""
    if args.data is None:
        return args.crop or (64, 96), None
    size = max(report.sizes, key=report.sizes.get)
    factor = min(1, LONGER_SIDE / max(size))
    small = tuple(max(round(side * factor), PATCH) for side in size)
    # The whole of most images: one window each, and no seams.
    whole = tuple(side // PATCH * PATCH for side in small)
    return args.crop or whole, small


def main(args):
    load_package(args.debug)
    import keras
    import numpy as np

    import keras_setr as ks
    from keras_setr.arrays import spread
    from keras_setr.files.whole import written_whole
    from keras_setr.tables import counted

    start = time.monotonic()
    keras.utils.set_random_seed(0)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    # === Data ===
    with tempfile.TemporaryDirectory() as drawn:
        folder = load(ks, args, drawn)
        report = folder.report()
        say(in_options(str(report), ["--label-map", "--ignore"]))
        options.check_folder(folder, report)
        train, val = folder.split()
        crop, base_scale = sizes(report, args)

        # === Model ===
        backbone = ks.SETRBackbone(
            num_layers=3,
            hidden_dim=128,
            num_heads=4,
            patch_size=PATCH,
            image_shape=(*crop, 3),
        )
        model = ks.SETRPUP(
            backbone,
            folder.num_classes,
            filters=48,
            auxiliary_layers=(2,),
            auxiliary_filters=48,
            classes=folder.classes,
        )
        # Metrics of the augmented batches cost time and say little.
        model.compile(learning_rate=0.03, metrics=[])
        say(
            f"SETR-PUP with {model.count_params():,} parameters on "
            f"{keras.config.backend()}, crops of {crop[0]} x {crop[1]}"
        )

        # === Training ===
        # So short a training has no time for the paper's factors of 0.5 to 2.
        augment = ks.data.TrainingTransform(
            tuple(crop),
            base_scale=base_scale,
            scale_range=(0.9, 1.15),
            photometric=False,
        )
        batches = train.batches(
            args.batch_size, augment=augment, cache=True, check=False
        )
        epochs = args.epochs or -(-STEPS // len(batches))
        if args.data is None:
            epochs = args.epochs or 14
        model.fit(batches, epochs=epochs)

        # === Preset ===
        # Before anything that may fail.
        model.save_to_preset(str(out / "preset"))
        say(f"preset   {out / 'preset'}")
        again = ks.SETRPUP.from_preset(str(out / "preset"))
        image = val[0][0]
        logits = [
            one.segment(image, output="logits", base_scale=base_scale)
            for one in (model, again)
        ]
        difference = np.abs(logits[0] - logits[1]).max()
        if difference > 1e-5:
            raise CommandError(
                f"The loaded preset differs by {difference:.2g} in its logits."
            )

        # === Evaluation ===
        result = ks.evaluate(model, val, base_scale=base_scale)
        say(result)
        picture = ks.visualization.comparison(
            [
                (image, label, model.segment(image, base_scale=base_scale))
                for image, label in spread(val, 4)
            ],
            model.classes,
        )
        with written_whole(out / "prediction.png") as partial:
            picture.save(partial)
    say(f"picture  {out / 'prediction.png'}")
    say(f"preset   {out / 'preset'}, loads with equal output")
    tested = counted(len(val), "image")
    say(f"mean IoU {result.mean_iou:.3f} on {tested} not trained on")
    say(f"time     {time.monotonic() - start:.0f} s")
    if args.data is not None:
        say(
            "This was on small images, with a small model. To train on them "
            f"as they are: keras-setr train --data {args.data} --out runs/a"
        )


if __name__ == "__main__":
    parser, args = parse()
    sys.exit(
        running(
            lambda: main(args),
            parser.prog,
            parser.options,
            "The same command starts anew",
            args.debug,
        )
    )
