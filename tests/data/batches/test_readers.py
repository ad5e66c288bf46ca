"""A SETR fitted, evaluated and run on the batches of each reader."""

import numpy as np
import pytest

import keras_setr as ks
from tests import tiny

READERS = ("threads", "tf.data", "grain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("tensorflow")
    pytest.importorskip("grain", reason="Grain is not installed")
    directory = tmp_path_factory.mktemp("scenes")
    ks.data.StreetScenes(5, (64, 64)).write(directory)
    return ks.data.SegmentationFolder(
        directory, label_map={**{k: k % 5 for k in range(10)}, 255: 255}
    )


def compiled():
    model = tiny.smallest()
    tiny.set_weights_by_path(model)
    model.compile(learning_rate=0.01, metrics=[], **tiny.UNCOMPILED)
    return model


def test_readers_train_alike(folder):
    losses = {}
    for reader in READERS:
        # The same in every epoch, so that the losses show an error of the
        # reader and not of the count of passes.
        batches = folder.batches(
            2, crop_size=(16, 24), augment=False, reader=reader
        )
        history = compiled().fit(batches, epochs=2, verbose=0)
        losses[reader] = history.history["loss"]
    for reader in READERS[1:]:
        assert losses[reader] == pytest.approx(losses["threads"], rel=1e-3)


# Other backends evaluate batches of each reader in training/devices, and
# predict each kind of data in models/verbs.
@pytest.mark.backends("torch")
def test_readers_evaluate_and_predict_alike(folder):
    model = compiled()
    options = {"crop_size": (16, 24), "augment": False}
    ((images, labels),) = folder.batches(5, reader="threads", **options)
    loss = model.evaluate(images, labels, batch_size=2, verbose=0)
    logits = model.predict(images, verbose=0)
    assert logits.shape == (5, 16, 24, 5)
    for reader in READERS:
        batches = folder.batches(2, reader=reader, **options)
        assert len(batches) == 3
        assert model.evaluate(batches, verbose=0) == pytest.approx(
            loss, rel=1e-4
        )
        np.testing.assert_allclose(
            model.predict(batches, verbose=0), logits, atol=1e-4
        )
