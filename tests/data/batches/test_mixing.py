"""Samples made of several: which pixels come from where, and when."""

import dataclasses

import numpy as np
import pytest

import keras_setr as ks
from keras_setr.data.batches.plan import BatchPlan
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform

pytestmark = pytest.mark.no_backend

SIZE = (6, 8)


def sample(number):
    """An image of grey value 10 n with the label n."""
    return (
        np.full((*SIZE, 3), 10 * number, "uint8"),
        np.full(SIZE, number, "uint8"),
    )


class Draws:
    """Gives the samples 2, 3, .. and counts them."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return sample(1 + self.count)


def mixed(seed=0, **shares):
    """Labels of sample 1 after mixing; its image shows the same."""
    own, draws = sample(1), Draws()
    rng = np.random.default_rng(seed)
    image, label = ks.data.Mixing(**shares)(*own, rng, draws)
    np.testing.assert_array_equal(image, np.repeat(label[..., None], 3, 2) * 10)
    # What was handed in may lie in a cache.
    np.testing.assert_array_equal(own[1], 1)
    return label, draws.count


def is_box(where):
    """Whether what is marked is a rectangle, maybe an empty one."""
    rows, columns = where.any(1), where.any(0)
    return (where == (rows[:, None] & columns)).all()


def test_nothing_is_mixed_by_default():
    label, drawn = mixed()
    assert (label == 1).all() and drawn == 0


def test_a_mosaic_shows_four_samples_in_corners():
    points = set()
    for seed in range(60):
        label, drawn = mixed(seed, mosaic=1)
        y, x = (label[:, 0] == 1).sum(), (label[0] == 1).sum()
        expected = np.full(SIZE, 1)
        expected[:y, x:], expected[y:, :x], expected[y:, x:] = 2, 3, 4
        np.testing.assert_array_equal(label, expected)
        assert drawn == 3
        points.add((int(y), int(x)))
    # int(6 / 4) = 1 to int(6 * 3 / 4) = 4, and 2 to 6 of the 8 columns.
    assert {y for y, _ in points} == {1, 2, 3, 4}
    assert {x for _, x in points} == {2, 3, 4, 5, 6}


def test_cutmix_shows_another_sample_in_a_box_of_any_size():
    shares = []
    for seed in range(200):
        label, drawn = mixed(seed, cutmix=1)
        assert set(np.unique(label)) <= {1, 2} and drawn == 1
        assert is_box(label == 2)
        shares.append((label == 2).mean())
    # Half of the crop before the border cuts some off.
    assert 0.2 < np.mean(shares) < 0.5
    assert min(shares) < 0.02 and max(shares) > 0.7


def test_copy_paste_lays_half_of_the_classes_over():
    other = np.repeat(np.array([[0, 3, 5, 5, 7, 7, 7, 255]], "uint8"), 6, 0)
    image = np.repeat(other[..., None], 3, 2)
    pasted = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        own = np.full((*SIZE, 3), 90, "uint8"), np.full(SIZE, 9, "uint8")
        mixing = ks.data.Mixing(copy_paste=1)
        mixed, label = mixing(*own, rng, lambda: (image, other))
        shown = set(np.unique(label).tolist()) - {9}
        # Two of 0, 3, 5 and 7, each whole, and nothing unlabelled.
        assert len(shown) == 2
        where = np.isin(other, list(shown))
        np.testing.assert_array_equal(label, np.where(where, other, 9))
        expected = np.where(where[..., None], image, 90)
        np.testing.assert_array_equal(mixed, expected)
        pasted |= shown
    assert pasted == {0, 3, 5, 7}


def test_what_is_unlabelled_elsewhere_stays_so_where_it_is_shown():
    unlabelled = sample(0)[0], np.full(SIZE, 255, "uint8")
    for shares in ({"mosaic": 1}, {"cutmix": 1}):
        rng = np.random.default_rng(0)
        mixing = ks.data.Mixing(**shares)
        image, label = mixing(*sample(1), rng, lambda: unlabelled)
        assert (label == 255).any()
        np.testing.assert_array_equal(image[..., 0] == 0, label == 255)
    # Of such a sample there is nothing to paste.
    rng = np.random.default_rng(0)
    mixing = ks.data.Mixing(copy_paste=1)
    _, label = mixing(*sample(1), rng, lambda: unlabelled)
    assert (label == 1).all()


def test_shares_are_how_often():
    count = sum(mixed(seed, cutmix=0.25)[1] for seed in range(400))
    assert 70 < count < 130


class Numbered:
    """Pair `i` has grey value `10 i` and label `i`; reads are noted."""

    def __init__(self):
        self.reads = []

    def __len__(self):
        return 9

    def __getitem__(self, index):
        self.reads.append(index)
        return sample(index)


def plan(mixing=None, seed=0, **options):
    transform = EvaluationTransform(SIZE)
    return BatchPlan(
        Numbered(), 2, transform, seed=seed, mixing=mixing, **options
    )


def test_a_sample_depends_on_seed_epoch_and_pair_alone():
    mixing = ks.data.Mixing(mosaic=0.5, cutmix=0.5, copy_paste=0.5)
    labels = [plan(mixing).sample(1, index)[1] for index in range(9)]
    again = plan(mixing)
    for index in reversed(range(9)):
        np.testing.assert_array_equal(again.sample(1, index)[1], labels[index])
    for epoch, seed in ((0, 0), (1, 5)):
        other = plan(mixing, seed)
        assert any(
            (other.sample(epoch, index)[1] != labels[index]).any()
            for index in range(9)
        )
    # More than one pair is shown, and each of the others may be.
    shown = np.unique([np.unique(label).size for label in labels])
    assert shown.max() > 1
    assert len({int(value) for label in labels for value in label.flat}) > 4


def test_without_mixing_samples_are_what_they_were():
    transform = TrainingTransform(SIZE)
    own = BatchPlan(Numbered(), 2, transform)
    never = BatchPlan(Numbered(), 2, transform, mixing=ks.data.Mixing())
    for index in range(9):
        for one, other in zip(own.sample(3, index), never.sample(3, index)):
            np.testing.assert_array_equal(one, other)


def test_every_reader_gives_the_same_mixed_batches():
    mixing = ks.data.Mixing(mosaic=0.5, cutmix=0.5, copy_paste=0.5)
    expected = [plan(mixing).batch(step) for step in range(5)]

    def read(reader):
        batches = ks.data.segmentation_batches(
            Numbered(),
            2,
            EvaluationTransform(SIZE),
            reader=reader,
            mixing=mixing,
        )
        return [tuple(map(np.asarray, batch)) for batch in batches]

    needed = {"threads": "keras", "tf.data": "tensorflow", "grain": "grain"}
    for reader, package in needed.items():
        pytest.importorskip(package)
        for batch, other in zip(read(reader), expected, strict=True):
            for one, two in zip(batch, other, strict=True):
                np.testing.assert_array_equal(one, two)


def test_a_worker_reads_no_partners_of_the_rows_of_others():
    mixing = ks.data.Mixing(cutmix=1)
    own = plan(mixing, shard=(0, 2))
    images, labels = own.batch(0)
    assert len(own.source.reads) == 2
    assert (labels[1] == 255).all() and not images[1].any()


def test_the_settings_of_a_run_name_the_mixing():
    mixing = ks.data.Mixing(cutmix=0.5)
    assert "mixing" not in plan().settings
    assert plan(mixing).settings["mixing"] == dataclasses.asdict(mixing)


def test_a_share_lies_between_0_and_1():
    for name in ("mosaic", "cutmix", "copy_paste"):
        with pytest.raises(ValueError, match=f"{name} must be a number in 0"):
            ks.data.Mixing(**{name: 1.5})
    with pytest.raises(ValueError, match="mixing must be a keras_setr.data.M"):
        plan(0.5)
