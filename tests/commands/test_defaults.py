"""What a training is where nothing is said."""

import pytest

from keras_setr_commands import defaults
from keras_setr_commands.defaults import Default
from keras_setr_commands.folder_recipes import RECIPES
from keras_setr_commands.train import DEFAULTS

pytestmark = pytest.mark.no_backend


def find(images=200, **said):
    return defaults.find({**DEFAULTS, **said}, images)


def test_every_option_of_the_table_has_a_value_in_every_training():
    options = {row.option for row in defaults.TABLE}
    for images in (1, 50, 100_000):
        for preset in (None, "preset"):
            for optimizer in (None, "sgd", "adamw"):
                said = {"preset": preset, "optimizer": optimizer}
                found = find(images, **said)
                left_out = {"optimizer"} if optimizer else set()
                left_out |= {"layer_decay", "ema"} - set(found)
                assert set(found) == options - left_out


def test_the_table_is_of_options_that_say_nothing_themselves():
    for row in defaults.TABLE:
        assert DEFAULTS[row.option] is None
        assert row.reason


def test_what_is_said_is_left_alone_and_decides_about_the_rest():
    assert "learning_rate" not in find(learning_rate=0.3)
    assert find()["schedule"] == "poly"
    assert find(optimizer="adamw")["schedule"] == "cosine"
    assert find(optimizer="adamw", preset="a")["schedule"] == "poly"
    assert find(5000, optimizer="adamw", preset="a")["learning_rate"] == 6e-5


def test_few_images_fine_tune_as_it_was_measured():
    recipe = RECIPES["setr_naive_dinov2_small_camvid"].options
    found = find(367, preset="a")
    for option in ("optimizer", "learning_rate", "head_multiplier", "ema"):
        assert found[option] == recipe[option]
    assert "ema" not in find(367) and "layer_decay" not in find(
        1001, preset="a"
    )


def test_the_first_row_that_fits_the_images_counts(monkeypatch):
    rows = (
        Default("optimizer", "adamw", "few images", images=100),
        Default("optimizer", "sgd", "many"),
        Default("epochs", 7, "few", images=100, optimizer="adamw"),
        Default("epochs", 8, "of the other", optimizer="sgd"),
        Default("epochs", 9, "any"),
    )
    monkeypatch.setattr(defaults, "TABLE", rows)
    assert find(100) == {"optimizer": "adamw", "epochs": 7}
    assert find(101) == {"optimizer": "sgd", "epochs": 8}
    assert find(101, optimizer="adamw") == {"epochs": 9}
    line = defaults.describe(find(100), 100)
    assert line == "by default for 100 images: --optimizer adamw, --epochs 7"
