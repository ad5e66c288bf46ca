import collections
import functools
import json

import numpy as np
import pytest
from PIL import Image

from keras_setr.classes import Classes
from keras_setr.data.batches.transforms import TrainingTransform
from keras_setr.data.folder.contents import FolderContents
from keras_setr.data.folder.folder import SegmentationFolder
from tests.pairs import write_pairs

pytestmark = pytest.mark.no_backend

RED, GREEN, BLUE = (200, 0, 0), (0, 150, 0), (0, 0, 90)


@pytest.fixture
def folder_of_three(tmp_path):
    """Sizes 2x3, 2x3 and 4x2; labels 0, 1, 2 and 255."""
    return write_pairs(
        tmp_path,
        {
            "a": [[0, 0, 1], [0, 0, 255]],
            "b": [[0, 0, 0], [0, 0, 0]],
            "c": [[2, 2], [0, 255], [0, 0], [0, 0]],
        },
    )


def test_pairs_are_read_in_order(folder_of_three):
    folder = SegmentationFolder(folder_of_three)
    assert len(folder) == 3
    image, label = folder[0]
    assert image.shape == (2, 3, 3) and image.dtype == np.uint8
    assert label.tolist() == [[0, 0, 1], [0, 0, 255]]
    assert label.dtype == np.uint8
    assert [label.shape for _, label in folder] == [(2, 3), (2, 3), (4, 2)]
    assert folder[-1][1].shape == (4, 2)
    for read in (folder.__getitem__, folder.file_name):
        with pytest.raises(IndexError, match=r"-3\.\.2.*3 pairs.*3"):
            read(3)


@pytest.mark.parametrize(
    "told",
    [
        {"ignore_values": 2},
        {"label_map": {0: 0, 1: 1, 2: 0}},
        {"reduce_zero_label": True},
    ],
)
def test_classes_remember_how_masks_were_read(folder_of_three, told):
    trained_on = SegmentationFolder(folder_of_three, **told)
    config = json.loads(json.dumps(trained_on.classes.get_config()))
    classes = Classes(**config)
    assert classes == trained_on.classes
    untold = SegmentationFolder(folder_of_three)
    assert untold.classes.masks is None
    part = untold.read_as(classes).split()[1].read_as(classes)
    (image, label), *_ = part
    expected = {p.mask: y for p, (_, y) in zip(trained_on.pairs, trained_on)}
    np.testing.assert_array_equal(label, expected[part.pairs[0].mask])
    assert part.num_classes == trained_on.num_classes == 2
    # What a folder was told itself prevails.
    other = SegmentationFolder(folder_of_three, ignore_values=1)
    assert other.read_as(classes) is other


def test_a_colour_that_is_missing_moves_no_other(tmp_path):
    mask = np.array([[RED, GREEN, BLUE]], "uint8")
    folder = SegmentationFolder(write_pairs(tmp_path / "a", {"a": mask}))
    classes = folder.classes
    assert folder.read_as(classes) is folder
    # Sorted: blue 0, green 1, red 2.
    other = SegmentationFolder(write_pairs(tmp_path / "b", {"b": mask[:, :2]}))
    assert other[0][1].tolist() == [[1, 0]]
    assert other.read_as(classes)[0][1].tolist() == [[2, 1]]


def test_classes_are_counted_named_and_coloured(folder_of_three):
    folder = SegmentationFolder(folder_of_three)
    assert folder.num_classes == 3
    assert folder.classes.names == ("class 0", "class 1", "class 2")
    (folder_of_three / "classes.txt").write_text(
        "\ufeffroad\nsky \r\ncar\n\n", encoding="utf-8"
    )
    folder = SegmentationFolder(folder_of_three, palette=[RED, GREEN, BLUE])
    assert folder.classes.names == ("road", "sky", "car")
    assert folder.classes.palette == (RED, GREEN, BLUE)
    names = folder_of_three / "four.txt"
    names.write_text("a\nb\nc\nd", encoding="utf-8")
    folder = SegmentationFolder(folder_of_three, class_names=names)
    assert folder.num_classes == 4
    folder = SegmentationFolder(folder_of_three, class_names=["p", "q"])
    assert folder.classes.names == ("p", "q")


