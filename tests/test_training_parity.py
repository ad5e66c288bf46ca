"""Ten steps of training have the losses that mmsegmentation computed."""

import json

import numpy as np
import pytest

import keras_setr as ks
from keras_setr.losses import PixelCrossEntropy
from tests import tiny
from tests.checkpoints.test_encoders import save
from tests.goldens import mmsegmentation_models as models
from tests.goldens import mmsegmentation_training as golden

MODELS = {"naive": ks.SETRNaive, "pup": ks.SETRPUP, "mla": ks.SETRMLA}
LAYERS = {"mla": {"feature_layers": (1, 2, 3, 4)}}


def load(head, tmp_path):
    with np.load(models.FOLDER / f"mmsegmentation_{head}.npz") as arrays:
        shapes = json.loads(str(arrays["shapes"]))
    return MODELS[head].from_preset(
        save(tmp_path / "weights.safetensors", golden.random_state(shapes)),
        num_heads=models.HEADS,
        image_shape=(golden.SIZE, golden.SIZE, 3),
        preprocessor=None,
        **LAYERS.get(head, {"auxiliary_layers": (1, 2, 3)}),
    )


@pytest.mark.parametrize(
    "head, case",
    [
        # On the others "ignored_valid" compiles the same program.
        pytest.param("naive", "labelled", marks=pytest.mark.backends("torch")),
        ("naive", "ignored_valid"),
        # That a decoder trains alike on all is seen in test_parity.py.
        *(
            pytest.param(
                *(head, "ignored_all"), marks=pytest.mark.backends("torch")
            )
            for head in ("pup", "mla")
        ),
    ],
)
def test_losses_of_ten_steps_are_mmsegmentations(head, case, tmp_path):
    ignored, average_over = golden.CASES[case]
    model = load(head, tmp_path)
    model.compile(
        learning_rate=golden.LEARNING_RATE,
        total_steps=golden.DECAY_STEPS,
        loss=PixelCrossEntropy(golden.IGNORED, average_over),
        **tiny.UNCOMPILED,
    )
    losses = []
    for images, labels in golden.batches(ignored):
        model.reset_metrics()
        logs = model.train_on_batch(images, labels, return_dict=True)
        losses.append(logs["loss"])
    with np.load(golden.FILE) as arrays:
        expected = arrays[f"{head}_{case}"].sum(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
