"""Every verb that Keras and KerasHub give a segmenter: it works, or says why.

`VERBS` is the table. `STATE` lists the rest: what Keras calls itself, and what
reads or builds state, as it came from Keras.
"""

import sys
import types
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

import keras_setr as ks
from keras_setr.models.verbs import preparing
from keras_setr.models.verbs.training_verbs import CALLBACKS
from keras_setr.optimizers import schedule_of
from tests import tiny

# verb or argument: (verdict, the test below)
VERBS = {
    "fit": ("works", "test_every_kind_of_data_gives_the_same_scores"),
    "fit(shuffle)": ("works", "test_arrays_come_in_a_new_order_each_epoch"),
    "fit(class_weight)": ("works", "test_class_weights_weigh_pixels"),
    "fit(sample_weight)": ("works", "test_weights_per_image_and_per_pixel"),
    "fit(validation_split)": (
        "works",
        "test_a_split_decays_over_the_steps_that_run",
    ),
    "fit(callbacks)": ("works", "test_keras_callbacks_know_what_is_better"),
    "fit(..=0)": ("refuses", "test_wrong_arguments_are_named"),
    "evaluate": ("works", "test_every_kind_of_data_gives_the_same_scores"),
    "predict": ("works", "test_every_kind_of_data_can_be_predicted"),
    "predict('file.jpg')": ("refuses", "test_predict_takes_no_single_image"),
    "segment(PIL image)": ("works", "test_a_pillow_image_is_segmented"),
    "train_on_batch": ("works", "test_single_batches"),
    "test_on_batch": ("works", "test_single_batches"),
    "predict_on_batch": ("works", "test_single_batches"),
    "compile(loss=)": ("works", "test_keras_losses_get_what_they_expect"),
    "compile(metrics=)": ("works", "test_metrics_by_name_leave_ignored_out"),
    "compile(optimizer=)": ("refuses", "test_rates_that_no_step_can_take"),
    "compile(use_ema=)": ("works", "test_averaged_weights_are_kept"),
    "compile(steps_per_execution=)": (
        "works, but on torch, where Keras before 3.16 refuses",
        "test_several_steps_in_one_execution",
    ),
    "compile": ("works", "test_keras_losses_get_what_they_expect"),
    "one-hot labels": ("works", "test_keras_losses_get_what_they_expect"),
    "images in another range": (
        "refuses what is certain, warns of what is likely",
        "test_images_in_another_range",
    ),
    "backbone.enable_lora": (
        "works",
        "test_lora_adapts_the_projections_and_is_saved",
    ),
    "quantize": ("works for int8", "test_int8_predicts_and_is_saved"),
    "clone_model": ("refuses", "test_clone_model_says_what_to_do"),
    "as a layer": ("works", "test_a_segmenter_is_a_layer_of_another_model"),
    "call": ("works", "test_a_segmenter_is_a_layer_of_another_model"),
    "trainable": ("works", "test_what_is_frozen_is_saved"),
    "save": ("works for .keras", "test_what_is_frozen_is_saved"),
    "save('model.h5')": ("refuses", "test_the_legacy_format_is_refused"),
    "save_weights": ("works", "test_weights_of_another_size_are_named"),
    "load_weights": ("works", "test_weights_of_another_size_are_named"),
    "save_to_preset": ("works", "test_int8_predicts_and_is_saved"),
    "from_preset": ("works", "tests/checkpoints/test_presets.py"),
    "export": ("works", "tests/export/test_export.py"),
    "channels_first": ("works", "test_channels_first_changes_nothing"),
    "from_config": ("works", "test_clone_model_says_what_to_do"),
    "summary": ("works", "test_what_is_frozen_is_saved"),
}

