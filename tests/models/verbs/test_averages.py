"""Averaged weights: what they are, and where they are used."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_setr as ks
from tests import tiny
from tests.training import tiny_run

IMAGES, LABELS = tiny.images(4), tiny.labels(4)


def model(**options):
    built = tiny.smallest()
    defaults = {"learning_rate": 0.05, "metrics": None, **tiny.UNCOMPILED}
    built.compile(**{**defaults, **options})
    return built


def values(model, name="kernel"):
    """What the model holds under a name, each as an array."""
    found = [v for v in model.weights if v.name == name]
    return [ops.convert_to_numpy(v) for v in found]


def averages(model, name="kernel"):
    with model.averaged_weights():
        return values(model, name)


def step(model, rows=slice(0, 2)):
    model.train_on_batch(IMAGES[rows], LABELS[rows])
    return values(model)


def assert_close(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ("auto", "adamw", "rmsprop"))
def test_the_decay_of_an_average_grows_to_ema(optimizer):
    rate = None if optimizer == "rmsprop" else 0.05
    trained = model(optimizer=optimizer, ema=0.2, learning_rate=rate)
    start = values(trained)
    first, second, third = step(trained), step(trained), step(trained)
    # min(0.2, (1 + n) / (10 + n)) of updates 1, 2 and 3.
    expected = [2 / 11 * a + 9 / 11 * b for a, b in zip(start, first)]
    expected = [0.2 * a + 0.8 * b for a, b in zip(expected, second)]
    expected = [0.2 * a + 0.8 * b for a, b in zip(expected, third)]
    assert_close(averages(trained), expected)
    # Outside of the context the weights are what they were.
    for one, other in zip(values(trained), third, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ("moving_mean", "moving_variance"))
def test_moving_statistics_are_averaged_as_weights_are(name):
    trained = model(ema=0.9)
    (start,) = values(trained, name)
    step(trained)
    (first,) = values(trained, name)
    assert np.abs(first - start).max() > 1e-3
    assert_close(averages(trained, name), [2 / 11 * start + 9 / 11 * first])


def test_accumulated_batches_are_averaged_once():
    trained = model(ema=0.9, gradient_accumulation_steps=2)
    start = values(trained)
    step(trained)
    for one, other in zip(averages(trained), start, strict=True):
        np.testing.assert_array_equal(one, other)
    first = step(trained)
    expected = [2 / 11 * a + 9 / 11 * b for a, b in zip(start, first)]
    assert_close(averages(trained), expected)


def test_a_step_that_mixed_float16_skips_is_not_averaged():
    keras.config.set_dtype_policy("mixed_float16")
    trained = model(ema=0.9)
    # A scale at which every gradient overflows.
    trained.optimizer.initial_scale = 1e38
    start = values(trained)
    for after in (step(trained), averages(trained)):
        for one, other in zip(after, start, strict=True):
            np.testing.assert_array_equal(one, other)


class Watch(keras.callbacks.Callback):
    """The weights at the end of each epoch, and their averages."""

    def on_train_begin(self, logs=None):
        self.weights, self.averages, self.logs = [], [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(values(self.model))
        self.averages.append(averages(self.model))
        self.logs.append(dict(logs))


def fit(trained, *callbacks, **options):
    trained.fit(
        IMAGES,
        LABELS,
        batch_size=2,
        validation_data=(IMAGES, LABELS),
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
        **options,
    )


def test_fit_trains_the_weights_and_ends_with_their_averages():
    watch, plain = Watch(), Watch()
    trained = model(ema=0.5, metrics="auto")
    start = trained.get_weights()
    fit(trained, watch, epochs=2)
    other = model()
    other.set_weights(start)
    fit(other, plain, epochs=2)
    for epoch in range(2):
        assert_close(watch.weights[epoch], plain.weights[epoch])
    assert_close(values(trained), watch.averages[1])
    # What was validated are they, too.
    scores = trained.evaluate(IMAGES, LABELS, 2, verbose=0, return_dict=True)
    for name in ("loss", "mean_iou"):
        score = watch.logs[1][f"val_{name}"]
        assert score == pytest.approx(scores[name], rel=1e-5)
    assert scores["loss"] != plain.logs[1]["val_loss"]


def test_whole_images_are_validated_with_the_averages_which_are_kept(tmp_path):
    trained, watch = model(ema=0.9), Watch()
    val = list(zip(IMAGES, np.where(LABELS == 255, 255, LABELS)))
    fit(
        trained,
        ks.training.SlidingWindowValidation(val),
        ks.training.BestWeights(tmp_path / "best.weights.h5"),
        watch,
    )
    result = ks.evaluate(trained, val, verbose=0)
    assert watch.logs[0]["val_mean_iou"] == pytest.approx(result.mean_iou)
    kept = tiny.smallest()
    kept.load_weights(tmp_path / "best.weights.h5")
    assert_close(values(kept), watch.averages[0])


def test_a_saved_model_goes_on_with_its_averages(tmp_path):
    trained = model(ema=0.9)
    step(trained)
    trained.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert again.averages.decay == 0.9
    assert_close(averages(again), averages(trained))
    assert_close(step(again), step(trained))
    assert_close(averages(again), averages(trained))


def test_a_preset_holds_the_averages(tmp_path):
    trained = model(ema=0.9)
    step(trained)
    with trained.averaged_weights():
        trained.save_to_preset(tmp_path / "preset")
    loaded = ks.SETRNaive.from_preset(tmp_path / "preset", verbose=False)
    assert_close(values(loaded), averages(trained))


def test_frozen_layers_stay_what_they_are():
    trained = tiny.smallest()
    trained.backbone.trainable = False
    trained.compile(learning_rate=0.05, ema=0.9, **tiny.UNCOMPILED)
    before = [ops.convert_to_numpy(v) for v in trained.backbone.weights]
    step(trained)
    with trained.averaged_weights():
        after = [ops.convert_to_numpy(v) for v in trained.backbone.weights]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_memory_of_a_step_counts_the_averages():
    plain, averaged = model(), model(ema=0.9)
    expected = sum(int(np.prod(v.shape)) for v in plain.trainable_variables)
    estimates = [ks.training.estimate_memory(m, 2) for m in (plain, averaged)]
    assert estimates[1].optimizer - estimates[0].optimizer == 4 * expected


def test_without_averages_the_context_changes_nothing():
    trained = model()
    before = values(trained)
    assert trained.averages is None
    assert_close(averages(trained), before)


def test_what_no_average_can_be_made_by_is_refused():
    for wrong in (0, 1.0, "0.9"):
        with pytest.raises(ValueError, match="ema must be a number above 0"):
            model(ema=wrong)
    keras.config.set_dtype_policy("bfloat16")
    with pytest.raises(ValueError, match="32 bits.*mixed_bfloat16"):
        model(ema=0.9)


def test_random_training_is_compiled_with_averages():
    trained = tiny_run.model(ema=0.9)
    trained.fit(tiny_run.batches(), epochs=1, verbose=0)
    assert int(ops.convert_to_numpy(trained.optimizer.iterations)) == 5
