"""Segment image files or folders with a preset.

    python examples/segment.py PRESET PATH [PATH ...] --out DIR

Writes NAME_labels.png, whose values are the class labels, and
NAME_overlay.png; with --confidence also NAME_confidence.png, 0..255 for 0..1.
A file that cannot be read is reported and skipped, and the exit code is 1 at
the end. Run it again after an interruption: what is written already is kept.
"""

import argparse
import os
import pathlib
import sys

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("preset", help="preset folder, as written by examples/train.py")
    add("paths", nargs="+", help="image files or folders of them")
    add("--out", required=True, help="folder for the results")
    add("--backend", choices=("tensorflow", "jax", "torch"))
    add("--window", type=int, nargs=2, metavar=("H", "W"))
    add("--stride", type=int, nargs=2, metavar=("H", "W"))
    add(
        "--scales",
        nargs="+",
        type=lambda text: text if text == "paper" else float(text),
        help="factors, or 'paper' for six with flip",
    )
    add("--flip", action=argparse.BooleanOptionalAction)
    add("--protocol", default="authors", choices=("authors", "mmsegmentation"))
    add("--batch-size", type=int, help="windows in one forward pass")
    add("--confidence", action="store_true", help="write confidence maps")
    add("--overwrite", action="store_true", help="write all files anew")
    add("--alpha", type=float, default=0.5, help="opacity of the colours")
    return parser.parse_args()


def find_images(paths):
    """`(file, name)` of every image; the name keeps folders below a path."""
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            yield path, pathlib.Path(path.stem)
            continue
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in EXTENSIONS:
                yield file, file.relative_to(path).with_suffix("")


def main():
    args = parse()
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras_setr as ks
    from keras_setr.files.whole import written_whole

    model = ks.SETRSegmenter.from_preset(args.preset)
    classes = model.classes or ks.Classes.numbered(model.num_classes)
    targets = {
        file: pathlib.Path(args.out) / name
        for file, name in find_images(args.paths)
    }

    def save(file, image, result):
        target = targets[file]
        labels, confidence = result if args.confidence else (result, None)
        picture = ks.visualization.overlay(image, labels, classes, args.alpha)
        with written_whole(f"{target}_overlay.png") as partial:
            picture.save(partial)
        if confidence is not None:
            grey = (255 * confidence).round().astype("uint8")
            ks.data.save_labels(f"{target}_confidence.png", grey)
        # Last: where it is, the others are too.
        ks.data.save_labels(f"{target}_labels.png", labels, classes)

    def done(file):
        return os.path.exists(f"{targets[file]}_labels.png")

    run = ks.segment_files(
        model,
        targets,
        save,
        done=None if args.overwrite else done,
        batch_size=args.batch_size,
        window_size=args.window,
        stride=args.stride,
        scales="paper" if args.scales == ["paper"] else args.scales,
        flip=args.flip,
        protocol=args.protocol,
        confidence=args.confidence,
    )
    print(
        f"{run.written} images segmented, {len(run.failed)} skipped, "
        f"{run.kept} there already, in {args.out}"
    )
    if run.failed or not targets:
        sys.exit(1)


if __name__ == "__main__":
    main()
