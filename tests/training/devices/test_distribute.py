"""What `distribute()` picks here, and batches that do not divide.

conftest.py gives TensorFlow 2 virtual CPUs and JAX 4.
"""

import json
import types

import keras
import numpy as np
import pytest

import keras_setr as ks
from keras_setr import workers
from keras_setr.data import EvaluationTransform
from keras_setr.data import segmentation_batches
from keras_setr.losses import PixelCrossEntropy
from keras_setr.models.verbs.division import divide_batch
from tests import tiny

BACKEND = keras.config.backend()
COUNT = {"tensorflow": 2, "jax": 4}.get(BACKEND, 1)
DESCRIPTION = {
    "tensorflow": "TensorFlow MirroredStrategy, 2 CPUs found: batches divide "
    "by 2",
    "jax": "JAX DataParallel, 4 CPUs found: batches divide by 4",
    "torch": "torch on cpu, 1 CPU found: one device",
}.get(BACKEND)


# === What is picked ===


def test_it_picks_all_devices_and_says_so(capsys):
    with ks.distribute() as run:
        assert run.num_devices == COUNT
        assert run.shard == (0, 1)
        assert run.is_chief
    assert capsys.readouterr().out == DESCRIPTION + "\n"


def test_what_was_set_before_is_set_again():
    if BACKEND == "tensorflow":
        import tensorflow as tf

        current = tf.distribute.get_strategy
    else:
        current = keras.distribution.distribution
    before = current()
    with pytest.raises(KeyError), ks.distribute(verbose=False) as run:
        assert run.strategy is None or current() is run.strategy
        raise KeyError
    assert current() is before


def test_devices_are_counted_or_named():
    assert ks.distribute(1).num_devices == 1
    name = "cpu" if BACKEND == "torch" else "cpu:0"
    assert ks.distribute([name]).num_devices == 1
    with pytest.raises(ValueError, match=f"between 1 and the {COUNT}"):
        ks.distribute(COUNT + 1)
    with pytest.raises(ValueError, match=r"\['gpu:9'\]"):
        ks.distribute(["gpu:9"])


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="workers must be an integer"):
        ks.distribute(workers=0)
    if BACKEND != "jax":
        with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
            ks.distribute(model_parallel=(2, 2))
    if BACKEND != "tensorflow":
        with pytest.raises(ValueError, match="tpu='local' on"):
            ks.distribute(tpu="local")


@pytest.mark.backends("torch")
def test_several_torch_devices_name_the_way_round(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = ks.distribute()
    assert run.num_devices == 1
    assert "2 CUDAs found" in run.describe()
    assert "KERAS_BACKEND=jax or tensorflow" in run.describe()
    with pytest.raises(ValueError, match="distributes nothing on torch"):
        ks.distribute(2)
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES"):
        ks.distribute(["cuda:1"])
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(ValueError, match="distributes nothing on torch"):
        ks.distribute()


class FakeTPU:
    """What `TPUStrategy` needs of TensorFlow, with a TPU of 8 cores."""

    def __init__(self, monkeypatch, tf, error=None):
        self.calls = []

        def resolver(tpu):
            self.calls.append(("resolve", tpu))
            if error is not None:
                raise error
            return "resolver"

        def strategy(resolver):
            self.calls.append(("strategy", resolver))
            return types.SimpleNamespace(num_replicas_in_sync=8)

        for where, name, value in (
            (tf.distribute.cluster_resolver, "TPUClusterResolver", resolver),
            (tf.config, "experimental_connect_to_cluster", self.record),
            (tf.tpu.experimental, "initialize_tpu_system", self.record),
            (tf.distribute, "TPUStrategy", strategy),
        ):
            monkeypatch.setattr(where, name, value)

    def record(self, resolver):
        self.calls.append(resolver)


@pytest.mark.backends("tensorflow")
def test_a_tpu_is_connected_before_its_strategy(monkeypatch):
    import tensorflow as tf

    tpu = FakeTPU(monkeypatch, tf)
    run = ks.distribute(tpu="local")
    assert tpu.calls == [
        ("resolve", "local"),
        "resolver",
        "resolver",
        ("strategy", "resolver"),
    ]
    assert run.describe() == (
        "TensorFlow TPUStrategy, 8 TPU cores found as tpu='local': batches "
        "divide by 8"
    )
    with pytest.raises(ValueError, match="all cores of the TPU"):
        ks.distribute(2, tpu="local")


@pytest.mark.backends("tensorflow")
def test_a_tpu_that_is_there_is_taken_by_itself(monkeypatch):
    import tensorflow as tf

    FakeTPU(monkeypatch, tf)
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: ["TPU:0"]
    )
    assert ks.distribute().picked == "TensorFlow TPUStrategy"


