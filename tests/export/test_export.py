"""What is exported gives the model's labels in its own runtime."""

import importlib.util
import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

import keras_setr as ks
from keras_setr.export import comparing
from keras_setr.export import exporting
from keras_setr.export import formats
from keras_setr.export import writers
from keras_setr.export.formats import FORMATS
from keras_setr.export.formats import packages_of
from keras_setr.layers import attention
from keras_setr.layers import enlarged
from tests import tiny

BACKEND = keras.config.backend()
WRITTEN = [name for name, each in FORMATS.items() if BACKEND in each.backends]
SIZE = (16, 24)
NAMES = ("sky", "road", "tree", "car", "door")


def path_of(folder, format):
    return folder / f"model{FORMATS[format].suffix}"


def skip_without(format):
    for name in packages_of(FORMATS[format], BACKEND):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def model():
    """One layer, and enough of a spread that no label is a tie."""
    model = ks.SETRNaive(
        tiny.backbone(num_layers=1),
        tiny.CLASSES,
        filters=8,
        auxiliary_layers=(),
        classes=ks.Classes(NAMES),
    )
    tiny.set_weights_by_path(model, scale=0.5)
    return model


@pytest.fixture(scope="module")
def sent():
    """What OpenVINO's converter tells of its use."""
    sent = []
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("openvino_telemetry") is not None:
            from openvino_telemetry import Telemetry

            for name in ("send_event", "start_session", "end_session"):
                patch.setattr(
                    Telemetry,
                    name,
                    lambda self, *message, **_: sent.append(message),
                )
        yield sent


@pytest.fixture(scope="module")
def exported(model, sent, tmp_path_factory):
    """A function to `(path, report)` of each format, written once."""
    folder, done = tmp_path_factory.mktemp("exported"), {}

    def export(format):
        skip_without(format)
        if format not in done:
            path = path_of(folder, format)
            done[format] = (
                path,
                model.export(
                    path,
                    format,
                    outputs=("labels", "confidence", "probabilities"),
                    verbose=False,
                ),
            )
        return done[format]

    return export


@pytest.mark.parametrize("format", WRITTEN)
def test_an_export_gives_the_models_labels(model, exported, format, tmp_path):
    path, report = exported(format)
    assert report.equal == 1 and report.size > 1000
    assert "100.0000 %" in str(report) and str(path) in str(report)
    again = ks.load_exported(path)
    assert_said(again.record, report)
    images = tiny.images(3, (20, 50))
    options = {"scales": (1.0, 1.5), "flip": True, "stride": (9, 13)}
    ours = model.segment(images, "probabilities", **options)
    theirs = again.segment(images, "probabilities", **options)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    labels = again.segment(images, **options)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, ours.argmax(-1))
    # Here, and not by itself: another worker would export it again.
    assert_truncated_is_one_clear_error(path, format, tmp_path)


def assert_said(record, report):
    """What a reader needs."""
    assert record == report.record
    assert record.classes.names == NAMES
    assert record.window_size == SIZE and record.stride == (10, 16)
    assert record.outputs == ("labels", "probabilities", "confidence")
    assert record.image_dtype == "uint8" and record.ignore_class == 255


def assert_truncated_is_one_clear_error(path, format, folder):
    copy = folder / path.name
    if path.is_dir():
        shutil.copytree(path, copy)
        cut = copy / "saved_model.pb"
    else:
        for file in path.parent.glob(f"{path.stem}.*"):
            if file.is_file():
                shutil.copy(file, folder)
        cut = copy.with_suffix(".bin") if format == "openvino" else copy
    content = cut.read_bytes()
    for length in (0, len(content) // 2, len(content) - 8):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match="Export it again|no record"):
            ks.load_exported(copy)


def test_openvino_tells_nobody(exported, sent):
    # Its converter reports its use from processes that it forks.
    exported("openvino")
    # Its import alone tells, of itself.
    assert set(sent) <= {("ov", "import", "general_import")}


def test_other_languages_find_the_record(exported):
    path, _ = exported("onnx")
    import onnx

    (entry,) = onnx.load(path).metadata_props
    content = json.loads(entry.value)
    assert entry.key == "keras_setr" and content["num_classes"] == 5
    assert content["class_names"] == list(NAMES)
    assert len(content["palette"]) == 5


@pytest.mark.backends("tensorflow")
def test_the_record_of_litert_is_in_the_file_itself(exported):
    path, _ = exported("litert")
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("keras_setr.json"))
    assert content["model"] == "SETRNaive"


