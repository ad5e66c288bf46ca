"""A preset written on one backend is read on the others."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np

import keras_setr as ks
from tests import tiny

# Each pair of backends meets once in the runs of all three, both ways.
PARTNER = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}


def write(folder):
    model = tiny.build("mla", classes=ks.Classes(list("abcde")))
    tiny.set_weights_by_path(model)
    model.save_to_preset(os.path.join(folder, "preset"))
    logits = model.predict(tiny.images(), verbose=0)
    np.save(os.path.join(folder, "logits.npy"), logits)


def check(folder):
    model = ks.SETRMLA.from_preset(os.path.join(folder, "preset"))
    expected = np.load(os.path.join(folder, "logits.npy"))
    logits = model.predict(tiny.images(), verbose=0)
    np.testing.assert_allclose(
        logits, expected, atol=1e-6 * np.abs(expected).max()
    )
    assert model.classes.names == tuple("abcde")


def test_presets_travel_both_ways_between_two_backends(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    write(ours)
    root = pathlib.Path(__file__).parents[2]
    code = (
        "from tests.checkpoints import test_exchange as t;"
        f"t.check({str(ours)!r}); t.write({str(theirs)!r})"
    )
    partner = PARTNER[keras.config.backend()]
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "KERAS_BACKEND": partner},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    check(theirs)
