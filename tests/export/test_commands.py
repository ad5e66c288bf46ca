"""`keras-setr export`, and what it writes in place of a preset."""

import importlib.util
import json

import numpy as np
import pytest

import keras_setr as ks
from keras_setr_commands.main import main
from tests import tiny

# What it takes is the same on the other backends.
pytestmark = pytest.mark.backends("torch")

FORMAT_NEEDS = ("onnx", "onnxscript", "onnxruntime")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a preset, labelled scenes and the exported preset."""
    for name in FORMAT_NEEDS:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("commands")
    scenes = ks.data.StreetScenes(num_scenes=2, image_size=(64, 96))
    scenes.write(folder / "scenes")
    model = ks.SETRNaive(
        tiny.backbone((16, 24, 3), num_layers=1),
        len(ks.data.SegmentationFolder(folder / "scenes").classes),
        filters=8,
        auxiliary_layers=(),
    )
    tiny.set_weights_by_path(model, scale=0.5)
    model.save_to_preset(folder / "preset")
    line = ["export", folder / "preset", folder / "setr.onnx"]
    assert main([*line, "--outputs", "labels", "probabilities"]) == 0
    return folder


def test_segment_and_evaluate_take_an_exported_file(files):
    results = {}
    for source in ("preset", "setr.onnx"):
        model, out = files / source, files / f"out_{source}"
        segment = ["segment", model, files / "scenes" / "images"]
        assert main([*segment, "--out", out]) == 0
        score = ["--data", files / "scenes", "--out", out / "score.json"]
        assert main(["evaluate", model, *score, "--flip"]) == 0
        labels = [
            ks.data.load_mask(path)
            for path in sorted(out.rglob("*_labels.png"))
        ]
        score = json.loads((out / "score.json").read_text())
        results[source] = labels, score["confusion_matrix"]
    (ours, our_score), (theirs, their_score) = results.values()
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one, other)
    assert our_score == their_score


def test_another_size_resamples_the_positions(files, capsys):
    # The format that torch writes fastest.
    line = ["export", files / "preset", files / "small.pt2"]
    assert main([*line, "--image-size", "24", "32"]) == 0
    shown = capsys.readouterr().out
    assert "positions 2x3 -> 3x4" in shown and "(batch, 24, 32, 3)" in shown
    assert ks.load_exported(files / "small.pt2").record.outputs == ("labels",)


def test_any_size_leaves_height_and_width_open(files, capsys):
    model = ks.SETRMLA(
        tiny.backbone((None, None, 3), num_layers=1),
        tiny.CLASSES,
        neck_filters=8,
        head_filters=(8, 8),
        feature_layers=(1, 1, 1, 1),
    )
    tiny.set_weights_by_path(model, scale=0.3)
    model.save_to_preset(files / "open")
    line = ["export", files / "open", files / "open.onnx", "--any-size"]
    assert main([*line, "--outputs", "labels", "probabilities"]) == 0
    assert "(batch, height, width, 3)" in capsys.readouterr().out
    again = ks.load_exported(files / "open.onnx")
    images = tiny.images(1, (20, 50))
    for window in (None, (24, 16)):
        np.testing.assert_allclose(
            again.segment(images, "probabilities", window_size=window),
            model.segment(images, "probabilities", window_size=window),
            atol=1e-5,
        )
    segment = ["segment", files / "open.onnx", files / "scenes" / "images"]
    for window, code in (
        (("32", "48"), 0),
        (("32", "50"), 2),
        (("8", "24"), 2),
    ):
        line = [*segment, "--window", *window, "--out", files / "by_open"]
        assert main(line) == code
    assert capsys.readouterr().err.count("multiples of 8 from 16 on") == 2


def test_calibration_reads_masks_as_the_training_did(files, monkeypatch):
    folder = ks.data.SegmentationFolder(files / "scenes", ignore_values=(3,))
    model = ks.SETRNaive.from_preset(
        str(files / "preset"), classes=folder.classes, verbose=False
    )
    model.save_to_preset(files / "told")
    given = {}
    monkeypatch.setattr(
        *(ks.SETRNaive, "export"),
        lambda model, *_, **named: given.update(named),
    )
    line = ["export", files / "told", files / "int8.onnx", "--int8"]
    assert main([*line, "--calibration", files / "scenes"]) == 0
    labels = np.stack([labels for _, labels in given["calibration"]])
    assert 3 not in labels and {0, 255} < {*np.unique(labels)}


def test_a_damaged_file_is_one_line(files, capsys):
    content = (files / "setr.onnx").read_bytes()
    (files / "cut.onnx").write_bytes(content[: len(content) // 2])
    scenes = files / "scenes" / "images"
    line = ["segment", files / "cut.onnx", scenes, "--out"]
    assert main([*line, files / "nothing"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("keras-setr segment: error: ")
    assert "cut.onnx is no ONNX model" in error and "\n" not in error