def test_a_file_of_another_exporter(tmp_path):
    skip_without("onnx")
    import onnx

    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", 1, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [out])
    opset = [onnx.helper.make_opsetid("", 18)]
    other = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="another program exported it"):
        ks.load_exported(tmp_path / "other.onnx")


@pytest.mark.no_backend
def test_a_path_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ks.load_exported(tmp_path / "model.onnx")


# OpenVINO reads ONNX, which torch takes its time to write: once, in
# test_commands.py; its own format once, below.
OPEN = {"tensorflow": ("onnx", "tf_saved_model", "litert", "openvino")}.get(
    BACKEND, ()
)


@pytest.fixture(scope="module")
def open_model():
    """As `model`, of open height and width."""
    model = ks.SETRMLA(
        tiny.backbone((None, None, 3), num_layers=1, position_grid=(2, 3)),
        tiny.CLASSES,
        neck_filters=8,
        head_filters=(8, 8),
        feature_layers=(1, 1, 1, 1),
    )
    tiny.set_weights_by_path(model, scale=0.3)
    return model


@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize("format", OPEN)
def test_height_and_width_stay_open(open_model, tmp_path, format):
    skip_without(format)
    path = path_of(tmp_path, format)
    report = open_model.export(
        path,
        format,
        image_size="any",
        outputs=("labels", "logits"),
        verbose=False,
    )
    assert "(batch, height, width, 3)" in str(report) and report.equal == 1
    again = ks.load_exported(path)
    images = tiny.images(1, (20, 50))
    for window in (None, (24, 16)):
        np.testing.assert_allclose(
            again.segment(images, "probabilities", window_size=window),
            open_model.segment(images, "probabilities", window_size=window),
            atol=1e-5,
        )
    for window in ((16, 20), (8, 24)):
        with pytest.raises(ValueError, match="multiples of 8 from 16 on"):
            again.segment(images, window_size=window)


@pytest.mark.backends("tensorflow", "torch")
def test_maps_of_resnets_stay_open(tmp_path):
    format = {"tensorflow": "tf_saved_model", "torch": "torch"}[BACKEND]
    skip_without(format)
    model = tiny.build("semantic_fpn", (None, None, 3))
    tiny.set_weights_by_path(model, scale=0.3)
    path = path_of(tmp_path, format)
    # Compared at its own size and at another.
    report = model.export(
        path,
        image_size="any",
        outputs=("labels", "probabilities"),
        verbose=False,
    )
    assert report.record.takes((511, 513)) and report.equal > 0.9999
    again = ks.load_exported(path)
    images = tiny.images(1, (20, 50))
    for window in ((17, 23), (32, 64)):
        np.testing.assert_allclose(
            again.segment(images, "probabilities", window_size=window),
            model.segment(images, "probabilities", window_size=window),
            atol=1e-5,
        )


@pytest.mark.backends("jax")
def test_a_backend_of_fixed_sizes_names_another(open_model, tmp_path):
    with pytest.raises(ValueError, match="height and width.*--any-size"):
        open_model.export(tmp_path / "model.onnx", image_size="any")


# One file in which each of the other decoders and encoders is run.
CHEAPEST = {"tensorflow": "tf_saved_model", "jax": "onnx", "torch": "onnx"}


# PUP's decoder is that of the next test, Naive's encoder a plain one.
@pytest.mark.parametrize(
    "name",
    [
        "fcn",
        # TensorFlow has exported this one above.
        pytest.param(
            "semantic_fpn", marks=pytest.mark.backends("jax", "torch")
        ),
        "mla",
    ],
)
def test_every_decoder_is_exported(name, tmp_path):
    format = CHEAPEST[BACKEND]
    skip_without(format)
    if name == "mla":
        # Of all other encoders in one.
        model = tiny.MODELS[name](
            tiny.backbone(num_layers=2, **tiny.DINOV3, **tiny.HYBRID)
        )
    elif name == "fcn":
        # A stage of each kind: whole, halved and dilated.
        model = tiny.MODELS[name](
            tiny.resnet(num_blocks=(1, 1, 1), output_stride=8)
        )
    else:
        model = tiny.shallow(name)
    tiny.set_weights_by_path(model)
    path = path_of(tmp_path, format)
    assert model.export(path, format, verbose=False).equal == 1


