"""Evaluate a preset on labelled images with sliding windows.

    python examples/evaluate.py PRESET --data DIR [--subset val]

Prints the table of classes; --out writes it as JSON.
"""

import argparse
import json
import os


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("preset", help="preset folder, as written by examples/train.py")
    add("--data", required=True, help="folder of images and masks")
    add("--subset", help="train, val or test; defaults to all pairs")
    add("--backend", choices=("tensorflow", "jax", "torch"))
    add("--ignore", type=int, nargs="+", default=[255], help="mask values")
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
    add("--base-scale", type=int, nargs=2, metavar=("H", "W"))
    add(
        "--published",
        choices=("ade20k", "cityscapes", "pascal_context", "pascal_context_59"),
        help="use this dataset's window, stride and base scale",
    )
    add("--batch-size", type=int, help="windows in one forward pass")
    add("--out", help="JSON file for the figures")
    return parser.parse_args()


def main():
    args = parse()
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras_setr as ks
    from keras_setr.files.whole import written_whole

    model = ks.SETRSegmenter.from_preset(args.preset)
    data = ks.data.SegmentationFolder(
        args.data, ignore_values=args.ignore, num_classes=model.num_classes
    )
    if args.subset:
        data = data.subset(args.subset)
    options = {
        "window_size": args.window,
        "stride": args.stride,
        "base_scale": args.base_scale,
    }
    options = {name: value for name, value in options.items() if value}
    if args.published:
        published = ks.data.DATASETS[args.published].test_options
        options = {**published, **options}
    result = ks.evaluate(
        model,
        data,
        batch_size=args.batch_size,
        scales="paper" if args.scales == ["paper"] else args.scales,
        flip=args.flip,
        protocol=args.protocol,
        **options,
    )
    print(result)
    if args.out:
        with written_whole(args.out) as partial:
            partial.write_text(json.dumps(result.as_dict()))


if __name__ == "__main__":
    main()
