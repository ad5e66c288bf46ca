"""Training on two devices; conftest.py splits the CPU in two."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_setr import metrics
from keras_setr.layers import BatchNormalization
from keras_setr.models.distributed import batch_divisor
from tests import tiny

BACKEND = keras.config.backend()


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
    """One for all tests: the collectives of two in a process get mixed up."""
    if BACKEND != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def two_devices(strategy):
    """A scope in which a model is built for both devices."""
    if BACKEND == "tensorflow":
        assert strategy.num_replicas_in_sync == 2
        with strategy.scope():
            yield
    elif BACKEND == "jax":
        devices = keras.distribution.list_devices()
        assert len(devices) == 2
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices)
        )
        yield
        keras.distribution.set_distribution(None)
    else:
        pytest.skip("Keras distributes nothing on one torch device")


def test_batch_norm_works_on_a_single_device():
    model = batch_norm_model()
    model.fit(halves(), halves(), batch_size=4, verbose=0)
    assert_global_statistics(model)


def test_batch_norm_is_that_of_the_global_batch(two_devices):
    model = batch_norm_model()
    model.fit(halves(), halves(), batch_size=4, shuffle=False, verbose=0)
    assert_global_statistics(model)


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


def test_a_model_with_it_loads_on_any_backend():
    assert "synchronized" not in BatchNormalization().get_config()


def test_a_setr_trains_and_predicts_on_two_devices(two_devices):
    model = tiny.build("pup")
    history = model.fit(
        tiny.images(8), tiny.labels(8), batch_size=4, epochs=2, verbose=0
    ).history
    assert np.isfinite(history["loss"]).all()
    assert 0 < history["pixel_accuracy"][-1] < 1
    assert model.predict(tiny.images(), verbose=0).shape == (2, 16, 24, 5)


def test_every_batch_of_windows_divides_among_the_devices(two_devices):
    model = tiny.build("naive")
    tiny.set_weights_by_path(model)
    assert batch_divisor(model) == 2
    # Three images, so batches of 3 would not divide; 3 + 1 windows do.
    images = tiny.images(3)
    logits = model.predict(images, batch_size=3, verbose=0)
    direct = model(model.preprocessor(images.astype("float32")))
    np.testing.assert_allclose(
        logits, keras.ops.convert_to_numpy(direct), atol=1e-5
    )


def test_a_replica_gets_its_share_of_the_windows(two_devices):
    recorder = tiny.Recorder()
    model = tiny.build("naive", preprocessor=recorder)
    model.predict(tiny.images(3), batch_size=3, verbose=0)
    # JAX traces the global batch once, TensorFlow that of each replica.
    expected = 4 if BACKEND == "jax" else 2
    assert {shape[0] for shape in recorder.shapes} == {expected}
