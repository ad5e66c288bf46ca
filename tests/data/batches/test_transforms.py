import cv2
import numpy as np
import pytest

from keras_setr.data.batches.transforms import CustomTransform
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform
from keras_setr.data.batches.transforms import center_crop
from keras_setr.data.batches.transforms import draw_balanced_crop
from keras_setr.data.batches.transforms import pad_to
from keras_setr.data.batches.transforms import photometric_distortion
from keras_setr.data.batches.transforms import random_crop
from keras_setr.data.batches.transforms import random_flip
from keras_setr.data.batches.transforms import resize_label
from keras_setr.data.batches.transforms import resize_region
from keras_setr.data.batches.transforms import resized_size

pytestmark = pytest.mark.no_backend

COLORS = np.array([(250, 20, 30), (10, 240, 60), (40, 50, 230)], "uint8")


def generator(seed=0):
    return np.random.default_rng(seed)


def blocks(height=60, width=84, block=12):
    """An image that shows at every pixel the colour of its label."""
    rows = np.arange(height)[:, None] // block
    columns = np.arange(width)[None] // block
    label = ((rows * 2 + columns) % 3).astype("uint8")
    return COLORS[label], label


def away_from_boundaries(label, reach=2):
    """Where all labels within `reach` pixels are the same and known."""
    padded = np.pad(label, reach, constant_values=254)
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (2 * reach + 1, 2 * reach + 1)
    )
    return (windows == label[..., None, None]).all((-2, -1))


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


def test_training_keeps_ratios_in_range_and_invents_no_label():
    image, label = blocks()
    # Nothing is cut, so what is labelled is as large as what was resized.
    transform = TrainingTransform((120, 168), category_limit=1)
    heights = []
    for seed in range(50):
        _, labels = transform(image, label, generator(seed))
        assert set(np.unique(labels)) <= {0, 1, 2, 255}
        heights.append(int((labels[:, 0] != 255).sum()))
        width = int((labels[0] != 255).sum())
        assert abs(width - heights[-1] * 84 / 60) <= 1
    assert 30 <= min(heights) < 40 and 110 < max(heights) <= 120


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


@pytest.mark.parametrize("base_scale", [None, (90, 200)])
def test_colours_and_labels_stay_aligned(base_scale):
    image, label = blocks()
    transform = TrainingTransform((48, 56), base_scale, photometric=False)
    checked = 0
    for seed in range(40):
        cut, labels = transform(image, label, generator(seed))
        assert cut.shape == (48, 56, 3) and labels.shape == (48, 56)
        inner = away_from_boundaries(labels) & (labels != 255)
        assert (cut[inner] == COLORS[labels[inner]]).all()
        checked += inner.sum()
    assert checked > 40 * 48 * 56 / 4


def test_the_same_generator_gives_the_same_sample_and_another_does_not():
    image, label = blocks()
    transform = TrainingTransform((48, 56))
    first = transform(image, label, generator((1, 2)))
    again = transform(image, label, generator((1, 2)))
    other = transform(image, label, generator((1, 3)))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    assert (first[0] != other[0]).any()


def test_evaluation_pads_small_and_crops_large_sides():
    image, label = blocks(height=10, width=30)
    cut, labels = EvaluationTransform((16, 20))(image, label, None)
    assert (cut[:10] == image[:, 5:25]).all() and (labels[10:] == 255).all()


def test_a_custom_function_is_brought_to_the_crop_size():
    image, label = blocks()
    half = CustomTransform(lambda i, m, rng: (i[::2], m[::2]), (48, 56))
    cut, labels = half(image, label, generator())
    assert labels.shape == (48, 56) and (labels[30:] == 255).all()
    assert (labels[:30] != 255).all()


@pytest.mark.parametrize(
    "result, received",
    [
        (lambda i, m, r: (i / 255, m), r"image \(60, 84, 3\) float64"),
        (lambda i, m, r: (i[:9], m), r"label \(60, 84\) uint8"),
        (lambda i, m, r: (i, m[..., None]), r"label \(60, 84, 1\)"),
    ],
)
def test_what_a_custom_function_returns_is_checked(result, received):
    image, label = blocks()
    with pytest.raises(ValueError, match="augment must return.*" + received):
        CustomTransform(result, (48, 56))(image, label, generator())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"crop_size": (5,)}, r"crop_size must be .*width.*Received: \(5,\)"),
        ({"crop_size": (0, 5)}, r"integers in 1\.\.16384"),
        ({"crop_size": 20_000}, r"integers in 1\.\.16384"),
        ({"crop_size": (5, 5.0)}, r"Received: \(5, 5.0\)"),
        ({"crop_size": (5, 5), "base_scale": (9,)}, "base_scale must be"),
        ({"crop_size": (5, 5), "scale_range": (2, 1)}, "low <= high"),
        ({"crop_size": (5, 5), "scale_range": (0, 1)}, "a number above 0"),
        ({"crop_size": (5, 5), "flip": 2}, r"flip must be .* 0\.\.1"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingTransform(**options)


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


def test_the_whole_transform_equals_its_steps_one_after_the_other():
    image, label = blocks()
    transform = TrainingTransform((48, 56), base_scale=(70, 90))
    for seed in range(10):
        rng = generator(seed)
        size = resized_size(label.shape, rng.uniform(0.5, 2), (70, 90))
        whole = slice(0, size[0]), slice(0, size[1])
        pair = resize_region(image, size, whole), resize_label(label, size)
        pair = random_crop(*pair, rng, (48, 56))
        cut, labels = random_flip(*pair, rng)
        cut, labels = pad_to(photometric_distortion(cut, rng), labels, (48, 56))
        got = transform(image, label, generator(seed))
        np.testing.assert_array_equal(got[0], cut)
        np.testing.assert_array_equal(got[1], labels)


@pytest.mark.parametrize("channels, dtype", [(1, "uint8"), (5, "uint16")])
def test_other_channels_and_16_bits_pass_through(channels, dtype):
    """Channel c of an image of labels k is 1000 (k + 1) + c in 16 bits."""
    _, label = blocks()
    step = 1000 if dtype == "uint16" else 50
    image = (label[..., None] + 1) * np.array(step, dtype)
    image = (image + np.arange(channels)).astype(dtype)
    transform = TrainingTransform((48, 56), photometric=False)
    for seed in range(10):
        cut, labels = transform(image, label, generator(seed))
        assert cut.shape == (48, 56, channels) and cut.dtype == dtype
        inner = away_from_boundaries(labels) & (labels != 255)
        for channel in range(channels):
            expected = (labels[inner].astype(int) + 1) * step + channel
            assert (cut[inner][:, channel] == expected).all()
        # What is padded below and right is 0.
        assert (cut[labels == 255] == 0).all()
    with pytest.raises(ValueError, match="8-bit RGB.*photometric=False"):
        TrainingTransform((48, 56))(image, label, generator())


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


def test_training_on_balanced_crops_keeps_image_and_label_aligned():
    image, label = blocks()
    label[:12, :12] = 3
    image[:12, :12] = (9, 9, 9)
    transform = TrainingTransform(
        (24, 24),
        scale_range=(1, 1),
        photometric=False,
        class_weights=(0, 0, 0, 1),
    )
    for seed in range(20):
        crop, labels = transform(image, label, generator(seed))
        assert (labels == 3).any()
        np.testing.assert_array_equal((crop == 9).all(-1), labels == 3)
