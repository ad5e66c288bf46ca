import numpy as np
import pytest
from PIL import Image

from keras_setr import visualization
from keras_setr.classes import Classes
from keras_setr.evaluation import Evaluation
from keras_setr.files.masks import save_labels
from keras_setr.visualization import charts
from keras_setr.visualization import drawing

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


@pytest.mark.parametrize("value", [3, 254, -2])
def test_a_label_that_nobody_means_is_warned_about(value, tmp_path):
    labels = np.array([[0, value, 255, 2]])
    draw = {
        "color_map": lambda: visualization.color_map(labels, CLASSES),
        "overlay": lambda: visualization.overlay(
            np.zeros((1, 4, 3), "uint8"), labels, CLASSES
        ),
    }
    if value >= 0:
        draw["save"] = lambda: save_labels(tmp_path / "a.png", labels, CLASSES)
    for call in draw.values():
        with pytest.warns(UserWarning, match=rf"{value} .*3 classes.* 1 of 4"):
            call()


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


def test_legend_tells_shares_of_labels(monkeypatch):
    listed = []
    monkeypatch.setattr(
        drawing, "draw_legend", lambda entries, width: listed.extend(entries)
    )
    # Road 2 of 6 pixels, sky and tram one each, 255 and 3 are no classes.
    visualization.legend(CLASSES, labels=LABELS)
    assert listed == [
        ("road 33.3 %", RED),
        ("sky 16.7 %", GREEN),
        ("tram 16.7 %", BLUE),
        ("ignored 33.3 %", None),
    ]
    assert drawing.with_share("pole", 0.0001) == "pole <0.1 %"


def test_legend_takes_labels_or_what_is_present():
    with pytest.raises(ValueError, match="present must be None"):
        visualization.legend(CLASSES, present=[0], labels=LABELS)


def test_error_map_paints_what_is_wrong_and_hatches_what_is_ignored():
    image = np.full((40, 60, 3), 100, "uint8")
    truth = np.zeros((40, 60), "uint8")
    truth[:, 40:] = 255
    prediction = truth.copy()
    prediction[:20] = 1
    picture = visualization.error_map(
        image, truth, prediction, width=60, alpha=1
    )
    pixels = np.asarray(picture)[16:, 16:]
    assert tuple(pixels[5, 5]) == (213, 94, 0)
    assert tuple(pixels[30, 5]) == (86, 146, 200)
    assert {*pixels[:40, 40:60].ravel().tolist()} == {0, 70}
    everything = visualization.error_map(
        image, truth, prediction, None, width=60, alpha=1
    )
    assert tuple(np.asarray(everything)[16 + 30, 16 + 50]) == (86, 146, 200)
    with pytest.raises(ValueError, match="prediction must .*resize"):
        visualization.error_map(image, truth, prediction.T)


def test_entropy_map_is_dark_at_zero_and_light_at_its_maximum():
    entropy = np.array([[0, 1], [2, 4]], "float32")
    pixels = np.asarray(visualization.entropy_map(entropy, 2, width=2))
    dark, light = drawing.scale_colors(np.array([[0.0, 1.0]]))[0]
    # More than the maximum is as light as it.
    np.testing.assert_array_equal(pixels[16, 16], dark)
    np.testing.assert_array_equal(pixels[17, 16:18], [light, light])
    assert visualization.entropy_map(np.zeros((2, 3), "float32")).width > 640


@pytest.mark.parametrize(
    "entropy, message",
    [
        (np.zeros((2, 3, 4), "float32"), "floats .*entropy=True"),
        (LABELS, "entropy must be floats"),
        (np.full((2, 3), np.nan, "float32"), "finite"),
        (np.full((2, 3), -0.5, "float32"), "at least 0"),
    ],
)
def test_entropy_map_refuses_what_is_none(entropy, message):
    with pytest.raises(ValueError, match=message):
        visualization.entropy_map(entropy)


