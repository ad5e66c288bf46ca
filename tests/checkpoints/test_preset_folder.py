"""Preset folders that are damaged, that change, and writers that are killed."""

import json
import os
import pathlib
import shutil
import signal
import time

import keras_hub
import numpy as np
import pytest
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.checkpoints import preset_folder
from tests import tiny
from tests.checkpoints import reference as ref
from tests.checkpoints.test_encoders import as_hugging_face_vit

# Files alone: test_contracts.py saves and loads on each backend.
pytestmark = pytest.mark.backends("torch")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "preset"
    tiny.build("naive").save_to_preset(folder)
    return folder


@pytest.fixture
def preset(saved, tmp_path):
    """A copy of a whole preset, to be damaged."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / "preset"))


@pytest.mark.parametrize("name", ["task.weights.h5", "model.weights.h5"])
def test_a_preset_without_some_of_its_weights_names_them(preset, name):
    (preset / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"preset has no {name}. Copy"):
        ks.SETRNaive.from_preset(str(preset))
    if name == "task.weights.h5":  # which an encoder alone does not need
        assert ks.SETRBackbone.from_preset(str(preset)).num_layers == 3
    # Nor does a model whose weights are random.
    ks.SETRNaive.from_preset(str(preset), load_weights=False)


def test_decoder_weights_without_their_configuration_are_an_error(preset):
    (preset / "task.json").unlink()
    with pytest.raises(FileNotFoundError, match="preset has no task.json"):
        ks.SETRNaive.from_preset(str(preset), num_classes=3)


@pytest.mark.parametrize(
    "name", ["task.json", "config.json", "task.weights.h5", "model.weights.h5"]
)
def test_a_cut_file_of_a_preset_is_named(preset, name):
    content = (preset / name).read_bytes()
    (preset / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"preset/{name}.*download"):
        ks.SETRNaive.from_preset(str(preset))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs os.mkfifo")
@pytest.mark.parametrize("name", ["config.json", "task.weights.h5"])
def test_a_pipe_in_a_preset_is_not_waited_for(preset, name):
    (preset / name).unlink()
    os.mkfifo(preset / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe"):
        ks.SETRNaive.from_preset(str(preset))


def test_a_class_that_is_not_ours_is_no_model(preset):
    path = preset / "task.json"
    config = json.loads(path.read_text())
    config.update(class_name="system", registered_name=None)
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'system', no model"):
        ks.SETRNaive.from_preset(str(preset))


def test_a_configuration_of_something_else_is_named(preset):
    config = json.loads((preset / "task.json").read_text())
    config["config"]["backbone"]["config"]["num_heads"] = 7
    (preset / "task.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="task.json of .*num_heads"):
        ks.SETRNaive.from_preset(str(preset))
    (preset / "task.json").write_text("[]")
    with pytest.raises(ValueError, match="task.json must hold a JSON object"):
        ks.SETRNaive.from_preset(str(preset))


def change(path, *keys, value):
    """Another value in a JSON file, at a path of keys."""
    content = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "name, value, fits",
    [
        ("num_layers", 100_000, "weights have 3;"),
        ("num_layers", 2, "weights have 3;"),
        ("hidden_dim", 10**7, "weights have 24;"),
        ("mlp_dim", 25, "weights have 96;"),
        ("patch_size", 4, "weights have 8;"),
        ("position_grid", [3, 2], r"weights have \[2, 3\];"),
        ("num_heads", 3, "num_heads=4 in the other"),
    ],
)
def test_sizes_of_an_encoder_that_its_weights_have_not(
    preset, monkeypatch, name, value, fits
):
    # Nothing is built before.
    monkeypatch.setattr(preset_folder, "_build", None)
    places = {
        "config.json": ("config",),
        "task.json": ("config", "backbone", "config"),
    }
    for file, keys in places.items():
        before = (preset / file).read_text()
        change(preset / file, *keys, name, value=value)
        if file == "task.json":
            fits = f"{name}={value!r} in the other".replace("[", r"\[")
        elif name == "num_heads":
            fits = f"{name}=3 in the one"
        with pytest.raises(ValueError, match=f"config.json .*{fits}"):
            ks.SETRNaive.from_preset(str(preset))
        (preset / file).write_text(before)


@pytest.mark.parametrize(
    "name, value, fits",
    [
        ("num_classes", 10**7, "weights have 5;"),
        ("filters", 10**7, "weights have 5 or 7 or 8"),
        ("auxiliary_filters", 99, "weights have 5 or 7 or 8"),
    ],
)
def test_sizes_of_a_decoder_that_its_weights_have_not(
    preset, name, value, fits
):
    change(preset / "task.json", "config", name, value=value)
    with pytest.raises(ValueError, match=f"task.json .*{name}={value}.*{fits}"):
        ks.SETRNaive.from_preset(str(preset))


def test_sizes_of_a_resnet_that_its_weights_have_not(tmp_path):
    folder = tmp_path / "preset"
    resnet = tiny.resnet()
    resnet.save_to_preset(folder)
    ks.ResNetBackbone.from_preset(str(folder))
    content = (folder / "config.json").read_text()
    for name, value in (("num_blocks", [9, 1, 1, 1]), ("filters", 500)):
        change(folder / "config.json", "config", name, value=value)
        with pytest.raises(ValueError, match=f"config.json .*{name}="):
            ks.ResNetBackbone.from_preset(str(folder))
        (folder / "config.json").write_text(content)


def test_sizes_of_an_encoder_of_keras_hub_that_its_weights_have_not(tmp_path):
    encoder = keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=12,
    )
    encoder.save_to_preset(str(tmp_path / "vit"))
    content = (tmp_path / "vit/config.json").read_text()
    for name, value in (("num_layers", 10**5), ("hidden_dim", 10**7)):
        change(tmp_path / "vit/config.json", "config", name, value=value)
        with pytest.raises(ValueError, match=f"config.json .*{name}={value}"):
            ks.SETRBackbone.from_preset(str(tmp_path / "vit"))
        (tmp_path / "vit/config.json").write_text(content)


def test_weights_that_no_layer_reads_are_an_error(preset):
    # Of the auxiliary heads.
    change(preset / "task.json", "config", "auxiliary_layers", value=[])
    with pytest.raises(ValueError, match="task.weights.h5 .*holds .* variabl"):
        ks.SETRNaive.from_preset(str(preset))


@pytest.mark.parametrize("name", ["preprocessor.json", "image_converter.json"])
def test_normalisation_is_the_same_in_all_files(preset, name):
    keys = ("config", "image_converter", "config")
    keys = keys if name == "preprocessor.json" else ("config",)
    change(preset / name, *keys, "mean", value=[0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=f"task.json and {name}.*mean="):
        ks.SETRNaive.from_preset(str(preset))


@pytest.mark.parametrize("content", [{}, {"class_name": "SETRNaive"}])
def test_an_emptied_configuration_is_named(preset, content):
    lacks = "no (registered_name|class_name|config of backbone)"
    for name in ("config.json", "task.json"):
        before = (preset / name).read_text()
        (preset / name).write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"{name} of .*{lacks}"):
            ks.SETRNaive.from_preset(str(preset))
        (preset / name).write_text(before)


@pytest.mark.parametrize("keys", [["config"], ["config", "backbone"]])
def test_a_configuration_without_its_arguments_is_named(preset, keys):
    change(preset / "task.json", *keys, value="SETRBackbone")
    with pytest.raises(ValueError, match="task.json of .*no config"):
        ks.SETRNaive.from_preset(str(preset))


def test_a_preset_goes_into_a_folder(tmp_path):
    model = tiny.smallest()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="A preset is a folder"):
        model.save_to_preset(tmp_path / "file")
    for save in (model.save_to_preset, model.backbone.save_to_preset):
        with pytest.raises(ValueError, match="preset_dir must be a path"):
            save("")


def test_a_file_that_names_two_classes_is_refused(preset):
    change(preset / "task.json", "class_name", value="SETRPUP")
    with pytest.raises(ValueError, match="task.json .*registered_name must be"):
        ks.SETRPUP.from_preset(str(preset))


@pytest.mark.parametrize(
    "keys, value, words",
    [
        (["filtres"], 3, "no argument 'filtres'"),
        (["classes"], {"names": ["a", "b"]}, "2 names for num_classes=5"),
        (
            ["classes"],
            {"names": list("abcde"), "palette": [[1, 2, 300]] * 5},
            "palette must be .*0..255",
        ),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said(preset, keys, value, words):
    change(preset / "task.json", "config", *keys, value=value)
    with pytest.raises(ValueError, match=f"task.json of .*{words}") as error:
        ks.SETRNaive.from_preset(str(preset))
    assert len(str(error.value)) < 600


def test_a_damaged_folder_of_hugging_face_names_the_file(tmp_path):
    as_hugging_face_vit(tmp_path, ref.random_weights())
    (tmp_path / "config.json").write_text('{"model_type": "vit", ')
    with pytest.raises(ValueError, match="config.json is no complete JSON"):
        ks.SETRBackbone.from_preset(str(tmp_path))


def test_split_weights_are_read_and_a_missing_part_is_named(tmp_path):
    model = tiny.build("naive")
    model.save_to_preset(tmp_path / "preset", max_shard_size=2e-5)
    parts = sorted((tmp_path / "preset").glob("model_*.weights.h5"))
    assert len(parts) > 1
    again = ks.SETRNaive.from_preset(str(tmp_path / "preset"))
    np.testing.assert_array_equal(
        array(again.backbone.blocks[2].mlp.expansion.kernel),
        array(model.backbone.blocks[2].mlp.expansion.kernel),
    )
    parts[1].unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {parts[1].name}"):
        ks.SETRNaive.from_preset(str(tmp_path / "preset"))


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_saving_replaces_a_preset_and_keeps_its_card(preset):
    ks.checkpoints.write_model_card(str(preset), "# card\n")
    encoder = tiny.backbone()
    encoder.save_to_preset(preset)
    # Of the decoder that was there nothing is left to be taken for its own.
    assert names(preset) == {
        "README.md",
        "config.json",
        "metadata.json",
        "model.weights.h5",
    }
    assert (preset / "README.md").read_text() == "# card\n"
    assert names(preset.parent) == {"preset"}
    with pytest.raises(ValueError, match="num_classes must be given"):
        ks.SETRNaive.from_preset(str(preset))


def test_saving_into_a_working_folder_leaves_the_rest(preset, monkeypatch):
    (preset / "notes.txt").write_text("mine")
    (preset / "logs").mkdir()
    monkeypatch.chdir(preset)
    tiny.backbone().save_to_preset(".")
    assert names(preset) == {
        "config.json",
        "logs",
        "metadata.json",
        "model.weights.h5",
        "notes.txt",
    }
    assert ks.SETRBackbone.from_preset(".").num_layers == 3


def test_an_error_while_saving_leaves_the_old_preset(preset, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no more")

    model = ks.SETRNaive.from_preset(str(preset))
    before = {p.name: p.read_bytes() for p in preset.iterdir()}
    monkeypatch.setattr(type(model.backbone), "save_weights", fail)
    with pytest.raises(RuntimeError, match="no more"):
        model.save_to_preset(preset)
    assert {p.name: p.read_bytes() for p in preset.iterdir()} == before
    assert names(preset.parent) == {"preset"}


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_kill_between_the_files_of_a_shared_folder_is_made_up_for(
    preset, monkeypatch, moves
):
    (preset / "notes.txt").write_text("mine")
    model = tiny.backbone()
    replace, done = os.replace, []

    def die(source, target):
        if pathlib.Path(target).parent == preset:
            if len(done) == moves:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        model.save_to_preset(preset)
    monkeypatch.undo()
    again = ks.SETRBackbone.from_preset(str(preset))
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(array(ours), array(theirs))
    assert names(preset) == {
        "config.json",
        "metadata.json",
        "model.weights.h5",
        "notes.txt",
    }


def test_weights_that_are_not_finite_are_named(tmp_path):
    model = tiny.backbone()
    kernel = model.blocks[1].mlp.expansion.kernel
    kernel.assign(array(kernel) * np.nan)
    model.save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match="preset holds NaN.* block_2"):
        ks.SETRBackbone.from_preset(str(tmp_path / "preset"))


def save_forever(model, variables, folder, told):
    for number in range(2, 10**9):
        for variable in variables:
            variable.assign(array(variable) * 0 + number)
        model.save_to_preset(folder)
        os.write(told, b".")


def kill_while_saving(model, variables, folder, wait):
    """Kill a process that saves, `wait` seconds into its second save."""
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            save_forever(model, variables, folder, tell)
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(told, 1) == b"."
    time.sleep(wait)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    os.close(told)


# The other backends compute in threads, which a fork has not.
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_killed_save_leaves_the_old_preset_or_the_new_one(preset):
    ks.checkpoints.write_model_card(str(preset), "# card\n")
    model = tiny.build("naive")
    variables = (
        model.get_layer("decode_head").norm.gamma,
        model.backbone.patch_embedding.bias,
    )
    start = time.perf_counter()
    model.save_to_preset(preset)
    seconds = time.perf_counter() - start
    for part in (0.2, 0.6, 0.95, 1.0):
        kill_while_saving(model, variables, preset, part * seconds)
        found = ks.SETRNaive.from_preset(str(preset))
        # Decoder and encoder are of one and the same save.
        gamma = array(found.get_layer("decode_head").norm.gamma)
        bias = array(found.backbone.patch_embedding.bias)
        assert gamma[0] >= 2
        np.testing.assert_array_equal(gamma, np.full_like(gamma, gamma[0]))
        np.testing.assert_array_equal(bias, np.full_like(bias, gamma[0]))
        assert (preset / "README.md").read_text() == "# card\n"
    model.save_to_preset(preset)
    # What the killed ones left is gone, too.
    assert names(preset.parent) == {"preset"}
