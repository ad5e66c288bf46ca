"""What a pass over the batches is, and that a `fit` gets the same of each."""

import itertools

import keras
import numpy as np
import pytest

import keras_setr as ks
from tests.data.batches.test_batches import Noise
from tests.data.batches.test_batches import Numbered
from tests.data.batches.test_batches import batches

READERS = ("tf.data", "threads", "grain")
# 7 pairs in batches of 2. A pass of 4 batches is an epoch with a short batch
# at its end, one of 3 leaves that out, and in one of 5 the fourth batch holds
# the end of one epoch and the start of the next.
LENGTHS = {
    4: {},
    3: {"drop_remainder": True},
    5: {"steps_per_epoch": 5},
}


# What a reader gives is the same on all, and seen below; here one pass of each
# shows that a backend's `fit` takes it as it comes.
FITTED = [4] + [
    pytest.param(length, marks=pytest.mark.backends("torch"))
    for length in (3, 5)
]


@pytest.fixture(params=READERS)
def reader(request):
    if request.param == "grain":
        pytest.importorskip("grain", reason="Grain is not installed")
    else:
        pytest.importorskip("tensorflow")
    return request.param


def noise(reader="threads", length=4, **options):
    return batches(
        Numbered(7),
        transform=Noise(),
        shuffle=True,
        reader=reader,
        **LENGTHS[length],
        **options,
    )


def numbers(elements):
    """Of each batch, the number that `Noise` wrote into each image."""
    return [
        [int(image[0, 0, 0]) for image in np.asarray(images)]
        for images, _ in elements
    ]


def is_symbolic(tensor):
    """Whether a tensor stands for values that are not there yet."""
    if keras.backend.backend() == "tensorflow":
        return not hasattr(tensor, "numpy")
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    return tensor.device.type == "meta"


class Recorded(keras.Model):
    """Keeps `numbers` of the batches that it is trained and tested on."""

    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Conv2D(7, 1)
        self.trained, self.tested = [], []

    def call(self, images):
        return self.layer(keras.ops.cast(images, "float32") / 255)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        # Keras builds the model on symbols.
        if not is_symbolic(x):
            seen = self.trained if training else self.tested
            seen += numbers([(keras.ops.convert_to_numpy(x), None)])
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def recorded():
    model = Recorded()
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    return model


@pytest.mark.no_backend
def test_a_pass_ends_where_the_next_begins():
    position = noise(length=4, initial_step=6).position
    assert position.next_pass() == range(6, 8)
    position.mark_taken(6)  # The first of two.
    assert position.next_pass() == range(6, 8)
    position.mark_taken(7)
    assert position.next_pass() == range(8, 12)
    position.mark_taken(8)
    assert position.next_pass() == range(8, 12)
    position.mark_taken(9)
    assert position.next_pass() == range(12, 16)
    position.mark_taken(10)  # By an iterator that goes on.
    assert position.next_pass() == range(12, 16)
    position.seek(7)
    position.mark_taken(11)  # By one from before.
    assert position.next_pass() == range(7, 8)
    position.mark_taken(7)  # The only one.
    assert position.next_pass() == range(8, 12)


@pytest.mark.no_backend
def test_seek_turns_the_batches_themselves_on_and_back(reader):
    expected = noise("threads")
    expected = numbers(itertools.chain(expected, expected, expected))
    dataset = noise(reader)
    assert numbers(dataset) == expected[:4]
    for step in (6, 1, 1, 8):
        dataset.position.seek(np.int64(step))
        rest = 4 - step % 4
        assert numbers(dataset) == expected[step : step + rest]
    # An iterator that was begun before neither moves nor is moved.
    dataset.position.seek(0)
    before = iter(dataset)
    got = numbers([next(before), next(before)])
    dataset.position.seek(6)
    assert got + numbers(before) == expected[:4]
    assert numbers(dataset) == expected[6:8]
    with pytest.raises(ValueError, match="step must be an integer of .*1.5"):
        dataset.position.seek(1.5)


