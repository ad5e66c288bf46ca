import cv2
import numpy as np
import pytest

from keras_setr.data.batches.augmentations import center_crop
from keras_setr.data.batches.augmentations import draw_balanced_crop
from keras_setr.data.batches.augmentations import pad_to
from keras_setr.data.batches.augmentations import photometric_distortion
from keras_setr.data.batches.augmentations import random_crop
from keras_setr.data.batches.augmentations import random_flip
from keras_setr.data.batches.augmentations import resize_region
from keras_setr.data.batches.augmentations import resized_size
from tests.blocks import blocks
from tests.blocks import generator

pytestmark = pytest.mark.no_backend


def test_resized_size_follows_the_reference_rule():
    # ADE20K: min(2048 / 683, 512 / 512) = 1.
    assert resized_size((512, 683), 1.0, (512, 2048)) == (512, 683)
    # min(1024 / 683, 256 / 512) = 0.5; int(341.5 + 0.5) = 342.
    assert resized_size((512, 683), 0.5, (512, 2048)) == (256, 342)
    # A long image: min(2048 / 1500, 512 / 300) = 1.3653 binds the long side.
    assert resized_size((300, 1500), 1.0, (512, 2048)) == (410, 2048)
    # Upright: which of base_scale is the height does not matter.
    assert resized_size((683, 512), 1.0, (512, 2048)) == (683, 512)
    # Own size: int(0.75 * 101) = 75, int(0.75 * 40) = 30; 30 / 40 > 75 / 101,
    # so that int(40 * 75 / 101 + 0.5) = 30.
    assert resized_size((40, 101), 0.75) == (30, 75)
    assert resized_size((3, 1), 0.1) == (1, 1)


def test_a_crop_is_a_box_of_both_and_whole_where_the_image_is_smaller():
    label = np.arange(6 * 40).reshape(6, 40).astype("uint8")
    image = np.repeat(label[..., None], 3, axis=-1)
    cut, labels = random_crop(image, label, generator(), (8, 5))
    assert labels.shape == (6, 5) and (cut == labels[..., None]).all()
    left = labels[0, 0]
    assert (labels == label[:, left : left + 5]).all()


def test_every_crop_position_is_drawn():
    label = np.arange(7, dtype="uint8")[None]
    image = np.zeros((1, 7, 3), "uint8")
    rng = generator()
    starts = {
        int(random_crop(image, label, rng, (1, 5))[1][0, 0]) for _ in range(100)
    }
    assert starts == {0, 1, 2}


def test_crops_of_one_class_are_redrawn_ten_times():
    # 2 of 100 columns are class 1. A crop of 4 columns with both has class 1
    # in 1 or 2 of them: class 0 then has 3/4, which is not below 0.75, or
    # 2/4. So only the starts 48, 49 and 50 of 0..96 are accepted.
    label = np.zeros((3, 100), "uint8")
    label[:, 50:52] = 1
    image = np.zeros((3, 100, 3), "uint8")

    def share_with_both(limit):
        rng = generator()
        hits = [
            (random_crop(image, label, rng, (3, 4), limit)[1] == 1).sum() == 6
            for _ in range(2000)
        ]
        return np.mean(hits)

    # Eleven draws, of which the last counts untested.
    assert abs(share_with_both(1.0) - 3 / 97) < 0.015
    assert abs(share_with_both(0.75) - (1 - (94 / 97) ** 11)) < 0.03


def test_unlabelled_pixels_do_not_count_in_the_category_limit():
    # Each crop of 4 has one pixel of class 0, one of class 1 and two without
    # label: the top share is 1/2 of what is labelled, 1/4 of all pixels. A
    # limit of 0.51 takes the first draw; 0.5 redraws ten times.
    label = np.tile(np.array([0, 1, 255, 255], "uint8"), (1, 25))
    image = np.zeros((1, 100, 3), "uint8")
    rng, same = generator(3), generator(3)
    accepted = random_crop(image, label, rng, (1, 4), 0.51)[1]
    first = random_crop(image, label, same, (1, 4), 1.0)[1]
    assert (accepted == first).all()
    assert rng.random() == same.random()
    rng = generator(3)
    random_crop(image, label, rng, (1, 4), 0.5)
    same = generator(3)
    for _ in range(11):
        same.integers(1), same.integers(97)
    assert rng.random() == same.random()


def test_flip_mirrors_left_and_right_and_twice_is_identity():
    image, label = blocks()
    flipped = random_flip(image, label, generator(), probability=1.0)
    assert (flipped[0] == image[:, ::-1]).all()
    assert (flipped[1] == label[:, ::-1]).all()
    twice = random_flip(*flipped, generator(), probability=1.0)
    assert (twice[0] == image).all() and (twice[1] == label).all()
    same = random_flip(image, label, generator(), probability=0.0)
    assert same[0] is image and same[1] is label


