"""fit, evaluate and the loss of the SETR models."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.optimizers import schedule_of
from tests import tiny
from tests.training import tiny_run


@pytest.fixture(scope="module")
def untrained():
    """One model for all that is refused before the first step."""
    return tiny.smallest()


def dataset(images, labels, batch_size=2):
    tf = pytest.importorskip("tensorflow")
    pairs = tf.data.Dataset.from_tensor_slices((images, labels))
    return pairs.batch(batch_size)


def cross_entropy(logits, labels):
    """Mean of -log softmax over the pixels that are not 255."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    valid = labels != 255
    return -log_p[valid, labels[valid]].mean()


def test_the_loss_is_the_main_one_plus_weighted_auxiliary_ones():
    model = tiny.build("pup", auxiliary_weight=0.3)
    rng = np.random.default_rng(0)
    labels = tiny.labels()

    def logits(size):
        return rng.normal(size=(2, *size, 5)).astype("float32")

    y_pred = {
        "logits": logits((16, 24)),
        "auxiliary_0": logits((16, 24)),
        "auxiliary_1": logits((16, 24)),
    }
    expected = cross_entropy(y_pred["logits"], labels) + 0.3 * sum(
        cross_entropy(y_pred[f"auxiliary_{i}"], labels) for i in (0, 1)
    )
    for y in (labels, labels[..., None]):
        loss = array(model.compute_loss(None, y.astype("int32"), y_pred))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_auxiliary_logits_are_enlarged_to_the_labels():
    model = tiny.build("pup", auxiliary_weight=1.0)
    small = np.random.default_rng(0).normal(size=(2, 2, 3, 5))
    small = small.astype("float32")
    large = array(
        ks.layers.resampling.resize_bilinear(ops.array(small), (16, 24))
    )
    labels = tiny.labels().astype("int32")
    expected = 2 * cross_entropy(large, labels)
    # In tiles from the heads' own logits, and from those that are resized.
    for main in ({"decode_head": small}, {}):
        y_pred = {"logits": large, "auxiliary_0": small, **main}
        loss = model.compute_loss(None, labels, y_pred)
        np.testing.assert_allclose(array(loss), expected, rtol=1e-5)


def test_weights_of_losses_count():
    model = tiny.build("pup", auxiliary_layers=())
    model.compile(loss_weights=3.0)
    y_pred = tiny.outputs(
        keras.Model(model.input, model.output), np.zeros((2, 16, 24, 3))
    )
    labels = tiny.labels().astype("int32")
    expected = 3 * cross_entropy(array(y_pred["logits"]), labels)
    loss = model.compute_loss(None, labels, y_pred)
    np.testing.assert_allclose(array(loss), expected, rtol=1e-5)


def test_ignored_pixels_and_their_logits_do_not_count():
    model = tiny.build("naive")
    labels = tiny.labels().astype("int32")
    logits = np.random.default_rng(0).normal(size=(2, 16, 24, 5))
    changed = logits.copy()
    changed[labels == 255] += 100.0 * np.arange(5)
    for y_pred in (logits, changed):
        loss = array(model.compute_loss(None, labels, ops.array(y_pred)))
        np.testing.assert_allclose(
            loss, cross_entropy(logits, labels), rtol=1e-5
        )


@pytest.mark.no_backend
def test_compile_without_arguments_is_the_papers_recipe():
    model = tiny.build("pup")
    optimizer = model.optimizer
    assert isinstance(optimizer, ks.optimizers.SGD)
    assert optimizer.momentum == 0.9
    assert optimizer.weight_decay is None
    schedule = schedule_of(optimizer)
    assert schedule.initial_learning_rate == 0.001
    assert schedule.end_learning_rate == 1e-4
    assert schedule.power == 0.9
    factors = {
        v.path.split("/")[0]: optimizer.multiplier(v.path)
        for v in model.trainable_variables
    }
    assert factors.pop("decode_head") == 10
    assert factors.pop("auxiliary_head_0") == 10
    assert factors.pop("auxiliary_head_1") == 10
    assert set(factors.values()) == {1} and "block_1" in factors
    mla = tiny.build("mla")
    assert mla.optimizer.multiplier("neck/fusion_0/kernel") == 1


def test_training_learns_reports_and_decays_over_the_fit():
    model = ks.SETRPUP(
        tiny.backbone(num_layers=1),
        tiny.CLASSES,
        filters=8,
        auxiliary_filters=7,
        auxiliary_layers=(1,),
    )
    model.compile(learning_rate=0.05)
    x = tiny.images(6)
    labels = (x[..., 0] > 127).astype("uint8") + 2  # of the pixel itself
    labels[:, :, :2] = 255
    constant = np.full_like(labels, 3)
    history = model.fit(
        x,
        np.where(labels == 255, labels, constant),
        batch_size=2,
        epochs=5,
        verbose=0,
        validation_data=dataset(x, constant),
    ).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_pixel_accuracy"][-1] == 1.0
    assert {"mean_iou", "pixel_accuracy", "val_mean_iou"} <= set(history)
    # 5 epochs of 3 steps; the next fit begins at the full rate again.
    schedule = schedule_of(model.optimizer)
    assert schedule.span == (0, 15)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-4)
    model.fit(dataset(x, constant), epochs=1, verbose=0)
    assert schedule.span == (15, 3)


