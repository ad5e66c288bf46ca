import concurrent.futures
import dataclasses
import gc
import itertools
import multiprocessing
import pickle
import sys
import time
import weakref

import numpy as np
import pytest

from keras_setr.data.batches.batches import segmentation_batches
from keras_setr.data.batches.transforms import EvaluationTransform
from keras_setr.data.batches.transforms import TrainingTransform

pytestmark = pytest.mark.no_backend

tf = pytest.importorskip("tensorflow")

# What the threads of either reader pass on.
ERRORS = (tf.errors.OpError, ValueError)


class Numbered:
    """Pair `i` is 3 x 5 pixels of label `i` and grey value `10 i`."""

    def __init__(self, size, slow=()):
        self.size = size
        self.slow = slow
        self.reads = []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.reads.append(index)
        if index in self.slow:
            time.sleep(0.05)
        image = np.full((3, 5, 3), 10 * index, "uint8")
        return image, np.full((3, 5), index, "uint8")


class Noise:
    """Writes a number drawn from the generator into every pixel."""

    crop_size = (3, 5)

    def __call__(self, image, label, rng):
        image[:] = rng.integers(256)
        return image, label


def large(image, label, rng):
    return image, label


large.crop_size = 20_000


def batches(source, batch_size=2, transform=None, **options):
    options = {"reader": "tf.data", **options}
    transform = transform or EvaluationTransform((3, 5))
    return segmentation_batches(source, batch_size, transform, **options)


def epoch(dataset, batches=None):
    """`(index of each pair, first grey value of each image)`."""
    pairs = [
        (int(label[0, 0]), int(image[0, 0, 0]))
        for images, labels in itertools.islice(dataset, batches)
        for image, label in zip(np.asarray(images), np.asarray(labels))
    ]
    return tuple(zip(*pairs))


@pytest.fixture(params=["tf.data", "threads", "grain"])
def reader(request):
    if request.param == "grain":
        pytest.importorskip("grain", reason="Grain is not installed")
    return request.param


def test_batches_have_static_sizes_and_a_known_number():
    dataset = batches(Numbered(7), transform=EvaluationTransform((4, 6)))
    assert len(dataset) == 4
    images, labels = dataset.element_spec
    assert images.shape.as_list() == [None, 4, 6, 3]
    assert labels.shape.as_list() == [None, 4, 6]
    assert (images.dtype, labels.dtype) == (tf.uint8, tf.int32)
    sizes = [len(images) for images, _ in dataset]
    assert sizes == [2, 2, 2, 1]
    whole = batches(Numbered(7), drop_remainder=True)
    assert len(whole) == 3
    assert whole.element_spec[0].shape.as_list() == [2, 3, 5, 3]


def test_without_shuffling_pairs_come_in_order(reader):
    dataset = batches(Numbered(5), reader=reader)
    for _ in range(2):
        assert epoch(dataset) == ((0, 1, 2, 3, 4), (0, 10, 20, 30, 40))


def test_epochs_differ_and_a_new_dataset_repeats_them(reader):
    def epochs(**options):
        dataset = batches(
            Numbered(6),
            transform=Noise(),
            shuffle=True,
            reader=reader,
            **options,
        )
        return [epoch(dataset) for _ in range(3)]

    first = epochs()
    for order, _ in first:
        assert sorted(order) == [0, 1, 2, 3, 4, 5]
    assert len({order for order, _ in first}) == 3
    assert len({noise for _, noise in first}) == 3
    tf.random.set_seed(5)  # The user's own seed has no say.
    assert epochs() == first
    assert epochs(seed=1) != first


def test_the_timing_of_the_threads_does_not_matter(reader):
    options = {"transform": Noise(), "shuffle": True, "reader": reader}
    slow = batches(Numbered(6, slow=(0, 1, 4)), **options)
    quick = batches(Numbered(6), **options)
    assert [epoch(slow), epoch(slow)] == [epoch(quick), epoch(quick)]


def test_the_cache_reads_once_and_survives_writing_transforms(reader):
    source = Numbered(4)
    dataset = batches(source, transform=Noise(), cache=True, reader=reader)
    plain = batches(Numbered(4), transform=Noise(), reader=reader)
    for _ in range(3):
        assert epoch(dataset) == epoch(plain)
    assert sorted(source.reads) == [0, 1, 2, 3]


def test_an_error_of_the_source_reaches_the_user(reader):
    class Broken(Numbered):
        def __getitem__(self, index):
            raise ValueError("masks/17.png holds label 21")

    with pytest.raises(ERRORS, match="masks/17.png holds label 21"):
        epoch(batches(Broken(3), reader=reader))


def test_an_error_of_the_transform_names_the_pair(reader):
    def fails(image, label, rng):
        raise RuntimeError("no such colour space")

    fails.crop_size = (3, 5)
    message = "failed on pair 0: RuntimeError.*no such colour space"
    with pytest.raises(ERRORS, match=message):
        epoch(batches(Numbered(1), transform=fails, reader=reader))


def test_a_transform_of_another_size_is_an_error(reader):
    def grows(image, label, rng):
        return image[:2], label[:2]

    grows.crop_size = (3, 5)
    with pytest.raises(ERRORS, match=r"\(3, 5\).*\(2, 5, 3\)"):
        epoch(batches(Numbered(1), transform=grows, reader=reader))