class Script:
    """A generator whose draws are written down."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)

    def uniform(self, low, high):
        assert (low, high) in [(-32, 32), (0.5, 1.5)]
        return self.draws.pop(0)

    def integers(self, low, high):
        assert (low, high) == (-18, 18)
        return self.draws.pop(0)


YES, NO = 0.1, 0.9


@pytest.mark.parametrize(
    "draws, expected",
    [
        # Order of draws: brightness, contrast first?, saturation, hue.
        ((NO, NO, NO, NO, NO), (200, 100, 50)),
        ((YES, -20.5, NO, NO, NO, NO), (179, 79, 29)),
        ((YES, 31.9, NO, NO, NO, NO), (231, 131, 81)),
        # 200 * 1.5 is clipped to 255.
        ((NO, YES, YES, 1.5, NO, NO), (255, 150, 75)),
        ((NO, NO, NO, NO, YES, 0.5), (100, 50, 25)),
        # Brightness clips before contrast: (200 + 32) * 1.1 = 255.2.
        ((YES, 32.0, YES, YES, 1.1, NO, NO), (255, 145, 90)),
        # HSV of (200, 100, 50): V 200, S 150/200 = 0.75 -> 191 of 255,
        # H 60 * 50/150 = 20 degrees -> 10. Half of S: 95, so that the least
        # channel is 200 * (1 - 95/255) = 125.5 and the middle one 150.
        ((NO, NO, YES, 0.5, NO, NO), (200, 150, 125)),
        # Hue 10 - 10 = 0 is pure red: green falls to blue.
        ((NO, NO, NO, YES, -10, NO), (200, 50, 50)),
        # Hue 10 - 18 = -8 wraps to 172, which is 16 degrees from red to
        # magenta: blue 50 + 150 * 16/60 = 90.
        ((NO, NO, NO, YES, -18, NO), (200, 50, 90)),
    ],
)
def test_each_photometric_step_by_hand(draws, expected):
    image = np.full((2, 3, 3), (200, 100, 50), "uint8")
    script = Script(*draws)
    result = photometric_distortion(image, script)
    assert not script.draws
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert (image == (200, 100, 50)).all()


def test_padding_is_below_and_right_in_mean_colour_and_unlabelled():
    image, label = blocks(height=3, width=4)
    padded, labels = pad_to(image, label, (5, 7))
    assert (padded[:3, :4] == image).all() and (labels[:3, :4] == label).all()
    outside = np.ones((5, 7), bool)
    outside[:3, :4] = False
    # The ImageNet mean: what normalisation maps to 0.
    assert (padded[outside] == (124, 116, 104)).all()
    assert (labels[outside] == 255).all()
    with pytest.raises(ValueError, match=r"size=\(5, 3\).*\(3, 4\)"):
        pad_to(image, label, (5, 3))


def test_center_crop_takes_the_middle():
    label = np.arange(7 * 9).reshape(7, 9).astype("uint8")
    image = np.repeat(label[..., None], 3, axis=-1)
    cut, labels = center_crop(image, label, (4, 20))
    # (7 - 4) // 2 = 1 row is cut above, 2 below.
    assert (labels == label[1:5]).all() and (cut == labels[..., None]).all()


@pytest.mark.parametrize("channels, dtype", [(3, "uint8"), (5, "uint16")])
def test_resizing_a_region_equals_resizing_the_whole(channels, dtype):
    rng = generator()
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(5, 150, 2))
        image = rng.integers(0, 256, (height, width, channels)).astype(dtype)
        ratio = rng.uniform(0.4, 2.5)
        size = resized_size((height, width), ratio)
        whole = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        top, left = (int(rng.integers(side)) for side in size)
        box = (
            slice(top, int(rng.integers(top, size[0])) + 1),
            slice(left, int(rng.integers(left, size[1])) + 1),
        )
        np.testing.assert_array_equal(
            resize_region(image, size, box), whole[box]
        )


def rare():
    """Label 0 with four pixels of 2 in a corner, and 255 in a column."""
    label = np.zeros((20, 30), "uint8")
    label[18:, 28:] = 2
    label[:, 0] = 255
    return label


def test_a_balanced_crop_holds_the_class_that_is_drawn():
    label, tops = rare(), set()
    for seed in range(60):
        box = draw_balanced_crop(label, generator(seed), (8, 10), (0, 5, 1))
        assert label[box].shape == (8, 10) and (label[box] == 2).any()
        tops.add((box[0].start, box[1].start))
    # Rows 18 and 19 are in boxes from 11 and 12 on, the last of which holds
    # both; columns 28 and 29 in those from 19 and 20 on.
    assert tops == {(11, 19), (11, 20), (12, 19), (12, 20)}


def test_classes_are_drawn_by_their_weights():
    label = rare()
    weights = (1.0, 0.0, 3.0)
    shown = [
        (label[draw_balanced_crop(label, generator(s), (2, 3), weights)] == 2)
        for s in range(400)
    ]
    # Three of four, and some of those of class 0 that lie beside it.
    assert 0.68 < np.mean([part.any() for part in shown]) < 0.82


def test_a_balanced_crop_of_what_is_smaller_or_unlabelled_is_any():
    box = draw_balanced_crop(rare(), generator(), (40, 10), (0, 0, 1))
    assert box[0] == slice(0, 20) and box[1].stop - box[1].start == 10
    nothing = np.full((20, 30), 255, "uint8")
    for weights in ((1, 1, 1), (0, 0, 0)):
        boxes = {
            draw_balanced_crop(nothing, generator(s), (20, 10), weights)[
                1
            ].start
            for s in range(80)
        }
        assert boxes == set(range(21))