@pytest.mark.parametrize("kind", ["arrays", "tf.data"])
def test_batches_of_threads_validate_on_images_of_any_kind(kind):
    model = tiny.smallest()
    model.compile(metrics=None, **tiny.UNCOMPILED)
    pairs = tiny.images(), tiny.labels()
    logs = model.fit(
        tiny_run.batches(),
        validation_data=pairs if kind == "arrays" else dataset(*pairs),
        verbose=0,
    ).history
    # Normalised alike: 0..255 as they are would give another loss.
    expected = model.evaluate(dataset(*pairs), verbose=0, return_dict=True)
    assert logs["val_loss"][-1] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("reader", ["tf.data", "threads"])
def test_each_epoch_takes_one_pass_and_no_look_before(reader):
    if reader == "tf.data":
        pytest.importorskip("tensorflow")
    model = tiny.smallest()
    model.compile(metrics=None, **tiny.UNCOMPILED)
    # Passes of 5 batches to train on, of 2 to validate.
    batches, validation = tiny_run.batches(reader), tiny_run.validation(reader)
    model.evaluate(validation, verbose=0)
    assert validation.position.step == 2
    model.fit(batches, validation_data=validation, epochs=2, verbose=0)
    assert batches.position.step == 2 * 5
    assert validation.position.step == 3 * 2


def test_a_schedule_with_a_length_of_its_own_keeps_it():
    model = tiny.smallest()
    schedule = ks.optimizers.PolynomialDecay(0.01, decay_steps=40)
    model.compile(ks.optimizers.SGD(schedule), metrics=None, **tiny.UNCOMPILED)
    model.fit(tiny.images(), tiny.labels(), verbose=0)
    assert schedule.span == (0, 40)


@pytest.mark.parametrize("optimizer", ("auto", "adamw"))
def test_a_cosine_with_warm_up_is_spread_over_a_fit(optimizer):
    model = tiny.smallest()
    model.compile(
        optimizer,
        learning_rate=0.01,
        schedule="cosine",
        warmup_steps=3,
        layer_decay=0.5,
        head_multiplier=4.0,
        gradient_accumulation_steps=2,
        clipnorm=0.5,
        metrics=None,
        **tiny.UNCOMPILED,
    )
    schedule = schedule_of(model.optimizer)
    assert type(schedule) is ks.optimizers.CosineDecay
    assert schedule.warmup_steps == 3
    assert model.optimizer.multiplier("decode_head/kernel") == 4.0
    assert model.optimizer.multiplier("block_1/kernel") == 0.5
    assert model.optimizer.clipnorm == 0.5
    # 8 batches of one image are 4 updates.
    data = tiny.images(4), tiny.labels(4)
    model.fit(*data, batch_size=1, epochs=2, verbose=0)
    assert schedule.span == (0, 4)


def test_a_fit_of_unknown_length_asks_for_the_number_of_steps(untrained):
    unknown = iter([(tiny.images(), tiny.labels())])
    with pytest.raises(ValueError, match="steps_per_epoch.*total_steps"):
        untrained.fit(unknown, verbose=0)


@pytest.mark.no_backend
def test_a_given_optimizer_takes_no_learning_rate_beside_it(untrained):
    with pytest.raises(ValueError, match="learning_rate=0.1"):
        untrained.compile("sgd", learning_rate=0.1)


def test_a_saved_model_keeps_its_optimizer(tmp_path):
    model = tiny.smallest()
    options = {"metrics": None, **tiny.UNCOMPILED}
    model.compile(learning_rate=0.02, total_steps=40, **options)
    model.train_on_batch(tiny.images(), tiny.labels())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.learning_rate_multipliers == {"head": 10.0}
    assert schedule_of(loaded.optimizer).decay_steps == 40
    assert int(array(loaded.optimizer.iterations)) == 1
    for a, b in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_allclose(array(a), array(b), atol=1e-7)


def test_a_preset_holds_no_optimizer_state(tmp_path):
    model = tiny.smallest()
    model.compile(metrics=None, **tiny.UNCOMPILED)
    model.save_to_preset(tmp_path / "before")
    model.train_on_batch(tiny.images(), tiny.labels())
    model.save_to_preset(tmp_path / "after")
    sizes = [
        (tmp_path / name / "task.weights.h5").stat().st_size
        for name in ("before", "after")
    ]
    assert sizes[0] == sizes[1]