def test_colours_and_labels_stay_aligned_through_the_reader(reader):
    colors = np.array([(250, 20, 30), (10, 240, 60), (40, 50, 230)], "uint8")

    class Halves:
        def __len__(self):
            return 8

        def __getitem__(self, index):
            label = np.full((40, 50), index % 3, "uint8")
            label[:, 20 + index :] = (index + 1) % 3
            return colors[label], label

    transform = TrainingTransform((32, 48), photometric=False)
    compared = 0
    for images, labels in batches(
        Halves(), transform=transform, shuffle=True, reader=reader
    ):
        for image, label in zip(np.asarray(images), np.asarray(labels)):
            # Two pixels beside the one vertical boundary are left out.
            same = np.ones(label.shape, bool)
            for shift in (-2, -1, 1, 2):
                same &= np.roll(label, shift, axis=1) == label
            same &= label != 255
            assert (image[same] == colors[label[same]]).all()
            compared += same.sum()
    assert compared > 8 * 32 * 48 / 4


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size must be .* at least 1.*Received: 0"),
        ({"batch_size": 2.0}, "batch_size must be an integer"),
        ({"seed": -1}, "seed must be .* at least 0.*Received: -1"),
        (
            {"steps_per_epoch": 0},
            "steps_per_epoch must be .* at least 1.*Received: 0",
        ),
        ({"initial_step": -1}, "step must be .* at least 0"),
        (
            {"batch_size": 4, "drop_remainder": True},
            "batch_size=4 for 3 pairs; pass batch_size=3",
        ),
        ({"source": []}, r"source must hold a pair at least.*\[\]"),
        ({"transform": abs}, "transform.crop_size must be .*None"),
        (
            {"transform": large},
            r"transform.crop_size must be .*1\.\.16384\. Received: 20000",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**{"source": Numbered(3), **options})


def test_a_plan_stays_as_it_was_made():
    plan = batches(Numbered(3), reader="threads").position.plan
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.seed = 1
    other = dataclasses.replace(plan, seed=np.int32(1))
    assert (other.seed, other.batch_shape, plan.seed) == (1, (2, 3, 5), 0)
    with pytest.raises(ValueError, match="seed must be .*'1'"):
        dataclasses.replace(plan, seed="1")


def test_nothing_of_batches_is_left_once_they_are_read(reader):
    source = Numbered(4)
    dataset = batches(source, cache=True, reader=reader)
    for _ in range(2):
        assert epoch(dataset)[0] == (0, 1, 2, 3)
    if reader == "tf.data":
        # What is on top of them keeps them alive.
        dataset = dataset.map(lambda images, labels: (images, labels + 1))
        gc.collect()
        assert epoch(dataset)[0] == (1, 2, 3, 4)
        iterator = iter(dataset)
        del dataset
        gc.collect()
        assert epoch(iterator)[0] == (1, 2, 3, 4)
        del iterator
    else:
        del dataset
    source = weakref.ref(source)
    gc.collect()
    assert source() is None


def test_batches_go_on_in_another_process(reader):
    if reader == "tf.data":
        pytest.skip("a tf.data.Dataset cannot be pickled")
    source = [Numbered(5)[index] for index in range(5)]
    options = {"transform": Noise(), "shuffle": True, "reader": reader}
    here = batches(source, cache=True, **options)
    expected = epoch(here), epoch(here)
    here.position.seek(1)
    next(iter(here))  # A pass that goes on here and not there.
    there = pickle.loads(pickle.dumps(here))
    assert epoch(there) == tuple(row[2:] for row in expected[0])
    assert (epoch(there), epoch(here)[0][0]) == (expected[1], expected[0][0][2])


def test_batches_go_on_in_a_process_started_afresh():
    source = [Numbered(5)[index] for index in range(5)]
    options = {"transform": TrainingTransform((3, 5)), "shuffle": True}
    here = batches(source, initial_step=1, reader="threads", **options)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as process:
        there = process.submit(list, here).result()
    for pair, same in zip(here, there, strict=True):
        for array, wanted in zip(pair, same):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("other", ["threads", "grain"])
def test_every_reader_gives_the_same_arrays(other):
    if other == "grain":
        pytest.importorskip("grain", reason="Grain is not installed")
    transform = TrainingTransform((16, 24))
    rng = np.random.default_rng(0)
    pairs = [
        (
            rng.integers(0, 256, (20 + size, 30, 3), "uint8"),
            rng.integers(0, 4, (20 + size, 30), "uint8"),
        )
        for size in range(5)
    ]
    options = {"transform": transform, "shuffle": True}
    expected = list(batches(pairs, **options))
    got = list(batches(pairs, reader=other, **options))
    assert [len(images) for images, _ in got] == [2, 2, 1]
    for pair, same in zip(got, expected, strict=True):
        for array, wanted in zip(pair, same):
            np.testing.assert_array_equal(array, wanted)
            assert array.dtype == wanted.numpy().dtype


def test_threads_need_no_tensorflow(monkeypatch):
    for name in ("tensorflow", "tensorflow_datasets"):
        monkeypatch.setitem(sys.modules, name, None)  # import raises
    assert len(epoch(batches(Numbered(5), reader="threads"))[0]) == 5


def test_unknown_readers_are_errors():
    with pytest.raises(ValueError, match="reader must be .*'tfdata'"):
        batches(Numbered(3), reader="tfdata")
