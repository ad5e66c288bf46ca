"""The commands and examples as their users run them, on a few small scenes."""

import csv
import hashlib
import json
import pathlib
import runpy
import shutil

import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from keras_setr_commands.main import COMMANDS
from keras_setr_commands.main import main
from tests import tiny
from tests.checkpoints.test_decoders import authors_file

# What they call is tested on each backend, and test_recipe_runs.py trains by
# command on all.
pytestmark = pytest.mark.backends("torch")
EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
SIZE = ("--layers", 1, "--dim", 16, "--heads", 2, "--filters", 8)


def run(command, *arguments, code=0):
    """Run a command, which ends with an exit code."""
    assert main([command, *arguments]) == code


def run_script(monkeypatch, name, *arguments):
    script = str(EXAMPLES / name)
    monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(script, run_name="__main__")
    assert not stop.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scenes")
    ks.data.StreetScenes(4, (64, 96), seed=0).write(directory, "train")
    ks.data.StreetScenes(2, (64, 80), seed=1).write(directory, "val")
    return directory


def test_quickstart_runs_on_a_users_folder(
    folder, tmp_path, monkeypatch, capsys
):
    options = ["--epochs", 1, "--batch-size", 2, "--crop", 32, 48]
    run_script(
        monkeypatch,
        "quickstart.py",
        *("--data", folder, "--out", tmp_path, *options),
    )
    printed = capsys.readouterr().out
    assert "mean IoU" in printed and "traffic sign" in printed
    assert "loads with equal output" in printed
    assert f"keras-setr train --data {folder}" in printed
    with Image.open(tmp_path / "prediction.png") as picture:
        assert picture.width > 3 * 80
    assert ks.SETRPUP.from_preset(str(tmp_path / "preset")).num_classes == 10


def test_figures_are_written_for_an_image(folder, tmp_path, monkeypatch):
    shape = (64, 80, 3)
    options = {"filters": 8, "num_classes": 10}
    model = ks.SETRPUP(tiny.backbone(shape), auxiliary_layers=(), **options)
    model.save_to_preset(str(tmp_path / "preset"))
    baseline = ks.FCN(
        tiny.resnet(shape, output_stride=8), auxiliary_stage=None, **options
    )
    baseline.save_to_preset(str(tmp_path / "fcn"))
    scene = "val/scene_0000.png"
    (tmp_path / "log.csv").write_text("epoch,loss\n0,2.0\n1,1.0\n")
    run_script(
        monkeypatch,
        "figures.py",
        folder / "images" / scene,
        *("--model", tmp_path / "preset", "--beside", tmp_path / "fcn"),
        *("--mask", folder / "masks" / scene, "--log", tmp_path / "log.csv"),
        *("--out", tmp_path / "out", "--point", 5, 70, "--ignore", 3, 255),
    )
    outside = {"overlay", "legend", "entropy", "side_by_side", "errors"}
    inside = {"features", "attention_from", "attention_to", "rollout"}
    charts = {"confusion", "curves"}
    written = {path.stem for path in (tmp_path / "out").iterdir()}
    assert written == outside | inside | charts | {"positions"}
    # A model without attention has features all the same.
    run_script(
        monkeypatch,
        "figures.py",
        *(folder / "images" / scene, "--model", tmp_path / "fcn"),
        *("--out", tmp_path / "other"),
    )
    written = {path.stem for path in (tmp_path / "other").iterdir()}
    assert written == {"overlay", "legend", "entropy", "features"}


@pytest.mark.no_backend
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_a_script_too(command, monkeypatch, capsys):
    name = "convert_weights" if command == "convert" else command
    run_script(monkeypatch, f"{name}.py", "--help")
    # A long path is on a line of its own.
    assert f"{name}.py [-h]" in " ".join(capsys.readouterr().out.split())


