"""Which backend Keras is imported on, told before it is."""

import json
import os
import subprocess
import sys

import pytest

from keras_setr import backends

pytestmark = pytest.mark.no_backend


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Sets what is asked for, in an environment without Keras."""
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND")

    def ask(name, place="KERAS_BACKEND", installed=backends.BACKENDS):
        monkeypatch.setattr(backends, "is_there", lambda p: p in installed)
        if place == "KERAS_BACKEND" and name is not None:
            monkeypatch.setenv(place, name)
        elif name is not None:
            (tmp_path / place).write_text(json.dumps({"backend": name}))

    return ask


@pytest.mark.parametrize("place", ["KERAS_BACKEND", "keras.json"])
@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("tensorflw", "tensorflow"),
        ("Torch", "torch"),
        ("jax ", "jax"),
        ("openvino", "tensorflow"),
        ("cntk", "tensorflow"),
    ],
)
def test_no_backend_of_ours_is_one_error(place, name, instead, asked):
    asked(name, place)
    with pytest.raises(ValueError) as error:
        backends.check()
    for word in (place, "tensorflow, jax, torch", "numpy", repr(name)):
        assert word in str(error.value)
    assert f"KERAS_BACKEND={instead} would do" in str(error.value)


@pytest.mark.parametrize("name", [None, "jax"])
def test_a_backend_that_is_not_installed_is_one_error(name, asked):
    asked(name, installed=("torch",))
    with pytest.raises(ImportError) as error:
        backends.check()
    for word in ("KERAS_BACKEND", name or "tensorflow", "not installed"):
        assert word in str(error.value)
    assert "KERAS_BACKEND=torch" in str(error.value)


@pytest.mark.parametrize("name", [None, "numpy", *backends.BACKENDS])
def test_what_fits_passes(name, asked):
    asked(name)
    backends.check()


def test_the_import_says_it_before_keras_is_imported():
    code = "import keras_setr"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "tensorflw"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "site-packages" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("ValueError: KERAS_BACKEND")
