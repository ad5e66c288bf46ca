import numpy as np
import pytest

from keras_setr.data.batches.augmentations import pad_to
from keras_setr.data.batches.augmentations import photometric_distortion
from keras_setr.data.batches.augmentations import random_crop
from keras_setr.data.batches.augmentations import random_flip
from keras_setr.data.batches.augmentations import resize_label
from keras_setr.data.batches.augmentations import resize_region
from keras_setr.data.batches.augmentations import resized_size
from keras_setr.data.batches.transforms import CustomTransform
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform
from tests.blocks import COLORS
from tests.blocks import blocks
from tests.blocks import generator

pytestmark = pytest.mark.no_backend


def away_from_boundaries(label, reach=2):
    """Where all labels within `reach` pixels are the same and known."""
    padded = np.pad(label, reach, constant_values=254)
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (2 * reach + 1, 2 * reach + 1)
    )
    return (windows == label[..., None, None]).all((-2, -1))


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