def test_training_curves_pair_training_and_validation(tmp_path):
    (tmp_path / "log.csv").write_text(
        "epoch,loss,mean_iou,val_mean_iou\n0,2.0,0.1,\n1,1.0,0.3,0.2\n"
    )
    figure = visualization.training_curves(tmp_path)
    loss, scores = figure.axes
    assert (loss.get_title(), scores.get_title()) == ("loss", "mean IoU")
    training, validation = scores.get_lines()
    np.testing.assert_array_equal(training.get_xydata(), [[1, 0.1], [2, 0.3]])
    np.testing.assert_array_equal(validation.get_xydata(), [[2, 0.2]])
    figure.savefig(tmp_path / "curves.png")


def test_training_curves_show_crops_beside_whole_images(tmp_path):
    (tmp_path / "log.csv").write_text(
        "epoch,loss,mean_iou,val_loss,val_crop_mean_iou,val_mean_iou\n"
        "0,2.0,0.1,3.0,0.2,0.4\n"
    )
    loss, scores = visualization.training_curves(tmp_path).axes
    assert (loss.get_title(), scores.get_title()) == ("loss", "mean IoU")
    labels = [[line.get_label() for line in a.lines] for a in (loss, scores)]
    assert labels == [
        ["training", "validation"],
        ["training", "validation, crops", "validation, whole images"],
    ]
    assert [line.get_ydata()[0] for line in scores.lines] == [0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "0 rows"),
        ("loss\n1\n", "must have a column epoch"),
        ("epoch,loss\n", "0 rows"),
        ("epoch,loss\n0,low\n", "numbers alone.*low"),
    ],
)
def test_training_curves_name_what_is_wrong_in_a_file(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ValueError, match=f"log.csv.*{message}"):
        visualization.training_curves(tmp_path)


def test_confusion_matrix_shows_rows_in_percent_of_their_class():
    # Of 4 pixels of the road 3 are found; tram is never true.
    counts = np.array([[3, 1, 0], [0, 5, 0], [0, 0, 0]])
    result = Evaluation(counts, CLASSES, 1, 1.0)
    figure = visualization.confusion_matrix(result)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.texts] == ["75", "25", "100"]
    assert [t.get_text() for t in axes.get_yticklabels()] == [*CLASSES.names]
    pixels = visualization.confusion_matrix(result, normalize=False)
    assert [t.get_text() for t in pixels.axes[0].texts] == ["3", "1", "5"]


@pytest.mark.parametrize("count", (2, 11))
def test_confusion_matrix_has_room_for_long_names(count):
    names = [
        f"a name of a class that nobody would write {k}" for k in range(count)
    ]
    result = Evaluation(np.eye(count, dtype=int), Classes(names), 1, 1.0)
    figure = visualization.confusion_matrix(result)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        box = label.get_window_extent()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert axes.get_window_extent().height / count > 30  # pixels of a cell


def test_confusion_matrix_merges_the_smallest_classes():
    counts = np.array([[1, 2, 0, 0], [0, 9, 0, 1], [0, 0, 1, 0], [4, 0, 0, 8]])
    names = ("a", "b", "c", "d")
    merged, merged_names = charts._largest(counts, names, 2)
    # b has 10 true pixels, d 12; of a and c, 3 and 1, two were taken for b.
    assert merged_names == ["b", "d", "2 others"]
    assert merged.tolist() == [[9, 1, 0], [0, 8, 4], [2, 0, 2]]


def test_panels_keep_long_titles_within_their_picture():
    picture = Image.new("RGB", (60, 20), RED)
    lines = drawing._lines("attention of the last layer", 60)
    assert all(drawing.font().getlength(line) <= 60 for line in lines)
    assert drawing._lines("incomprehensibilities", 60)[0].endswith("..")
    panels = drawing.draw_panels([("a", picture), ("b c", picture)], 2)
    assert panels.width == 2 * 60 + 10 + 2 * 16