STATE = """
    add_loss add_metric add_variable add_weight build build_from_config
    compile_from_config compute_loss compute_mask compute_metrics
    compute_output_shape compute_output_spec count_params get_build_config
    get_compile_config get_config get_layer get_metrics_result
    get_quantization_layer_structure get_state_tree get_weights
    has_task_weights load_own_variables load_task_weights
    make_predict_function make_test_function make_train_function
    preprocess_samples quantized_build quantized_call rematerialized_call
    reset_metrics save_own_variables save_task_weights set_state_tree
    set_weights stateless_call stateless_compute_loss symbolic_call to_json
    jax_state_sync predict_step test_step train_step
    backbone backbone_cls compute_dtype dtype dtype_policy input input_dtype
    input_shape input_spec jit_compile layers losses metrics metrics_names
    metrics_variables non_trainable_variables non_trainable_weights output
    output_shape path preprocessor preprocessor_cls presets quantization_mode
    run_eagerly supports_masking trainable_variables trainable_weights
    variable_dtype variables weights distribute_reduction_method
    distribute_strategy make_test_function unrolled_steps_per_execution
    steps_per_execution auto_scale_loss nodes inputs outputs
    loss compiled_loss compiled_metrics compute_loss_and_updates operations
    forward named_parameters torch_params zero_grad
    add_attribute tf_trackable_name
    lora_enabled quantization_summary state_sync variable_serialization_spec
""".split()

BACKEND = keras.config.backend()


def small(**options):
    model = ks.SETRNaive(
        tiny.backbone(num_layers=2, **options),
        tiny.CLASSES,
        filters=8,
        auxiliary_layers=(1,),
        auxiliary_filters=7,
    )
    tiny.set_weights_by_path(model)
    return model


@pytest.fixture(scope="module")
def still():
    """A model that a fit leaves as it is, so that losses can be compared."""
    model = small()
    model.compile(ks.optimizers.SGD(0.0), **tiny.UNCOMPILED)
    return model


@pytest.fixture(scope="module")
def compiled_anew():
    """A model whose weights stay, for tests that compile it for themselves."""
    return small()


X, Y = tiny.images(6), tiny.labels(6)


def loss(model, x=X, y=Y, **options):
    options = {"batch_size": 2, "shuffle": False, "verbose": 0, **options}
    if not isinstance(x, np.ndarray):
        options = {"verbose": 0}
        return model.fit(x, **options).history["loss"][0]
    return model.fit(x, y, **options).history["loss"][0]


class Pairs(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]


def pairs():
    for index in range(3):
        yield Pairs()[index]


def loader():
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(tensors, batch_size=2)


def dataset(elements):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(elements).batch(2)


def grain_batches():
    grain = pytest.importorskip("grain")
    return grain.MapDataset.source(list(zip(X, Y))).batch(2)


KINDS = {
    "PyDataset": Pairs,
    "generator": pairs,
    "iterator": lambda: iter(list(pairs())),
    "DataLoader": loader,
    "tf.data": lambda: dataset((X, Y)),
    "dicts": lambda: dataset(
        {"image": X, "segmentation_mask": Y, "label": np.arange(6)}
    ),
    "grain": grain_batches,
}