@pytest.mark.backends("tensorflow")
def test_a_tpu_that_is_not_there_names_jax(monkeypatch):
    import tensorflow as tf

    FakeTPU(monkeypatch, tf, ValueError("Please provide a TPU Name"))
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax.*a TPU Name"):
        ks.distribute(tpu="local")


@pytest.mark.backends("jax")
def test_model_parallel_needs_a_cell_for_each_device():
    with pytest.raises(ValueError, match=r"devices, 4, .* \(3, 2\)"):
        ks.distribute(model_parallel=(3, 2))


@pytest.mark.backends("jax")
def test_model_parallel_trains_as_one_device_does():
    from jax.sharding import PartitionSpec as P

    def train(run):
        with run:
            model = tiny.smallest(num_layers=2)
            tiny.set_weights_by_path(model)
            model.compile(learning_rate=0.05)
            losses = model.fit(
                tiny.images(6),
                tiny.labels(6),
                batch_size=2,
                epochs=2,
                shuffle=False,
                verbose=0,
            ).history["loss"]
            return losses, model.segment(tiny.images(1)[0]), model

    losses, labels, model = train(ks.distribute(model_parallel=(2, 2)))
    kernels = {v.path: v.value.sharding.spec for v in model.weights}
    assert kernels["block_2/attention/qkv/kernel"] == P(None, "model")
    assert kernels["block_2/mlp/projection/kernel"] == P("model", None)
    momentum = next(
        v for v in model.optimizer.variables if "2_mlp_expansion_k" in v.path
    )
    assert momentum.value.sharding.spec == P(None, "model")
    expected_losses, expected_labels, _ = train(ks.distribute(1))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_array_equal(labels, expected_labels)


# === Workers ===


@pytest.mark.no_backend
def test_rows_of_a_worker_are_a_run_and_then_repeats():
    # 5 images, 2 workers of 2 devices: 3 rows each, filled up to 4.
    rows, repeated = workers.rows_of(5, 0, 2, 2)
    assert rows.tolist() == [0, 1, 2, 0]
    assert repeated.tolist() == [False, False, False, True]
    rows, repeated = workers.rows_of(5, 1, 2, 2)
    assert rows.tolist() == [3, 4, 0, 3]
    assert repeated.tolist() == [False, False, True, True]


@pytest.mark.no_backend
@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_every_row_is_counted_once_and_known_to_its_reader(size, num_workers):
    counted = []
    for worker in range(num_workers):
        rows, repeated = workers.rows_of(size, worker, num_workers, 2)
        counted += rows[~repeated].tolist()
        owned = workers.computes_row(np.arange(size), size, worker, num_workers)
        assert set(np.flatnonzero(owned)) == set(rows)
    assert counted == list(range(size))


@pytest.mark.backends("tensorflow")
def test_a_job_counts_its_chief_first(monkeypatch):
    cluster = {"worker": ["a:1", "b:1"], "chief": ["c:1"]}
    for task, expected in (
        ({"type": "chief", "index": 0}, (0, 3)),
        ({"type": "worker", "index": 1}, (2, 3)),
        ({"type": "evaluator", "index": 0}, (0, 1)),
    ):
        config = {"cluster": cluster, "task": task}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert workers.job() == expected
        assert workers.is_chief() == (expected[0] == 0)


