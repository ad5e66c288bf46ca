"""The three backends agree: each is compared with the same golden values.

`python tests/test_parity.py` writes them anew, on the backend it runs on.
"""

import pathlib
import sys

import keras
import numpy as np
import pytest

from tests import tiny

GOLDENS = pathlib.Path(__file__).parent / "goldens" / "tiny_models.npz"


def compute(name):
    """Logits, the losses of two training steps and the logits after them."""
    model = tiny.build(name, position_grid=(3, 2))
    tiny.set_weights_by_path(model, scale=0.3)
    logits = model.predict(tiny.images(), verbose=0)
    model.compile(learning_rate=0.1, total_steps=4, **tiny.UNCOMPILED)
    losses = [
        model.train_on_batch(tiny.images(), tiny.labels())[0] for _ in range(2)
    ]
    return {
        f"{name}_logits": logits,
        f"{name}_losses": np.array(losses, "float32"),
        f"{name}_trained": model.predict(tiny.images(), verbose=0),
    }


@pytest.mark.parametrize("name", tiny.MODELS)
def test_logits_and_losses_are_those_of_the_other_backends(name):
    with np.load(GOLDENS) as goldens:
        for key, value in compute(name).items():
            scale = np.abs(goldens[key]).max()
            np.testing.assert_allclose(
                value, goldens[key], atol=1e-4 * scale, err_msg=key
            )


if __name__ == "__main__":
    sys.path.insert(0, str(GOLDENS.parents[2]))
    arrays = {}
    for model_name in tiny.MODELS:
        arrays.update(compute(model_name))
    np.savez_compressed(GOLDENS, **arrays)
    print(f"{GOLDENS} written on {keras.config.backend()}")