def test_every_public_name_is_in_the_table():
    names = {
        name
        for base in ks.SETRSegmenter.__mro__
        if base.__module__.startswith(("keras.", "keras_hub"))
        for name in vars(base)
        if not name.startswith("_")
    }
    assert names - {*VERBS, *STATE} == set()
    here = sys.modules[__name__]
    for verdict, test in VERBS.values():
        assert verdict.split()[0].strip(",") in ("works", "refuses")
        assert test.endswith(".py") or isinstance(
            getattr(here, test), types.FunctionType
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_gives_the_same_scores(kind, still):
    expected = still.evaluate(X, Y, batch_size=2, verbose=0)
    found = still.evaluate(KINDS[kind](), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    steps = int(array(still.optimizer.iterations))
    still.fit(KINDS[kind](), shuffle=False, verbose=0)
    assert int(array(still.optimizer.iterations)) == steps + 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_can_be_predicted(kind, still):
    expected = still.predict(X, verbose=0)
    found = still.predict(KINDS[kind](), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ("DataLoader", "PyDataset"))
def test_validation_data_may_be_of_another_kind(kind, still):
    expected = still.evaluate(X, Y, batch_size=2, verbose=0)[0]
    logs = still.fit(
        X, Y, validation_data=KINDS[kind](), epochs=2, verbose=0
    ).history
    np.testing.assert_allclose(logs["val_loss"], [expected] * 2, rtol=0.05)


@pytest.fixture
def seen_by(monkeypatch):
    """Fits for 2 epochs; gives the first value of each image, in order."""
    prepare, seen = preparing.prepare, []

    def recorder(model, x, *args, **options):
        seen.extend(x[:, 0, 0, 0].tolist())
        return prepare(model, x, *args, **options)

    monkeypatch.setattr(preparing, "prepare", recorder)

    def fit(model, **options):
        seen.clear()
        model.fit(X, Y, batch_size=2, epochs=2, verbose=0, **options)
        # What comes before is Keras' look at the sizes.
        return seen[-12:-6], seen[-6:]

    return fit


def test_arrays_come_in_a_new_order_each_epoch(still, seen_by):
    plain = X[:, 0, 0, 0].tolist()
    assert seen_by(still, shuffle=False) == (plain, plain)
    keras.utils.set_random_seed(0)
    first, second = seen_by(still)
    assert sorted(first) == sorted(second) == sorted(plain)
    assert len({tuple(plain), tuple(first), tuple(second)}) == 3
    keras.utils.set_random_seed(0)
    assert seen_by(still) == (first, second)


def test_class_weights_weigh_pixels(still):
    plain = loss(still)
    twice = dict.fromkeys(range(5), 2.0)
    assert loss(still, class_weight=twice) == pytest.approx(2 * plain, 1e-5)
    weights = np.array([1, 1, 0, 3, 1], "float32")
    # 255 is no class, and counts nowhere.
    pixels = np.append(weights, np.zeros(251))[Y]
    expected = loss(still, sample_weight=pixels)
    assert expected != pytest.approx(plain, 0.01)
    by_class = loss(still, class_weight={2: 0, np.int64(3): 3})
    assert by_class == pytest.approx(expected, 1e-5)
    assert loss(still, class_weight=weights) == pytest.approx(expected, 1e-5)
    for batches in (Pairs(), dataset((X, Y))):
        found = still.fit(
            batches, class_weight={2: 0, 3: 3}, shuffle=False, verbose=0
        )
        assert found.history["loss"][0] == pytest.approx(expected, 1e-5)


def test_weights_per_image_and_per_pixel(still):
    per_image = np.array([0, 1, 2, 3, 0, 1.0])
    per_pixel = per_image[:, None, None] * np.ones(Y.shape)
    expected = loss(still, sample_weight=per_pixel)
    assert loss(still, sample_weight=per_image) == pytest.approx(expected, 1e-5)
    found = loss(still, dataset((X, Y, per_image)))
    assert found == pytest.approx(expected, 1e-5)


def test_a_split_decays_over_the_steps_that_run():
    model = small()
    model.compile(learning_rate=0.01, **tiny.UNCOMPILED)
    logs = model.fit(
        X, Y, batch_size=2, epochs=2, validation_split=0.5, verbose=0
    ).history
    # 3 of 6 images, in batches of 2 and 1.
    assert schedule_of(model.optimizer).span == (0, 4)
    assert float(array(model.optimizer.learning_rate)) == pytest.approx(1e-4)
    last = model.evaluate(X[3:], Y[3:], batch_size=2, verbose=0)[0]
    assert logs["val_loss"][-1] == pytest.approx(last, 1e-5)


def test_keras_callbacks_know_what_is_better(still, tmp_path):
    path = str(tmp_path / "best.weights.h5")
    callbacks = [
        keras.callbacks.ModelCheckpoint(
            path, "val_mean_iou", save_best_only=True, save_weights_only=True
        ),
        keras.callbacks.EarlyStopping("val_pixel_accuracy", patience=9),
        keras.callbacks.ReduceLROnPlateau("mean_iou", min_lr=0.0),
    ]
    still.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, verbose=0)
    assert all(bool(c.monitor_op(2.0, 1.0)) for c in callbacks)


WRONG = {
    "batch_size": 0,
    "epochs": 0,
    "steps_per_epoch": 0,
    "validation_batch_size": 0,
    "validation_steps": -1,
    "validation_freq": 0,
    "initial_epoch": -1,
    "validation_split": 1.0,
    "shuffle": "batch",
    "callbacks": ["EarlyStopping"],
    "class_weight": {0: float("nan")},
    "sample_weight": np.ones(5),
    "verbose": 3,
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name, still):
    with pytest.raises(ValueError, match=f"^{name} must"):
        still.fit(X, Y, **{name: WRONG[name]})


def test_what_does_not_belong_together_is_refused(still):
    with pytest.raises(ValueError, match="y must hold labels.*none"):
        still.fit(X)
    with pytest.raises(TypeError, match="'batchsize'.*'batch_size'"):
        still.evaluate(X, Y, batchsize=2)
    with pytest.raises(ValueError, match="batch_size belongs to arrays"):
        still.fit(Pairs(), batch_size=2)
    with pytest.raises(ValueError, match="y belongs to arrays"):
        still.evaluate(Pairs(), Y)
    with pytest.raises(ValueError, match="validation_split takes the last"):
        still.fit(X, Y, validation_split=0.5, validation_data=(X, Y))
    with pytest.raises(ValueError, match=r"single images.*batches\(\.\.\)"):
        still.fit(list_of_pairs())
    with pytest.raises(ValueError, match="ends once, and 2 epochs"):
        still.fit(X, Y, validation_data=pairs(), epochs=2)
    with pytest.raises(ValueError, match="classes of the model, 0..4.*7"):
        still.fit(X, Y, class_weight={7: 1.0})
    with pytest.raises(ValueError, match=r"channels last.*\(2, 3, 16, 24\)"):
        still.train_on_batch(np.moveaxis(X[:2], -1, 1), Y[:2])
    with pytest.raises(ValueError, match="built for 16 x 24.*image_shape="):
        still.evaluate(np.zeros((1, 32, 24, 3), "uint8"), np.zeros((1, 32, 24)))
    with pytest.raises(ValueError, match="one of image, .*Received: picture"):
        still.fit(dataset({"picture": X, "mask": Y}))


def list_of_pairs():
    class Folder:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return X[index], Y[index]

    return Folder()


def test_predict_takes_no_single_image(still):
    with pytest.raises(ValueError, match=r"street\.jpg.*segment\(image\)"):
        still.predict("street.jpg")


def test_a_pillow_image_is_segmented(still):
    from PIL import Image

    image = Image.fromarray(X[0])
    expected = still.segment(X[0])
    np.testing.assert_array_equal(still.segment(image), expected)
    np.testing.assert_array_equal(still.segment([image])[0], expected)
    image = image.convert("RGBA")
    np.testing.assert_array_equal(still.segment(image), expected)
    image.putalpha(128)
    with pytest.raises(ValueError, match="'RGBA' with transparent pixels"):
        still.segment(image)


def test_single_batches(still):
    expected = still.evaluate(X, Y, verbose=0, return_dict=True)
    found = still.test_on_batch(X, Y, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], 1e-5)
    plain = still.train_on_batch(X, Y)[0]
    twice = dict.fromkeys(range(5), 2.0)
    weighed = still.train_on_batch(X, Y, class_weight=twice)[0]
    assert weighed == pytest.approx(2 * plain, 1e-5)
    logits = still.predict_on_batch(X[:2])
    np.testing.assert_allclose(
        array(logits), still.predict(X[:2], verbose=0), atol=1e-5
    )


