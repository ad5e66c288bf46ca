"""JAX and torch users need no TensorFlow: one is made not to be there."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys

WITHOUT = ("tensorflow", "tensorflow_text", *sys.argv[1:])

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *args):
        if name.split(".")[0] not in WITHOUT:
            return self.finder.find_spec(name, *args)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
TRAINING = """
import keras_setr as ks
import keras
import numpy as np

# The registry knows the classes, whatever is imported first.
name = "keras_setr>SETRPUP"
assert keras.saving.get_registered_object(name) is ks.SETRPUP
keras.utils.set_random_seed(0)
ks.data.StreetScenes(num_scenes=4, image_size=(64, 96)).write("scenes")
folder = ks.data.SegmentationFolder("scenes")
train, val = folder.split(0.5, seed=0)
backbone = ks.SETRBackbone(
    num_layers=1, hidden_dim=16, num_heads=2, image_shape=(64, 96, 3)
)
model = ks.SETRNaive(
    backbone, folder.num_classes, auxiliary_layers=(), filters=8
)
readers = ("threads",) if "grain" in WITHOUT else ("threads", "grain")
for reader in readers:
    history = model.fit(
        train.batches(2, reader=reader),
        validation_data=val.batches(2, reader=reader),
        epochs=2,
        callbacks=ks.callbacks(f"run_{reader}", previews=0),
        verbose=0,
    )
    assert np.isfinite(history.history["loss"]).all()
images = np.stack([train[i][0] for i in range(2)])
labels = np.stack([train[i][1] for i in range(2)])
if "grain" not in WITHOUT:  # KerasHub reads arrays with one of the two
    model.fit(images, labels, batch_size=2, verbose=0)
    assert np.isfinite(model.evaluate(images, labels, verbose=0)).all()
logits = model.predict(images)
assert logits.shape == (2, 64, 96, folder.num_classes)
large = np.concatenate([images[0]] * 3, axis=1)
assert model.segment(large).shape == (64, 288)
ks.evaluate(model, val)
model.save("model.keras")
model.save_to_preset("preset")
for loaded in (
    keras.saving.load_model("model.keras"),
    ks.SETRNaive.from_preset("preset", verbose=False),
):
    np.testing.assert_allclose(
        loaded.predict(images), logits, rtol=1e-5, atol=1e-5
    )
assert not any(m.split(".")[0] == "tensorflow" for m in sys.modules)
print("all of it ran")
"""


@pytest.mark.parametrize(
    "also",
    [
        # What reads is the same on both.
        pytest.param((), marks=pytest.mark.backends("jax")),
        pytest.param(("grain",), marks=pytest.mark.backends("torch")),
    ],
    ids=str,
)
def test_everything_but_tf_data_runs_without_tensorflow(also, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED + TRAINING, *also],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip().endswith("all of it ran"), result.stderr
