"""A training that is interrupted ends like one that is not."""

import csv
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_setr as ks
from tests import tiny
from tests.training import tiny_run

ROOT = pathlib.Path(__file__).parents[2]


class Interrupted(Exception):
    pass


class Interruption(keras.callbacks.Callback):
    """Breaks off before a step."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.place = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            raise Interrupted


def train(directory, *callbacks, epochs=2, model=None, **options):
    model = model or tiny_run.model(**tiny.UNCOMPILED)
    model.fit(
        tiny_run.batches(),
        validation_data=tiny_run.validation(),
        epochs=epochs,
        callbacks=[
            *callbacks,
            ks.training.CSVLog(directory / "log.csv"),
            ks.training.Checkpoints(directory, every=2, **options),
        ],
        verbose=0,
    )
    return model


def read_log(directory):
    with open(directory / "log.csv", newline="") as file:
        return [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def checkpoints(directory):
    return sorted(p.name for p in (directory / "checkpoints").iterdir())


def assert_same_weights(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    keras.utils.set_random_seed(0)
    return directory, tiny_run.weights(train(directory))


def test_a_run_goes_on_in_the_middle_of_an_epoch(uninterrupted, tmp_path, capsys):
    # 2 epochs of 5 steps, broken off after 8 steps, the last checkpoint being
    # that of 7: two steps into the second epoch.
    with pytest.raises(Interrupted):
        train(tmp_path, Interruption(1, 3))
    assert checkpoints(tmp_path) == ["step_0000005.npz", "step_0000007.npz"]
    model = train(tmp_path)
    assert "epoch 1 of 2 done, and 2 of the 5 steps" in capsys.readouterr().out
    directory, weights = uninterrupted
    assert_same_weights(tiny_run.weights(model), weights)
    rows, expected = read_log(tmp_path), read_log(directory)
    assert [row["epoch"] for row in rows] == [0, 1]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-5)