LOGITS = np.random.default_rng(5).normal(size=(6, 16, 24, 5)).astype("float32")
ONE_HOT = np.append(np.eye(5), np.zeros((251, 5)), axis=0)[Y].astype("float32")


def softmax(logits):
    exp = np.exp(logits)
    return exp / exp.sum(axis=-1, keepdims=True)


def dice_loss():
    """1 - 2 |A B| / (|A| + |B|) over the pixels that count."""
    p = softmax(LOGITS) * (Y != 255)[..., None]
    return 1 - 2 * (p * ONE_HOT).sum() / (p.sum() + ONE_HOT.sum())


def cross_entropy():
    """-log p of each pixel's class, 0 where it is ignored."""
    return -(np.log(softmax(LOGITS)) * ONE_HOT).sum(axis=-1)


def losses():
    counted = (Y != 255).mean()
    mean, losses = cross_entropy().mean(), keras.losses
    return {
        "sparse name": ("sparse_categorical_crossentropy", mean / counted),
        "sparse": (losses.SparseCategoricalCrossentropy(), mean / counted),
        "function": (losses.sparse_categorical_crossentropy, mean / counted),
        "name": ("categorical_crossentropy", mean),
        "object": (losses.CategoricalCrossentropy(), mean),
        "logits": (losses.CategoricalCrossentropy(from_logits=True), mean),
        "Dice": (losses.Dice(), dice_loss()),
        "own": (lambda y, z: ops.mean(z), LOGITS.mean()),
    }


