import json
import types

import numpy as np
import pytest
from PIL import Image

from keras_setr import evaluation
from keras_setr.classes import Classes
from keras_setr.classes import MaskValues
from keras_setr.data import SegmentationFolder

pytestmark = pytest.mark.no_backend

NAMES = ("road", "sky", "tram")

#            road  sky  tram   pixels  IoU             accuracy
#     road  [  6,   2,    0 ]  8 = 80%  6/(8+7-6)=2/3   6/8
#     sky   [  1,   1,    0 ]  2 = 20%  1/(2+3-1)=1/4   1/2
#     tram  [  0,   0,    0 ]  0        absent          absent
#
# mean IoU (2/3 + 1/4)/2 = 11/24, mean accuracy 5/8, pixel accuracy 7/10.
CONFUSION = np.array([[6, 2, 0], [1, 1, 0], [0, 0, 0]])


class Painter:
    """A model that reads its labels out of the images' red channel."""

    num_classes = 3
    classes = Classes(NAMES)

    def __init__(self):
        self.calls = []

    def segment(self, images, batch_size=None, verbose=0, **options):
        self.calls.append((len(images), batch_size, options))
        return [image[..., 0].astype("int32") for image in images]


def image_of(labels):
    return np.repeat(np.array(labels, "uint8")[..., None], 3, axis=-1)


# Two images of different, non-square sizes that add up to CONFUSION; two
# pixels of the second are ignored.
TRUTH = [
    np.array([[0, 0, 0], [0, 0, 1]], "uint8"),
    np.array([[0, 0], [0, 1], [255, 255]], "uint8"),
]
PREDICTION = [
    np.array([[0, 0, 0], [0, 1, 0]]),
    np.array([[0, 0], [1, 1], [2, 0]]),
]
PAIRS = [(image_of(p), t) for p, t in zip(PREDICTION, TRUTH)]


class Folder:
    """Indexable and sized, not iterable, with files behind it."""

    __iter__ = None

    def __init__(self, samples):
        self.samples = samples
        self.pairs = [
            types.SimpleNamespace(mask=f"masks/{index}.png")
            for index in range(len(samples))
        ]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_a_folder_is_read_as_that_of_the_training(tmp_path, capsys):
    """Masks hold 7, 9 and a void of 4, which the model learned as 0, 1, 255."""
    for name, values in (
        ("images", [[[0] * 3, [1] * 3, [1] * 3]]),
        ("masks", [[7, 9, 4]]),
    ):
        (tmp_path / name).mkdir()
        pixels = np.array(values, "uint8")
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    masks = MaskValues(ignore_values=[4], label_map=[(7, 0), (9, 1)])
    classes = Classes(NAMES, masks=masks)
    folder = SegmentationFolder(tmp_path)
    with pytest.raises(ValueError, match=r"a\.png holds label 7"):
        evaluation.evaluate(Painter(), folder, verbose=0)
    result = evaluation.evaluate(Painter(), folder, classes=classes, verbose=2)
    assert result.confusion_matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0] * 3]
    said = capsys.readouterr().out
    assert "as in training: ignore_values=(4,), label_map={7: 0, 9: 1}" in said


def test_areas_are_summed_over_images_of_different_sizes():
    result = evaluation.evaluate(Painter(), Folder(PAIRS), verbose=0)
    np.testing.assert_array_equal(result.confusion_matrix, CONFUSION)
    assert result.num_images == 2
    assert result.classes is Painter.classes
    assert result.mean_iou == pytest.approx(11 / 24)
    assert result.mean_accuracy == pytest.approx(5 / 8)
    assert result.pixel_accuracy == pytest.approx(7 / 10)
    np.testing.assert_allclose(result.per_class_iou, [2 / 3, 1 / 4, np.nan])
    np.testing.assert_allclose(result.per_class_accuracy, [3 / 4, 0.5, np.nan])
    np.testing.assert_allclose(result.per_class_share, [0.8, 0.2, 0])


def test_lists_generators_and_label_channels_score_the_same():
    with_channel = [(image, label[..., None]) for image, label in PAIRS]
    for dataset in (PAIRS, iter(PAIRS), with_channel):
        result = evaluation.evaluate(Painter(), dataset, verbose=0)
        np.testing.assert_array_equal(result.confusion_matrix, CONFUSION)


