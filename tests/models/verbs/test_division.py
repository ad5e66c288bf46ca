"""Training on several devices; conftest.py splits the CPU."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_setr as ks
from keras_setr import metrics
from keras_setr.layers import BatchNormalization
from keras_setr.models.verbs.division import batch_divisor
from tests import tiny
from tests.training import tiny_run

BACKEND = keras.config.backend()
# Keras distributes nothing on torch.
divided = pytest.mark.backends("tensorflow", "jax")


def halves():
    """Four samples, two of 0 and two of 8: mean 4, variance 16."""
    return np.repeat([0.0, 0.0, 8.0, 8.0], 6).reshape(4, 2, 3, 1)


def batch_norm_model():
    inputs = keras.Input((2, 3, 1))
    model = keras.Model(inputs, BatchNormalization(momentum=0.9)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    return model


def moving_statistics(model):
    norm = model.layers[-1]
    return [
        float(ops.convert_to_numpy(v)[0])
        for v in (norm.moving_mean, norm.moving_variance)
    ]


def assert_global_statistics(model):
    # 0.9 * 0 + 0.1 * 4 and 0.9 * 1 + 0.1 * 16; alone, each half of the batch
    # has variance 0.
    np.testing.assert_allclose(moving_statistics(model), [0.4, 2.5], rtol=1e-4)


@pytest.fixture(scope="module")
def strategy():
    return None if BACKEND != "tensorflow" else ks.distribute().strategy


@contextlib.contextmanager
def on_devices(count, strategy):
    """A scope in which a model is built for that many devices."""
    if BACKEND == "tensorflow":
        assert strategy.num_replicas_in_sync == count
        with strategy.scope():
            yield
    else:
        devices = keras.distribution.list_devices()[:count]
        assert len(devices) == count
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices)
        )
        try:
            yield
        finally:
            keras.distribution.set_distribution(None)


@pytest.fixture
def two_devices(strategy):
    with on_devices(2, strategy):
        yield


def test_batch_norm_works_on_a_single_device():
    model = batch_norm_model()
    model.fit(halves(), halves(), batch_size=4, verbose=0)
    assert_global_statistics(model)


@divided
def test_batch_norm_is_that_of_the_global_batch(two_devices):
    model = batch_norm_model()
    model.fit(halves(), halves(), batch_size=4, shuffle=False, verbose=0)
    assert_global_statistics(model)


@divided
def test_counts_of_all_replicas_add_up(two_devices):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 2, 3, 5)).astype("float32")
    labels = rng.integers(0, 5, (6, 2, 3))
    inputs = keras.Input((2, 3, 5))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    model.compile(loss="mse", metrics=[metrics.MeanIoU(5)])
    evaluated = model.evaluate(
        logits, labels[..., None], batch_size=2, verbose=0, return_dict=True
    )
    expected = metrics.ConfusionMatrix(5)
    expected.update(labels, logits.argmax(axis=-1))
    np.testing.assert_allclose(
        evaluated["mean_iou"], metrics.mean_iou(expected.counts), atol=1e-6
    )


@pytest.mark.no_backend
def test_a_model_with_it_loads_on_any_backend():
    assert "synchronized" not in BatchNormalization().get_config()


@divided
def test_a_setr_trains_and_predicts_on_two_devices(two_devices):
    model = ks.SETRPUP(
        # With layers that are computed anew in the backward pass.
        tiny.backbone(
            num_layers=1,
            rematerialize=True,
            dropout_rate=0.1,
            attention_dropout_rate=0.1,
        ),
        tiny.CLASSES,
        filters=8,
        auxiliary_filters=7,
        auxiliary_layers=(1,),
    )
    model.compile(learning_rate=0.05)
    batches = tiny_run.batches()
    history = model.fit(
        batches, validation_data=tiny_run.validation(), epochs=2, verbose=0
    ).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    assert 0 < history["pixel_accuracy"][-1] < 1
    # Nothing looked at a batch before the 5 of each epoch.
    assert batches.position.step == 2 * 5
    assert model.predict(tiny.images(), verbose=0).shape == (2, 16, 24, 5)


@divided
def test_accumulation_on_several_replicas_works_or_is_refused(two_devices):
    model = tiny.smallest()
    options = {"gradient_accumulation_steps": 2, "metrics": None}
    if BACKEND == "tensorflow":
        with pytest.raises(ValueError, match="=2 on 2 replicas.*remat.*JAX"):
            model.compile(**options)
        return
    model.compile(**options)
    model.fit(tiny.images(8), tiny.labels(8), batch_size=4, verbose=0)
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 1


@divided
def test_every_batch_of_windows_divides_among_the_devices(two_devices):
    model = tiny.smallest()
    tiny.set_weights_by_path(model)
    assert batch_divisor(model) == 2
    # Three images, so batches of 3 would not divide; 3 + 1 windows do.
    images = tiny.images(3)
    logits = model.predict(images, batch_size=3, verbose=0)
    direct = tiny.outputs(model, model.preprocessor(images.astype("float32")))
    expected = keras.ops.convert_to_numpy(direct)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    logits = model.predict(images, batch_size=3, verbose=0, blend="device")
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@divided
def test_a_replica_gets_its_share_of_the_windows(two_devices):
    recorder = tiny.Recorder()
    model = tiny.build("naive", preprocessor=recorder)
    model.predict(tiny.images(3), batch_size=3, verbose=0)
    # JAX traces the global batch once, TensorFlow that of each replica.
    expected = 4 if BACKEND == "jax" else 2
    assert {shape[0] for shape in recorder.shapes} == {expected}


STEPS, BATCH = 20, 4


class Trained(keras.callbacks.Callback):
    """The weights that a fit has trained, which it ends with averages of."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == STEPS - 1:
            self.weights = values(self.model)