@pytest.mark.parametrize("name", losses())
def test_keras_losses_get_what_they_expect(name, compiled_anew):
    given, expected = losses()[name]
    model = compiled_anew
    model.compile("sgd", loss=given, metrics=None)
    found = array(model.compute_loss(None, Y, LOGITS))
    assert found == pytest.approx(expected, 1e-4)
    if "sparse" in name or name in ("own", "function"):
        return
    found = array(model.compute_loss(None, ONE_HOT, LOGITS))
    assert found == pytest.approx(expected, 1e-4)


def test_one_hot_labels_are_fitted_or_refused(still, compiled_anew):
    with pytest.raises(ValueError, match=r"one integer per pixel.*argmax"):
        still.fit(X, ONE_HOT)
    model = compiled_anew
    model.compile(
        ks.optimizers.SGD(0.0),
        loss=keras.losses.Dice(),
        metrics="auto",
        **tiny.UNCOMPILED,
    )
    expected = model.evaluate(X, Y, batch_size=2, verbose=0)
    for batches in ((X, ONE_HOT), (dataset((X, ONE_HOT)), None)):
        size = None if batches[1] is None else 2
        found = model.evaluate(*batches, batch_size=size, verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="Dice .*no weights per pixel"):
        model.compute_loss(None, Y, LOGITS, np.ones(Y.shape, "float32"))


def test_metrics_by_name_leave_ignored_out(compiled_anew):
    model = compiled_anew
    model.compile("sgd", metrics=["accuracy", "mean_iou"])
    model.compute_metrics(None, Y, LOGITS)
    right = (LOGITS.argmax(axis=-1) == Y)[Y != 255].mean()
    found = model.get_metrics_result()
    assert float(found["accuracy"]) == pytest.approx(right, 1e-5)
    assert set(found) == {"loss", "accuracy", "mean_iou"}


def test_scores_of_keras_fit_labels_and_logits_or_are_refused(compiled_anew):
    model, theirs = compiled_anew, keras.metrics
    classes = model.num_classes
    ours = theirs.MeanIoU(classes, sparse_y_pred=False, ignore_class=255)
    model.compile("sgd", metrics={"logits": ["accuracy", [ours]]})
    model.compute_metrics(None, Y, LOGITS)
    assert set(model.get_metrics_result()) == {"loss", "accuracy", ours.name}
    assert float(ours.result()) > 0
    for metric in (theirs.AUC(), theirs.Precision(), theirs.MeanIoU(classes)):
        with pytest.raises(ValueError, match="metrics must take labels"):
            model.compile("sgd", metrics=[metric])
        assert all(not array(v).any() for v in metric.variables)
    for loss in ("mse", keras.losses.BinaryCrossentropy()):
        with pytest.raises(ValueError, match="loss must take labels"):
            model.compile("sgd", loss=loss)
    with pytest.warns(UserWarning, match="counts pixels of ignore_class=255"):
        model.compile("sgd", metrics=[theirs.SparseCategoricalAccuracy()])