@pytest.mark.backends("tensorflow")
def test_workers_are_joined_before_anything_else(monkeypatch):
    config = {
        "cluster": {"worker": ["localhost:1", "localhost:2"]},
        "task": {"type": "worker", "index": 1},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(RuntimeError, match="call distribute.. first"):
        ks.distribute()
    with pytest.raises(ValueError, match="workers=3, but TF_CONFIG names 2"):
        ks.distribute(workers=3)
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES"):
        ks.distribute(devices=1)


@pytest.mark.backends("jax")
def test_workers_join_before_anything_else(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "localhost:1,b:2")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    with pytest.raises(RuntimeError, match="call distribute.. first"):
        ks.distribute()


class Numbered:
    """Pair `i` is 3 x 5 pixels of label `i` and grey value `10 i + 1`."""

    def __init__(self, size):
        self.size = size
        self.read = set()

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.add(index)
        image = np.full((3, 5, 3), 10 * index + 1, "uint8")
        return image, np.full((3, 5), index, "uint8")


@pytest.mark.no_backend
@pytest.mark.parametrize("reader", ["tf.data", "threads", "grain"])
@pytest.mark.parametrize("steps", [None, 3])
def test_each_worker_reads_its_rows_of_each_batch(reader, steps):
    if reader != "threads":
        pytest.importorskip({"tf.data": "tensorflow"}.get(reader, reader))
    if steps is not None and reader != "threads":
        pytest.skip("the order of pairs is not the reader's")
    # 7 pairs: batches of 4 and 3, or 3 of 4.
    sources = [Numbered(7), Numbered(7)]
    parts = [
        segmentation_batches(
            source,
            4,
            EvaluationTransform((3, 5)),
            shuffle=True,
            steps_per_epoch=steps,
            reader=reader,
            shard=(worker, 2),
        )
        for worker, source in enumerate(sources)
    ]
    whole = segmentation_batches(
        Numbered(7),
        4,
        EvaluationTransform((3, 5)),
        shuffle=True,
        steps_per_epoch=steps,
        reader="threads",
    )
    for (images, labels), *own in zip(whole, *parts, strict=True):
        for worker, (own_images, own_labels) in enumerate(own):
            own_images, own_labels = map(np.asarray, (own_images, own_labels))
            rows, _ = workers.rows_of(len(images), worker, 2)
            np.testing.assert_array_equal(own_images[rows], images[rows])
            np.testing.assert_array_equal(own_labels[rows], labels[rows])
            others = np.setdiff1d(np.arange(len(images)), rows)
            assert (own_images[others] == 0).all()
            assert (own_labels[others] == 255).all()
    if steps is None:
        # Row 0 fills up the batch of 3, so both read that one.
        assert len(sources[0].read) == 4 and len(sources[1].read) == 4


@pytest.mark.no_backend
def test_a_shard_is_a_worker_of_several():
    with pytest.raises(ValueError, match=r"shard must be .*\(2, 2\)"):
        segmentation_batches(
            Numbered(7), 4, EvaluationTransform((3, 5)), shard=(2, 2)
        )


# === Batches that do not divide ===


@pytest.mark.no_backend
def test_a_part_is_filled_up_with_images_that_do_not_count():
    x = np.arange(3).reshape(3, 1, 1, 1)
    y = np.array([[[7]], [[8]], [[9]]], "uint8")
    weight = np.array([0.25, 0.5, 1.0])
    # 3 rows for 2 workers: 0 and 1 for the first, 2 and a repeat for this.
    x, y, weight = divide_batch(x, y, weight, 1, 2, 1, ignore_class=255)
    assert x.ravel().tolist() == [2, 0]
    assert y.ravel().tolist() == [9, 255]
    assert weight.tolist() == [1.0, 0.25]


@pytest.mark.no_backend
def test_labels_are_widened_for_an_ignore_class_below_zero():
    x, y = np.zeros((1, 2, 3, 1)), np.full((1, 2, 3), 4, "uint8")
    _, y, _ = divide_batch(x, y, None, 0, 1, 2, ignore_class=-1)
    assert y[:, 0, 0].tolist() == [4, -1]


@pytest.mark.no_backend
def test_a_batch_that_cannot_be_filled_up_is_an_error():
    x, y = np.zeros((3, 2, 3, 1)), np.zeros((3, 2, 3), "uint8")
    with pytest.raises(ValueError, match="Received: 3 images and ignore_class"):
        divide_batch(x, y, None, 0, 1, 2, ignore_class=None)
    assert len(divide_batch(x[:2], y[:2], None, 0, 1, 2, None)[0]) == 2


@pytest.mark.no_backend
def test_the_same_in_a_tensorflow_graph_of_unknown_batches():
    tf = pytest.importorskip("tensorflow")
    x = np.arange(5).reshape(5, 1, 1, 1)
    y = np.arange(5, dtype="uint8").reshape(5, 1, 1)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    parts = dataset.map(
        lambda x, y: divide_batch(x, y, None, 0, 1, 2, ignore_class=255)[:2]
    )
    images, labels = zip(*parts.as_numpy_iterator())
    assert [i.ravel().tolist() for i in images] == [[0, 1, 2, 0], [3, 4]]
    assert [i.ravel().tolist() for i in labels] == [[0, 1, 2, 255], [3, 4]]


@pytest.fixture(scope="module")
def one_device():
    """The scores of 5 images on one device."""
    with ks.distribute(1, verbose=False):
        model = tiny.smallest()
        tiny.set_weights_by_path(model)
        x, y = tiny.images(5), uneven_labels().astype("int32")
        return model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)