def test_the_report_counts_pairs_sizes_and_classes(folder_of_three):
    folder = SegmentationFolder(folder_of_three, class_names=["a", "b", "ccc"])
    report = folder.report()
    # a: 4 + 1 + 1 unlabelled; b: 6; c: 5, two of class 2, 1 unlabelled.
    assert report.pixels == (15, 1, 2) and report.unlabelled == 2
    assert report.images == (3, 1, 1)
    assert report.sizes == {(2, 3): 2, (4, 2): 1}
    assert report.problems == ()
    lines = str(report).splitlines()
    assert lines[0] == f"{folder_of_three}: 3 pairs"
    assert lines[1].endswith("2x3 to 4x2, most often 2x3 (2 images)")
    # 15, 1, 2 and 2 of 20 pixels.
    assert lines[3:8] == [
        " id  name         pixels  images",
        "  0  a           75.00 %       3",
        "  1  b            5.00 %       1",
        "  2  ccc         10.00 %       1",
        "255  unlabelled  10.00 %",
    ]
    assert lines[-1] == "no problems"


def test_ignored_values_become_255(folder_of_three):
    folder = SegmentationFolder(folder_of_three, ignore_values=2)
    assert folder.num_classes == 2
    assert folder[2][1].tolist() == [[255, 255], [0, 255], [0, 0], [0, 0]]
    folder = SegmentationFolder(folder_of_three, ignore_values=[0, 1])
    assert folder[0][1].tolist() == [[255] * 3] * 2
    assert folder.num_classes == 3


def test_a_label_map_comes_first_and_can_make_255_a_class(folder_of_three):
    folder = SegmentationFolder(
        folder_of_three, label_map={0: 1, 255: 0, 1: 255}, ignore_values=2
    )
    assert folder.num_classes == 2
    assert folder[0][1].tolist() == [[1, 1, 255], [1, 1, 0]]
    assert folder[2][1].tolist() == [[255, 255], [1, 0], [1, 1], [1, 1]]


def test_a_value_that_the_label_map_leaves_out_is_named(folder_of_three):
    folder = SegmentationFolder(folder_of_three, label_map={0: 0, 1: 1})
    message = "c.png holds value 2, which label_map leaves out"
    with pytest.raises(ValueError, match=message):
        folder[2]
    with pytest.raises(ValueError, match=message):
        folder.check()


def test_black_and_white_masks_are_explained(tmp_path):
    write_pairs(tmp_path, {"a": [[0, 255, 255]], "b": [[0, 0, 255]]})
    fix = r"only 0 and 255.*pass label_map=\{0: 0, 255: 1\}"
    with pytest.raises(ValueError, match=fix):
        SegmentationFolder(tmp_path).num_classes
    # Not even two classes on paper make the white pixels count.
    with pytest.raises(ValueError, match=fix):
        SegmentationFolder(tmp_path, num_classes=2).check()
    assert fix[:10] in str(SegmentationFolder(tmp_path).report())
    folder = SegmentationFolder(tmp_path, label_map={0: 0, 255: 1})
    folder.check()
    assert folder.num_classes == 2 and folder[0][1].tolist() == [[0, 1, 1]]


def test_one_class_alone_is_an_error(tmp_path):
    write_pairs(tmp_path, {"a": [[0, 0, 7]]})
    with pytest.raises(ValueError, match=r"at least 2.*give 1.*\[0, 7\]"):
        SegmentationFolder(tmp_path, ignore_values=7).num_classes


def test_rgb_masks_give_a_sorted_table_of_their_colours(tmp_path):
    write_pairs(tmp_path, {"a": [[RED, BLUE, BLUE]], "b": [[GREEN, RED, RED]]})
    folder = SegmentationFolder(tmp_path)
    # Sorted: (0, 0, 90), (0, 150, 0), (200, 0, 0).
    assert folder.colors == (BLUE, GREEN, RED)
    assert folder.num_classes == 3
    assert folder.classes.palette == (BLUE, GREEN, RED)
    assert folder[0][1].tolist() == [[2, 0, 0]]
    assert "(0, 150, 0)" in str(folder.report())
    for part in folder.split(0.5):
        assert part.colors == (BLUE, GREEN, RED)


