"""Exported files on labelled images: what int8 brings and what it costs.

    KERAS_BACKEND=numpy python tests/benchmarks/int8.py CAMVID FLOAT INT8 ..

Each file, which gives probabilities, segments every `--every`th validation
image by sliding windows; labels are compared with those of the first. Then all
run one window in turns, and the ratio of their seconds to the first's is the
median over the rounds.
"""

import argparse
import pathlib
import statistics

import camvid
import numpy as np

from keras_setr.confusion import ConfusionMatrix
from keras_setr.confusion import mean_iou
from keras_setr.export.quantizing import seconds_in_turns


def main():
    import keras_setr as ks

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camvid")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    _, images = camvid.load(args.camvid, 1, (32, 32), 1, args.every, 0)
    expected = None
    for path in args.files:
        model = ks.load_exported(path)
        scores = ConfusionMatrix(model.num_classes, model.ignore_class)
        labels = []
        for image, truth in images:
            labels.append(model.segment(image))
            scores.update(truth, labels[-1])
        expected = expected or labels
        equal = np.mean([(a == b).mean() for a, b in zip(labels, expected)])
        parts = [path]
        if path.suffix == ".xml":
            parts.append(path.with_suffix(".bin"))
        size = sum(part.stat().st_size for part in parts)
        print(
            f"{path.name}: {size / 1e6:.1f} MB, mean IoU "
            f"{100 * mean_iou(scores.counts):.2f} on {len(images)} images; "
            f"{100 * equal:.2f} % of labels equal to the first's",
            flush=True,
        )
    window = images[0][0][: model.record.window_size[0]]
    window = window[:, : model.record.window_size[1]]
    rounds = [seconds_in_turns(args.files, window) for _ in range(args.rounds)]
    for path, taken in zip(args.files, zip(*rounds)):
        ratios = [s / first for s, (first, *_) in zip(taken, rounds)]
        print(
            f"{path.name}: {statistics.median(taken):.3f} s a window, "
            f"{statistics.median(ratios):.2f} of the first's "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
