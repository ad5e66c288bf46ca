"""Exported models segment by the host's windows, without Keras."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import keras_setr as ks
from keras_setr.export.exported import ExportedSegmenter
from keras_setr.export.record import ExportRecord

pytestmark = pytest.mark.no_backend

CLASSES = ks.Classes(("dark", "middle", "bright"))


def record(**changes):
    options = {
        "model": "SETRNaive",
        "classes": CLASSES,
        "ignore_class": 255,
        "window_size": (4, 6),
        "stride": (2, 4),
        "channels": 3,
        "image_dtype": "uint8",
        "outputs": ("labels", "probabilities"),
        "dynamic": ("batch",),
        "backend": "torch",
        **changes,
    }
    return ExportRecord(**options)


class Brightness:
    """The class is which third of 0..255 the first channel lies in."""

    def __init__(self):
        self.asked = []

    def run(self, images, names):
        self.asked.append((images.shape, images.dtype.name, names))
        labels = images[..., 0] // 86
        scores = 0.8 * np.eye(3, dtype=np.float32)[labels] + 0.1
        found = {"labels": labels, "probabilities": scores / 1.1}
        return {name: found[name] for name in names}


def segmenter(session=None, **changes):
    session = session or Brightness()
    return ExportedSegmenter(pathlib.Path("a.onnx"), session, record(**changes))


def image(size=(7, 11)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*size, 3)).astype(np.uint8)


def test_windows_cover_an_image_of_any_size():
    session, x = Brightness(), image()
    exported = segmenter(session)
    np.testing.assert_array_equal(exported.segment(x), x[..., 0] // 86)
    assert {asked for asked in session.asked} == {
        ((1, 4, 6, 3), "uint8", ("probabilities",))
    }
    # Rows 0, 2, 3 and columns 0, 4, 5.
    assert len(session.asked) == 9


def test_open_files_take_any_window_of_whole_patches():
    session, x = Brightness(), image((8, 12))
    exported = segmenter(
        session, dynamic=("batch", "height", "width"), size_multiple=2
    )
    labels = exported.segment(x, window_size=(8, 12))
    np.testing.assert_array_equal(labels, x[..., 0] // 86)
    assert [asked[0] for asked in session.asked] == [(1, 8, 12, 3)]
    for window in ((8, 11), (2, 8)):
        with pytest.raises(ValueError, match="multiples of 2 from 4 on for"):
            exported.segment(x, window_size=window)
    # An image alone is as large as it is told.
    only = {"outputs": ("labels",), "dynamic": exported.record.dynamic}
    labels = segmenter(session, size_multiple=2, **only)
    assert labels.segment(x, window_size=(8, 12)).shape == (8, 12)


def test_probabilities_and_confidence_are_those_of_the_file():
    x = image((4, 6))
    labels, confidence = segmenter().segment(x, confidence=True)
    np.testing.assert_allclose(confidence, 0.9 / 1.1, rtol=1e-5)
    logits = segmenter().predict(x[None])
    assert logits.shape == (1, 4, 6, 3)
    np.testing.assert_array_equal(logits[0].argmax(-1), labels)


def test_labels_alone_are_enough_for_an_image_of_the_windows_size():
    exported = segmenter(outputs=("labels",))
    x = image((4, 6))
    np.testing.assert_array_equal(exported.segment(x), x[..., 0] // 86)
    for wrong, options in (
        (image(), {}),
        (x, {"flip": True}),
        (x, {"scales": (2.0,)}),
    ):
        with pytest.raises(ValueError, match="gives labels alone, so an"):
            exported.segment(wrong, **options)
    with pytest.raises(ValueError, match="alone. Received: probabilities"):
        exported.segment(x, "probabilities")


@pytest.mark.parametrize(
    "options, match",
    [
        ({"window_size": 8}, r"window_size must be \(4, 6\) for a.onnx"),
        ({"blend": "device"}, "needs a model of Keras"),
        ({"output": "label"}, "output must be.*Did you mean 'labels'"),
    ],
)
def test_options_that_do_not_fit(options, match):
    with pytest.raises(ValueError, match=match):
        segmenter().segment(image(), **options)


def test_small_images_of_mmsegmentations_protocol_are_refused():
    small = image((3, 5))
    assert segmenter().segment(small).shape == (3, 5)
    with pytest.raises(ValueError, match="protocol='authors' does"):
        segmenter().segment(small, protocol="mmsegmentation")


def test_evaluate_and_segment_files_take_it(tmp_path):
    x = image()
    result = ks.evaluate(segmenter(), [(x, x[..., 0] // 86)], verbose=0)
    assert result.mean_iou == 1 and result.classes is CLASSES
    np.save(tmp_path / "x.npy", x)
    saved = []
    run = ks.segment_files(
        segmenter(),
        [tmp_path / "x.npy"],
        lambda path, image, labels: saved.append(labels),
        verbose=0,
    )
    assert run.written == 1
    np.testing.assert_array_equal(saved[0], x[..., 0] // 86)


def test_a_record_reads_back_and_later_ones_are_refused():
    masks = {"ignore_values": [9], "label_map": [[7, 0], [8, 2]]}
    for classes in (CLASSES, dataclasses.replace(CLASSES, masks=masks)):
        text = record(classes=classes).to_json()
        assert ExportRecord.from_json(text, "a.onnx").classes == classes
    text = record().to_json()
    assert ExportRecord.from_json(text, "a.onnx") == record()
    with pytest.raises(ValueError, match="a.onnx holds a record .*version 2"):
        later = text.replace('"version": 1', '"version": 2')
        ExportRecord.from_json(later, "a.onnx")
    with pytest.raises(ValueError, match="cannot be read"):
        ExportRecord.from_json("{}", "a.onnx")


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"class_names": ["a"]}, "1 class_names for 3 classes"),
        ({"num_classes": None}, "3 class_names for None classes"),
        ({"version": "1"}, "version must be"),
        ({"window_size": None}, "window_size must be"),
        ({"stride": [0, 2]}, "stride must be"),
        ({"channels": "3"}, "channels must be"),
        ({"image_dtype": "int7"}, "image_dtype must be"),
        ({"outputs": []}, "outputs must be"),
        ({"outputs": ["masks"]}, "outputs must be"),
        ({"ignore_class": "none"}, "ignore_class must be"),
        ({"palette": [[0, 0, 0]]}, "palette"),
    ],
)
def test_a_record_that_somebody_wrote_is_checked(changes, match):
    text = json.dumps(json.loads(record().to_json()) | changes)
    with pytest.raises(ValueError, match=f"a.onnx holds a record .*{match}"):
        ExportRecord.from_json(text, "a.onnx")
    for name in changes:
        content = json.loads(text)
        del content[name]
        with pytest.raises(
            ValueError,
            match=f"cannot be read.*no .*'{name}'|argument: '{name}'",
        ):
            ExportRecord.from_json(json.dumps(content), "a.onnx")


@pytest.mark.parametrize(
    "changes, match",
    [
        (
            {"window_size": (4, 5)},
            r"no probabilities of uint8 .*\(1, 4, 5, 3\)",
        ),
        ({"outputs": ("labels", "logits")}, "no logits of uint8 images"),
        (
            {"classes": ks.Classes(("a", "b"))},
            "must give probabilities .* of 2",
        ),
    ],
)
def test_a_record_that_is_not_the_files_is_told(changes, match):
    class Fixed(Brightness):
        def run(self, images, names):
            if images.shape[1:3] != (4, 6):
                raise RuntimeError("Got invalid dimensions")
            return super().run(images, names)

    exported = segmenter(Fixed(), **changes)
    with pytest.raises(ValueError, match=f"a.onnx .*{match}.*Export the model"):
        exported.segment(image())


def test_what_is_no_exported_model_is_told_before_a_runtime_reads_it(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "config.json").touch()
    (tmp_path / "model.keras").touch()
    for name in ("preset", "model.keras"):
        with pytest.raises(
            ValueError, match=f"{name} is no exported model: .*pt2"
        ):
            ks.load_exported(tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(IsADirectoryError, match="where a file is wanted"):
        ks.load_exported(tmp_path / "folder.onnx")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")
        with pytest.raises(ValueError, match="pipe.onnx is a pipe"):
            ks.load_exported(tmp_path / "pipe.onnx")


WITHOUT_KERAS = """
import sys

HIDDEN = {"keras", "keras_hub", "tensorflow", "jax", "torch", "h5py"}


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ImportError(name)


sys.meta_path.insert(0, Hidden())
import numpy as np
import keras_setr as ks
from keras_setr.export.exported import ExportedSegmenter
from keras_setr.export.record import ExportRecord

record = ExportRecord.from_json(sys.argv[1], "a.onnx")

class Session:
    def run(self, images, names):
        return {"probabilities": np.eye(3, dtype="f4")[images[..., 0] // 86]}

model = ExportedSegmenter("a.onnx", Session(), record)
x = np.arange(7 * 11 * 3, dtype=np.uint8).reshape(7, 11, 3)
labels = x[..., 0] // 86
assert (model.segment(x) == labels).all()
assert ks.evaluate(model, [(x, labels)], verbose=0).mean_iou == 1
assert ks.load_exported and ks.data.SegmentationFolder and ks.Classes
assert ks.visualization.overlay(x, labels, model.classes).size == (11, 7)
assert not HIDDEN & {name.split(".")[0] for name in sys.modules}
"""


def test_a_deployment_needs_no_keras():
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, record().to_json()],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