def test_a_file_has_none_of_the_ways_round_of_cpus(tmp_path, monkeypatch):
    # As if the model were wide and its sequences long.
    monkeypatch.setattr(attention, "LONG", 1)
    monkeypatch.setattr(enlarged, "_CHANNELS", 1)
    format = CHEAPEST[BACKEND]
    skip_without(format)
    model = ks.SETRPUP(
        tiny.backbone(num_layers=1), 3, filters=4, auxiliary_layers=()
    )
    tiny.set_weights_by_path(model, scale=0.5)
    path = path_of(tmp_path, format)
    assert model.export(path, format, verbose=False).equal == 1


def test_a_folded_model_is_exported(model, tmp_path):
    skip_without("onnx")
    path = path_of(tmp_path, "onnx")
    report = model.for_inference().export(
        path, outputs=("labels", "probabilities"), verbose=False
    )
    assert report.record.image_dtype == "uint8"
    images = tiny.images(2)
    theirs = ks.load_exported(path).segment(images, "probabilities")
    ours = model.segment(images, "probabilities")
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


# JAX has the same types as TensorFlow; torch lacks some.
@pytest.mark.backends("tensorflow", "torch")
def test_images_of_16_bits_and_five_channels(tmp_path):
    format = CHEAPEST[BACKEND]
    skip_without(format)
    converter = ks.SETRImageConverter(mean=[3e4] * 5, std=[1e4] * 5)
    model = ks.SETRNaive(
        tiny.backbone((None, None, 5), num_layers=1),
        300,
        filters=8,
        auxiliary_layers=(),
        preprocessor=ks.SETRImageSegmenterPreprocessor(converter),
    )
    tiny.set_weights_by_path(model, scale=0.5)
    path = path_of(tmp_path, format)
    report = model.export(path, image_size=(24, 16), verbose=False)
    assert report.record.image_dtype == "uint16" and report.equal == 1
    image = np.full((24, 16, 5), 40_000, np.uint16)
    labels = ks.load_exported(path).segment(image)
    np.testing.assert_array_equal(labels, model.segment(image))


# === What goes wrong leaves nothing ===


@pytest.fixture
def writes_zeros(monkeypatch):
    """A format whose runtime always says class 0."""

    class Session:
        def run(self, images, names):
            return {"labels": np.zeros(images.shape[:3], np.uint8)}

    def write(served, spec, text, path):
        path.write_text(text)

    monkeypatch.setitem(writers.WRITERS, "onnx", write)
    monkeypatch.setattr(
        exporting, "open_session", lambda path: (Session(), None)
    )
    monkeypatch.setattr(formats, "packages_of", lambda *_: ())


@pytest.mark.backends("torch")
def test_other_labels_are_an_error_and_nothing_is_written(
    model, tmp_path, writes_zeros
):
    with pytest.raises(ValueError, match="% of its labels equal .* 99.99"):
        model.export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.no_backend
def test_ties_are_equal_and_nothing_else_is():
    scores = np.zeros((1, 10, 10, 3), np.float32)
    scores[..., 1:] = 0.5
    scores[0, 0, 0] = 0.4, 0.6, 0
    tied = np.full((1, 10, 10), 2)
    tied[0, 0, 0] = 1
    assert comparing.equal_labels("a", {"labels": tied}, scores) == 0.01
    tied[0, 0, 0] = 0
    with pytest.raises(ValueError, match="a was not kept"):
        comparing.equal_labels("a", {"labels": tied}, scores)


@pytest.mark.backends("torch")
def test_what_stops_a_converter_names_a_way_round(model, tmp_path, monkeypatch):
    def write(served, spec, text, path):
        path.write_text("half")
        raise KeyError("no such operation")

    monkeypatch.setitem(writers.WRITERS, "onnx", write)
    monkeypatch.setattr(formats, "packages_of", lambda *_: ())
    (tmp_path / "model.onnx").write_text("before")
    with pytest.raises(ValueError, match="operation.*export preset"):
        model.export(tmp_path / "model.onnx")
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "before"


