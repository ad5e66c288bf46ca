"""Every recipe, end to end and small, on one of the backends."""

import collections
import pathlib
import runpy

import keras
import pytest

import keras_setr as ks

TRAIN = str(pathlib.Path(__file__).parents[3] / "examples" / "train.py")


def assigned():
    """Backend -> names, each recipe once and each backend for as long.

    JAX, which takes long to compile, gets three recipes that give one program,
    which `python -m tests` has it compile once. Of the others every eighth is
    TensorFlow's, on which they take three times as long as on torch.
    """
    programs = collections.defaultdict(list)
    for recipe in ks.recipes.values():
        small, options = ks.training.miniature(recipe)
        programs[
            small.dataset,
            small.decoder,
            small.variant,
            small.auxiliary_layers,
            small.learning_rate,
            options["hidden_dim"],
        ].append(recipe.name)
    on_jax = max(programs.values(), key=len)[:3]
    others = [name for name in ks.recipes if name not in on_jax]
    on_tensorflow = others[::8]
    return {
        "jax": on_jax,
        "tensorflow": on_tensorflow,
        "torch": [name for name in others if name not in on_tensorflow],
    }


ASSIGNED = assigned()


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", [TRAIN, *map(str, arguments)])
    runpy.run_path(TRAIN, run_name="__main__")


def test_every_recipe_runs_on_one_backend():
    names = [name for names in ASSIGNED.values() for name in names]
    assert sorted(names) == sorted(ks.recipes)


@pytest.mark.parametrize("name", ASSIGNED[keras.config.backend()])
def test_a_recipe_runs_end_to_end(name, tmp_path, monkeypatch, capsys):
    options = ["--smoke", "--out", tmp_path, "--interval", 2, "--devices", 1]
    if keras.config.backend() == "tensorflow":
        options.append("--eager")  # tracing takes longer than two steps
    run(monkeypatch, "--recipe", name, *options)
    printed = capsys.readouterr().out
    assert f"\n{name}\n" in printed
    assert "1 epochs of 2 batches" in printed
    assert "the preset loads with equal output" in printed
    recipe = ks.recipes[name]
    # One table per test, over the dataset's own classes.
    tables = 2 if recipe.miou_multi_scale else 1
    last = recipe.facts.classes.names[-1].strip()
    assert printed.count(f"\n{last} ") == tables
    losses = (tmp_path / "log.csv").read_text().splitlines()[1:]
    assert len(losses) == 1 and "nan" not in "".join(losses)


def test_the_command_line_changes_a_recipe(tmp_path, monkeypatch, capsys):
    run(monkeypatch, "--list")
    assert "45 recipes" in capsys.readouterr().out
    name = "setr_naive_base_cityscapes_768_40k"
    with pytest.raises(SystemExit, match="--interval must divide the 5 steps"):
        run(
            monkeypatch,
            *("--recipe", name, "--smoke", "--steps", 5, "--interval", 2),
            *("--batch-size", 3, "--learning-rate", 0.5, "--crop", 32, 64),
        )
    printed = " ".join(capsys.readouterr().out.split())
    assert "5 steps of 3 crops of 32 x 64" in printed
    assert "learning rate 0.5, heads 5" in printed
    with pytest.raises(SystemExit):
        run(monkeypatch, "--recipe", name, "--data", tmp_path, "--out", "x")
    assert "either --data or --recipe" in capsys.readouterr().err


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
