"""A tiny training as a command, to be interrupted and started again.

    python -m tests.training.tiny_run DIR [--epochs N] [--die-in-save N]

At its end DIR/weights.npz holds all weights.
"""

import argparse
import os
import pathlib
import signal

import keras
import numpy as np

import keras_setr as ks
from keras_setr.files.whole import written_whole
from tests import tiny


class Scenes:
    """Pairs of 20 x 30 pixels, drawn from a seed."""

    def __init__(self, count, seed):
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (count, 20, 30, 3), "uint8")
        self.labels = self.images[..., 0] // 52
        self.labels[:, :2] = 255

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]

    def file_name(self, index):
        return f"scene_{index}.png"


def batches(reader="threads"):
    """5 batches of 2 in an epoch of 11 pairs, augmented."""
    return ks.data.segmentation_batches(
        Scenes(11, seed=0),
        2,
        ks.data.TrainingTransform((16, 24)),
        shuffle=True,
        drop_remainder=True,
        reader=reader,
    )


def validation(reader="threads"):
    return ks.data.segmentation_batches(
        Scenes(3, seed=1),
        2,
        ks.data.EvaluationTransform((16, 24)),
        reader=reader,
    )


def model(learning_rate=0.02, **options):
    """Random as it trains: dropout of every kind, and stochastic depth."""
    keras.utils.set_random_seed(0)
    model = ks.SETRPUP(
        tiny.backbone(
            num_layers=2,
            dropout_rate=0.1,
            attention_dropout_rate=0.1,
            drop_path_rate=0.2,
        ),
        tiny.CLASSES,
        filters=8,
        auxiliary_filters=7,
        auxiliary_layers=(1,),
    )
    model.compile(learning_rate=learning_rate, **options)
    return model


def weights(model):
    return [keras.ops.convert_to_numpy(v.value) for v in model.weights]


def die_in_save(number):
    """Let the process be killed between writing and naming a file.

    Args:
        number: int. Which of its checkpoints that is.
    """
    replace, saves = os.replace, []

    def replace_or_die(source, target):
        if pathlib.Path(target).suffix == ".npz":
            saves.append(target)
        if len(saves) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die


def train(directory, epochs, *callbacks):
    """The whole run, with the weights at its end as DIR/weights.npz."""
    trained = model(**tiny.UNCOMPILED)
    trained.fit(
        batches(),
        validation_data=validation(),
        epochs=epochs,
        callbacks=[
            *callbacks,
            *ks.callbacks(directory, checkpoint_every=2, previews=1),
        ],
        verbose=0,
    )
    with written_whole(directory / "weights.npz") as partial:
        np.savez(partial, *weights(trained))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--die-in-save", type=int)
    args = parser.parse_args()
    if args.die_in_save:
        die_in_save(args.die_in_save)
    train(args.directory, args.epochs)


if __name__ == "__main__":
    main()
