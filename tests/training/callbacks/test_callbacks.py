"""What the callbacks of a training write, print and stop."""

import csv
import itertools
import sys
import types
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_setr as ks
from keras_setr.models import keras_internals
from keras_setr.models.verbs import feeding
from keras_setr.models.verbs.fitting import Run
from tests import tiny
from tests.training import tiny_run


def epoch_end(callback, epoch, **logs):
    callback.on_epoch_begin(epoch)
    callback.on_epoch_end(epoch, logs)
    return logs


@pytest.fixture
def model():
    model = tiny.smallest()
    model.compile(**tiny.UNCOMPILED)
    tiny.set_weights_by_path(model)
    return model


@pytest.fixture
def scenes():
    return tiny_run.Scenes(3, seed=1)


def begin(callback, model, batches=None, **options):
    """Let a callback see a fit begin."""
    keras_internals.build_scores(model)
    model.run = Run(
        feeding.resolve(tiny_run.batches() if batches is None else batches),
        feeding.resolve(tiny_run.validation()),
        callbacks=[callback],
        **options,
    )
    callback.set_model(model)
    callback.on_train_begin()


class Breakdown(keras.callbacks.Callback):
    """Makes a weight infinite before the first step of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            bias = self.model.trainable_variables[1]
            bias.assign(ops.full(bias.shape, np.inf))


def test_a_loss_that_is_no_number_stops_with_step_files_and_checkpoint(
    model, tmp_path, capsys, monkeypatch
):
    seen = []
    # A millisecond passes from one look at the clock to the next.
    ticks = itertools.count(0, 0.001)
    clock = types.SimpleNamespace(perf_counter=ticks.__next__)
    monkeypatch.setattr("keras_setr.training.callbacks.logs.time", clock)

    class Files(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(self.model.run.file_names(5))

    with pytest.raises(FloatingPointError) as error:
        model.fit(
            tiny_run.batches(),
            epochs=3,
            callbacks=[
                ks.training.FiniteLoss(),
                ks.training.TimeLeft(),
                Files(),
                ks.training.Checkpoints(tmp_path),
                Breakdown(),
            ],
            verbose=0,
        )
    message = str(error.value)
    assert "The loss turned" in message
    assert "at step 5 (epoch 2, step 1 of 5)" in message
    assert seen[0] == ks.data.batch_files(tiny_run.batches(), 5)
    assert len(seen[0]) == 2 and ", ".join(seen[0]) in message
    checkpoint = tmp_path / "checkpoints" / "step_0000005.npz"
    assert str(checkpoint) in message and checkpoint.exists()
    assert not list(tmp_path.glob("checkpoints/step_0000010.npz"))
    out = capsys.readouterr().out
    assert "Epoch 1 of 3: " in out and " images/s in training, 0 min " in out


def test_no_checkpoint_holds_a_weight_that_is_no_number(model, tmp_path):
    callback = ks.training.Checkpoints(tmp_path, every=3)
    begin(callback, model, epochs=2)
    callback.on_epoch_begin(0)
    callback.on_train_batch_begin(2)
    variable = model.trainable_variables[0]
    variable.assign(ops.full(variable.shape, np.nan))
    with pytest.raises(FloatingPointError, match="A weight.*step_0000000.npz"):
        callback.on_train_batch_begin(3)
    names = [p.name for p in (tmp_path / "checkpoints").iterdir()]
    assert names == ["step_0000000.npz"]


def test_checkpoints_of_batches_without_a_length_ask_for_it(model, tmp_path):
    endless = keras.utils.PyDataset()
    with pytest.raises(ValueError, match="steps_per_epoch"):
        begin(ks.training.Checkpoints(tmp_path), model, endless)


def test_whole_images_are_scored_in_place_of_crops(model, scenes):
    callback = ks.training.SlidingWindowValidation(every=2, stride=(8, 12))
    # By default those behind the validation batches of fit.
    begin(callback, model)
    assert len(callback.dataset) == 3
    callback.set_params({"epochs": 5})
    crops = {"loss": 1.0, "val_loss": 2.0, "val_mean_iou": 0.5}
    renamed = {"loss": 1.0, "val_loss": 2.0, "val_crop_mean_iou": 0.5}
    assert epoch_end(callback, 0, **crops) == renamed
    expected = ks.evaluate(model, scenes, stride=(8, 12), verbose=0)
    scores = {
        "val_mean_iou": expected.mean_iou,
        "val_mean_accuracy": expected.mean_accuracy,
        "val_pixel_accuracy": expected.pixel_accuracy,
    }
    assert epoch_end(callback, 1, **crops) == renamed | scores
    # The last epoch, though it is no second one.
    assert epoch_end(callback, 4, loss=1.0) == {"loss": 1.0, **scores}


def test_images_to_validate_on_are_looked_at_before_the_training(
    model, scenes, tmp_path
):
    scenes.labels = scenes.labels.copy()
    scenes.labels[0, 5, 5] = 77
    with pytest.raises(ValueError, match="holds label 77.*num_classes=5"):
        begin(ks.training.SlidingWindowValidation(scenes), model)
    with pytest.raises(ValueError, match="validation must be an iterable"):
        ks.callbacks(tmp_path, validation=7)


def test_previews_show_image_truth_and_prediction(scenes, tmp_path):
    # As 16 bits, of which the upper ones are drawn.
    scenes.images = scenes.images.astype("uint16") * 257
    converter = ks.SETRImageConverter(mean=(3e4,) * 3, std=(15e3,) * 3)
    model = tiny.build(
        "naive", preprocessor=ks.SETRImageSegmenterPreprocessor(converter)
    )
    callback = ks.training.Previews(tmp_path / "previews", scenes, count=2)
    callback.set_model(model)
    callback.set_params({"epochs": 4})
    epoch_end(callback, 2)
    [path] = (tmp_path / "previews").iterdir()
    assert path.name == "epoch_0003.png"
    expected = ks.visualization.comparison(
        [
            (image >> 8, label, model.segment(image))
            for image, label in (scenes[0], scenes[1])
        ],
        ks.Classes.numbered(5),
    )
    np.testing.assert_array_equal(Image.open(path), expected)


def test_the_best_weights_are_kept(model, tmp_path):
    path = tmp_path / "best.weights.h5"
    callback = ks.training.BestWeights(path)
    callback.set_model(model)
    callback.on_train_begin()
    bias = model.get_layer("decode_head").weights[-1]
    for epoch, score in enumerate((0.3, 0.5, 0.4, None, float("nan"))):
        bias.assign(ops.full(bias.shape, float(epoch)))
        logs = {} if score is None else {"val_mean_iou": score}
        epoch_end(callback, epoch, **logs)
    assert callback.best == 0.5
    # After an interruption 0.4 is no improvement either.
    again = ks.training.BestWeights(path)
    again.set_model(model)
    again.on_train_begin()
    again.set_state(callback.get_state())
    epoch_end(again, 5, val_mean_iou=0.4)
    other = tiny.smallest()
    with warnings.catch_warnings():
        # There is no optimizer in it, and Keras says nothing of that.
        warnings.simplefilter("error", UserWarning)
        other.load_weights(path)
    kept = other.get_layer("decode_head").weights[-1]
    np.testing.assert_array_equal(ops.convert_to_numpy(kept), np.ones(5))
    with pytest.raises(ValueError, match=r"\.weights\.h5"):
        ks.training.BestWeights("best.npz")


@pytest.mark.no_backend
def test_early_stopping_counts_on_after_an_interruption(model, capsys):
    def stopping():
        callback = ks.training.EarlyStopping(2, min_delta=0.01)
        callback.set_model(model)
        callback.on_train_begin()
        return callback

    model.stop_training = False
    first = stopping()
    epoch_end(first, 0, val_mean_iou=0.5)
    epoch_end(first, 1, val_mean_iou=0.505)
    assert not first.stopped_epoch
    again = stopping()
    again.set_state(first.get_state())
    epoch_end(again, 2, loss=1.0)  # not validated
    assert not model.stop_training
    epoch_end(again, 3, val_mean_iou=0.4)
    assert again.stopped_epoch == 3 and model.stop_training
    again.on_train_end()
    assert "has not improved on 0.5000 in 2 validations" in (
        capsys.readouterr().out
    )
    with pytest.warns(UserWarning, match="'val_mean_iou', which no epoch had"):
        stopping().on_train_end({"loss": 1.0})
    with pytest.raises(ValueError, match="patience"):
        ks.training.EarlyStopping(0)


@pytest.mark.no_backend
def test_each_epoch_has_one_row(tmp_path):
    path = tmp_path / "log.csv"
    first = ks.training.CSVLog(path)
    first.on_train_begin()
    epoch_end(first, 0, loss=3.0)
    epoch_end(first, 1, loss=2.0, val_mean_iou=0.25)
    epoch_end(first, 2, loss=1.5)
    # Killed before a checkpoint of the second row's epoch was written.
    again = ks.training.CSVLog(path)
    again.on_train_begin()
    epoch_end(again, 1, loss=2.0, val_mean_iou=0.5)
    with open(path, newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "loss", "val_mean_iou"],
            ["0", "3.0", ""],
            ["1", "2.0", "0.5"],
        ]


def test_a_run_is_described_before_its_first_step(model, capsys):
    callback = ks.callbacks("run")[0]
    begin(callback, model)
    printed = capsys.readouterr().out
    assert printed.startswith("batch 2 = 2 x 1 device x 1 accumulated")
    assert "crop 16 x 24; learning rate encoder 0.001, decoder 0.01" in printed
    begin(callback, model, iter([]))
    assert "do not tell their size" in capsys.readouterr().out
    assert ks.callbacks("run", preflight=False)[0] is not callback


@pytest.mark.no_backend
def test_the_first_step_of_each_fit_is_told_and_no_other(capsys):
    callback = ks.training.FirstStep()
    for _ in range(2):
        callback.on_train_begin()
        for batch in range(3):
            callback.on_train_batch_begin(batch)
            begun = capsys.readouterr().out
            callback.on_train_batch_end(batch)
            done = capsys.readouterr().out
            assert begun.startswith("first step: ") == (batch == 0)
            assert done == ("first step done in 0 s\n" if batch == 0 else "")


def test_tensorboard_is_optional(model, tmp_path, monkeypatch):
    callback = ks.callbacks(tmp_path, tensorboard=True)[-3]
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_end(0, {"loss": 2.0, "val_mean_iou": 0.5})
    callback.on_train_end()
    assert len(list(tmp_path.glob("tensorboard/*/events*"))) == 2
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        ks.callbacks(tmp_path, tensorboard=True)


@pytest.mark.no_backend
def test_the_callbacks_come_in_the_order_in_which_they_need_each_other():
    names = [
        type(callback).__name__ for callback in ks.callbacks("run", patience=3)
    ]
    assert names == [
        "Preflight",
        "FirstStep",
        "FiniteLoss",
        "SlidingWindowValidation",
        "Previews",
        "BestWeights",
        "EarlyStopping",
        "CSVLog",
        "TimeLeft",
        "Checkpoints",
    ]
    assert "Previews" not in {
        type(c).__name__ for c in ks.callbacks("run", previews=0)
    }


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "error, options, message",
    (
        (TypeError, {"strid": 4}, "callbacks has no argument 'strid'"),
        (ValueError, {"stride": 0}, "stride.*Received: 0"),
        (ValueError, {"batch_size": 0}, "batch_size.*Received: 0"),
        (ValueError, {"validate_every": 0}, "every.*Received: 0"),
    ),
)
def test_wrong_options_are_named_before_the_training(error, options, message):
    with pytest.raises(error, match=message):
        ks.callbacks("run", **options)


@pytest.mark.no_backend
@pytest.mark.parametrize("content", [b"\xff\xfe", b"loss\n1\n", b"epoch\nx\n"])
def test_a_log_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_bytes(content + b"\n")
    log = ks.training.CSVLog(path)
    log.on_train_begin()
    with pytest.raises(ValueError, match="log.csv must be a log of CSVLog"):
        log.on_epoch_begin(1)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "monitor, found", [("val_miou", ["loss"]), ("val_mean_iou", ["val_loss"])]
)
def test_best_weights_that_no_epoch_has_are_told(tmp_path, monitor, found):
    path = tmp_path / "best.weights.h5"
    best = ks.training.BestWeights(path, monitor)
    best.on_train_begin()
    best.on_epoch_end(0, dict.fromkeys(found, 1.0))
    with pytest.warns(UserWarning, match=f"no best.*{monitor}.*{found[0]}"):
        best.on_train_end()


@pytest.mark.no_backend
def test_a_training_without_validation_needs_no_best_weights(tmp_path):
    best = ks.training.BestWeights(tmp_path / "best.weights.h5")
    best.on_train_begin()
    best.on_epoch_end(0, {"loss": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        best.on_train_end()