@pytest.mark.no_backend
def test_steps_per_epoch_cuts_the_epochs_elsewhere(reader):
    whole = noise(reader, 4)
    pairs = itertools.chain.from_iterable(
        numbers(whole) + numbers(whole) + numbers(whole)
    )
    dataset = noise(reader, 5)
    assert len(dataset) == 5
    expected = [list(itertools.islice(pairs, 2)) for _ in range(10)]
    assert numbers(dataset) == expected[:5]
    assert numbers(dataset) == expected[5:]


@pytest.mark.no_backend
@pytest.mark.parametrize("length", LENGTHS)
def test_batches_go_on_from_any_step(reader, length):
    expected = noise("threads", length)
    assert len(expected) == length
    expected = numbers(itertools.chain(expected, expected, expected))
    dataset = noise(reader, length)
    for step in (0, 1, length - 1, length, length + 2):
        rest = ks.data.batches_from(dataset, step)
        assert len(rest) == length
        assert type(rest).__name__ == type(dataset).__name__
        first = length - step % length
        assert numbers(rest) == expected[step : step + first]
        follows = expected[step + first : step + first + length]
        assert numbers(rest) == follows


@pytest.mark.no_backend
def test_a_look_at_the_first_batches_is_no_pass(reader):
    first, second = numbers(noise()), noise()
    next(iter(second))
    assert numbers(second) == first
    dataset = noise(reader)
    for _ in range(2):
        assert numbers(itertools.islice(dataset, 1)) == first[:1]
    assert numbers(itertools.islice(dataset, 2)) == first[:2]
    assert numbers(dataset) == numbers(second)


@pytest.mark.parametrize("length", FITTED)
def test_fit_gets_the_same_batches_from_each_reader(reader, length):
    expected = noise("threads", length)
    expected = numbers(itertools.chain(expected, expected, expected))
    model = recorded()
    dataset = noise(reader, length)
    model.fit(dataset, epochs=2, validation_data=dataset, verbose=0)
    # Validation is a pass like any other.
    assert model.trained == (
        expected[:length] + expected[2 * length : 3 * length]
    )
    assert model.tested[:length] == expected[length : 2 * length]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("length", FITTED)
def test_fit_goes_on_in_the_middle_of_an_epoch(reader, length):
    expected = noise("threads", length)
    expected = numbers(itertools.chain(expected, expected, expected, expected))
    model = recorded()
    step = 2 * length - 2
    dataset = ks.data.batches_from(noise(reader, length), step)
    model.fit(dataset, initial_epoch=step // len(dataset), epochs=4, verbose=0)
    assert model.trained == expected[step:]


def test_a_look_of_evaluate_changes_nothing(reader):
    model = recorded()
    dataset = noise(reader)
    model.evaluate(dataset, verbose=0)
    model.evaluate(dataset, verbose=0)
    expected = noise()
    assert model.tested == numbers(itertools.chain(expected, expected))


@pytest.mark.no_backend
def test_the_files_of_a_batch_are_named():
    class Named(Numbered):
        def file_name(self, index):
            return f"images/{index}.png"

    options = {"transform": Noise(), "shuffle": True, "reader": "threads"}
    dataset = batches(Named(7), **options)
    for step in (0, 3, 5):
        ((_, labels),) = itertools.islice(
            ks.data.batches_from(dataset, step), 1
        )
        assert ks.data.batch_files(dataset, step) == tuple(
            f"images/{label[0, 0]}.png" for label in labels
        )
    unnamed = batches(Numbered(3), reader="threads")
    assert ks.data.batch_files(unnamed, 1) == ("pair 2",)


@pytest.mark.no_backend
def test_other_batches_and_steps_are_errors():
    with pytest.raises(ValueError, match="batches_from takes .* Received:.*7"):
        ks.data.batches_from([7], 0)
    tf = pytest.importorskip("tensorflow")
    assert tf is not None
    mapped = noise("tf.data").map(lambda images, labels: images)
    with pytest.raises(ValueError, match="apply those afterwards"):
        ks.data.batch_files(mapped, 0)
    with pytest.raises(ValueError, match="step must be .* at least 0.*-1"):
        ks.data.batches_from(noise(), -1)