def test_the_index_of_a_given_colour_is_the_raw_value(tmp_path):
    write_pairs(tmp_path, {"a": [[RED, BLUE, GREEN]]})
    folder = SegmentationFolder(
        tmp_path, colors=[GREEN, RED, BLUE, (9, 9, 9)], ignore_values=2
    )
    assert folder[0][1].tolist() == [[1, 255, 0]]
    assert folder.num_classes == 4
    folder = SegmentationFolder(tmp_path, colors=[GREEN, RED])
    message = r"a.png holds colour \(0, 0, 90\) in 1 .*2 known colours"
    with pytest.raises(ValueError, match=message):
        folder[0]
    with pytest.raises(ValueError, match=message):
        folder.check()
    folder = SegmentationFolder(
        tmp_path, colors=[GREEN, RED, BLUE], num_classes=2
    )
    with pytest.raises(ValueError, match=r"label 2 \(colour \(0, 0, 90\)\)"):
        folder.check()


def test_more_than_256_colours_are_an_error(tmp_path):
    ramp = np.zeros((10, 30, 3), "uint8")
    ramp[..., 0] = np.arange(10)[:, None]
    ramp[..., 1] = np.arange(30)
    write_pairs(tmp_path / "one", {"a": ramp})
    with pytest.raises(ValueError, match="a.png holds 300 colours"):
        SegmentationFolder(tmp_path / "one").check()
    write_pairs(tmp_path / "two", {"a": ramp[:5], "b": ramp[5:]})
    folder = SegmentationFolder(tmp_path / "two")
    with pytest.raises(ValueError, match="300 different colours"):
        folder.check()
    with pytest.raises(ValueError, match="pass colors="):
        folder[0]


def test_masks_of_colours_and_of_values_do_not_mix(tmp_path):
    write_pairs(tmp_path, {"a": [[RED, BLUE]], "b": [[0, 1]]})
    message = "RGB colours in 1 mask, as .*a.png, and values in 1, as .*b"
    with pytest.raises(ValueError, match=message):
        SegmentationFolder(tmp_path).check()


def test_all_problems_are_listed_by_file(tmp_path):
    write_pairs(tmp_path, {str(n): [[0, 1, 1]] for n in range(15)})
    write_pairs(tmp_path, {"17": [[0, 21, 1]], "18": [[30, 21, 255]]})
    (tmp_path / "images" / "3.png").write_bytes(b"")
    (tmp_path / "masks" / "4.png").write_bytes(b"hello")
    turned = Image.fromarray(np.zeros((3, 1), "uint8"))
    turned.save(tmp_path / "masks" / "5.png")
    folder = SegmentationFolder(tmp_path, num_classes=21)
    problems = folder.report().problems
    masks = tmp_path / "masks"
    assert len(problems) == 5
    allowed = "but num_classes=21 allows 0..20 or ignore_values=255"
    assert f"{masks / '17.png'} holds label 21, {allowed}" in problems
    assert f"{masks / '18.png'} holds label 21, 30, {allowed}" in problems
    text = str(folder.report())
    assert "5 problems:" in text
    assert f"{tmp_path / 'images' / '3.png'} is empty" in text
    assert f"{masks / '4.png'} is not an image" in text
    assert f"{masks / '5.png'} is 3x1 (height x width)" in text
    with pytest.raises(ValueError, match="has 5 problems") as error:
        folder.check()
    for problem in problems:
        assert problem in str(error.value)
    for index, pair in enumerate(folder.pairs):
        if pair.mask.name == "17.png":
            with pytest.raises(ValueError, match="17.png holds label 21"):
                folder[index]
        if pair.mask.name == "5.png":
            with pytest.raises(ValueError, match="5.png is 3x1.*is 1x3"):
                folder[index]


