"""The losses beside cross-entropy, by hand, and their sums."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.ops import convert_to_numpy as array

from keras_setr import losses
from keras_setr.layers.resampling import resize_bilinear
from keras_setr.losses import base
from keras_setr.losses.sums import NAMES
from tests import tiny
from tests.losses.values import batch
from tests.losses.values import loss_and_gradient

# One row of 4 pixels and 2 classes with probabilities of the first class of
# 3/4, 1/4, 1/2, 1/2; labels 0, 0, 1 and ignored.
P = np.array([3 / 4, 1 / 4, 1 / 2, 1 / 2])
LOGITS = np.log(np.stack([P, 1 - P], axis=-1))[None, None].astype("float32")
LABELS = np.array([[[0, 0, 1, 255]]])
# hit, wrongly found and missed, of both classes
HIT = np.array([3 / 4 + 1 / 4, 1 / 2])
FALSE = np.array([1 / 2, 1 / 4 + 3 / 4])
MISSED = np.array([1 / 4 + 3 / 4, 1 / 2])


def value(loss, labels=LABELS, logits=LOGITS, *weights):
    return float(array(tiny.program(loss)(labels, logits, *weights)))


def test_tversky_by_hand():
    index = HIT / (HIT + 0.3 * FALSE + 0.7 * MISSED)
    assert value(losses.Tversky()) == pytest.approx(1 - index.mean(), 1e-5)
    found = value(losses.Tversky(class_weights=(1, 3), gamma=0.75))
    expected = ((1 - index) ** 0.75 * [1, 3]).sum() / 4
    assert found == pytest.approx(expected, 1e-5)
    index = (HIT + 1) / (HIT + 1 + FALSE + MISSED)
    found = value(losses.Jaccard(smooth=1.0))
    assert found == pytest.approx(1 - index.mean(), 1e-5)


def test_dice_and_jaccard_are_their_formulas():
    dice = 2 * HIT / (2 * HIT + FALSE + MISSED)
    assert value(losses.Dice()) == pytest.approx(1 - dice.mean(), 1e-5)
    jaccard = HIT / (HIT + FALSE + MISSED)
    assert value(losses.Jaccard()) == pytest.approx(1 - jaccard.mean(), 1e-5)


@pytest.mark.parametrize("name", ("dice", "jaccard", "lovasz", "focal"))
def test_a_weight_of_0_is_a_pixel_without_loss(name):
    loss = NAMES[name]()
    weights = np.array([[[1.0, 0.0, 1.0, 1.0]]], "float32")
    found = value(loss, LABELS, LOGITS, weights)
    expected = value(loss, np.where(weights == 0, 255, LABELS))
    # In the divisor of a mean over pixels it stays, as everywhere in Keras.
    scale = 2 / 3 if name == "focal" else 1
    if name != "lovasz":
        assert found == pytest.approx(scale * expected, 1e-5)
    changed = LOGITS.copy()
    changed[0, 0, 1] = (9, -9)
    assert value(loss, LABELS, changed, weights) == pytest.approx(found, 1e-5)


def test_classes_that_are_not_there_count_nowhere():
    logits = np.concatenate([LOGITS, np.full((1, 1, 4, 1), -30.0)], axis=-1)
    logits = logits.astype("float32")
    for loss in (losses.Dice(), losses.LovaszSoftmax()):
        found = value(loss, LABELS, logits)
        assert found == pytest.approx(value(loss), 1e-4)
    nothing = np.full_like(LABELS, 255)
    for kind in NAMES.values():
        assert value(kind(), nothing) == 0


def test_lovasz_by_hand():
    # Of class 0 the errors are 3/4, 1/2 and 1/4. One wrong pixel of its two
    # leaves an IoU of 1/2, the other class's pixel with it 1/3, all three 0.
    first = 3 / 4 * 1 / 2 + 1 / 2 * (2 / 3 - 1 / 2) + 1 / 4 * (1 - 2 / 3)
    # Of class 1: 3/4 and 1/4 are not of it, 1/2 is. IoU 1/2, 0 and 0.
    second = 3 / 4 * 1 / 2 + 1 / 2 * 1 / 2 + 1 / 4 * 0
    found = value(losses.LovaszSoftmax())
    assert found == pytest.approx((first + second) / 2, 1e-5)


def test_lovasz_of_labels_is_one_minus_iou():
    labels, _ = batch(num_classes=3)
    found = np.random.default_rng(0).integers(0, 3, labels.shape)
    counted = labels != 255
    iou = [
        ((labels == k) & (found == k) & counted).sum()
        / (((labels == k) | (found == k)) & counted).sum()
        for k in range(3)
        if (labels == k).any()
    ]
    logits = 60 * np.eye(3, dtype="float32")[found]
    found = value(losses.LovaszSoftmax(), labels, logits)
    assert found == pytest.approx(1 - np.mean(iou), 1e-4)


def test_focal_by_hand():
    p = np.array([3 / 4, 1 / 4, 1 / 2])
    terms = np.array([1, 1, 3]) * (1 - p) ** 2 * -np.log(p)
    found = value(losses.Focal(class_weights=(1, 3)))
    assert found == pytest.approx(terms.sum() / 5, 1e-5)
    plain = value(losses.PixelCrossEntropy())
    assert value(losses.Focal(gamma=0)) == pytest.approx(plain, 1e-5)


@pytest.mark.parametrize("gamma", (0.5, 2.0))
def test_certain_pixels_have_no_loss_and_no_gradient(gamma):
    sure = np.array([[[[90.0, 0.0]]]], "float32")
    loss = losses.Focal(gamma)
    found, gradient = loss_and_gradient(loss, np.array([[[0]]]), sure)
    assert found == 0
    np.testing.assert_array_equal(gradient, 0)


def test_ohem_keeps_hard_pixels_and_at_least_a_share():
    # Probabilities of the labels: 3/4, 1/4, 1/2.
    hard = -np.log([1 / 4, 1 / 2]).mean()
    assert value(losses.OHEM(0.7, 0.3)) == pytest.approx(hard, 1e-5)
    assert value(losses.OHEM(0.3, 0.3)) == pytest.approx(np.log(4), 1e-5)
    assert value(losses.OHEM(0.1, 0.6)) == pytest.approx(hard, 1e-5)
    every = value(losses.PixelCrossEntropy())
    assert value(losses.OHEM(0.1, 1.0)) == pytest.approx(every, 1e-5)


def test_label_smoothing_is_the_mean_with_all_classes():
    log_p = np.log(np.stack([P, 1 - P], axis=-1))[:3]
    plain = -log_p[[0, 1, 2], [0, 0, 1]]
    expected = (0.8 * plain - 0.2 * log_p.mean(axis=-1)).mean()
    loss = losses.PixelCrossEntropy(label_smoothing=0.2)
    assert value(loss) == pytest.approx(expected, 1e-5)


def test_pixels_near_a_boundary_weigh_more():
    # Within 1 of another class are the third and the fourth column; an
    # ignored pixel is no class and hides the one behind.
    labels = np.array([[[0, 0, 0, 1, 1, 255, 0]]])
    logits = np.random.default_rng(0).normal(size=(1, 1, 7, 2))
    logits = logits.astype("float32")
    weights = np.array([1, 1, 4, 4, 1, 0, 1])
    each = array(losses.PixelCrossEntropy().call(labels, logits))[0, 0]
    expected = (each * weights).sum() / weights.sum()
    loss = losses.PixelCrossEntropy(boundary_weight=3, boundary_width=1)
    assert value(loss, labels, logits) == pytest.approx(expected, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_logits_that_are_nan_are_no_silent_loss(name):
    labels, logits = batch()
    assert np.isnan(
        array(losses.sums.by_name(name, 255)(labels, logits * np.nan))
    )


@pytest.mark.parametrize("name", (*NAMES, "ce+dice"))
@pytest.mark.parametrize("label", (-1, 5, 254))
def test_an_unknown_label_is_no_silent_loss(name, label):
    loss = losses.sums.by_name(name, 255)
    labels, logits = batch()
    labels[0, 0, 0] = label
    with pytest.raises(ValueError, match=rf"0\.\.4 or .*label {label} "):
        loss(labels, logits)
    labels = ops.convert_to_tensor(labels)
    value, gradient = loss_and_gradient(loss, labels, logits)
    assert np.isnan(value)
    np.testing.assert_array_equal(gradient, 0)
    # At another size than that of the logits.
    assert np.isnan(array(loss.of_resized(labels, logits[:, :2, :3])))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_differences(name):
    loss = NAMES[name]()
    labels, logits = batch(size=(2, 3))
    labels[:, 0] = [[0, 1, 2], [2, 3, 0]]
    _, gradient = loss_and_gradient(loss, labels, logits)
    step = 1e-2 * np.random.default_rng(1).normal(size=logits.shape)
    step = step.astype("float32")
    before, after = (
        value(loss, labels, logits + sign * step) for sign in (-1, 1)
    )
    expected = 2 * (gradient * step).sum()
    assert after - before == pytest.approx(expected, rel=0.05, abs=2e-5)
    np.testing.assert_array_equal(gradient[labels == 255], 0)


@pytest.mark.parametrize("smoothing", (0.0, 0.3))
def test_every_loss_takes_logits_of_another_size(smoothing):
    labels, _ = batch(size=(12, 8))
    small = np.random.default_rng(0).normal(size=(2, 3, 2, 5))
    small = small.astype("float32")
    cross_entropy = losses.PixelCrossEntropy(label_smoothing=smoothing)
    loss = losses.SumOfLosses([cross_entropy, losses.Dice()], (1, 0.5))

    def whole(labels, logits):
        return loss(labels, resize_bilinear(logits, (12, 8)))

    expected = loss_and_gradient(whole, labels, small)
    found = loss_and_gradient(loss.of_resized, labels, small)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_losses_of_a_sum_share_the_resized_logits(monkeypatch):
    labels, _ = batch(size=(12, 8))
    small = np.random.default_rng(0).normal(size=(2, 3, 2, 5))
    small = ops.convert_to_tensor(small.astype("float32"))
    parts = [losses.Dice(), losses.PixelCrossEntropy(), losses.Focal()]
    each = [
        float(array(tiny.program(part.of_resized)(labels, small)))
        for part in parts
    ]
    resize, sizes = base.resize_bilinear, []

    def counted(logits, size, *args):
        sizes.append(tuple(size))
        return resize(logits, size, *args)

    monkeypatch.setattr(base, "resize_bilinear", counted)
    total = losses.SumOfLosses(parts, (2, 3, 4)).of_resized
    total = tiny.program(total)(labels, small)
    assert sizes == [(12, 8)]
    expected = 2 * each[0] + 3 * each[1] + 4 * each[2]
    assert float(array(total)) == pytest.approx(expected, 1e-6)


def test_names_are_losses_with_weights():
    model = tiny.build("naive", ignore_class=7)
    model.compile(loss="ce + 0.5*dice")
    loss = model.loss
    kinds = [type(part) for part in loss.losses]
    assert kinds == [losses.PixelCrossEntropy, losses.Dice]
    assert tuple(loss.weights) == (1, 0.5)
    assert all(part.ignore_class == 7 for part in loss.losses)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert again.get_config() == loss.get_config()
    labels = np.where(LABELS == 255, 7, LABELS)
    expected = value(losses.PixelCrossEntropy()) + 0.5 * value(losses.Dice())
    assert value(again, labels) == pytest.approx(expected, 1e-5)
    for name in ("lovasz", "dice", "focal"):
        model.compile(loss=name)
        assert isinstance(model.loss, NAMES[name])


@pytest.mark.parametrize("name", ("ce+dise", "2*", "ce++dice", "0.5*mse"))
def test_other_sums_are_refused(name):
    with pytest.raises(ValueError, match=r"loss must be a sum of ce, dice"):
        tiny.build("naive").compile(loss=name)


def test_a_sum_trains_and_is_saved(tmp_path):
    model = tiny.shallow("naive")  # with an auxiliary head
    model.compile(
        "adamw",
        loss="ce+dice+0.5*lovasz",
        learning_rate=1e-3,
        **tiny.UNCOMPILED,
    )
    x, y = tiny.images(), tiny.labels()
    first = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, epochs=4, verbose=0)
    assert model.evaluate(x, y, verbose=0)[0] < first
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
