"""A SETR fitted on the batches of each reader."""

import pytest

import keras_setr as ks
from tests import tiny


def test_threads_and_tf_data_train_alike(tmp_path):
    pytest.importorskip("tensorflow")
    ks.data.StreetScenes(4, (64, 64)).write(tmp_path)
    folder = ks.data.SegmentationFolder(
        tmp_path, label_map={**{k: k % 5 for k in range(10)}, 255: 255}
    )
    losses = {}
    for reader in ("threads", "tf.data"):
        model = tiny.build("naive")
        tiny.set_weights_by_path(model)
        model.compile(learning_rate=0.01, metrics=[], **tiny.UNCOMPILED)
        # The same in every epoch: Keras' look at the first batch of a
        # tf.data.Dataset counts as a pass, at those of threads it does not.
        batches = folder.batches(
            2, crop_size=(16, 24), augment=False, reader=reader
        )
        history = model.fit(batches, epochs=2, verbose=0)
        losses[reader] = history.history["loss"]
    assert losses["threads"] == pytest.approx(losses["tf.data"], rel=1e-3)
