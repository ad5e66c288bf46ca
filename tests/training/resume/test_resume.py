"""A training that is interrupted ends like one that is not."""

import csv
import os
import pathlib
import random
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_setr as ks
from keras_setr.files.lock import only_process
from keras_setr.models import keras_internals
from keras_setr.training.resume import state
from keras_setr.training.resume.checkpoint_folder import CheckpointFolder
from keras_setr.training.resume.checkpoint_folder import read_checkpoint
from keras_setr.training.resume.checkpoint_folder import write_checkpoint
from tests import tiny
from tests.training import tiny_run

ROOT = pathlib.Path(__file__).parents[3]


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


def train(
    directory, *callbacks, model=None, reader="threads", epochs=2, **options
):
    """Two epochs of five steps."""
    model = model or tiny_run.model(**tiny.UNCOMPILED)
    model.fit(
        tiny_run.batches(reader),
        validation_data=tiny_run.validation(reader),
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
    return sorted(p.name for p in (directory / "checkpoints").glob("step*"))


def assert_same_weights(model, weights):
    for actual, expected in zip(tiny_run.weights(model), weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Directory and weights of a finished run."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    return directory, tiny_run.weights(train(directory))


def test_a_run_goes_on_in_the_middle_of_an_epoch(
    uninterrupted, tmp_path, capsys
):
    # Broken off after 8 steps, the last checkpoint being that of 7: two steps
    # into the second epoch.
    with pytest.raises(Interrupted):
        train(tmp_path, Interruption(1, 3), reader="tf.data")
    assert checkpoints(tmp_path) == ["step_0000005.npz", "step_0000007.npz"]
    model = train(tmp_path, reader="tf.data")
    assert "epoch 1 of 2 done, then 2 of 5 steps" in capsys.readouterr().out
    directory, weights = uninterrupted
    assert_same_weights(model, weights)
    rows, expected = read_log(tmp_path), read_log(directory)
    assert [row["epoch"] for row in rows] == [0, 1]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-5)


# What a killed process leaves does not depend on the backend, and to go on
# from it is tested above.
@pytest.mark.backends("torch")
def test_a_process_killed_while_it_saves_leaves_a_run_to_go_on_with(
    uninterrupted, tmp_path
):
    # It saves after 0, 2, 4 and 5 steps, the last at the end of an epoch.
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.training.tiny_run"]
        + [str(tmp_path), "--die-in-save", "4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert checkpoints(tmp_path) == ["step_0000002.npz", "step_0000004.npz"]
    assert {"best.weights.h5", "log.csv"} <= set(os.listdir(tmp_path))
    assert os.listdir(tmp_path / "previews") == ["epoch_0001.png"]
    folder = tmp_path / "checkpoints"
    (partial,) = folder.glob(".partial-*-step_0000005.npz")
    (tmp_path / "log.csv").unlink()
    model = train(tmp_path)
    assert not partial.exists()
    directory, weights = uninterrupted
    assert_same_weights(model, weights)
    for row, other in zip(read_log(tmp_path), read_log(directory), strict=True):
        assert row == pytest.approx(other, rel=1e-5)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("name", ("fcn", "semantic_fpn", "hybrid"))
def test_a_run_with_a_resnet_goes_on_in_the_middle_of_an_epoch(name, tmp_path):
    def model():
        keras.utils.set_random_seed(0)
        # Moving statistics, and dropout before the classifiers of baselines.
        options = {} if name == "hybrid" else {"dropout_rate": 0.2}
        model = tiny.build(name, **options)
        model.compile(learning_rate=0.02, weight_decay=1e-3)
        return model

    weights = tiny_run.weights(train(tmp_path / "whole", model=model()))
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", Interruption(1, 3), model=model())
    assert_same_weights(train(tmp_path / "cut", model=model()), weights)


# Only more variables than above, which test_averages.py trains on all.
@pytest.mark.backends("torch")
def test_a_run_with_lora_and_averaged_weights_goes_on_with_both(tmp_path):
    def adapted(ema=0.9):
        model = tiny_run.model()
        model.backbone.enable_lora(2)
        model.compile(learning_rate=0.02, ema=ema, **tiny.UNCOMPILED)
        return model

    whole = train(tmp_path / "whole", model=adapted())
    # Broken off in its second epoch, and finished twice.
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", Interruption(1, 3), model=adapted())
    for _ in range(2):
        model = train(tmp_path / "cut", model=adapted())
        assert_same_weights(model, tiny_run.weights(whole))
    rows, expected = (read_log(tmp_path / name) for name in ("cut", "whole"))
    assert rows[1] == pytest.approx(expected[1], rel=1e-5)
    with pytest.raises(ValueError, match="\n  ema: 0.9 before, 0.5 now"):
        train(tmp_path / "cut", model=adapted(0.5))
    with pytest.raises(ValueError) as error:
        train(tmp_path / "cut")
    assert "\n  ema: 0.9 before, nothing now" in str(error.value)
    assert "\n  lora_rank of the model: 2 before, n" in str(error.value)


def test_a_finished_run_says_so_and_trains_nothing(uninterrupted, capsys):
    directory, weights = uninterrupted
    before = checkpoints(directory)
    model = train(directory)
    assert "finished after epoch 2 of 2" in capsys.readouterr().out
    assert_same_weights(model, weights)
    assert checkpoints(directory) == before
    assert len(read_log(directory)) == 2
    # The next fit begins at its first epoch.
    model.fit(tiny.images(), tiny.labels(), verbose=0)
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 11


def test_a_run_of_another_configuration_is_named(uninterrupted):
    directory, _ = uninterrupted
    other = tiny_run.model(learning_rate=0.01)
    with pytest.raises(ValueError) as error:
        train(directory, model=other)
    assert "\n  learning rate: 0.02 before, 0.01 now\n" in str(error.value)
    with pytest.raises(ValueError, match="\n  model: 'SETRPUP' before"):
        train(directory, model=tiny.build("naive"))


# Which steps are counted is the same on all.
@pytest.mark.backends("torch")
def test_a_longer_run_goes_on_and_decays_over_its_length(tmp_path, capsys):
    train(tmp_path, epochs=1)
    model = train(tmp_path, epochs=2)
    printed = capsys.readouterr().out
    assert "epoch 1 of 2 done" in printed
    assert "has 2 epochs now and had 1 before: the learning rate" in printed
    # Both of five steps.
    assert state.decay_span(model) == [0, 10]
    assert [row["epoch"] for row in read_log(tmp_path)] == [0, 1]
    # The floor at the end of the run as it is now.
    rate = float(ops.convert_to_numpy(model.optimizer.learning_rate))
    assert rate == pytest.approx(1e-4)


@pytest.mark.no_backend
def test_differences_are_in_words_and_without_their_consequences():
    saved = {
        "batches.image_shape": [32, 48, 3],
        "model.backbone.config.num_layers": 3,
        "optimizer.learning_rate.config.decay_steps": 120,
        "variables.7": "kernel (3, 4) float32",
    }
    current = {
        "batches.image_shape": [32, 64, 3],
        "model.backbone.config.num_layers": 2,
        "optimizer.learning_rate.config.decay_steps": 48,
    }
    assert state.differences(saved, current, {}) == [
        "size of the crops: [32, 48, 3] before, [32, 64, 3] now",
        "num_layers of the backbone: 3 before, 2 now",
    ]
    only = {"variables.7": saved["variables.7"]}
    assert len(state.differences(only, {}, {})) == 1


def test_runs_of_before_an_argument_was_there_have_its_default():
    model = tiny.smallest()
    model.compile(learning_rate=0.01, total_steps=10)
    now, defaults = state.describe(model), state.defaults(model)
    later = ("model.backbone.config.use_key_bias", "optimizer.l2")
    before = {name: value for name, value in now.items() if name not in later}
    assert len(before) == len(now) - 2
    assert state.differences(before, now, defaults) == []
    changed = now | {later[0]: False}
    assert state.differences(before, changed, defaults) == [
        "use_key_bias of the backbone: True before, False now"
    ]


def test_a_new_run_asks_for_a_directory_without_one(uninterrupted):
    directory, _ = uninterrupted
    with pytest.raises(ValueError, match="holds a run already.*resume=False"):
        train(directory, resume=False)


def test_two_trainers_in_one_directory_are_told(uninterrupted):
    directory, weights = uninterrupted
    before = checkpoints(directory)
    with only_process(directory / "training.lock", "trains there"):
        with pytest.raises(ValueError, match=f"Process {os.getpid()} on"):
            train(directory)
    assert checkpoints(directory) == before
    # A fit that has ended, by an error too, holds nobody up.
    other = tiny_run.model(learning_rate=0.01)
    for _ in range(2):
        with pytest.raises(ValueError, match="holds a run with other settings"):
            train(directory, model=other)
    assert not (directory / "training.lock").exists()


def test_an_epoch_of_arrays_begins_anew(tmp_path, capsys):
    def fit(*callbacks):
        model = tiny.smallest()
        model.compile(**tiny.UNCOMPILED)
        model.fit(
            tiny.images(4),
            tiny.labels(4),
            batch_size=2,
            epochs=2,
            callbacks=[*callbacks, ks.training.Checkpoints(tmp_path, every=1)],
            verbose=0,
        )
        return model

    with pytest.raises(Interrupted):
        fit(Interruption(1, 1))
    assert "written at the end of each epoch" in capsys.readouterr().out
    assert checkpoints(tmp_path) == ["step_0000000.npz", "step_0000002.npz"]
    assert int(ops.convert_to_numpy(fit().optimizer.iterations)) == 4


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 8 and 12, each with an array that holds it."""
    folder = CheckpointFolder(tmp_path)
    for step in (3, 8, 12):
        folder.write(step, {"step": step}, [("a/0", np.full((2, 50), step))])
    assert [path.name for path in folder.paths()] == [
        "step_0000012.npz",
        "step_0000008.npz",
    ]
    return folder


def damage_in_the_middle(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-40], lambda data: b"", damage_in_the_middle]
)
def test_a_damaged_checkpoint_is_skipped_and_set_aside(folder, damage, capsys):
    newest = folder.paths()[0]
    newest.write_bytes(damage(newest.read_bytes()))
    path, record, arrays = folder.newest()
    assert path.name == "step_0000008.npz" and record == {"step": 8}
    np.testing.assert_array_equal(arrays["a/0"], np.full((2, 50), 8))
    assert "step_0000012.npz" in capsys.readouterr().out
    # It does not count among the two that are kept.
    folder.write(10, {}, [])
    assert [path.name for path in folder.paths()] == [
        "step_0000010.npz",
        "step_0000008.npz",
    ]


@pytest.mark.no_backend
def test_a_folder_of_nothing_but_damaged_files_is_an_error(folder):
    for path in folder.paths():
        path.write_bytes(b"cut")
    with pytest.raises(ValueError, match="None of the checkpoints"):
        folder.newest()


def test_every_generator_and_half_precision_come_back(tmp_path):
    model = tiny.smallest()
    keras_internals.build_scores(model)
    half = keras.Variable(np.array([1.5, 2.5]), dtype="bfloat16")
    model.optimizer._variables.append(half)
    path = tmp_path / "a.npz"
    write_checkpoint(path, {}, state.iterate_arrays(model))

    def draw():
        return (
            random.random(),
            np.random.rand(),
            float(keras.random.uniform(())),
        )

    expected = draw()
    half.assign([0, 0])
    _, arrays = read_checkpoint(path)
    state.restore_variables(model, arrays)
    state.restore_generators(model, arrays)
    assert draw() == expected
    assert ops.convert_to_numpy(half).tolist() == [1.5, 2.5]
