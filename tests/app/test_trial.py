"""What stands behind the page, without a browser."""

import numpy as np
import pytest
from PIL import Image

import keras_setr as ks
from keras_setr.app import Trial
from tests import tiny

pytestmark = pytest.mark.backends("torch")


@pytest.fixture(scope="module")
def trial():
    model = ks.SETRNaive(tiny.backbone(), tiny.CLASSES, filters=8)
    return Trial(model, max_pixels=40 * 60)


def save(path, size=(40, 60), mode="RGB", **options):
    values = np.arange(size[0] * size[1] * 3) % 251
    image = Image.fromarray(values.reshape(*size, 3).astype("uint8"))
    image.convert(mode).save(path, **options)
    return path


def test_labels_are_those_of_the_model_and_of_the_image_s_size(trial, tmp_path):
    path = save(tmp_path / "a photo.png")
    seen = trial.segment(path)
    np.testing.assert_array_equal(seen.labels, trial.model.segment(path))
    assert seen.labels.shape == seen.shown_labels.shape == (40, 60)
    written = trial.write_labels(seen, tmp_path)
    assert written.name == "a photo_labels.png"
    np.testing.assert_array_equal(ks.data.load_mask(written), seen.labels)


def test_a_photograph_is_turned_and_cmyk_is_read(trial, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned = save(tmp_path / "a.jpg", exif=exif)
    assert trial.segment(turned).shown.shape == (60, 40, 3)
    cmyk = save(tmp_path / "b.jpg", mode="CMYK")
    assert trial.segment(cmyk).shown.shape == (40, 60, 3)


def test_opacity_asks_no_model(trial, tmp_path, monkeypatch):
    seen = trial.segment(save(tmp_path / "a.png"))
    monkeypatch.setattr(type(trial.model), "segment", None)
    bare = np.asarray(trial.overlay(seen, 0))
    np.testing.assert_array_equal(bare, seen.shown)
    colors = np.asarray(trial.overlay(seen, 1.0))
    palette = np.array(trial.classes.palette)
    np.testing.assert_array_equal(colors, palette[seen.shown_labels])
    assert trial.legend(seen).width > 60


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("cat.jpg", b"no image", 'cat.jpg text, "no image". PNG or JPEG'),
        ("cat.heic", b"\0\0\0\x18ftypheic", "cat.heic is HEIC, PNG or JPEG"),
        ("cat.gif", b"\0\x90\xffx", "cat.gif has none of the formats"),
        ("cat.png", b"", "cat.png is empty"),
        ("cat.tif", b"II*\0", "cat.tif cannot be decoded"),
        ("cat.npy", b"no array", "cat.npy cannot be decoded"),
    ],
)
def test_a_bad_file_is_named_without_the_server_s_folder(
    trial, tmp_path, name, content, words
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        trial.segment(tmp_path / name)
    text = str(error.value)
    assert text.startswith(name) and text.count(name) == 1
    assert str(tmp_path) not in text and "pair" not in text
    for word in words.split():
        assert word in text


def test_a_damaged_and_a_transparent_file_say_so(trial, tmp_path):
    path = save(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="^a.png cannot be decoded"):
        trial.segment(path)
    Image.new("RGBA", (60, 40)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="^b.png has .* transparent pixels"):
        trial.segment(tmp_path / "b.png")


def test_too_many_pixels_are_refused_by_the_header_alone(trial, tmp_path):
    path = save(tmp_path / "a.png", (41, 60))
    # A decoder would fail.
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match="^a.png has 60 x 41 pixels, 0.0 mil"):
        trial.segment(path)


def test_a_click_on_what_is_shown_is_a_point_of_the_image(tmp_path):
    model = ks.SETRNaive(tiny.backbone(), tiny.CLASSES, filters=8)
    trial = Trial(model)
    # Shown at a half: 2560 pixels as 1280.
    seen = trial.segment(save(tmp_path / "a.png", (32, 2560)))
    assert seen.shown.shape == (16, 1280, 3)
    assert seen.shown_labels.shape == (16, 1280)
    picture = trial.attention(seen, (15, 1279))
    wanted = ks.visualization.attention(model, seen.image, (30, 2558))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(wanted))
    with pytest.raises(ValueError, match="point must lie in the image"):
        trial.attention(seen, (16, 0))
    # Of one head in another layer, and followed through the layers.
    for picture, wanted in (
        (
            trial.attention(seen, (3, 9), 2, 4, "to"),
            ks.visualization.attention(
                *(model, seen.image, (6, 18), 2, [4], "to"), width=480
            ),
        ),
        (
            trial.rollout(seen, (3, 9), 2, "to"),
            ks.visualization.attention_rollout(
                *(model, seen.image, (6, 18), [2], "to"), width=480
            ),
        ),
    ):
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(wanted))
    assert trial.rollout(seen, (3, 9)) != trial.rollout(seen, (3, 9), 1)


def test_a_model_without_attention_is_told():
    model = ks.FCN(tiny.resnet(), tiny.CLASSES, filters=8)
    assert not Trial(model).has_attention
    backbone = tiny.backbone()
    assert Trial(ks.SETRNaive(backbone, 5, filters=8)).has_attention