@pytest.mark.backends("torch")
def test_a_full_disk_is_no_matter_of_the_backend(model, tmp_path, monkeypatch):
    def write(served, spec, text, path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(writers.WRITERS, "onnx", write)
    monkeypatch.setattr(formats, "packages_of", lambda *_: ())
    with pytest.raises(
        OSError, match="No space left .*nothing.*model.onnx"
    ) as e:
        model.export(tmp_path / "model.onnx")
    assert "preset" not in str(e.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.backends("torch")
def test_a_model_that_gives_nan_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "packages_of", lambda *_: ())
    model = tiny.smallest()
    first, *rest = model.get_weights()
    model.set_weights([first * np.nan, *rest])
    with pytest.raises(ValueError, match="model.onnx was not written: .*NaN"):
        model.export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.backends("torch")
def test_a_backend_that_cannot_says_which_can(model, tmp_path):
    with pytest.raises(
        ValueError,
        match="SavedModel is not written on the torch backend. Go by a "
        "preset.*export preset .*saved --format tf_saved_model --backend "
        "tensorflow",
    ):
        model.export(tmp_path / "saved")


@pytest.mark.backends("torch")
@pytest.mark.parametrize(
    "arguments, match",
    [
        (("a.onnx", "onxx"), "format must be 'onnx'.*Did you mean 'onnx'"),
        (("a.xml", "onnx"), "must end in .onnx. Received: .*a.xml"),
        (("a.pt2", "tf_saved_model"), "must be a folder. Received: .*a.pt2"),
        (("model.onnx/a.onnx",), "model.onnx"),
        (("a.onxx",), "must end in .onnx, .*or be a folder.*a.onxx"),
    ],
)
def test_paths_that_do_not_fit(model, tmp_path, arguments, match):
    (tmp_path / "model.onnx").write_text("a file")
    with pytest.raises((ValueError, OSError), match=match):
        model.export(tmp_path / arguments[0], *arguments[1:])
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.backends("torch")
def test_a_folder_that_may_not_be_written_to(model, tmp_path, monkeypatch):
    # Not by its mode, which root does not mind.
    monkeypatch.setattr(exporting.os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="may not be written to"):
        model.export(tmp_path / "new" / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.backends("tensorflow")
def test_a_folder_of_something_else_is_not_replaced(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no SavedModel"):
        model.export(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.backends("torch")
@pytest.mark.parametrize(
    "options, match",
    [
        ({"image_size": (20, 24)}, "multiples of patch_size=8.*(24, 24)"),
        ({"image_size": (24, 24)}, r"image_shape=\(24, 24, 3\)"),
        ({"image_size": "any"}, r"image_shape=\(None, None, 3\)"),
        ({"image_size": "all"}, "image_size must be 'any' or an integer"),
        ({"outputs": ("probabilities",)}, "must have labels among them"),
        ({"outputs": ("labels", "label")}, "each 'labels', 'probabilities'"),
        ({"image": np.full((*SIZE, 3), np.nan)}, "image holds 1152 values"),
        ({"image": np.zeros((*SIZE, 4), "uint8")}, "image of shape"),
    ],
)
def test_options_that_do_not_fit(model, tmp_path, options, match, monkeypatch):
    monkeypatch.setattr(formats, "packages_of", lambda *_: ())
    with pytest.raises(ValueError, match=match):
        model.export(tmp_path / "model.onnx", **options)


@pytest.mark.backends("torch")
@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
def test_what_is_no_float32_says_what_to_do(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(formats, "packages_of", lambda *_: ())
    if kind == "int8":
        model = tiny.smallest()
        model.quantize("int8")
    else:
        model = tiny.smallest(dtype="mixed_bfloat16")
    with pytest.raises(ValueError, match="before quantize|dtype=.float32"):
        model.export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.backends("torch")
def test_what_is_not_installed_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "packages_of", lambda *_: ("nonsense",))
    with pytest.raises(ImportError, match=r"nonsense: pip .*setr\[export\]"):
        model.export(tmp_path / "model.onnx")
