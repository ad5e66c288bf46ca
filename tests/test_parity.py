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
    """Logits, the losses of two training steps and the logits after them.

    And the paths of the weights that these steps have left as they were.
    """
    model = tiny.build(name, position_grid=(3, 2))
    tiny.set_weights_by_path(model, scale=0.3)
    logits = model.predict(tiny.images(), verbose=0)
    options = {"metrics": None, **tiny.UNCOMPILED}
    model.compile(learning_rate=0.1, total_steps=4, **options)
    before = tiny.trainable_values(model)
    losses = [
        model.train_on_batch(tiny.images(), tiny.labels()) for _ in range(2)
    ]
    arrays = {
        f"{name}_logits": logits,
        f"{name}_losses": np.array(losses, "float32"),
        f"{name}_trained": model.predict(tiny.images(), verbose=0),
    }
    return arrays, tiny.unlearned(model, before)


@pytest.mark.parametrize("name", tiny.MODELS)
def test_a_model_computes_as_on_other_backends_and_learns_everywhere(name):
    arrays, unlearned = compute(name)
    assert unlearned == []
    with np.load(GOLDENS) as goldens:
        for key, value in arrays.items():
            scale = np.abs(goldens[key]).max()
            np.testing.assert_allclose(
                value, goldens[key], atol=1e-4 * scale, err_msg=key
            )


if __name__ == "__main__":
    sys.path.insert(0, str(GOLDENS.parents[2]))
    arrays = {}
    for model_name in tiny.MODELS:
        arrays.update(compute(model_name)[0])
    np.savez_compressed(GOLDENS, **arrays)
    print(f"{GOLDENS} written on {keras.config.backend()}")