def test_problems_of_one_kind_are_told_once_and_counted(tmp_path):
    write_pairs(tmp_path, {f"{n:02}": [[0, 1, n + 2]] for n in range(13)})
    (tmp_path / "masks" / "04.png").write_bytes(b"")
    folder = SegmentationFolder(tmp_path, num_classes=2)
    with pytest.raises(ValueError, match="13 problems") as error:
        folder.check()
    message = str(error.value)
    assert "00.png holds label 2, but" in message and "holds label 3" not in (
        message
    )
    assert "(and 11 more of this kind: 01.png, 02.png, 03.png, 05.png, " in (
        message
    )
    assert "04.png is empty" in message and "report().problems" in message
    report = folder.report()
    assert len(report.problems) == 13
    assert report.problems[3].startswith(str(tmp_path / "masks" / "03.png"))
    assert "13 problems:" in str(report) and "(and 11 more" in str(report)
    assert "holds label 5" not in str(report)


def test_a_split_is_seeded_complete_and_keeps_the_classes(tmp_path):
    pairs = {str(n): [[0, 1]] for n in range(9)}
    write_pairs(tmp_path, {**pairs, "9": [[0, 5]]})
    folder = SegmentationFolder(tmp_path)
    train, val = folder.split(0.3, seed=1)
    assert (len(train), len(val)) == (7, 3)
    assert (train.training, val.training) == (True, False)
    assert set(train.pairs) | set(val.pairs) == set(folder.pairs)
    assert train.num_classes == val.num_classes == 6
    assert folder.split(0.3, seed=1)[1].pairs == val.pairs
    assert folder.split(0.3, seed=2)[1].pairs != val.pairs
    assert list(val.pairs) == sorted(val.pairs, key=lambda p: p.image)
    assert [len(part) for part in folder.split(0.001)] == [9, 1]
    assert [len(part) for part in folder.split(0.999)] == [1, 9]
    assert [len(part) for part in folder.split()] == [8, 2]


def test_folds_validate_with_every_pair_once(tmp_path):
    write_pairs(tmp_path, {str(n): [[0, 1]] for n in range(10)})
    folder = SegmentationFolder(tmp_path)
    folds = folder.folds(3, seed=1)
    assert sorted(len(val) for _, val in folds) == [3, 3, 4]
    validated = [pair for _, val in folds for pair in val.pairs]
    assert sorted(validated, key=folder.pairs.index) == list(folder.pairs)
    for train, val in folds:
        assert (train.training, val.training) == (True, False)
        assert set(train.pairs) == set(folder.pairs) - set(val.pairs)
    again, other = (folder.folds(3, seed=seed) for seed in (1, 2))
    assert [v.pairs for _, v in again] == [v.pairs for _, v in folds]
    assert [v.pairs for _, v in other] != [v.pairs for _, v in folds]
    assert [len(val) for _, val in folder.folds(10)] == [1] * 10
    with pytest.raises(ValueError, match="Received: 11 for 10"):
        folder.folds(11)


@pytest.mark.parametrize("fraction", [0, 1, 20, -0.5])
def test_a_fraction_must_lie_between_0_and_1(folder_of_three, fraction):
    with pytest.raises(ValueError, match=f"Received: {fraction}"):
        SegmentationFolder(folder_of_three).split(fraction)


def test_one_pair_cannot_be_split(tmp_path):
    write_pairs(tmp_path, {"a": [[0, 1]]})
    with pytest.raises(ValueError, match="at least 2 pairs.*Received: 1"):
        SegmentationFolder(tmp_path).split(0.5)


def test_own_subsets_are_used_and_test_is_left_out(tmp_path):
    for subset, count in (("training", 4), ("validation", 2), ("test", 3)):
        write_pairs(
            tmp_path,
            {f"{subset}{n}": [[0, 1]] for n in range(count)},
            f"images/{subset}",
            f"annotations/{subset}",
        )
    folder = SegmentationFolder(tmp_path)
    train, val = folder.split()
    assert {pair.subset for pair in train.pairs} == {"train"}
    assert {pair.subset for pair in val.pairs} == {"val"}
    assert (len(train), len(val)) == (4, 2)
    assert [len(part) for part in folder.split(0.5)] == [3, 3]
    drawn = {p.subset for _, val in folder.folds(6) for p in val.pairs}
    assert drawn == {"train", "val"}
    assert len(folder.subset("test")) == 3
    assert folder.subset("training").training is True
    assert folder.subset("test").training is False
    assert "9 pairs (test 3, train 4, val 2)" in str(folder.report())
    with pytest.raises(ValueError, match="'dev'; it has test, train, val"):
        folder.subset("dev")


