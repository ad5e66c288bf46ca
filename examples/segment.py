"""Segment image files or folders with a preset.

    python examples/segment.py PRESET PATH [PATH ...] --out DIR

Writes NAME_labels.png, whose values are the class labels, and
NAME_overlay.png. A file that cannot be read is reported and skipped, and the
exit code is 1 at the end.
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

    model = ks.SETRSegmenter.from_preset(args.preset)
    classes = model.classes or ks.Classes.numbered(model.num_classes)
    out = pathlib.Path(args.out)
    written, failed = 0, 0
    for file, name in find_images(args.paths):
        try:
            image = ks.data.load_image(file)
            labels = model.segment(
                image, window_size=args.window, stride=args.stride
            )
        except (OSError, ValueError) as error:
            print(f"skipped {file}: {error}", file=sys.stderr)
            failed += 1
            continue
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ks.data.save_labels(f"{target}_labels.png", labels, classes)
        picture = ks.visualization.overlay(image, labels, classes, args.alpha)
        picture.save(f"{target}_overlay.png")
        print(f"{file} -> {target}_labels.png, {target}_overlay.png")
        written += 1
    print(f"{written} images segmented, {failed} skipped")
    if failed or not written:
        sys.exit(1)


if __name__ == "__main__":
    main()
