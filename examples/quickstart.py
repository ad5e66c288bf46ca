"""Train, evaluate and use a small SETR-PUP in three minutes, offline.

    python examples/quickstart.py [--data DIR] [--backend jax] [--out DIR]

Without --data it draws synthetic street scenes, trains on crops of them and
evaluates whole scenes, which are larger than the crops, with sliding windows.
With --data DIR it does the same on a folder of images and masks, such as
DIR/images and DIR/masks.
"""

import argparse
import os
import pathlib
import tempfile
import time


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="folder of images and masks")
    parser.add_argument(
        "--ignore",
        type=int,
        nargs="+",
        default=[255],
        help="mask values that mean unlabelled",
    )
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--out", default="runs/quickstart")
    parser.add_argument("--crop", type=int, nargs=2, default=(64, 96))
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--batch-size", type=int, default=8)
    return parser.parse_args()


def main():
    args = parse()
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras
    import numpy as np

    import keras_setr as ks

    start = time.monotonic()
    keras.utils.set_random_seed(0)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    # === Data ===
    with tempfile.TemporaryDirectory() as drawn:
        if args.data is None:
            scenes = ks.data.StreetScenes(400, image_size=(128, 192), seed=0)
            scenes.write(drawn, subset="train")
            unseen = ks.data.StreetScenes(24, image_size=(128, 192), seed=1)
            unseen.write(drawn, subset="val")
        folder = ks.data.SegmentationFolder(
            args.data or drawn, ignore_values=args.ignore
        )
        print(folder.report())
        train, val = folder.split()

        # === Model ===
        backbone = ks.SETRBackbone(
            num_layers=3,
            hidden_dim=128,
            num_heads=4,
            patch_size=8,
            image_shape=(*args.crop, 3),
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
        print(
            f"SETR-PUP with {model.count_params():,} parameters on "
            f"{keras.config.backend()}"
        )

        # === Training ===
        # So short a training has no time for the paper's factors of 0.5 to 2.
        augment = ks.data.TrainingTransform(
            tuple(args.crop), scale_range=(0.9, 1.15), photometric=False
        )
        model.fit(
            train.batches(args.batch_size, augment=augment, cache=True),
            epochs=args.epochs,
        )

        # === Evaluation ===
        result = ks.evaluate(model, val)
        print(result)
        shown = [val[index] for index in range(min(4, len(val)))]
        picture = ks.visualization.comparison(
            [(image, label, model.segment(image)) for image, label in shown],
            model.classes,
        )
        picture.save(out / "prediction.png")

        # === Preset ===
        model.save_to_preset(str(out / "preset"))
        again = ks.SETRPUP.from_preset(str(out / "preset"))
        image = val[0][0][None]
        difference = np.abs(
            model.predict(image, verbose=0) - again.predict(image, verbose=0)
        ).max()
        if difference > 1e-5:
            raise SystemExit(
                f"The loaded preset differs by {difference:.2g} in its logits."
            )
    print(f"picture  {out / 'prediction.png'}")
    print(f"preset   {out / 'preset'}, loads with equal output")
    print(f"mean IoU {result.mean_iou:.3f} on {len(val)} images not trained on")
    print(f"time     {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
