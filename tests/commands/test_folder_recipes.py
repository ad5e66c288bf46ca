"""Recipes of folders: options under a name."""

import pytest

from keras_setr_commands import main
from keras_setr_commands import train
from keras_setr_commands.folder_recipes import RECIPES

pytestmark = pytest.mark.no_backend


@pytest.fixture(params=RECIPES.values(), ids=lambda r: r.name)
def recipe(request):
    return request.param


@pytest.fixture
def line(recipe, tmp_path, monkeypatch):
    """A command line of it: a pair, and a preset of patches of 14."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for name in ("data/images", "data/masks", "preset"):
        (tmp_path / name).mkdir(parents=True)
    for part in ("images", "masks"):
        for name in ("1.png", "2.png"):
            (tmp_path / "data" / part / name).touch()
    config = '{"class_name": "SETRBackbone", "config": {"patch_size": 14}}'
    (tmp_path / "preset" / "config.json").write_text(config)
    return [
        *("--recipe", recipe.name, "--data", str(tmp_path / "data")),
        *("--preset", str(tmp_path / "preset"), "--out", str(tmp_path / "o")),
    ]


def test_its_options_are_those_of_train_and_fit_each_other(recipe, line):
    _, given = main.parse(train, line, "keras-setr train")
    assert "recipe" not in given
    for name, value in recipe.options.items():
        assert name in train.DEFAULTS and given[name] == value


def test_the_record_spells_them_as_a_command_would(recipe, line):
    text = " ".join(str(recipe).split())
    said = text.split(" options ")[1].split(" because ")[0].split()
    _, given = main.parse(train, [*line[2:], *said], "keras-setr train")
    _, short = main.parse(train, line, "keras-setr train")
    assert given == short


def test_what_is_said_beside_it_prevails(line):
    _, given = main.parse(train, [*line, "--epochs", "2"], "keras-setr train")
    assert given["epochs"] == 2


@pytest.mark.parametrize("name", ["data"])
def test_it_asks_for_what_it_needs(name, recipe, line, capsys):
    at = line.index(f"--{name}")
    del line[at : at + 2]
    with pytest.raises(SystemExit):
        main.parse(train, line, "keras-setr train")
    message = " ".join(capsys.readouterr().err.split())
    assert f"--recipe {recipe.name} goes with --{name}" in message
    assert getattr(recipe, name) in message
