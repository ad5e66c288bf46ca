"""int8 files: what stays in float, what they are compared on, what is said."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest

import keras_setr as ks
from keras_setr.export import quantizers
from keras_setr.export import quantizing
from keras_setr.export.quantizing import Int8Report
from keras_setr.export.quantizing import Samples
from tests import tiny
from tests.export.test_exported import record

BACKEND = keras.config.backend()
CONVERTER = {"torch": "onnxscript", "jax": "jax2onnx", "tensorflow": "tf2onnx"}


def images(count, size=(20, 30)):
    return list(tiny.images(count, size))


@pytest.fixture(scope="module")
def model():
    model = tiny.smallest()
    tiny.set_weights_by_path(model, scale=0.5)
    return model


# What is quantized is a file, whoever wrote it.
@pytest.mark.parametrize(
    "format",
    [
        pytest.param("onnx", marks=pytest.mark.backends("jax", "torch")),
        pytest.param("openvino", marks=pytest.mark.backends("tensorflow")),
    ],
)
def test_an_int8_file_is_smaller_and_labels_nearly_the_same(
    model, tmp_path, format
):
    packages = ["onnx", "onnxruntime", CONVERTER[BACKEND]]
    packages += ["openvino", "nncf"] if format == "openvino" else []
    for name in packages:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    path = tmp_path / f"model{'.xml' if format == 'openvino' else '.onnx'}"
    x = images(8)
    report = model.export(
        path,
        quantize="int8",
        calibration=[(one, model.segment(one)) for one in x],
        outputs=("labels", "probabilities"),
        float_parts=("attention",),
        verbose=False,
    )
    assert report.images == 2
    if format == "onnx":
        # So few weights are less than what OpenVINO's graph tells of them.
        assert report.size < report.float_size
    assert report.equal > 0.6 and report.points is not None
    assert report.float_parts == ("attention",)
    again = ks.load_exported(path)
    assert again.record.precision == "int8" and again.record == report.record
    equal = (again.segment(x[0]) == model.segment(x[0])).mean()
    assert equal > 0.6
    written = {".xml", ".bin"} if format == "openvino" else {".onnx"}
    assert {p.suffix for p in tmp_path.iterdir()} == written


@pytest.mark.backends("torch")
@pytest.mark.parametrize(
    "path, options, match",
    [
        ("a.onnx", {"calibration": None}, "must be given together"),
        ("a.onnx", {"quantize": None}, "must be given together"),
        ("a.onnx", {"quantize": "int4"}, "quantize must be 'int8', or None"),
        ("a.onnx", {"float_parts": ("head",)}, "each 'attention', 'ends'"),
        ("a.pt2", {}, "made of ONNX and OpenVINO. Received: torch.export"),
    ],
)
def test_options_that_do_not_fit(model, tmp_path, path, options, match):
    options = {"quantize": "int8", "calibration": images(4), **options}
    with pytest.raises(ValueError, match=match):
        model.export(tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


# === Without a backend ===


@pytest.mark.no_backend
def test_windows_are_from_the_middle_with_their_labels():
    # Windows of (4, 6) every (2, 4) begin at rows 0, 2, 4, columns 0, 4, 5.
    image = np.arange(8 * 11 * 3, dtype=np.uint8).reshape(8, 11, 3)
    labels = image[..., 0] % 3
    given = [(image, labels[..., None])]
    samples = quantizing.read_samples(given, record(), None)
    ((window, found),) = samples.test
    np.testing.assert_array_equal(window, image[2:6, 4:10])
    np.testing.assert_array_equal(found, labels[2:6, 4:10])
    assert len(samples.calibration) == 1


@pytest.mark.no_backend
def test_small_images_are_enlarged_and_labels_follow():
    image = np.zeros((2, 3, 3), np.uint8)
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    samples = quantizing.read_samples([(image, labels)], record(), None)
    ((window, found),) = samples.test
    assert window.shape == (4, 6, 3)
    np.testing.assert_array_equal(found, labels.repeat(2, 0).repeat(2, 1))


@pytest.mark.no_backend
def test_every_fourth_image_is_compared_and_100_are_used():
    given = [np.full((4, 6, 3), n, np.uint8) for n in range(8)]
    samples = quantizing.read_samples(given, record(), None)
    assert [image[0, 0, 0] for image, _ in samples.test] == [0, 4]
    values = [image[0, 0, 0] for image in samples.calibration]
    assert values == [1, 2, 3, 5, 6, 7]
    samples = quantizing.read_samples(given * 50, record(), None)
    assert len(samples.test) == 25 and len(samples.calibration) == 75


@pytest.mark.no_backend
def test_a_folder_gives_what_can_be_read(tmp_path):
    for n in range(3):
        image = np.full((4, 6, 3), n, np.uint8)
        np.save(tmp_path / f"{n}.npy", image)
    (tmp_path / "list.txt").write_text("0.npy")
    samples = quantizing.read_samples(
        tmp_path,
        record(),
        ks.ExportedSegmenter(None, None, record()).load_image,
    )
    assert len(samples.test) == 3 and samples.test[0][1] is None


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "given, match",
    [
        ([], "must hold images, some tens.*Received: none"),
        ("nowhere", "nowhere, which is no folder"),
        ([np.zeros((4, 6, 4))], r"\(height, width, 3\). Received: \(4, 6, 4\)"),
        (
            [(np.zeros((4, 6, 3)), np.zeros((4, 5)))],
            r"the size of their image, \(4, 6\). Received: \(4, 5\)",
        ),
    ],
)
def test_images_that_do_not_fit(given, match):
    with pytest.raises(ValueError, match=match):
        quantizing.read_samples(given, record(), None)


# Patches, one layer of attention with its MLP, and a decoder of two.
PRODUCTS = [
    (name, name not in ("scores", "mixed"))
    for name in (
        *("patches", "qkv", "scores", "mixed", "projection"),
        *("mlp_0", "mlp_1", "conv", "classifier"),
    )
]


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "parts, names",
    [
        ((), []),
        (("attention",), ["scores", "mixed"]),
        (("ends",), ["patches", "classifier"]),
        (("decoder",), ["conv", "classifier"]),
        (
            ("attention", "decoder"),
            ["scores", "mixed", "conv", "classifier"],
        ),
    ],
)
def test_which_products_stay_in_float(parts, names):
    assert quantizers._in_float(PRODUCTS, parts) == names


@pytest.mark.no_backend
@pytest.mark.parametrize("labelled", (False, True))
def test_more_stays_in_float_until_it_is_good_enough(
    monkeypatch, tmp_path, labelled
):
    truth = np.zeros((4, 6), np.int64)
    truth[2:] = 1

    class Session:
        def __init__(self, wrong):
            self.wrong = wrong

        def run(self, images, names):
            labels = truth.copy()
            labels.flat[: self.wrong] = 2
            return {"labels": labels[None]}

    wrong = {"float": 0, "int8_0": 12, "int8_1": 6, "int8_2": 0}
    monkeypatch.setattr(
        quantizing,
        "open_session",
        lambda path: (Session(wrong[path.stem]), None),
    )
    monkeypatch.setattr(quantizing, "quantize_file", lambda *_: None)
    image = np.zeros((4, 6, 3), np.uint8)
    samples = Samples([image], [(image, truth if labelled else None)])
    arguments = (tmp_path / "float.onnx", tmp_path, record(), samples)
    path, parts, equal, points = quantizing.choose(*arguments, "auto")
    assert (path.stem, parts, equal) == ("int8_2", ("attention", "ends"), 1)
    assert points == (0 if labelled else None)
    # A choice that is not good enough is given all the same, and said.
    wrong["int8_0"] = 6
    _, parts, equal, points = quantizing.choose(*arguments, ("decoder",))
    assert (parts, equal) == (("decoder",), 0.75)
    # IoU of 0 and 1 is 6 / 12 and 1, of the third class 0: a half of 1.
    assert points == (pytest.approx(-50) if labelled else None)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "seconds, points, verdict",
    [
        (1.0, -0.4, "mean IoU -0.40 points: recommended"),
        (1.0, -0.6, "not recommended: worse by over 0.5"),
        (2.5, +0.1, "not recommended: no faster"),
        (1.0, None, "not recommended before its mean IoU is known"),
    ],
)
def test_recommended_is_what_is_faster_and_as_good(seconds, points, verdict):
    report = Int8Report(
        pathlib.Path("a.onnx"),
        record(),
        size=300_000,
        float_size=1_200_000,
        seconds=seconds,
        float_seconds=2.0,
        equal=0.995,
        points=points,
        float_parts=("ends",),
        images=5,
    )
    text = str(report)
    assert verdict in text and "ends of it in float; 0.3 MB for 1.2" in text
    assert "99.50 % of labels equal on 5 images" in text
    assert report.is_recommended == (
        verdict[-11:] == "recommended" and "not" not in verdict
    )


@pytest.mark.backends("torch")
def test_a_kernel_behind_a_reshape_has_its_channels(tmp_path):
    for name in ("openvino", "nncf", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    # Small ones are folded by who writes the ONNX file.
    wide = ks.SETRBackbone(1, 384, 6, mlp_dim=16, image_shape=(16, 32, 3))
    model = ks.SETRNaive(wide, 3, filters=8, auxiliary_layers=())
    path = tmp_path / "model.xml"
    report = model.export(
        path,
        quantize="int8",
        calibration=images(4),
        float_parts=(),
        verbose=False,
    )
    assert path.exists() and report.float_parts == ()
