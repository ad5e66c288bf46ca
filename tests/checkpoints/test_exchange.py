"""A preset written on one backend is read on the others.

Each exchanges presets both ways with Keras' NumPy backend, which starts
fastest, so that all read the same of a file and write the same into it.
"""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np

import keras_setr as ks
from tests import tiny


def forward(model):
    """Logits, without `predict`, which Keras has not on NumPy."""
    x = model.preprocessor(tiny.images().astype("float32"))
    return keras.ops.convert_to_numpy(tiny.outputs(model, x))


def write(folder):
    model = tiny.build("mla", classes=ks.Classes(list("abcde")))
    tiny.set_weights_by_path(model)
    model.save_to_preset(os.path.join(folder, "preset"))
    np.save(os.path.join(folder, "logits.npy"), forward(model))


def check(folder):
    model = ks.SETRMLA.from_preset(os.path.join(folder, "preset"))
    expected = np.load(os.path.join(folder, "logits.npy"))
    np.testing.assert_allclose(
        forward(model), expected, atol=1e-6 * np.abs(expected).max()
    )
    assert model.classes.names == tuple("abcde")


def test_presets_travel_to_another_backend_and_back(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    write(ours)
    root = pathlib.Path(__file__).parents[2]
    code = (
        "from tests.checkpoints import test_exchange as t;"
        f"t.check({str(ours)!r}); t.write({str(theirs)!r})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    check(theirs)
