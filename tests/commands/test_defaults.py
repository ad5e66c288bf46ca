"""What a training is where nothing is said."""

import json

import pytest

from keras_setr_commands import defaults
from keras_setr_commands.defaults import Default
from keras_setr_commands.folder_recipes import RECIPES
from keras_setr_commands.presets import decoder_of
from keras_setr_commands.train import DEFAULTS

pytestmark = pytest.mark.no_backend


def find(images=200, size=(360, 480), own=14, bfloat16=False, **said):
    said = {**DEFAULTS, **said}
    return defaults.find(said, images, size, own, bfloat16)


def test_every_option_of_the_table_has_a_value_in_every_training():
    options = {row.option for row in defaults.TABLE}
    optional = {"layer_decay", "ema", "filters", "patch_size", "crop", "preset"}
    for images in (1, 50, 100_000):
        for preset in (None, "none", "setr_pup_large_ade20k_512"):
            for optimizer in (None, "sgd", "adamw"):
                said = {"preset": preset, "optimizer": optimizer}
                found = find(images, **said)
                left_out = {"optimizer"} if optimizer else set()
                left_out |= optional - set(found)
                assert set(found) == options - left_out


def test_the_table_is_of_options_that_say_nothing_themselves():
    for row in defaults.TABLE:
        assert DEFAULTS[row.option] is None
        assert row.reason


def test_what_is_said_is_left_alone_and_decides_about_the_rest():
    assert "learning_rate" not in find(learning_rate=0.3)
    new = {"optimizer": "adamw", "preset": "none"}
    assert find(**new)["schedule"] == "cosine"
    assert find(preset="none")["schedule"] == "poly"
    assert find(**new | {"preset": "a"})["schedule"] == "poly"
    assert find(5000, optimizer="adamw", preset="a")["learning_rate"] == 6e-5


def test_few_images_fine_tune_as_it_was_measured():
    recipe = RECIPES["setr_naive_dinov2_small_camvid"].options
    found = find(367, bfloat16=True)
    assert found["preset"] == defaults.ENCODER
    chosen = {**found, "ignore": [11]}
    for option, value in recipe.items():
        is_pair = option in ("crop", "scale_range")
        assert chosen[option] == (tuple(value) if is_pair else value), option
    assert "ema" not in find(367, preset="none")
    assert "layer_decay" not in find(1001)


@pytest.mark.parametrize(
    "said, starts",
    [
        ({}, None),
        ({"preset": "none"}, "new"),
        ({"layers": 3}, "new"),
        ({"model": "fcn"}, "new"),
        ({"preset": "dinov2_vit_base_patch14"}, "encoder"),
        ({"preset": "vit_base_patch16_224_imagenet"}, "encoder"),
        ({"preset": "setr_mla_large_ade20k_512"}, "model"),
        ({"preset": "fcn_resnet50_ade20k_512_80k"}, "model"),
        ({"preset": "resnet50_v1c"}, "model"),
        ({"preset": "weights.pth"}, "model"),
    ],
)
def test_what_a_training_starts_from(said, starts):
    assert defaults.starts_from({**DEFAULTS, **said}) == starts
    found = find(**said)
    if "preset" not in said:
        assert found["preset"] == ("none" if starts else defaults.ENCODER)
    # The decoder of a model is not thrown away, and a new one stays small.
    few = starts in (None, "encoder")
    if "model" not in said:
        kept = decoder_of(said.get("preset", ""))
        assert found["model"] == (kept or ("naive" if few else "pup"))
    # Of a model they are its own, of which nothing is said.
    own = starts == "model"
    assert found["auxiliary"] is (None if own else not few)
    assert ("auxiliary" in defaults.describe(found, 20)) is not own


def test_a_folder_of_weights_says_what_it_is(tmp_path):
    (tmp_path / "config.json").write_text('{"patch_size": 14}')
    said = {**DEFAULTS, "preset": str(tmp_path)}
    assert defaults.starts_from(said) == "encoder"
    task = {"class_name": "SETRMLA", "config": {"num_classes": 3}}
    (tmp_path / "task.json").write_text(json.dumps(task))
    assert defaults.starts_from(said) == "model"
    assert find(preset=str(tmp_path))["model"] == "mla"


def test_the_decoder_of_a_preset_is_known():
    assert decoder_of("setr_pup_large_ade20k_512") == "pup"
    assert decoder_of("setr_naive_large_ade20k_512") == "naive"
    assert decoder_of("semantic_fpn_resnet50_ade20k_512_160k") == "semantic_fpn"
    assert decoder_of("dinov2_vit_small_patch14") is None
    assert decoder_of("resnet50_v1c") is decoder_of("nowhere") is None


def test_crops_and_patches_follow_the_images():
    found = find(size=(966, 1296))
    assert found["crop"] == (280, 280) and "patch_size" not in found
    assert find(size=(966, 1296), own=16)["crop"] == (320, 320)
    assert find(size=(360, 480))["crop"] == (160, 160)
    assert find(size=(100, 30))["crop"] == (96, 24)
    assert find(size=(966, 1296), patch_size=10)["crop"] == (200, 200)
    assert "crop" not in find(size=(100, 30), preset="none")
    model = "setr_pup_large_ade20k_512"
    assert find(preset=model, own=16)["crop"] == (320, 320)
    assert find(preset=model, patch_size=8)["crop"] == (160, 160)
    assert "crop" not in find(5000, preset=model)
    assert "crop" not in find(preset="fcn_resnet50_ade20k_512_80k")
    assert find(48)["epochs"] == 100 and find(367)["epochs"] == 26
    assert find(367, batch_size=8)["epochs"] == 53


def test_the_first_row_that_fits_the_images_counts(monkeypatch):
    rows = (
        Default("optimizer", "adamw", "few images", images=100),
        Default("optimizer", "sgd", "many"),
        Default("epochs", 7, "few", images=100, known={"optimizer": "adamw"}),
        Default("epochs", 8, "of the other", known={"optimizer": "sgd"}),
        Default("epochs", 9, "any"),
    )
    monkeypatch.setattr(defaults, "TABLE", rows)
    assert find(100) == {"optimizer": "adamw", "epochs": 7}
    assert find(101) == {"optimizer": "sgd", "epochs": 8}
    assert find(101, optimizer="adamw") == {"epochs": 9}
    line = defaults.describe(find(100), 100)
    assert line == "by default for 100 images: --optimizer adamw, --epochs 7"
