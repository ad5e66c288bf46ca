"""The examples as their users run them, on a few small scenes."""

import hashlib
import json
import pathlib
import runpy

import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from tests.checkpoints.test_decoders import authors_file

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def run(monkeypatch, name, *arguments):
    script = str(EXAMPLES / name)
    monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
    runpy.run_path(script, run_name="__main__")


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
    run(
        monkeypatch,
        "quickstart.py",
        *("--data", folder, "--out", tmp_path, *options),
    )
    printed = capsys.readouterr().out
    assert "mean IoU" in printed and "traffic sign" in printed
    assert "loads with equal output" in printed
    with Image.open(tmp_path / "prediction.png") as picture:
        assert picture.width > 3 * 80
    assert ks.SETRPUP.from_preset(str(tmp_path / "preset")).num_classes == 10


def test_train_evaluate_and_segment_hand_on_a_preset(
    folder, tmp_path, monkeypatch, capsys
):
    size = ["--layers", 1, "--dim", 16, "--heads", 2, "--filters", 8]
    run(
        monkeypatch,
        "train.py",
        *("--data", folder, "--out", tmp_path / "run", "--model", "mla"),
        *("--crop", 32, 48, "--batch-size", 2, "--epochs", 1, *size),
    )
    preset = tmp_path / "run" / "preset"
    trained = json.loads((tmp_path / "run" / "result.json").read_text())
    log = (tmp_path / "run" / "log.csv").read_text()
    assert "val_mean_iou" in log.splitlines()[0]

    run(
        monkeypatch,
        "evaluate.py",
        *(preset, "--data", folder, "--subset", "val"),
        *("--base-scale", 64, 80, "--out", tmp_path / "result.json"),
    )
    evaluated = json.loads((tmp_path / "result.json").read_text())
    assert evaluated["mean_iou"] == pytest.approx(trained["mean_iou"])

    # Fine-tuning goes on from the preset, at another size.
    run(
        monkeypatch,
        "train.py",
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
    with pytest.raises(SystemExit) as stop:
        run(
            monkeypatch,
            "segment.py",
            *(preset, photos, "--out", out),
            *("--scales", 0.75, 1, "--flip", "--confidence"),
        )
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert "cut.png" in printed.err
    assert "1 images segmented, 1 skipped" in printed.out
    labels = np.asarray(Image.open(out / "a" / "good one_labels.png"))
    assert labels.shape == (70, 90) and labels.max() < 10
    assert (out / "a" / "good one_overlay.png").exists()
    confidence = np.asarray(Image.open(out / "a" / "good one_confidence.png"))
    assert confidence.shape == (70, 90) and confidence.min() > 0
    # It goes on where it stopped: only the broken file is tried again.
    (photos / "cut.png").unlink()
    run(monkeypatch, "segment.py", preset, photos, "--out", out)
    assert "0 images segmented, 0 skipped, 1 there" in capsys.readouterr().out


def test_convert_weights_writes_a_preset_with_a_card(
    tmp_path, monkeypatch, capsys
):
    path, _, _ = authors_file(tmp_path, "pup")
    out = tmp_path / "preset"
    options = ["--num-heads", 3, "--auxiliary-layers", 1, "--license", "MIT"]
    run(monkeypatch, "convert_weights.py", path, out, *options)
    assert f"SETRPUP in {out}" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: keras-hub\nlicense: mit\n")
    assert "pipeline_tag: image-segmentation" in card
    assert f"| Weights from | {path} |" in card
    assert hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() in card
    assert "thing 0, thing 1" in card
    assert ks.SETRPUP.from_preset(str(out)).classes.names[0] == "thing 0"
    with pytest.raises(SystemExit, match="exists already"):
        run(monkeypatch, "convert_weights.py", path, out, *options)
    run(
        monkeypatch,
        "convert_weights.py",
        *(path, tmp_path / "encoder", "--encoder", "--num-heads", 3),
    )
    assert ks.SETRBackbone.from_preset(str(tmp_path / "encoder")).num_heads == 3


def test_submit_writes_a_servers_files(tmp_path, monkeypatch, capsys):
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
    run(
        monkeypatch,
        "submit.py",
        *(tmp_path / "preset", "--images", photos),
        *("--out", tmp_path / "out", "--dataset", "ade20k"),
        *("--scales", "0.25", "--protocol", "mmsegmentation"),
    )
    assert "1 images segmented, 0 were there" in capsys.readouterr().out
    labels = np.asarray(Image.open(tmp_path / "out" / "ADE_test_00000001.png"))
    assert labels.shape == (64, 96)
    assert 1 <= labels.min() and labels.max() <= 150
