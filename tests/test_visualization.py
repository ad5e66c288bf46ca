import numpy as np
import pytest
from PIL import Image

from keras_setr import visualization
from keras_setr.classes import Classes

pytestmark = pytest.mark.no_backend

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
CLASSES = Classes(("road", "sky", "tram"), (RED, GREEN, BLUE))

# Height 2, width 3; 255 is ignored and 3 is no class.
LABELS = np.array([[0, 1, 2], [255, 3, 0]], "uint8")
IMAGE = np.full((2, 3, 3), 100, "uint8")


def has_color(picture, color):
    return (np.asarray(picture) == color).all(axis=-1).any()


def test_color_map_paints_what_is_no_class_black():
    expected = [[RED, GREEN, BLUE], [(0, 0, 0), (0, 0, 0), RED]]
    for labels in (
        LABELS,
        LABELS[..., None],
        LABELS.astype("int64"),
        np.where(LABELS == 255, -1, LABELS.astype("int32")),
    ):
        colors = visualization.color_map(labels, CLASSES)
        np.testing.assert_array_equal(colors, expected)
        assert colors.dtype == "uint8"


def test_color_map_refuses_logits():
    with pytest.raises(ValueError, match="argmax"):
        visualization.color_map(np.zeros((2, 3)), CLASSES)


def test_overlay_mixes_by_alpha():
    picture = visualization.overlay(IMAGE, LABELS, CLASSES, alpha=0.25)
    assert picture.size == (3, 2)
    mixed = np.asarray(picture)
    # 0.75 * 100 + 0.25 * 200 = 125 in red, 75 elsewhere.
    assert tuple(mixed[0, 0]) == (125, 75, 75)
    assert tuple(mixed[1, 0]) == (75, 75, 75)
    plain = visualization.overlay(IMAGE, LABELS, alpha=0)
    np.testing.assert_array_equal(plain, IMAGE)


def test_overlay_takes_paths_pillow_images_and_floats(tmp_path):
    path = tmp_path / "street.png"
    Image.fromarray(IMAGE).save(path)
    expected = visualization.overlay(IMAGE, LABELS, CLASSES)
    for image in (
        path,
        str(path),
        Image.fromarray(IMAGE),
        IMAGE.astype("float32"),
    ):
        picture = visualization.overlay(image, LABELS, CLASSES)
        np.testing.assert_array_equal(picture, expected)


def test_overlay_shows_three_channels_and_eight_bits_of_what_there_is():
    expected = visualization.overlay(IMAGE, LABELS, CLASSES)
    five = np.concatenate([IMAGE, 7 * IMAGE[..., :2]], axis=-1)
    for image in (
        five,
        five.astype("uint16") << 8,
        five.astype("uint16"),
        IMAGE[..., :1],
    ):
        picture = visualization.overlay(image, LABELS, CLASSES)
        np.testing.assert_array_equal(picture, expected)


def test_overlay_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\).*nearest"):
        visualization.overlay(IMAGE, LABELS.T, CLASSES)
    with pytest.raises(ValueError, match=r"0\.\.1.*1.5"):
        visualization.overlay(IMAGE, LABELS, CLASSES, alpha=1.5)
    with pytest.raises(ValueError, match=r"\(H, W, C\).*\(2, 3\)"):
        visualization.overlay(IMAGE[..., 0], LABELS, CLASSES)


def test_legend_lists_the_classes_that_are_present():
    whole = visualization.legend(CLASSES)
    assert all(has_color(whole, color) for color in CLASSES.palette)
    part = visualization.legend(CLASSES, present=np.unique(LABELS[0, :2]))
    assert has_color(part, RED) and has_color(part, GREEN)
    assert not has_color(part, BLUE)
    assert part.width <= whole.width
    # 255 and 3 have no name to show.
    only_red = visualization.legend(CLASSES, present=[255, 3, 0])
    assert has_color(only_red, RED) and only_red.height < whole.height


def test_legend_breaks_into_columns_within_its_width():
    classes = Classes.numbered(60)
    wide, narrow = (
        visualization.legend(classes, width=width) for width in (800, 300)
    )
    assert wide.width == 800 and narrow.width == 300
    assert narrow.height > 2 * wide.height
    assert all(has_color(wide, color) for color in classes.palette)


def test_comparison_shows_every_row_and_hatches_ignored_pixels():
    image = np.full((40, 60, 3), 100, "uint8")
    truth = np.zeros((40, 60), "uint8")
    truth[20:] = 255
    prediction = np.full((40, 60), 2)
    tall = np.full((90, 60, 3), 100, "uint8")
    labels = np.full((90, 60), 1)
    one = visualization.comparison([(image, truth, prediction)], CLASSES)
    two = visualization.comparison(
        [(image, truth, prediction), (tall, labels, labels)], CLASSES
    )
    # Cells are 320 wide: the second row adds 90 * 320 / 60 = 480 rows and a
    # gap of 10. Its third class fits into the same line of the legend.
    assert two.size == (one.width, one.height + 490)
    assert has_color(one, RED) and has_color(one, BLUE)
    assert has_color(one, (0, 0, 0)) and has_color(one, (70, 70, 70))
    assert not has_color(one, GREEN) and has_color(two, GREEN)


def test_comparison_takes_further_columns():
    row = (IMAGE, LABELS, LABELS, LABELS)
    four = visualization.comparison(
        [row], CLASSES, titles=("image", "truth", "naive", "PUP")
    )
    three = visualization.comparison([row[:3]], CLASSES)
    assert four.width == three.width + 320 + 10


def test_comparison_names_what_does_not_fit():
    with pytest.raises(ValueError, match="one item per title, 3.*row 1"):
        visualization.comparison(
            [(IMAGE, LABELS, LABELS), (IMAGE, LABELS)], CLASSES
        )
    with pytest.raises(ValueError, match="prediction of row 0"):
        visualization.comparison([(IMAGE, LABELS, LABELS.T)], CLASSES)
    with pytest.raises(ValueError, match="at least one row"):
        visualization.comparison([], CLASSES)
