"""Encoders of timm and transformers give the tokens that these computed."""

import json

import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_setr as ks
from tests import tiny
from tests.checkpoints.test_encoders import save
from tests.goldens import encoders as golden

# The plain ones are on all backends in test_encoders.py.
ON_ALL = ("Hugging Face DINOv3 gated", "Meta DINOv3", "timm DINOv2 registers")
NAMES = golden.names()


def write(name, folder):
    """A file or a folder as its publisher writes it, and its tokens."""
    state, config, tokens = golden.read(name)
    if not config:
        suffix = ".npz" if name.startswith("Google") else ".safetensors"
        return save(folder / f"encoder{suffix}", state), tokens
    safetensors.numpy.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder), tokens


def load(name, folder, **options):
    source, tokens = write(name, folder)
    options = {"use_final_norm": True, "num_heads": golden.HEADS, **options}
    return ks.SETRBackbone.from_preset(source, **options), tokens


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ON_ALL
        else pytest.param(name, marks=pytest.mark.backends("torch"))
        for name in NAMES
    ],
)
def test_tokens_of_images_that_are_not_square_are_theirs(
    name, tmp_path, capsys
):
    backbone, expected = load(name, tmp_path, image_shape=(*golden.SIZE, 3))
    features = tiny.outputs(backbone, golden.images())
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(features).reshape(expected.shape),
        expected,
        atol=1e-5 * np.abs(expected).max(),
    )
    printed = capsys.readouterr().out
    count = len(backbone.weights)
    assert f"encoder {count}/{count}" in printed
    distilled = "DeiT distilled" in name
    assert ("drops the distillation token" in printed) == distilled