def test_train_evaluate_and_segment_hand_on_a_preset(folder, tmp_path, capsys):
    run(
        "train",
        *("--data", folder, "--out", tmp_path / "run", "--model", "mla"),
        *("--crop", 32, 48, "--batch-size", 2, "--epochs", 1, *SIZE),
    )
    preset = tmp_path / "run" / "preset"
    trained = json.loads((tmp_path / "run" / "result.json").read_text())
    log = (tmp_path / "run" / "log.csv").read_text()
    assert "val_mean_iou" in log.splitlines()[0]

    run(
        "evaluate",
        *(preset, "--data", folder, "--subset", "val"),
        *("--base-scale", 64, 80, "--out", tmp_path / "result.json"),
    )
    evaluated = json.loads((tmp_path / "result.json").read_text())
    assert evaluated["mean_iou"] == pytest.approx(trained["mean_iou"])

    # Fine-tuning goes on from the preset, at another size.
    run(
        "train",
        *("--data", folder, "--out", tmp_path / "more", "--model", "mla"),
        *("--preset", preset, "--crop", 32, 32, "--batch-size", 4),
        *("--epochs", 1),
    )
    printed = capsys.readouterr().out
    assert "positions 2x3 -> 2x2" in printed and "encoder 17/17" in printed

    # One good file in a folder of its own and one that is cut off.
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    image, _ = ks.data.StreetScenes(1, (70, 90), seed=2)[0]
    Image.fromarray(image).save(photos / "a" / "good one.png")
    content = (photos / "a" / "good one.png").read_bytes()
    (photos / "cut.png").write_bytes(content[: len(content) // 2])
    out = tmp_path / "out"
    capsys.readouterr()
    views = ("--scales", 0.75, 1, "--flip", "--confidence")
    run("segment", preset, photos, "--out", out, *views, code=1)
    printed = capsys.readouterr()
    assert "cut.png" in printed.err
    assert "1 image segmented, 1 skipped" in printed.out
    labels = np.asarray(Image.open(out / "a" / "good one_labels.png"))
    assert labels.shape == (70, 90) and labels.max() < 10
    assert (out / "a" / "good one_overlay.png").exists()
    confidence = np.asarray(Image.open(out / "a" / "good one_confidence.png"))
    assert confidence.shape == (70, 90) and confidence.min() > 0
    # It goes on where it stopped: only the broken file is tried again.
    (photos / "cut.png").unlink()
    run("segment", preset, photos, "--out", out, *views)
    assert "0 images segmented, 0 skipped, 1 there" in capsys.readouterr().out
    # Of several images a list, also where they were segmented before.
    Image.fromarray(image[:40]).save(photos / "half.png")
    doubt = tmp_path / "doubt"
    for count in (2, 0):
        run("segment", preset, photos, "--out", doubt, "--sort-by", "entropy")
        printed = capsys.readouterr().out
        assert f"{count} images segmented" in printed
        assert f"least certain, of 2 in {doubt}" in printed
        with open(doubt / "entropy.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        means = {row["file"]: float(row["entropy"]) for row in rows}
        assert list(means.values()) == sorted(means.values(), reverse=True)
        for name in ("a/good one", "half"):
            grey = np.asarray(Image.open(doubt / f"{name}_entropy.png"))
            mean = means[str(photos / f"{name}.png")]
            # White is a guess among 10 classes.
            expected = grey.mean() / 255 * np.log(10)
            assert mean == pytest.approx(expected, abs=1e-4) and mean > 0
    (photos / "half.png").unlink()
    # What another preset has written does not stand for this one.
    run("segment", tmp_path / "more" / "preset", photos, "--out", out)
    printed = capsys.readouterr().out
    assert "1 image segmented, 0 skipped, 0 there" in printed
    assert "results of another preset" in printed


def test_convert_writes_a_preset_with_a_card(tmp_path, capsys):
    path, _, _ = authors_file(tmp_path, "pup")
    out = tmp_path / "preset"
    options = ["--num-heads", 3, "--auxiliary-layers", 1, "--license", "MIT"]
    run("convert", path, out, *options)
    assert f"SETRPUP in {out}" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: keras-hub\nlicense: mit\n")
    assert "pipeline_tag: image-segmentation" in card
    assert f"| Weights from | {path} |" in card
    assert hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() in card
    assert "thing 0, thing 1" in card
    assert ks.SETRPUP.from_preset(str(out)).classes.names[0] == "thing 0"
    run("convert", path, out, *options, code=2)
    assert "must not exist" in capsys.readouterr().err
    encoder = tmp_path / "encoder"
    run("convert", path, encoder, "--encoder", "--num-heads", 3)
    assert ks.SETRBackbone.from_preset(str(tmp_path / "encoder")).num_heads == 3


def test_problems_are_told_before_a_training(folder, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    mask = next(path for path in data.rglob("*.png") if "mask" in str(path))
    Image.fromarray(np.zeros((8, 8), "uint8")).save(mask)
    line = ("--data", data, "--out", tmp_path / "run", *SIZE)
    run("train", *line, code=2)
    printed, error = capsys.readouterr()
    assert "1 problem:" in printed and mask.name in error
    assert "--leave-out problems leaves out the pairs" in error
    assert not (tmp_path / "run" / "settings.json").exists()


def test_submit_writes_a_servers_files(tmp_path, capsys):
    backbone = ks.SETRBackbone(
        num_layers=1,
        hidden_dim=8,
        num_heads=1,
        image_shape=(64, 64, 3),
    )
    model = ks.SETRNaive(backbone, 150, filters=8, auxiliary_layers=())
    model.save_to_preset(str(tmp_path / "preset"))
    photos = tmp_path / "photos"
    photos.mkdir()
    image, _ = ks.data.StreetScenes(1, (64, 96), seed=2)[0]
    Image.fromarray(image).save(photos / "ADE_test_00000001.jpg")
    line = [
        *(tmp_path / "preset", "--images", photos),
        *("--out", tmp_path / "out", "--dataset", "ade20k"),
        *("--protocol", "mmsegmentation", "--scales"),
    ]
    run("submit", *line, 0.25)
    assert "1 image segmented, 0 were there" in capsys.readouterr().out
    labels = np.asarray(Image.open(tmp_path / "out" / "ADE_test_00000001.png"))
    assert labels.shape == (64, 96)
    assert 1 <= labels.min() and labels.max() <= 150
    run("submit", *line, 0.5, code=2)
    assert "of another preset or of other options" in capsys.readouterr().err


def test_train_remembers_how_masks_are_read(tmp_path, capsys):
    """Black and white masks, a longer run, and its settings."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        for part, shape in (("images", (40, 56, 3)), ("masks", (40, 56))):
            path = tmp_path / "data" / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = rng.integers(0, 256, shape, "uint8")
            if part == "masks":
                values = np.where(values > 99, 255, 0).astype("uint8")
                values[0, 0] = 7
            Image.fromarray(values).save(path)
    line = ("--data", tmp_path / "data", "--out", tmp_path / "run", *SIZE)
    line += ("--model", "naive", "--epochs", 1)
    labels = ("--label-map", "0=0", "255=1", "--ignore", 7)
    run("train", *line, *labels)
    printed = capsys.readouterr().out
    # 40 x 56 holds two patches by three.
    assert "crop 32 x 48" in printed and "batch 2 = 2 x 1" in printed
    first = json.loads((tmp_path / "run" / "result.json").read_text())

    run("train", "--out", tmp_path / "run", "--epochs", 2)
    printed = capsys.readouterr().out
    assert "The run has 2 epochs now and had 1 before" in printed
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert len(rows) == 3
    second = json.loads((tmp_path / "run" / "result.json").read_text())
    assert second["num_images"] == first["num_images"] == 1

    preset = tmp_path / "run" / "preset"
    run("evaluate", preset, "--data", tmp_path / "data")
    assert "3 images" in capsys.readouterr().out
    # What is said prevails.
    run("evaluate", preset, "--data", tmp_path / "data", "--ignore", 9, code=2)
    error = capsys.readouterr().err
    assert "holds value 7" in error and "--label-map" in error


def test_train_takes_other_patches_and_lora_and_goes_on(
    folder, tmp_path, capsys
):
    common = ("--data", folder, "--batch-size", 2, "--model", "pup")
    run(
        "train",
        *(*common, "--out", tmp_path / "whole", "--crop", 32, 48),
        *("--epochs", 1, "--no-auxiliary", *SIZE),
    )
    line = ("--preset", tmp_path / "whole" / "preset", "--epochs", 1)
    line += ("--patch-size", 8, "--lora-rank", 2, "--ema", 0.9)
    line += ("--schedule", "cosine", "--warmup", 1, "--balanced-crops", 0.5)
    line += ("--mosaic", 0.5, "--cutmix", 0.5, "--copy-paste", 0.5)
    line += ("--validate-every", 3)
    capsys.readouterr()
    run("train", *common, *line, "--out", tmp_path / "adapted")
    printed = capsys.readouterr().out
    assert "patches 16x16 -> 8x8" in printed
    assert "decoder kept: upsampling (2, 2, 2, 1) -> (2, 2, 1, 1)" in printed
    assert "trainable (LoRA of rank 2)" in printed
    assert "crop 64 x 96" in printed
    # What is not said again is as it was.
    run("train", "--out", tmp_path / "adapted", "--epochs", 2)
    printed = capsys.readouterr().out
    assert "trainable (LoRA of rank 2)" in printed
    assert "epoch 1 of 2 done" in printed and "by default" not in printed
    run("train", "--out", tmp_path / "adapted", "--lora-rank", 3, code=2)
    assert "started with --lora-rank 2" in capsys.readouterr().err
    run("train", "--out", tmp_path / "adapted", "--ema", 0.5, code=2)
    assert "started with --ema 0.9" in capsys.readouterr().err
    preset = str(tmp_path / "adapted" / "preset")
    model = ks.SETRPUP.from_preset(preset)
    assert model.backbone.patch_size == 8 and model.backbone.lora is None
    assert model.auxiliary_layers == ()
