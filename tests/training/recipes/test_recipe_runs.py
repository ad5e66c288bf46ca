"""Every kind of recipe, end to end and small, on one backend."""

import collections
import re

import keras
import pytest

import keras_setr as ks
from keras_setr.layers.initialization import values_follow
from keras_setr_commands.main import main


def programs():
    """Names of recipes by what a small run of them computes.

    Recipes differ besides in what they start from, how long they train, and
    in published figures.
    """
    found = collections.defaultdict(list)
    for recipe in ks.recipes.values():
        small, _ = ks.training.miniature(recipe)
        found[
            small.dataset,
            small.decoder,
            small.variant,
            small.feature_layers,
            small.auxiliary_layers,
            small.learning_rate,
            small.protocol,
            small.scales,
            str(small.small_shape),
            (small.encoder == "hybrid", small.is_d6),
            (small.crop_size, small.whole, small.align_corners),
            (small.base_scale, small.weight_decay),
        ].append(recipe.name)
    return list(found.values())


def kinds():
    """Names of recipes by all of that but numbers: rates, widths, depths."""
    found = collections.defaultdict(list)
    for recipe in ks.recipes.values():
        found[
            recipe.dataset,
            recipe.decoder,
            recipe.variant,
            recipe.protocol,
            (recipe.encoder == "hybrid", recipe.is_d6),
        ].append(recipe.name)
    return list(found.values())


def assigned(kinds):
    """Backend -> names, one of each kind and each backend for as long.

    Of those tested at several scales, if there is one. JAX, which takes long
    to compile, gets one. Of the others every 14th is TensorFlow's, on which
    they take three times as long as on torch.
    """
    names = [
        max(names, key=lambda name: bool(ks.recipes[name].miou_multi_scale))
        for names in kinds
    ]
    return {
        "jax": names[:1],
        "tensorflow": names[1::14],
        "torch": [n for i, n in enumerate(names[1:]) if i % 14],
    }


PROGRAMS = programs()
KINDS = kinds()
ASSIGNED = assigned(KINDS)


@pytest.mark.no_backend
def test_every_kind_runs_on_one_backend():
    names = [name for names in ASSIGNED.values() for name in names]
    assert len(set(names)) == len(names) == len(KINDS)
    assert all(len(set(names) & set(kind)) == 1 for kind in KINDS)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "names", [n for n in PROGRAMS if len(n) > 1], ids=lambda names: names[0]
)
def test_recipes_of_one_program_build_and_read_the_same(names):
    def arguments(name):
        small, options = ks.training.miniature(ks.recipes[name])
        keras.utils.clear_session()  # for names without numbers
        with values_follow():
            model = small.build_model(weights=False, **options)
        small.compile(model)
        return (
            model.get_config(),
            keras.saving.serialize_keras_object(model.optimizer),
            small.transform(),
            small.test_options(multi_scale=True),
        )

    expected = arguments(names[0])
    for name in names[1:]:
        assert arguments(name) == expected


@pytest.mark.parametrize("name", ASSIGNED.get(keras.config.backend(), ()))
def test_a_recipe_runs_end_to_end(name, tmp_path, capsys):
    options = ["--smoke", "--out", tmp_path, "--interval", 2, "--devices", 1]
    if keras.config.backend() == "tensorflow":
        options.append("--eager")  # tracing takes longer than two steps
    assert main(["train", "--recipe", name, *options]) == 0
    printed = capsys.readouterr().out
    # The page is that of the model that runs.
    assert f"\n{name}, made small to try it out\n" in printed
    assert re.search("small: (6 layers of width|stages of 1, 1, 1)", printed)
    assert "published" not in printed
    assert "on " + keras.config.backend() + ": 1 x 2 steps" in printed
    assert "the preset loads with equal output" in printed
    # One score per test, and no row for each class.
    tests = 2 if ks.recipes[name].miou_multi_scale else 1
    assert printed.count("\nmean_iou") == tests
    assert len(printed.splitlines()) < 60
    losses = (tmp_path / "log.csv").read_text().splitlines()[1:]
    assert len(losses) == 1 and "nan" not in "".join(losses)


@pytest.mark.no_backend
def test_the_command_line_changes_a_recipe(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # commands run on the three
    assert main(["train", "--list"]) == 0
    assert "83 recipes" in capsys.readouterr().out
    name = "setr_naive_base_cityscapes_768_40k"
    line = ["train", "--recipe", name, "--smoke", "--steps", 5]
    line += ["--interval", 2, "--batch-size", 3, "--learning-rate", 0.5]
    line += ["--patch-size", 8, "--lora-rank", 2]
    assert main([*line, "--crop", 32, 64]) == 2
    printed, error = capsys.readouterr()
    assert "error: --interval must divide the 5 steps" in error
    printed = " ".join(printed.split())
    assert "5 steps of 3 crops of 32 x 64" in printed
    assert "learning rate 0.5, heads 5" in printed
    assert "patches of 8; LoRA of rank 2, the rest frozen" in printed


@pytest.mark.no_backend
def test_generated_images_hold_the_values_of_the_files():
    recipe, _ = ks.training.miniature(
        ks.recipes["setr_mla_large_ade20k_512_160k_b8"]
    )
    images = ks.training.GeneratedImages(recipe, 40, training=False)
    # 512 x 683 / 16, every other one upright.
    assert images[0][0].shape == (32, 43, 3)
    assert images[1][1].shape == (43, 32)
    labels = {int(v) for _, label in images for v in set(label.ravel())}
    assert 255 in labels and labels <= {*range(150), 255}
    # 40 images of 24 patches: nearly all of the 150 classes.
    assert len(labels) > 140
