"""The page as a folder for Spaces."""

import ast
import pathlib
import re

import pytest

from keras_setr.app import space
from keras_setr.version import __version__
from keras_setr_commands import app
from keras_setr_commands import main

pytestmark = pytest.mark.no_backend

ROOT = pathlib.Path(__file__).parents[2]


def arguments_of(directory):
    """The command line that the app of a Space runs."""
    (call,) = re.findall(
        r"main\((\[.*\])\)", (directory / "app.py").read_text()
    )
    return ast.literal_eval(call)


def test_a_space_of_a_folder_holds_a_copy_and_its_command_is_right(
    tmp_path, monkeypatch
):
    preset = tmp_path / "scenes"
    preset.mkdir()
    (preset / "config.json").write_text("{}")
    space.write_space(
        tmp_path / "space",
        str(preset),
        ["torch"],
        ["--backend", "torch", "--max-pixels", "100"],
    )
    monkeypatch.chdir(tmp_path / "space")
    command, *argv = arguments_of(tmp_path / "space")
    monkeypatch.setattr(app, "check", lambda *_: None)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    _, given = main.parse(app, argv, "keras-setr app")
    assert command == "app" and given["preset"] == "model/scenes"
    assert (given["host"], given["max_pixels"]) == ("0.0.0.0", 100)
    assert (tmp_path / "space/model/scenes/config.json").read_text() == "{}"
    required = (tmp_path / "space/requirements.txt").read_text()
    assert required == f"keras-setr[app,torch]=={__version__}\n"
    assert (
        'title: "scenes"\nsdk: gradio'
        in (tmp_path / "space/README.md").read_text()
    )


def test_a_handle_stays_one_and_weights_of_openvino_come_along(tmp_path):
    space.write_space(tmp_path / "a", "hf://user/model")
    assert arguments_of(tmp_path / "a")[1] == "hf://user/model"
    assert len(list((tmp_path / "a").iterdir())) == 3
    for name in ("setr.xml", "setr.bin"):
        (tmp_path / name).write_text(name)
    space.write_space(tmp_path / "b", str(tmp_path / "setr.xml"), ["openvino"])
    assert (tmp_path / "b/model/setr.bin").read_text() == "setr.bin"


def test_a_space_is_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(space, "_README", "{unknown}")
    with pytest.raises(KeyError):
        space.write_space(tmp_path / "a", "hf://user/model")
    assert not list(tmp_path.iterdir())


def test_the_gradio_of_a_space_is_one_that_the_extra_takes():
    (low,) = re.findall(
        r'"gradio>=([\d.]+),<7"', (ROOT / "pyproject.toml").read_text()
    )
    found = [int(part) for part in space.SDK_VERSION.split(".")]
    assert [int(part) for part in low.split(".")] <= found < [7]