def test_no_metrics_are_none_whatever_was_compiled_before(compiled_anew):
    model = compiled_anew
    model.compile("sgd", metrics=["mean_iou"])
    model.compile("sgd", metrics=None)
    model.compute_metrics(None, Y, LOGITS)
    assert list(model.get_metrics_result()) == ["loss"]


@pytest.mark.parametrize("rate", (-1.0, float("nan"), float("inf")))
def test_rates_that_no_step_can_take(rate, still):
    with pytest.raises(ValueError, match="learning_rate .*at least 0"):
        still.compile(keras.optimizers.SGD(rate))
    for optimizer in (ks.optimizers.SGD, ks.optimizers.AdamW):
        with pytest.raises(ValueError, match="learning_rate .*at least 0"):
            optimizer(rate)
        with pytest.raises(ValueError, match="learning_rate_multipliers must"):
            optimizer(0.1, learning_rate_multipliers={"head": rate})
    with pytest.raises(ValueError, match="accumulation_steps .*at least 2"):
        ks.optimizers.SGD(0.1, gradient_accumulation_steps=0)


def test_averaged_weights_are_kept():
    model = small()
    model.compile(
        ks.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5),
        metrics=None,
        **tiny.UNCOMPILED,
    )
    model.fit(X, Y, batch_size=3, verbose=0)
    averages = model.optimizer._model_variables_moving_average
    for variable, average in zip(model.trainable_variables, averages):
        np.testing.assert_allclose(array(variable), array(average), atol=1e-6)


def test_several_steps_in_one_execution(compiled_anew):
    model = compiled_anew
    model.compile(ks.optimizers.SGD(0.0), metrics=None, steps_per_execution=2)
    before = tuple(map(int, keras.__version__.split(".")[:2])) < (3, 16)
    if BACKEND == "torch" and before:
        with pytest.raises(ValueError, match="must be 1 with the PyTorch"):
            loss(model)
        return
    loss(model)
    assert int(array(model.optimizer.iterations)) == 3


