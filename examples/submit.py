"""Write the files for a test server from a folder of test images.

    python examples/submit.py PRESET --images leftImg8bit/test --out results \\
        --dataset cityscapes

Cityscapes gets PNGs of labelIds, ADE20K a submission.zip of PNGs with 1..150.
Run it again after an interruption: what is written already is kept.
"""

import argparse
import os
import sys


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("preset", help="preset folder or name")
    add("--images", required=True, help="folder of the test images")
    add("--out", required=True, help="folder for the results")
    add("--dataset", required=True, choices=("ade20k", "cityscapes"))
    add("--backend", choices=("tensorflow", "jax", "torch"))
    add(
        "--scales",
        nargs="+",
        type=lambda text: text if text == "paper" else float(text),
        help="factors, or 'paper' for six with flip",
    )
    add("--flip", action=argparse.BooleanOptionalAction)
    add("--protocol", default="authors", choices=("authors", "mmsegmentation"))
    add("--batch-size", type=int, help="windows in one forward pass")
    add("--overwrite", action="store_true", help="write all files anew")
    return parser.parse_args()


def main():
    args = parse()
    if args.backend:
        os.environ["KERAS_BACKEND"] = args.backend
    import keras_setr as ks

    run = ks.write_submission(
        ks.SETRSegmenter.from_preset(args.preset),
        args.images,
        args.out,
        args.dataset,
        overwrite=args.overwrite,
        batch_size=args.batch_size,
        scales="paper" if args.scales == ["paper"] else args.scales,
        flip=args.flip,
        protocol=args.protocol,
    )
    print(
        f"{run.written} images segmented, {run.kept} were there, "
        f"{len(run.failed)} failed"
    )
    if run.archive:
        print(f"to submit: {run.archive}")
    if run.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
