"""One worker of a job that trains a tiny SETR, for test_distribute_workers.py.

    python -m tests.training.worker --out DIR [--epochs 2]

The environment names the job, as on a cluster. Each worker prints one line of
JSON: what it was, its losses and its scores. The first one writes a preset
and the log into DIR.
"""

import argparse
import json
import pathlib

import keras
import numpy as np

import keras_setr as ks
from keras_setr.data.source import SegmentationSource
from tests import tiny

SIZE = (16, 24)


class Pairs(SegmentationSource):
    """Ten pairs, of which pair `i` has its first `i` rows unlabelled."""

    classes = ks.Classes.numbered(tiny.CLASSES)

    def __init__(self):
        self.images = tiny.images(10, SIZE)
        self.labels = np.random.default_rng(1).integers(
            0, tiny.CLASSES, (10, *SIZE)
        ).astype("uint8")
        for index, label in enumerate(self.labels):
            label[:index] = 255
        self.read = set()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.add(index)
        return self.images[index], self.labels[index]

    def file_name(self, index):
        return None

    def _default_crop_size(self):
        return SIZE


def train(run, out, epochs=2, **options):
    """Fit and evaluate inside `run`; the losses and scores of this worker."""
    with run:
        model = tiny.build("pup")
        tiny.set_weights_by_path(model)
        model.compile(learning_rate=0.05)
        train, val = Pairs(), Pairs()
        options = {"check": False, "shard": run.shard, **options}
        callbacks = []
        if ks.workers.is_chief():
            callbacks = [keras.callbacks.CSVLogger(str(out / "log.csv"))]
        history = model.fit(
            train.batches(4, augment=False, shuffle=True, **options),
            # The last of three batches is short: 4, 4 and 2 images.
            validation_data=val.batches(4, augment=False, **options),
            epochs=epochs,
            verbose=0,
            callbacks=callbacks,
        ).history
        evaluated = model.evaluate(
            val.images, val.labels, batch_size=4, verbose=0, return_dict=True
        )
        labels = model.segment(val.images[0])
        if ks.workers.is_chief():
            model.save_to_preset(str(out / "preset"))
    weights = [keras.ops.convert_to_numpy(v) for v in model.weights]
    return {
        "worker": run.worker,
        "num_workers": run.num_workers,
        "described": run.describe(),
        "read": len(train.read),
        "history": history,
        "evaluated": evaluated,
        "labels": int(labels.sum()),
        "weights": float(sum(np.abs(array).sum() for array in weights)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    run = ks.distribute()
    keras.utils.set_random_seed(0)
    print(json.dumps(train(run, arguments.out, arguments.epochs)))


if __name__ == "__main__":
    main()
