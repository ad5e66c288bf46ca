import json

import numpy as np
import pytest

from keras_setr import Classes
from keras_setr import data
from keras_setr.data.folder.class_names import read_class_names

pytestmark = pytest.mark.no_backend


def test_names_and_colours_come_from_any_sequence():
    classes = Classes(np.array(["road", "sky"]), np.eye(2, 3, dtype="uint8"))
    assert classes.names == ("road", "sky")
    assert classes.palette == ((1, 0, 0), (0, 1, 0))
    assert Classes(**classes.get_config()) == classes
    assert len(set(Classes(["road", "sky"]).palette)) == 2


@pytest.mark.parametrize(
    "masks, message",
    [
        ("raw", "masks must be the MaskValues .*Received: 'raw'"),
        ({"ignore": [1]}, "masks must be the MaskValues"),
        ({"ignore_values": 3}, "masks must be the MaskValues"),
        ({"label_map": [(1, 2, 3)]}, "masks must be the MaskValues"),
    ],
)
def test_what_says_nothing_of_masks_is_an_error(masks, message):
    with pytest.raises(ValueError, match=message):
        Classes(["a", "b"], masks=masks)


@pytest.mark.parametrize(
    "first, second",
    [
        ("caf\u00e9", "cafe\u0301"),
        ("street sign", "street  sign"),
        ("road", " road\t"),
        ("road", "ro\u200bad"),
        ("street sign", "street\u00a0sign"),
    ],
)
def test_names_that_look_the_same_are_an_error(first, second, tmp_path):
    with pytest.raises(ValueError, match="look the same") as error:
        Classes(["sky", first, second])
    assert "label 1" in str(error.value)
    assert str(error.value).isascii()
    config = Classes(["sky", first]).get_config()
    config["names"].append(second)
    with pytest.raises(ValueError, match="names must give each"):
        Classes(**{**config, "palette": None})
    file = tmp_path / "names.json"
    file.write_text(json.dumps(["sky", first, second]))
    with pytest.raises(ValueError, match="names.json must give each"):
        read_class_names(file, tmp_path)


def test_names_that_differ_in_capitals_are_warned_about():
    with pytest.warns(UserWarning, match="'Road' for label 2.*capitals"):
        Classes(["road", "sky", "Road"])


@pytest.mark.parametrize("text", ['{"0": "a", "0": "b"}', '{"a": 0, "a": 1}'])
def test_a_key_that_stands_twice_is_named(text, tmp_path):
    file = tmp_path / "names.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="names.json .*stands there twice"):
        read_class_names(file, tmp_path)


@pytest.mark.parametrize(
    "names, palette, message",
    [
        ("road", None, "names must be a sequence .*Received: 'road'"),
        ([], None, "names must be a sequence of at least 1"),
        (["road", 1], None, "names .*each a string"),
        (["road", ""], None, "names .*each a string"),
        (["road", " "], None, "' ' for label 1"),
        (["a", "b", "a"], None, "'a' for label 0 and for label 2"),
        (["a", "b"], [(1, 2, 3)], "1 colour for 2 names"),
        (["a"], [(1, 2)], "palette .*each a sequence of 3"),
        (["a"], [(0.5, 0.0, 1.0)], "palette .*integer in 0..255"),
        (["a"], [(0, 0, 256)], "palette .*integer in 0..255"),
        (["a"], ["red"], "palette .*Received: \\['red'\\]"),
    ],
)
def test_what_names_no_classes_is_an_error(names, palette, message):
    with pytest.raises(ValueError, match=message):
        Classes(names, palette)


# What reaches the cones, from linear RGB to linear RGB (Machado, Oliveira and
# Fernandes 2009, severity 1).
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
SRGB_TO_XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def cielab(colors, vision):
    """RGB in 0..255 to L*, a*, b* under D65."""
    c = np.asarray(colors) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(vision), 0, 1)
    xyz = seen @ np.transpose(SRGB_TO_XYZ) / (0.95047, 1, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def test_cielab_has_the_values_of_its_definition():
    lab = cielab([(255, 255, 255), (0, 0, 0), (255, 0, 0)], VISIONS["normal"])
    expected = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20)]
    np.testing.assert_allclose(lab, expected, atol=0.02)


@pytest.mark.parametrize("vision", VISIONS.values(), ids=list(VISIONS))
def test_default_colours_differ_for_colour_blind_readers(vision):
    classes = Classes.numbered(256)
    lab = cielab(classes.palette, vision)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    np.fill_diagonal(apart, np.inf)
    # A difference of about 2 can be seen, 10 at a glance.
    assert np.diag(apart, 1).min() > 24
    for count, least in ((6, 28), (12, 19), (24, 12), (64, 7), (256, 3)):
        assert apart[:count, :count].min() > least
    # Black is what is ignored.
    assert np.linalg.norm(lab, axis=-1).min() > 15


def test_default_colours_are_calm():
    lab = cielab(Classes.numbered(256).palette, VISIONS["normal"])
    assert np.hypot(lab[:, 1], lab[:, 2]).max() < 58


def test_the_scenes_wear_the_colours_of_cityscapes():
    published = data.DATASETS["cityscapes"].classes
    colors = dict(zip(published.names, published.palette))
    scenes = data.StreetScenes.classes
    assert [colors[name] for name in scenes.names] == list(scenes.palette)
