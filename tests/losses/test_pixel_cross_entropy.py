"""PixelCrossEntropy by hand, against Keras' and torch's, and its gradients."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

from keras_setr.layers.resampling import resize_bilinear
from keras_setr.losses import PixelCrossEntropy
from keras_setr.losses import resized
from tests import tiny
from tests.losses.values import batch
from tests.losses.values import loss_and_gradient

BACKEND = keras.config.backend()


# One row of 3 pixels, 2 classes whose logits differ by log(3): the likelier
# class has probability 3/4. Labels: likelier, less likely, ignored.
LOGITS = np.log([[[[3.0, 1.0], [3.0, 1.0], [1.0, 3.0]]]])
LABELS = np.array([[[0, 1, 255]]])
LIKELY, UNLIKELY = np.log(4 / 3), np.log(4)


def test_it_is_the_mean_over_the_valid_pixels():
    expected = (LIKELY + UNLIKELY) / 2
    for labels in (LABELS, LABELS[..., None], LABELS.astype("uint8")):
        loss = PixelCrossEntropy()(labels, LOGITS)
        np.testing.assert_allclose(array(loss), expected, rtol=1e-6)


def test_averaged_over_all_pixels_ignored_ones_are_counted():
    loss = PixelCrossEntropy(average_over="all")(LABELS, LOGITS)
    np.testing.assert_allclose(
        array(loss), (LIKELY + UNLIKELY + 0) / 3, rtol=1e-6
    )


def test_class_weights_stand_in_the_divisor_too():
    # Weight 1 for the first pixel, of class 0; 4 for the second, of class 1.
    expected = {
        "valid": (1 * LIKELY + 4 * UNLIKELY) / (1 + 4),
        "all": (1 * LIKELY + 4 * UNLIKELY) / (1 + 4 + 1),
    }
    for average_over, value in expected.items():
        loss = PixelCrossEntropy(
            average_over=average_over, class_weights=(1, 4)
        )(LABELS, LOGITS)
        np.testing.assert_allclose(array(loss), value, rtol=1e-6)


def test_sample_weights_only_scale():
    labels = np.repeat(LABELS, 2, axis=0)
    logits = np.repeat(LOGITS, 2, axis=0)
    per_image = np.array([0.5, 3.0])
    # Each image has 2 of the 4 valid pixels.
    expected = (0.5 + 3.0) * (LIKELY + UNLIKELY) / 4
    per_pixel = np.broadcast_to(per_image[:, None, None], labels.shape)
    for weight in (per_image, per_pixel, per_pixel[..., None]):
        loss = PixelCrossEntropy()(labels, logits, weight)
        np.testing.assert_allclose(array(loss), expected, rtol=1e-6)


def test_the_map_of_losses_is_0_where_ignored():
    losses = PixelCrossEntropy().call(LABELS, LOGITS)
    np.testing.assert_allclose(
        array(losses), [[[LIKELY, UNLIKELY, 0]]], rtol=1e-6
    )


@pytest.mark.parametrize("ignored", [255, -1, 2])
def test_it_equals_keras_on_one_device(ignored):
    labels, logits = batch(ignored=ignored)
    weight = np.array([0.3, 2.0], "float32")
    theirs = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=ignored
    )
    expected = loss_and_gradient(
        theirs,
        labels,
        logits,
        np.broadcast_to(weight[:, None, None], (2, 7, 4)),
    )
    ours = loss_and_gradient(PixelCrossEntropy(ignored), labels, logits, weight)
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], expected[1], atol=1e-7)


def test_without_an_ignored_class_every_pixel_counts():
    labels, logits = batch(ignored=4)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(
        array(PixelCrossEntropy(ignore_class=None)(labels, logits)),
        array(theirs(labels, logits)),
        rtol=1e-6,
    )


def test_class_weights_are_torchs():
    torch = pytest.importorskip("torch")
    labels, logits = batch()
    class_weights = [0.5, 0.0, 2.0, 1.0, 7.0]
    x = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        x.reshape(-1, 5),
        torch.tensor(labels).reshape(-1).long(),
        weight=torch.tensor(class_weights),
        ignore_index=255,
    )
    expected.backward()
    ours = loss_and_gradient(
        PixelCrossEntropy(class_weights=class_weights), labels, logits
    )
    np.testing.assert_allclose(ours[0], expected.item(), rtol=1e-6)
    np.testing.assert_allclose(ours[1], x.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize("average_over", ["valid", "all"])
def test_a_batch_without_labels_has_neither_loss_nor_gradient(average_over):
    labels, logits = batch()
    loss = PixelCrossEntropy(average_over=average_over)
    value, gradient = loss_and_gradient(loss, np.full_like(labels, 255), logits)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_huge_logits_neither_overflow_nor_vanish():
    logits = np.array([[[[1e4, 0.0, -1e4]]]], "float32")
    value, gradient = loss_and_gradient(
        PixelCrossEntropy(), np.array([[[2]]]), logits
    )
    assert value == 2e4
    np.testing.assert_array_equal(gradient, [[[[1, 0, -1]]]])


def test_half_precision_logits_are_computed_in_float32():
    labels, logits = batch()
    half = ops.cast(logits, "bfloat16")
    loss = PixelCrossEntropy()(labels, half)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    expected = PixelCrossEntropy()(labels, ops.cast(half, "float32"))
    np.testing.assert_array_equal(array(loss), array(expected))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"average_over": "batch"}, "average_over must be 'valid' or 'all'"),
        ({"class_weights": [1, -1]}, r"class_weights must be one.*\[1, -1\]"),
        ({"class_weights": [0, 0]}, "not all of them 0"),
        ({"class_weights": [[1, 2]]}, "one finite number"),
        ({"class_weights": [1, float("nan")]}, "one finite number"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelCrossEntropy(**arguments)


def test_wrong_shapes_are_named():
    loss = PixelCrossEntropy(class_weights=[1, 2, 3])
    labels, logits = batch()
    with pytest.raises(ValueError, match=r"\(2, 4, 7\), y_pred \(2, 7, 4, 5\)"):
        loss(labels.swapaxes(1, 2), logits)
    with pytest.raises(ValueError, match="3 weights for logits of 5 classes"):
        loss(labels, logits)
    with pytest.raises(ValueError, match=r"sample_weight.*\(1, 3\)"):
        PixelCrossEntropy()(LABELS, LOGITS, np.ones((1, 3)))


def test_its_config_makes_it_anew():
    loss = PixelCrossEntropy(11, "all", np.array([0.5, 2.0]), name="loss")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is PixelCrossEntropy
    assert again.get_config() == loss.get_config()
    assert again.get_config() == {
        "ignore_class": 11,
        "average_over": "all",
        "class_weights": (0.5, 2.0),
        "label_smoothing": 0.0,
        "boundary_weight": 0.0,
        "boundary_width": 2,
        "name": "loss",
    }


def test_a_saved_model_keeps_it(tmp_path):
    model = tiny.build("naive", ignore_class=3)
    assert model.loss.get_config() == PixelCrossEntropy(3).get_config()
    loss = PixelCrossEntropy(3, "all", [1, 2, 3, 4, 5])
    model.compile(loss=loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == loss.get_config()


def test_auxiliary_heads_take_any_loss_that_keras_takes():
    model = tiny.build("naive", auxiliary_layers=(2,), auxiliary_weight=0.5)
    labels, logits = batch(size=(16, 24))
    labels[labels == 255] = 0
    outputs = {"logits": logits, "auxiliary_0": -logits}

    def mean_probability(y_true, y_pred):
        y_true = ops.cast(y_true, "int32")
        hit = ops.one_hot(y_true, 5) * ops.softmax(y_pred)
        return ops.sum(hit, axis=-1)

    probabilities = array(ops.softmax(np.stack([logits, -logits])))
    hit = np.eye(5)[labels] * probabilities
    expected = hit[0].sum(-1).mean() + 0.5 * hit[1].sum(-1).mean()
    model.compile(loss=mean_probability)
    loss = model.compute_loss(None, labels, outputs)
    np.testing.assert_allclose(array(loss), expected, rtol=1e-5)


# Sizes that enlarge by whole and by broken factors, and one that stays.
RESIZED = (((3, 4), (48, 32)), ((5, 7), (33, 50)), ((9, 6), (9, 6)))


@pytest.mark.parametrize("small, large", RESIZED)
@pytest.mark.parametrize("align_corners", (False, True))
@pytest.mark.parametrize("tile_bytes", (2**21, 4 * 5 * 11**2))
def test_in_tiles_it_is_the_loss_of_resized_logits(
    small, large, tile_bytes, align_corners, monkeypatch
):
    monkeypatch.setattr(resized, "_TILE_BYTES", tile_bytes)
    rng = np.random.default_rng(0)
    labels, _ = batch(size=large)
    logits = rng.normal(size=(2, *small, 5)).astype("float32")
    weights = rng.uniform(size=(2, *large)).astype("float32")
    loss = PixelCrossEntropy(class_weights=(1, 2, 3, 0, 5))

    def whole(labels, logits, weights):
        logits = resize_bilinear(logits, large, align_corners)
        return loss(labels, logits, weights)

    def in_tiles(*args):
        return loss.of_resized(*args, align_corners=align_corners)

    expected = loss_and_gradient(whole, labels, logits, weights)
    found = loss_and_gradient(in_tiles, labels, logits, weights)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
    # The gradient of what is made of the loss is a multiple of its own.
    twice = loss_and_gradient(
        lambda *args: 2 * in_tiles(*args), labels, logits, weights
    )
    np.testing.assert_allclose(twice[1], 2 * found[1], rtol=1e-5)


@pytest.mark.backends("jax")
def test_logits_at_the_size_of_the_labels_stand_nowhere(monkeypatch):
    import jax

    monkeypatch.setattr(resized, "_TILE_BYTES", 4 * 5 * 16**2)
    labels = np.zeros((2, 96, 80), "int32")
    logits = np.zeros((2, 6, 5, 5), "float32")
    lowered = jax.jit(jax.grad(PixelCrossEntropy().of_resized, argnums=1))
    text = lowered.lower(labels, logits).as_text()
    assert "2x96x80xi32" in text
    assert "96x80x5x" not in text and "480x" not in text
