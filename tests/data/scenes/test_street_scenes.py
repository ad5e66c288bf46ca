import sys

import numpy as np
import pytest
from PIL import Image

from keras_setr.data.folder.folder import SegmentationFolder
from keras_setr.data.scenes.street_scenes import StreetScenes

pytestmark = pytest.mark.no_backend


def test_a_scene_is_an_image_and_a_label_of_the_asked_size():
    scenes = StreetScenes(3, image_size=(96, 160))
    assert len(scenes) == 3
    assert scenes.num_classes == len(scenes.classes) == 10
    for image, label in scenes:
        assert image.shape == (96, 160, 3) and image.dtype == np.uint8
        assert label.shape == (96, 160) and label.dtype == np.uint8
        assert set(np.unique(label)) <= {*range(10), 255}


def test_seed_and_index_fix_a_scene_whatever_the_length():
    image, label = StreetScenes(5, (70, 110), seed=4)[3]
    again, label_again = StreetScenes(4, (70, 110), seed=4)[-1]
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(label, label_again)
    for other in (
        StreetScenes(5, (70, 110), seed=5)[3],
        StreetScenes(5, (70, 110), seed=4)[2],
    ):
        assert (other[0] != image).any() and (other[1] != label).any()


def test_every_class_is_seen_and_none_fills_the_picture():
    counts = np.zeros(256, "int64")
    for _, label in StreetScenes(40):
        counts += np.bincount(label.ravel(), minlength=256)
    share = counts / counts.sum()
    assert share[:10].min() > 0.01 and share[:10].max() < 0.4
    assert 0.03 < share[255] < 0.15


def test_frame_and_bonnet_are_ignored_and_the_rest_is_labelled():
    for _, label in StreetScenes(4, (128, 224), seed=2):
        frame = np.ones_like(label, bool)
        frame[2:-2, 2:-2] = False
        assert (label[frame] == 255).all()
        # The middle of the bonnet; 0.05 * 128 = 6.4 rows at least.
        assert (label[-6:, 112] == 255).all()
        # Above 0.09 * 128 = 11.5 rows everything has a class.
        assert (label[2:-12, 2:-2] != 255).all()


def test_thin_things_are_wide_enough_for_patches_of_eight():
    pole = 6
    widths = []
    for _, label in StreetScenes(40):
        # Runs of pole along the rows where poles stand.
        for row in label[20:60]:
            edges = np.flatnonzero(np.diff(np.r_[0, row == pole, 0]))
            widths.extend(edges[1::2] - edges[::2])
    # The farthest are 2 * 0.05 * 0.95 * 128 = 12.2 wide where nothing hides
    # a part of them.
    assert np.median(widths) >= 11


def test_colours_alone_do_not_tell_the_class():
    """Nearest mean colour, the best a pixel can do, stays well below 0.8."""
    images, labels = zip(*StreetScenes(20))
    pixels = np.concatenate([i.reshape(-1, 3) for i in images])[::7]
    labels = np.concatenate([label.ravel() for label in labels])[::7]
    pixels = pixels[labels != 255].astype("float32")
    labels = labels[labels != 255]
    means = np.stack([pixels[labels == k].mean(axis=0) for k in range(10)])
    distance = ((pixels[:, None] - means) ** 2).sum(axis=-1)
    assert 0.2 < (distance.argmin(axis=-1) == labels).mean() < 0.6


@pytest.mark.parametrize("subset", [None, "val"])
def test_write_lays_files_out_as_a_segmentation_folder(tmp_path, subset):
    scenes = StreetScenes(2, image_size=(64, 100), seed=1)
    assert scenes.write(tmp_path / "streets", subset) == tmp_path / "streets"
    images = tmp_path / "streets" / "images" / (subset or "")
    masks = tmp_path / "streets" / "masks" / (subset or "")
    names = ["scene_0000.png", "scene_0001.png"]
    assert sorted(path.name for path in images.iterdir()) == names
    assert sorted(path.name for path in masks.iterdir()) == names
    image, label = scenes[1]
    np.testing.assert_array_equal(Image.open(images / names[1]), image)
    np.testing.assert_array_equal(Image.open(masks / names[1]), label)
    folder = SegmentationFolder(tmp_path / "streets")
    assert folder.classes == scenes.classes  # the names and the colours


def test_scenes_beside_others_are_told(tmp_path):
    StreetScenes(3, image_size=(64, 100)).write(tmp_path, "train")
    StreetScenes(1, image_size=(64, 100)).write(tmp_path, "val")
    with pytest.warns(UserWarning, match="1 further file, .* scene_0002.png"):
        StreetScenes(2, image_size=(64, 100)).write(tmp_path, "train")


def test_drawing_loops_over_no_pixels():
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    scenes = StreetScenes(5, image_size=(192, 288))
    sys.setprofile(count)
    try:
        list(scenes)
    finally:
        sys.setprofile(None)
    # Some 830 calls for each 192 * 288 = 55_296 pixels.
    assert calls / 5 < 2_000


def test_arguments_and_index_are_checked():
    with pytest.raises(ValueError, match="num_scenes.*0"):
        StreetScenes(0)
    with pytest.raises(ValueError, match=r"at least 64.*\(32, 96\)"):
        StreetScenes(1, image_size=(32, 96))
    with pytest.raises(ValueError, match="seed.*-1"):
        StreetScenes(1, seed=-1)
    with pytest.raises(IndexError, match=r"-3\.\.2.*3 scenes.*3"):
        StreetScenes(3)[3]
