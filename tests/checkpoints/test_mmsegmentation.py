"""mmsegmentation's files give the outputs that mmsegmentation computed."""

import json

import keras
import numpy as np
import pytest

import keras_setr as ks
from tests import tiny
from tests.checkpoints.test_encoders import save
from tests.goldens import mmsegmentation_models as golden

# On the others test_training_parity.py compares what comes of these files.
pytestmark = pytest.mark.backends("torch")
MODELS = {"naive": ks.SETRNaive, "pup": ks.SETRPUP, "mla": ks.SETRMLA}


@pytest.mark.parametrize("name", MODELS)
def test_features_logits_and_auxiliary_outputs_are_theirs(name, tmp_path):
    with np.load(golden.FOLDER / f"mmsegmentation_{name}.npz") as arrays:
        arrays = dict(arrays)
    shapes = json.loads(str(arrays.pop("shapes")))
    path = save(
        tmp_path / "checkpoint.safetensors", golden.random_state(shapes)
    )
    layers = (
        {"feature_layers": (1, 2, 3, 4)}
        if name == "mla"
        else {"auxiliary_layers": (1, 2, 3)}
    )
    model = MODELS[name].from_preset(
        path,
        num_heads=golden.HEADS,
        image_shape=(golden.SIZE, golden.SIZE, 3),
        preprocessor=None,
        **layers,
    )
    assert model.backbone.use_patch_bias == (name != "pup")
    features = {
        f"features_{i}": model.backbone.features[i + 1] for i in range(4)
    }
    outputs = tiny.outputs(
        keras.Model(model.input, {**model.output, **features}),
        golden.images(),
    )
    for key, expected in arrays.items():
        ours = key
        if name == "mla" and key.startswith("auxiliary"):
            # They list the deepest level first.
            ours = f"auxiliary_{3 - int(key[-1])}"
        value = outputs[ours]
        if key.startswith("auxiliary"):
            if name != "mla":
                # Ours leave a last enlargement to the pixels to the resize.
                value = model.resize_logits(value, (golden.SIZE,) * 2)
            value = value[:, :8, :8]
        value = keras.ops.convert_to_numpy(value)
        np.testing.assert_allclose(
            value, expected, atol=1e-5 * np.abs(expected).max(), err_msg=key
        )