RANGES = {
    "-1..1": (X / 127.5 - 1, "error"),
    "normalised": ((X - 120.0) / 58.0, "error"),
    "uint16": (X.astype("uint16") * 257, "error"),
    "negative": (X.astype("int16") - 128, "error"),
    "0..1": (X / 255.0, "warning"),
    "overshoot": (X.astype("float32") * 1.1, "warning"),
    "float": (X.astype("float32"), None),
    "int32": (X.astype("int32"), None),
}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("verb", ("fit", "tf.data", "segment"))
def test_images_in_another_range(name, verb, still):
    images, verdict = RANGES[name]
    verbs = {
        "fit": lambda: still.fit(images, Y, batch_size=2, verbose=0),
        "tf.data": lambda: still.evaluate(dataset((images, Y)), verbose=0),
        "segment": lambda: still.segment(images),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if verdict == "error":
            with pytest.raises(Exception, match=r"expects 0\.\.255"):
                verbs[verb]()
        else:
            verbs[verb]()
    told = [w for w in caught if "expects 0..255" in str(w.message)]
    assert len(told) == (verdict == "warning")


def test_lora_adapts_the_projections_and_is_saved(tmp_path):
    model = small()
    with pytest.raises(ValueError, match="'query'.*"):
        model.backbone.enable_lora(2, ["query"])
    model.backbone.enable_lora(2)
    with pytest.raises(ValueError, match="once.*rank 2"):
        model.backbone.enable_lora(2)
    model.compile(ks.optimizers.SGD(0.5), metrics=None, **tiny.UNCOMPILED)
    before = {v.path: array(v).copy() for v in model.trainable_variables}
    encoder = [path for path in before if path.startswith("block_")]
    # Two matrices and a bias of each of four projections in two layers.
    assert len(encoder) == 2 * 4 * 3
    assert not [p for p in encoder if p.endswith("/kernel")]
    frozen = {v.path: array(v).copy() for v in model.backbone.weights}
    for _ in range(2):
        model.train_on_batch(X[:2], Y[:2])
    for variable in model.trainable_variables:
        # Batch norm takes away what biases before it add.
        if "kernel" in variable.name:
            assert np.any(array(variable) != before[variable.path])
    for variable in model.backbone.non_trainable_variables:
        np.testing.assert_array_equal(array(variable), frozen[variable.path])
    expected = model.predict(X[:2], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.backbone.lora == model.backbone.lora
    assert [v.path for v in loaded.trainable_variables] == list(before)
    np.testing.assert_allclose(
        loaded.predict(X[:2], verbose=0), expected, atol=1e-5
    )
    # Both at zero, no gradient would lead away from them.
    layer = loaded.backbone.blocks[0].mlp.projection
    assert np.abs(array(layer.lora_kernel_a)).max() > 0
    model.save_to_preset(tmp_path / "preset")
    plain = ks.SETRNaive.from_preset(str(tmp_path / "preset"), verbose=False)
    assert plain.backbone.lora is None
    np.testing.assert_allclose(
        plain.predict(X[:2], verbose=0), expected, atol=1e-5
    )


def test_int8_predicts_and_is_saved(tmp_path):
    model = small()
    exact = model.predict(X[:2], verbose=0)
    with pytest.raises(ValueError, match="'int8'"):
        model.quantize("int4")
    model.quantize("int8")
    weights = model.backbone.blocks[1].attention.qkv.weights
    assert "int8" in {keras.backend.standardize_dtype(w.dtype) for w in weights}
    found = model.predict(X[:2], verbose=0)
    error = np.abs(found - exact).max() / np.abs(exact).max()
    assert 0 < error < 0.05
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    np.testing.assert_allclose(
        loaded.predict(X[:2], verbose=0), found, atol=1e-6
    )
    with pytest.raises(ValueError, match="before quantize"):
        model.save_to_preset(tmp_path / "preset")


def test_predictions_follow_an_encoder_that_has_changed():
    """What was compiled before is not what is run after."""
    model = small()
    x = array(model.preprocessor(X[:2]))
    model.predict(X[:2], verbose=0)
    model.predict_on_batch(X[:2])
    called, found = {0: array(model(x, training=False))}, {}
    model.backbone.enable_lora(2)
    model.compile(metrics=None)
    for variable in model.trainable_variables:
        if "lora" in variable.name:
            variable.assign(ops.full(variable.shape, 0.1))
    for state in (1, 2):
        if state == 2:
            model.backbone.quantize("int8")
        called[state] = array(model(x, training=False))
        found[state] = (
            model.predict(X[:2], verbose=0),
            array(model.predict_on_batch(X[:2])),
        )
    for state in (1, 2):
        change = np.abs(called[state] - called[state - 1]).mean()
        assert change > 0
        for logits in found[state]:
            # Rounding to int8 enlarges what the order of sums differs in.
            assert np.abs(logits - called[state]).mean() < 0.3 * change


def test_clone_model_says_what_to_do(still):
    with pytest.raises(NotImplementedError, match="SETRNaive.from_config"):
        keras.models.clone_model(still)
    copy = ks.SETRNaive.from_config(still.get_config())
    copy.set_weights(still.get_weights())
    assert [v.path for v in copy.weights] == [v.path for v in still.weights]


def test_a_segmenter_is_a_layer_of_another_model(still):
    images = keras.Input((16, 24, 3))
    outputs = still(images)
    assert tuple(outputs.shape) == (None, 16, 24, 5)
    model = keras.Model(images, keras.layers.Rescaling(2.0)(outputs))
    x = array(still.preprocessor(X[:2]))
    direct = still(x)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, 2 * array(direct), atol=1e-5)
    model.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **tiny.UNCOMPILED,
    )
    model.fit(x, np.minimum(Y[:2], 4), verbose=0)
    # By itself it still trains with its auxiliary heads.
    outputs = still(x, training=True)
    assert set(outputs) == {"logits", "decode_head", "auxiliary_0"}
    if BACKEND == "torch":
        count = len(still.trainable_variables)
        assert sum(p.requires_grad for p in still.parameters()) == count


