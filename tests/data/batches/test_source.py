"""What every source offers: its batches, their arguments, and joining."""

import types

import numpy as np
import pytest

import keras_setr as ks
from keras_setr.data.batches.source import JoinedSources
from keras_setr.data.batches.source import SegmentationSource

pytestmark = pytest.mark.no_backend


class Numbers(SegmentationSource):
    """Pairs of 16 x 24 pixels whose image is filled with their number."""

    training = True

    def __init__(self, first, count, num_classes=3, channels=3, dtype="uint8"):
        self.first, self.count = first, count
        self.classes = ks.Classes.numbered(num_classes)
        self.channels, self.image_dtype = channels, dtype
        self.checks = 0

    def __repr__(self):
        return f"Numbers({self.num_classes} classes)"

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        shape = (16, 24, self.channels)
        image = np.full(shape, self.first + index, self.image_dtype)
        return image, np.zeros((16, 24), "uint8")

    def file_name(self, index):
        return f"{self.first + index}.png"

    def check(self):
        self.checks += 1

    def _image_sizes(self):
        return [(16, 40)]


def test_training_batches_are_shuffled_whole_and_of_the_default_size():
    batches = Numbers(0, 5).batches(2, reader="threads")
    plan = batches.position.plan
    assert plan.batch_shape == (2, 16, 32)
    assert (plan.shuffle, plan.drop_remainder, len(batches)) == (True, True, 2)
    assert not Numbers(0, 5).batches(8, reader="threads").position.plan.all_full
    validation = Numbers(0, 5)
    validation.training = False
    batches = validation.batches(2, reader="threads")
    seen = [int(image[0, 0, 0]) for images, _ in batches for image in images]
    assert seen == [0, 1, 2, 3, 4] and len(batches) == 3