@pytest.mark.parametrize("batch", [None, 2])
def test_tf_data_unbatched_and_batched(batch):
    tf = pytest.importorskip("tensorflow")
    images = np.stack([image_of(PREDICTION[0])] * 3)
    labels = np.stack([TRUTH[0]] * 3)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    if batch:
        dataset = dataset.batch(batch)
    result = evaluation.evaluate(Painter(), dataset, verbose=0)
    # TRUTH[0] has five pixels of road, one of them taken for sky, and one of
    # sky taken for road.
    np.testing.assert_array_equal(
        result.confusion_matrix, [[12, 3, 0], [3, 0, 0], [0, 0, 0]]
    )
    assert result.num_images == 3


def test_images_come_in_small_groups_with_the_options_of_segment():
    model = Painter()
    evaluation.evaluate(
        model, PAIRS * 4, batch_size=3, verbose=0, stride=(2, 1), flip=True
    )
    options = {"stride": (2, 1), "flip": True}
    assert model.calls == [(3, 3, options), (3, 3, options), (2, 3, options)]


def test_progress_shows_the_mean_iou(capsys):
    evaluation.evaluate(Painter(), PAIRS)
    shown = capsys.readouterr().out
    assert "2/2" in shown and "mean_iou: 0.4583" in shown
    evaluation.evaluate(Painter(), iter(PAIRS), verbose=2)
    assert "mean_iou: 0.4583" in capsys.readouterr().out
    evaluation.evaluate(Painter(), PAIRS, verbose=0)
    assert capsys.readouterr().out == ""


def test_a_wrong_label_is_named_with_its_file_and_the_allowed_values():
    wrong = TRUTH[1].copy()
    wrong[0, 0] = 3
    dataset = [PAIRS[0], (PAIRS[1][0], wrong)]
    message = (
        r"holds label 3 at \(0, 0\) and is wrong in 1 of 6 pixels, as "
        "num_classes=3 allows 0..2"
    )
    with pytest.raises(ValueError, match=r"masks/1.png " + message):
        evaluation.evaluate(Painter(), Folder(dataset), verbose=0)
    with pytest.raises(ValueError, match="label 1 of the dataset " + message):
        evaluation.evaluate(Painter(), iter(dataset), verbose=0)
    with pytest.raises(ValueError, match="0..2. Map the value"):
        evaluation.evaluate(Painter(), PAIRS, ignore_class=None, verbose=0)


@pytest.mark.parametrize(
    "image, label, message",
    [
        (np.zeros((2, 3, 3)), np.zeros((3, 2), int), r"\(2, 3\).*\(3, 2\)"),
        (np.full((2, 3, 3), np.nan), np.zeros((2, 3), int), "NaN in 18 of 18"),
        (np.zeros((2, 3, 3)), np.zeros((2, 3)), "integers.*float64"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), r"\(H, W, C\)"),
    ],
)
def test_other_faults_of_a_sample_are_named(image, label, message):
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(Painter(), [(image, label)], verbose=0)


def test_the_model_says_which_label_is_not_scored():
    model = Painter()
    model.ignore_class = 2
    pairs = [(image_of([[0, 1]]), np.array([[0, 2]], "uint8"))]
    result = evaluation.evaluate(model, pairs, verbose=0)
    assert result.confusion_matrix.sum() == 1
    with pytest.raises(ValueError, match="holds label 255.*ignore_class=2"):
        evaluation.evaluate(model, PAIRS, verbose=0)
    model.ignore_class = None
    with pytest.raises(ValueError, match="holds label 255.* 0..2. Map"):
        evaluation.evaluate(model, PAIRS, verbose=0)
    result = evaluation.evaluate(model, PAIRS, ignore_class=255, verbose=0)
    np.testing.assert_array_equal(result.confusion_matrix, CONFUSION)


@pytest.mark.parametrize(
    "error, options, message",
    (
        (TypeError, {"strid": 4}, "evaluate has no argument 'strid'.*'stride'"),
        (ValueError, {"stride": 0}, "stride must be.*at least 1.*Received: 0"),
        (ValueError, {"batch_size": 0}, "batch_size.*Received: 0"),
        (ValueError, {"verbose": "loud"}, "verbose.*'loud'"),
    ),
)
def test_wrong_options_are_named_before_the_first_image(
    error, options, message
):
    model = Painter()
    with pytest.raises(error, match=message):
        evaluation.evaluate(model, PAIRS, **options)
    assert not model.calls