def uneven_labels():
    labels = tiny.labels(5)
    # The last image, alone in its batch, has the labels of one row.
    labels[4, 2:] = 255
    return labels


class InMemory:
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return tiny.images(5)[index], uneven_labels()[index]


@pytest.fixture(scope="module")
def several_devices():
    """`(run, model)` on all devices."""
    with ks.distribute(verbose=False) as run:
        model = tiny.smallest()
        tiny.set_weights_by_path(model)
    return run, model


@pytest.mark.backends("tensorflow", "jax")
@pytest.mark.parametrize("reader", ["arrays", "tf.data", "threads", "grain"])
def test_a_short_batch_is_scored_as_on_one_device(
    reader, one_device, several_devices
):
    run, model = several_devices
    if reader == "arrays":
        batches = (tiny.images(5), uneven_labels().astype("int32"))
        options = {"batch_size": 4}
    else:
        transform = EvaluationTransform((16, 24))
        batches = (
            segmentation_batches(InMemory(), 4, transform, reader=reader),
        )
        options = {}
    with run:
        scores = model.evaluate(
            *batches, **options, verbose=0, return_dict=True
        )
    assert scores.keys() == one_device.keys()
    for name, expected in one_device.items():
        # Keras weighs the loss of a batch by its rows, fillers included.
        if name != "loss":
            assert scores[name] == pytest.approx(expected, rel=1e-5), name


@pytest.mark.backends("tensorflow", "jax")
def test_the_loss_of_a_short_batch_is_that_of_one_device(several_devices):
    run, model = several_devices
    x, y = tiny.images(5)[2:], uneven_labels()[2:].astype("int32")
    with run:
        loss = model.evaluate(x, y, batch_size=4, verbose=0)[0]
    logits = tiny.outputs(model, model.preprocessor(x.astype("float32")))
    expected = float(PixelCrossEntropy()(y, logits))
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.backends("tensorflow", "jax")
def test_a_fit_goes_through_short_batches(several_devices):
    run, model = several_devices
    with run:
        history = model.fit(
            tiny.images(5),
            uneven_labels(),
            batch_size=4,
            validation_data=(tiny.images(1), tiny.labels(1)),
            verbose=0,
        ).history
    assert np.isfinite([history["loss"], history["val_loss"]]).all()
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 2