def values(model):
    return {v.path: ops.convert_to_numpy(v) for v in model.weights}


def train(batches):
    """The losses of 20 steps, the weights after them, and their averages."""
    backbone = tiny.backbone(num_layers=1)
    model = tiny.MODELS["naive"](backbone, auxiliary_layers=(1,))
    tiny.set_weights_by_path(model)
    model.compile(learning_rate=0.01, metrics=None, ema=0.9)
    trained = Trained()
    history = model.fit(
        batches,
        epochs=STEPS,
        steps_per_epoch=1,
        verbose=0,
        callbacks=[trained],
    )
    return np.array(history.history["loss"]), trained.weights, values(model)


@divided
def test_losses_statistics_and_averages_are_those_of_one_device(strategy):
    tf = pytest.importorskip("tensorflow")
    images = tiny.images(STEPS * BATCH)
    labels = (images[..., 0] > 127).astype("uint8") + 2  # of the pixel itself
    # The second half of each batch, and hence one TensorFlow replica, has
    # 3 * step pixels with a label; the first half has them all.
    for step, batch in enumerate(labels.reshape(STEPS, 2, -1)):
        batch[1, 3 * step :] = 255
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = batches.batch(BATCH, drop_remainder=True)
    with on_devices(4 if BACKEND == "jax" else 2, strategy):
        losses, *found = train(batches)
    expected_losses, *expected = train(batches)
    assert expected_losses[-1] < 0.8 * expected_losses[0]
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    weights, averages = found
    statistics = [path for path in weights if "moving_" in path]
    assert len(statistics) == 4  # mean and variance of two heads
    for path, value in averages.items():
        # But for the biases that a batch norm takes away.
        if "kernel" in path or "moving_" in path:
            assert np.abs(value - weights[path]).max() > 1e-5
    for ours, theirs in zip(found, expected):
        for path, value in theirs.items():
            np.testing.assert_allclose(
                ours[path], value, rtol=1e-4, atol=1e-5, err_msg=path
            )