def test_what_is_frozen_is_saved(tmp_path, capsys):
    model = small()
    model.backbone.freeze(1)
    model.compile("adamw", metrics=None)
    model.optimizer.build(model.trainable_variables)
    for index, variable in enumerate(model.optimizer.variables[2:]):
        variable.assign(np.full(variable.shape, index, "float32"))
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    trained = [v.path for v in model.trainable_variables]
    assert [v.path for v in loaded.trainable_variables] == trained
    for a, b in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(array(a), array(b))
    model.backbone.trainable = True
    with pytest.raises(ValueError, match="trainable after compile.*again"):
        model.fit(X, Y, verbose=0)
    model.summary()
    assert "block_1" in capsys.readouterr().out


def test_the_legacy_format_is_refused(still, tmp_path):
    with pytest.raises(ValueError, match=r"legacy.*model\.h5.*\.keras"):
        still.save(tmp_path / "model.h5")
    with pytest.raises(NotImplementedError, match=r"legacy.*model\.keras"):
        keras.saving.save_model(still, tmp_path / "model.h5")
    # It asks for configs in the same way.
    still.save(tmp_path / "model.keras")


def test_weights_of_another_size_are_named(tmp_path, still):
    path = tmp_path / "model.weights.h5"
    still.save_weights(path)
    other = small(image_shape=(32, 32, 3), position_grid=(4, 4))
    with pytest.raises(ValueError, match=r"\(2, 3\) .*\(16, 24\).*\(32, 32\)"):
        other.load_weights(path)
    resampling = small(image_shape=(32, 32, 3))
    resampling.load_weights(path)
    for a, b in zip(resampling.weights, still.weights, strict=True):
        np.testing.assert_array_equal(array(a), array(b))


def test_channels_first_changes_nothing():
    expected = small().predict(X[:2], verbose=0)
    keras.config.set_image_data_format("channels_first")
    try:
        model = small()
        model.compile(ks.optimizers.SGD(0.0), metrics=None, **tiny.UNCOMPILED)
        model.train_on_batch(X[:2], Y[:2])
        np.testing.assert_allclose(
            small().predict(X[:2], verbose=0), expected, atol=1e-5
        )
    finally:
        keras.config.set_image_data_format("channels_last")


def test_an_error_while_a_step_is_traced_leaves_the_weights():
    calls = []

    def fails_later(y_true, y_pred):
        calls.append(y_pred)
        # The first call is Keras', on symbols: main and auxiliary head.
        if len(calls) > 2:
            raise RuntimeError("no such loss")
        return ops.mean(y_pred)

    model = small()
    model.compile("sgd", loss=fails_later, metrics=None, **tiny.UNCOMPILED)
    before = [array(w) for w in model.trainable_variables]
    with pytest.raises(RuntimeError, match="no such loss"):
        model.fit(X, Y, verbose=0)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(array(variable), value)


def test_an_error_in_the_first_batch_leaves_the_weights(still):
    before = [array(w) for w in still.trainable_variables]
    for verb in (still.evaluate, still.fit):
        with pytest.raises(ValueError, match=r"y holds label 9"):
            verb(iter([(X[:2], np.full((2, 16, 24), 9))]), verbose=0)
        for variable, value in zip(still.trainable_variables, before):
            np.testing.assert_array_equal(array(variable), value)


@pytest.mark.no_backend
def test_lists_of_callbacks_may_lie_in_each_other():
    one, two = keras.callbacks.Callback(), keras.callbacks.Callback()
    assert CALLBACKS.take(one) == [one]
    assert CALLBACKS.take([[one], two]) == [one, two]
    both = keras.callbacks.CallbackList([one, two])
    assert CALLBACKS.take(both) is both
    with pytest.raises(TypeError):
        CALLBACKS.take([[one], "another"])