def test_splits_share_one_reading_of_the_files(folder_of_three):
    folder = SegmentationFolder(folder_of_three)
    folder.scan()
    for pair in folder.pairs:
        pair.image.unlink()
    for part in folder.split(0.4):
        part.check()


def test_a_check_looks_at_each_pair_a_few_times(tmp_path, monkeypatch):
    looks = collections.Counter()
    raw_counts = FolderContents.raw_counts

    def counted(self, scan):
        looks[self.directory] += 1
        return raw_counts(self, scan)

    monkeypatch.setattr(FolderContents, "raw_counts", counted)
    for number in (5, 10):
        masks = {f"{i}": [[0, 0, 1], [0, 0, 1]] for i in range(number)}
        folder = SegmentationFolder(write_pairs(tmp_path / f"{number}", masks))
        folder.check()
    few, many = looks.values()
    assert many == 2 * few


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 1}, "num_classes must be .* 2..255.*Received: 1"),
        (
            {"num_classes": 3, "class_names": [*"ab"]},
            "num_classes=3 and 2 names",
        ),
        ({"label_map": {0: 0, 1: 2}, "num_classes": 2}, "Received: label 2"),
        (
            {"label_map": {-1: 0}},
            "each key .*0..255.*Received: {-1: 0}",
        ),
        ({"label_map": {}}, "must map something"),
        (
            {"label_map": {0: 300}},
            "each value .*0..255.*{0: 300}",
        ),
        ({"label_map": {2: 1}, "ignore_values": 2}, "contradict.*value 2"),
        ({"ignore_values": -1}, "ignore_values .*0..255.*Received: -1"),
        ({"ignore_values": 1.0}, "ignore_values .*integer.*Received: 1.0"),
        ({"ignore_values": "12"}, "ignore_values .*integer.*Received: '12'"),
        ({"class_names": ["a", 1]}, "class_names .*each a string.*1"),
        ({"class_names": ["a", "a"]}, "'a' for label 0 and for label 1"),
        ({"palette": [(0.5, 0, 1)] * 3}, "palette .*integer in 0..255"),
        ({"colors": "rgb"}, "colors must be .*Received: 'rgb'"),
        ({"channels": 0}, "channels must be .*at least 1.*Received: 0"),
        ({"image_dtype": "uint61"}, "Did you mean 'uint16'"),
        ({"lists": ["train.txt"]}, "lists must be a dict"),
        ({"num_classes": True}, "num_classes .*Received: True"),
        ({"colors": [RED, RED]}, "distinct.*2 times"),
        ({"colors": [(1, 2)]}, r"of 3, each .*0..255.*Received: \[\(1, 2\)\]"),
        ({"class_names": [*"abc"], "palette": [RED]}, "1 colour for 3 names"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(
    folder_of_three, options, message
):
    with pytest.raises(ValueError, match=message):
        SegmentationFolder(folder_of_three, **options)


def test_an_empty_line_between_class_names_is_an_error(folder_of_three):
    (folder_of_three / "classes.txt").write_text("road\n\nsky\n")
    with pytest.raises(ValueError, match="classes.txt .* line 2 is empty"):
        SegmentationFolder(folder_of_three)


class TestBatches:
    @pytest.fixture(autouse=True)
    def parts(self, tmp_path):
        pytest.importorskip("tensorflow")
        rows = np.arange(20)[:, None] // 10
        columns = np.arange(37)[None] // 10
        mask = (rows + columns) % 3
        write_pairs(tmp_path, {str(n): mask for n in range(10)})
        self.mask = mask
        self.folder = SegmentationFolder(tmp_path)
        self.train, self.val = self.folder.split(0.3)
        # What a tf.data.Dataset tells of itself is tested on every backend.
        for part in (self.folder, self.train, self.val):
            part.batches = functools.partial(part.batches, reader="tf.data")

    def test_training_batches_are_augmented_and_whole(self):
        dataset = self.train.batches(3)
        # 20 x 37 holds 16 x 32; 7 pairs are 2 whole batches.
        assert len(dataset) == 2
        images, labels = dataset.element_spec
        assert images.shape.as_list() == [3, 16, 32, 3]
        assert labels.shape.as_list() == [3, 16, 32]
        first, second = (
            np.concatenate([batch[1] for batch in dataset.as_numpy_iterator()])
            for _ in range(2)
        )
        assert (first != second).any()
        again = next(self.train.batches(3).as_numpy_iterator())[1]
        assert (again == first[:3]).all()

    def test_validation_batches_are_every_pair_unchanged_and_padded(self):
        dataset = self.val.batches(2, crop_size=(32, 48))
        assert [len(images) for images, _ in dataset] == [2, 1]
        for images, labels in dataset.as_numpy_iterator():
            assert (labels[:, :20, :37] == self.mask).all()
            assert (images[:, :20, :37] == 99).all()
            assert (labels[:, 20:] == 255).all()
            assert (images[:, 20:] == (124, 116, 104)).all()

    def test_an_unsplit_folder_is_to_train_on_unless_told_otherwise(self):
        def labels(**options):
            options["crop_size"] = (32, 48)
            batches = self.folder.batches(10, **options).as_numpy_iterator()
            return next(batches)[1]

        assert (labels()[:, :20, :37] != self.mask).any()
        plain = labels(augment=False)
        assert (plain[:, :20, :37] == self.mask).all()

    def test_crop_size_may_be_a_number_or_height_and_width(self):
        square = self.val.batches(1, crop_size=16).element_spec[0]
        assert square.shape.as_list()[1:] == [16, 16, 3]
        wide = self.val.batches(1, crop_size=(16, 48)).element_spec[0]
        assert wide.shape.as_list()[1:] == [16, 48, 3]

    def test_the_default_crop_lies_within_the_images_and_512(self, tmp_path):
        # Median of 500, 600, 530 is 530, of 100, 100, 33 is 100.
        sizes = {"a": (500, 100), "b": (600, 100), "c": (530, 33)}
        masks = {name: np.indices(size)[0] % 2 for name, size in sizes.items()}
        folder = SegmentationFolder(write_pairs(tmp_path / "tall", masks))
        for check in (False, True):
            dataset = folder.batches(1, check=check, reader="tf.data")
            images, _ = dataset.element_spec
            assert images.shape.as_list()[1:] == [512, 96, 3]
        # 37 * 14 = 518 would be more than 512, and 8 patches more than 100.
        assert folder.proposed_crop_size(14) == (504, 98)
        assert folder.proposed_crop_size(200) == (400, 200)

    def test_an_own_function_or_transform_augments(self):
        def halve(image, label, rng):
            return image[::2], label[::2]

        batches = self.val.batches(1, crop_size=(32, 48), augment=halve)
        _, labels = next(batches.as_numpy_iterator())
        assert (labels[0, :10, :37] == self.mask[::2]).all()
        assert (labels[0, 10:] == 255).all()
        transform = TrainingTransform((16, 24), base_scale=(40, 74))
        images, _ = self.train.batches(2, augment=transform).element_spec
        assert images.shape.as_list() == [2, 16, 24, 3]
        with pytest.raises(ValueError, match=r"\(8, 8\).*\(16, 24\)"):
            self.train.batches(2, crop_size=8, augment=transform)
        with pytest.raises(ValueError, match="Received: 'default'"):
            self.train.batches(2, augment="default")

    def test_files_are_checked_first_or_named_when_they_are_reached(self):
        import tensorflow as tf

        path = self.val.pairs[1].mask
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=f"{path} is empty"):
            self.val.batches(1)
        dataset = self.val.batches(1, check=False)
        with pytest.raises(tf.errors.OpError, match=f"{path} is empty"):
            list(dataset)

    def test_an_error_of_an_own_function_names_the_image(self):
        import tensorflow as tf

        def fails(image, label, rng):
            raise RuntimeError("out of ideas")

        dataset = self.val.batches(1, augment=fails)
        name = self.val.pairs[0].image
        with pytest.raises(tf.errors.OpError, match=f"{name}.*out of ideas"):
            list(dataset)