def test_a_batch_with_a_wrong_label_names_its_place():
    images = np.stack([image_of(PREDICTION[0])] * 2)
    labels = np.stack([TRUTH[0], TRUTH[0] + 7])
    with pytest.raises(ValueError, match="label 1 of batch 0 holds label 7"):
        evaluation.evaluate(Painter(), [(images, labels)], verbose=0)


def test_datasets_without_pairs_and_empty_ones_are_refused():
    with pytest.raises(ValueError, match=r"\(image, label\).*ndarray"):
        evaluation.evaluate(Painter(), [PAIRS[0][0]], verbose=0)
    for empty in ([], iter([])):
        with pytest.raises(ValueError, match="at least"):
            evaluation.evaluate(Painter(), empty, verbose=0)


def test_classes_default_to_numbers_and_must_fit():
    model = Painter()
    model.classes = None
    result = evaluation.evaluate(model, PAIRS, verbose=0)
    assert result.classes.names == ("class 0", "class 1", "class 2")
    with pytest.raises(ValueError, match="3 classes.*2 names"):
        evaluation.evaluate(
            model, PAIRS, classes=Classes(("a", "b")), verbose=0
        )


def test_the_table_prints_percent_and_a_dash_for_absent_classes():
    result = evaluation.Evaluation(
        CONFUSION, Classes(NAMES), num_images=2, seconds=1.26
    )
    assert str(result).splitlines() == [
        "class  IoU %  accuracy %  pixels %",
        "----------------------------------",
        "road   66.67       75.00     80.00",
        "sky    25.00       50.00     20.00",
        "tram       -           -      0.00",
        "----------------------------------",
        "mean   45.83       62.50",
        "pixel accuracy 70.00 % of 10 pixels; 2 images in 1.3 s",
    ]


def test_as_dict_survives_json():
    result = evaluation.Evaluation(
        CONFUSION, Classes(NAMES), num_images=2, seconds=1.0
    )
    loaded = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert loaded["mean_iou"] == pytest.approx(11 / 24)
    assert loaded["per_class_iou"][2] is None
    assert loaded["confusion_matrix"] == CONFUSION.tolist()
    assert loaded["classes"] == list(NAMES)


@pytest.mark.parametrize("model", [None, "model", 7])
def test_what_is_no_model_or_dataset_is_an_error_at_once(model):
    with pytest.raises(ValueError, match="model must be a segmenter. Rec"):
        evaluation.evaluate(model, PAIRS)
    with pytest.raises(ValueError, match="dataset must be an iterable of"):
        evaluation.evaluate(Painter(), model)


def test_a_few_samples_of_anything():
    def labels(dataset, count):
        images, found = evaluation.few_samples(dataset, count)
        assert [image.shape[:2] for image in images] == [
            label.shape for label in found
        ]
        return [label.tolist() for label in found]

    one, two = (label.tolist() for label in TRUTH)
    assert labels(Folder(PAIRS * 2), 2) == [one, one]  # 0 and 2 of 4
    assert labels(PAIRS, 7) == [one, two]
    assert labels(iter(PAIRS * 2), 3) == [one, two, one]
    image, label = PAIRS[0]
    batch = np.stack([image] * 3), np.stack([label] * 3)[..., None]
    assert labels(iter([batch, batch]), 2) == [one, one]


def test_the_first_sample_is_looked_at_before_anything_is_trained():
    wrong = [(PAIRS[0][0], PAIRS[0][1] + 7), PAIRS[1]]
    with pytest.raises(ValueError, match="masks/0.png holds label 7"):
        evaluation.check_first(Painter(), Folder(wrong))
    evaluation.check_first(Painter(), PAIRS)
    once = iter(wrong)
    evaluation.check_first(Painter(), once)  # which could be read once only
    assert next(once) is wrong[0]


def test_a_dataset_without_a_labelled_pixel_is_warned_about():
    unlabelled = [(image, np.full_like(truth, 255)) for image, truth in PAIRS]
    with pytest.warns(UserWarning, match="no pixel to score.*255"):
        scores = evaluation.evaluate(Painter(), unlabelled, verbose=0)
    assert scores.mean_iou == 0