class Striped(Numbers):
    """Of 24 columns 16 of label 0, 4 of 1, 3 of 2 and one unlabelled."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        label[:, 16:20], label[:, 20:23], label[:, 23] = 1, 2, 255
        return image, label


def test_balanced_crops_weigh_classes_by_their_shares():
    source = Striped(0, 2, num_classes=4)
    assert source.class_pixels().tolist() == [512, 128, 96, 0]
    joined = JoinedSources((source, Striped(0, 1, num_classes=4)))
    assert joined.class_pixels().tolist() == [768, 192, 144, 0]

    def transform(power, **options):
        batches = source.batches(
            2, balanced_crops=power, reader="threads", **options
        )
        return batches.position.plan.transform

    # 512, 128 and 96 of 736 pixels; what no image shows counts as one.
    expected = (736 / 512, 736 / 128, 736 / 96, 736)
    assert transform(1).class_weights == pytest.approx(expected)
    roots = tuple(weight**0.5 for weight in expected)
    assert transform(0.5).class_weights == pytest.approx(roots)
    assert transform(0).class_weights == (1, 1, 1, 1)
    assert transform(None).class_weights is None
    own = ks.data.TrainingTransform((8, 8), flip=0.0)
    assert transform(0, augment=own).flip == 0.0
    plan = source.batches(2, balanced_crops=0, reader="threads").position.plan
    assert plan.settings["class_weights"] == (1, 1, 1, 1)


def test_balanced_crops_need_crops_that_are_drawn():
    for augment in (False, lambda image, label, rng: (image, label)):
        with pytest.raises(ValueError, match="balanced_crops=1 with"):
            Numbers(0, 5).batches(2, augment=augment, balanced_crops=1)


def test_integers_of_numpy_are_integers():
    numbers = np.array([2, 16, 7, 3])
    batches = Numbers(0, 5).batches(
        numbers[0],
        crop_size=numbers[1],
        seed=numbers[2],
        steps_per_epoch=numbers[3],
        shard=np.array([0, 1]),
        reader="threads",
        initial_step=numbers[0],
    )
    assert batches.position.plan.batch_shape == (2, 16, 16)
    assert len(batches) == 3 and len(list(batches)) == 1
    assert type(batches.position.plan.seed) is int


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": True}, "batch_size must be an integer.*True"),
        ({"batch_size": 2, "crop_size": 8.5}, "crop_size must be .*8.5"),
        ({"batch_size": 2, "crop_size": (8, 0)}, "crop_size must be .*0"),
        ({"batch_size": 2, "augment": "yes"}, "augment must be .*'yes'"),
        ({"batch_size": 2, "shuffle": 1}, "shuffle must be True or False"),
        ({"batch_size": 2, "seed": "0"}, "seed must be an integer.*'0'"),
        ({"batch_size": 2, "steps_per_epoch": 0}, "steps_per_epoch must be"),
        ({"batch_size": 2, "drop_remainder": 0}, "drop_remainder must be"),
        ({"batch_size": 2, "cache": "ram"}, "cache must be .*'ram'"),
        ({"batch_size": 2, "check": None}, "check must be .*None"),
        ({"batch_size": 2, "reader": "thread"}, "'threads'.*'thread'"),
        ({"batch_size": 2, "initial_step": -1}, "initial_step must be.*-1"),
        ({"batch_size": 2, "shard": 1}, "shard must be .*1"),
    ],
)
def test_arguments_of_another_type_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Numbers(0, 5).batches(**{"reader": "threads", **options})


def test_a_name_that_is_no_argument_offers_the_nearest():
    with pytest.raises(TypeError, match="Did you mean 'batch_size'"):
        Numbers(0, 5).batches(batchsize=8)
    with pytest.raises(TypeError, match="'shufle'.*Did you mean 'shuffle'"):
        Numbers(0, 5).batches(8, shufle=True)
    with pytest.raises(TypeError, match="'drop'.*drop_remainder"):
        ks.data.segmentation_batches(Numbers(0, 5), 2, abs, drop=True)


def test_joined_sources_follow_one_another():
    parts = Numbers(0, 2), Numbers(7, 3)
    joined = JoinedSources(parts)
    assert [image[0, 0, 0] for image, _ in joined] == [0, 1, 7, 8, 9]
    assert [joined[-i][0][0, 0, 0] for i in range(1, 6)] == [9, 8, 7, 1, 0]
    assert joined.file_name(2) == "7.png" and joined.file_name(-5) == "0.png"
    assert joined.training is True
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"-5..4.*5 pairs.*{index}"):
            joined[index]
    batches = joined.batches(5, augment=False, shuffle=False, reader="threads")
    assert [part.checks for part in parts] == [1, 1]
    assert batches.position.plan.files(0)[1:3] == ("1.png", "7.png")


def test_joined_sources_pass_on_what_their_images_are():
    joined = JoinedSources([Numbers(i, 2, 3, 5, "uint16") for i in (300, 400)])
    assert (joined.channels, joined.image_dtype) == (5, "uint16")
    ((images, _),) = joined.batches(
        4, augment=False, shuffle=False, reader="threads"
    )
    assert images.shape == (4, 16, 32, 5) and images.dtype == np.uint16
    assert images[:, 0, 0, 4].tolist() == [300, 301, 400, 401]


@pytest.mark.parametrize(
    "other, message",
    [
        (Numbers(0, 1, 2), "3 classes.*2 classes"),
        (Numbers(0, 1, 3, 5), "3 channels of uint8.*5 channels of uint8"),
        (Numbers(0, 1, 3, 3, "uint16"), "of uint8.*3 channels of uint16"),
    ],
)
def test_sources_that_differ_are_not_joined(other, message):
    with pytest.raises(ValueError, match=message):
        JoinedSources([Numbers(0, 2), other])


def test_the_sizes_of_joined_sources_are_those_of_all():
    large = Numbers(2, 3)
    large._image_sizes = lambda: [(32, 48)] * 2
    joined = JoinedSources([Numbers(0, 2), large])
    assert joined.median_size() == (32, 48)


def test_batches_for_a_model_have_its_size():
    def size(patch_size, image_shape=(None, None, 3)):
        backbone = types.SimpleNamespace(
            size_multiple=patch_size,
            image_shape=image_shape,
            check_size=lambda *size_and_argument: None,
        )
        model = types.SimpleNamespace(backbone=backbone)
        batches = Numbers(0, 5).batches(2, model=model, reader="threads")
        return batches.position.plan.image_shape[:2]

    # Images of 16 x 40.
    assert size(8) == (16, 40) and size(7) == (14, 35)
    assert size(8, (24, None, 3)) == (24, 40)
    assert size(8, (64, 80, 3)) == (64, 80)
    with pytest.raises(ValueError, match="model must be a model of keras_setr"):
        Numbers(0, 5).batches(2, model="setr")