def test_one_entry_loads_whatever_the_preset_holds(tmp_path):
    tiny.build("mla").save_to_preset(tmp_path / "preset")
    path = str(tmp_path / "preset")
    assert type(ks.SETRSegmenter.from_preset(path)) is ks.SETRMLA
    with pytest.raises(ValueError, match="holds a SETRMLA"):
        ks.SETRPUP.from_preset(path)


def wrong_inputs():
    x, y = tiny.images(), tiny.labels()
    nan = x.astype("float32")
    nan[1, 3, 4, 0] = np.nan
    label = y.copy()
    label[1, 5, 6] = 7
    return {
        "size": (x[:, :15], y[:, :15], r"\(15, 24\).*\(16, 24\)"),
        "channels": (x[..., :2], y, r"3 input channels.*\(16, 24, 2\)"),
        "nan": (nan, y, r"x\[1\] holds 1 value of NaN"),
        "label": (x, label, r"label 7 at \(1, 5, 6\).*0..4 or ignore_class"),
        "shape": (x, y[:, :, :20], r"one label per pixel.*\(2, 16, 20\)"),
        "float": (x, y.astype("float32"), "integer class labels.*float32"),
        "rank": (x[0], y[0], r"\(batch, height, width, channels\)"),
    }


@pytest.mark.parametrize("problem", wrong_inputs())
def test_wrong_arrays_are_named_before_training(problem, untrained):
    x, y, message = wrong_inputs()[problem]
    with pytest.raises(ValueError, match=message):
        untrained.fit(x, y, verbose=0)
    assert int(array(untrained.optimizer.iterations)) == 0


def test_wrong_validation_data_is_named_before_training(untrained):
    x, y, message = wrong_inputs()["label"]
    with pytest.raises(ValueError, match=message):
        untrained.fit(tiny.images(), tiny.labels(), validation_data=(x, y))
    assert int(array(untrained.optimizer.iterations)) == 0


def test_wrong_shapes_of_a_dataset_are_named_before_training(untrained):
    x, y, message = wrong_inputs()["size"]
    with pytest.raises(ValueError, match=message):
        untrained.fit(dataset(x, y), verbose=0)


def test_a_dataset_with_a_wrong_label_stops_the_training():
    model = tiny.smallest()
    model.compile(metrics=None, **tiny.UNCOMPILED)
    x, y, _ = wrong_inputs()["label"]
    with pytest.raises(Exception, match="num_classes=5 allows 0..4"):
        model.fit(dataset(x, y), verbose=0)


def test_the_input_model_itself_checks_the_channels(untrained):
    with pytest.raises(ValueError, match="shape"):
        untrained(np.zeros((1, 16, 24, 4)))


def test_batches_of_another_size_than_the_model_are_refused(untrained):
    """Both sizes are named, and what would fit."""
    height, width, channels = untrained.backbone.image_shape
    other = np.zeros((2, 2 * height, width, channels), "uint8")
    words = (
        f"holds images of {2 * height} x {width}, but the model was built for "
        f"{height} x {width}"
    )
    with pytest.raises(ValueError, match=words) as error:
        untrained.fit(other, np.zeros(other.shape[:3], "int32"))
    assert "pass images of the model's size" in str(error.value)
    assert f"image_shape={(2 * height, width, channels)}" in str(error.value)


@pytest.mark.backends("tensorflow")
def test_another_fit_takes_the_step_that_was_compiled():
    # Each one that is compiled anew stays in memory for ever.
    model = tiny.smallest()
    x, y = tiny.images(), tiny.labels()
    model.compile(learning_rate=0.01)
    model.fit(x, y, verbose=0)
    step = model.train_function
    model.fit(x, y, epochs=3, verbose=0)
    assert model.train_function is step
    # Nothing is left of the second fit's three steps.
    rate = model.optimizer.learning_rate
    np.testing.assert_allclose(ops.convert_to_numpy(rate), 1e-4, rtol=1e-5)


class _Given(keras.utils.PyDataset):
    """Batches of one kind."""

    def __init__(self, count, batch):
        super().__init__()
        self.count, self.batch = count, batch

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.batch


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: _Given(0, None), "x must give a batch"),
        (lambda: _Given(1, None), "x must have shape .* Received: None"),
        (
            lambda: dataset(tiny.images(2), tiny.labels(2)).repeat(),
            "steps_per_epoch must .* for ever",
        ),
    ],
)
def test_data_without_a_batch_or_an_end_is_named(data, words, untrained):
    with pytest.raises(ValueError, match=words):
        untrained.fit(data(), verbose=0)


def test_an_iterator_that_is_at_its_end_is_named(untrained):
    with pytest.raises(ValueError, match="must give a batch.*at its end"):
        untrained.fit(iter([]), steps_per_epoch=1, verbose=0)
