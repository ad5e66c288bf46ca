import keras
import numpy as np
import pytest
from keras import ops

from keras_setr import metrics

# Rows are the truth, columns the prediction.
#
#          0  1  2     truth  predicted  IoU            accuracy
#     0  [ 3, 1, 0 ]   4      4          3/(4+4-3)=3/5  3/4
#     1  [ 1, 2, 0 ]   3      3          2/(3+3-2)=2/4  2/3
#     2  [ 0, 0, 0 ]   0      0          absent         absent
#
# mean IoU 11/20, mean accuracy 17/24, pixel accuracy 5/7.
TWO_OF_THREE = np.array([[3, 1, 0], [1, 2, 0], [0, 0, 0]])

# The same and one pixel of class 1 predicted as class 2:
#
#     1  [ 1, 2, 1 ]   4      3          2/(4+3-2)=2/5  2/4
#     2  [ 0, 0, 0 ]   0      1          0/(0+1-0)=0    absent
#
# mean IoU (3/5 + 2/5 + 0)/3 = 1/3, mean accuracy (3/4 + 2/4)/2 = 5/8.
PREDICTED_ONLY = np.array([[3, 1, 0], [1, 2, 1], [0, 0, 0]])

METRICS = (metrics.MeanIoU, metrics.MeanAccuracy, metrics.PixelAccuracy)


def pixels_of(confusion):
    """Labels and predictions `(1, 1, N)` that give this confusion matrix."""
    truth, predicted = np.indices(confusion.shape)
    repeats = confusion.ravel()
    return tuple(
        np.repeat(values.ravel(), repeats)[None, None].astype("int32")
        for values in (truth, predicted)
    )


def random_batch(seed, shape=(2, 4, 6), num_classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, shape).astype("uint8")
    logits = rng.normal(size=(*shape, num_classes)).astype("float32")
    return labels, logits


def slow_confusion(labels, predictions, num_classes):
    confusion = np.zeros((num_classes, num_classes), "int64")
    for truth, predicted in zip(labels.ravel(), predictions.ravel()):
        if truth < num_classes:
            confusion[truth, predicted] += 1
    return confusion


def value(metric):
    return float(ops.convert_to_numpy(metric.result()))


@pytest.mark.no_backend
def test_scores_of_a_matrix_with_an_absent_class():
    iou = metrics.per_class_iou(TWO_OF_THREE)
    np.testing.assert_allclose(iou, [3 / 5, 2 / 4, np.nan])
    accuracy = metrics.per_class_accuracy(TWO_OF_THREE)
    np.testing.assert_allclose(accuracy, [3 / 4, 2 / 3, np.nan])
    assert metrics.mean_iou(TWO_OF_THREE) == pytest.approx(11 / 20)
    assert metrics.mean_accuracy(TWO_OF_THREE) == pytest.approx(17 / 24)
    assert metrics.pixel_accuracy(TWO_OF_THREE) == pytest.approx(5 / 7)


@pytest.mark.no_backend
def test_a_class_predicted_but_never_true_counts_as_zero():
    iou = metrics.per_class_iou(PREDICTED_ONLY)
    np.testing.assert_allclose(iou, [3 / 5, 2 / 5, 0])
    assert metrics.mean_iou(PREDICTED_ONLY) == pytest.approx(1 / 3)
    assert metrics.mean_accuracy(PREDICTED_ONLY) == pytest.approx(5 / 8)


@pytest.mark.parametrize("confusion", [TWO_OF_THREE, PREDICTED_ONLY])
def test_metrics_give_the_scores_of_the_host(confusion):
    labels, predictions = pixels_of(confusion)
    for cls, score in zip(
        METRICS,
        (metrics.mean_iou, metrics.mean_accuracy, metrics.pixel_accuracy),
    ):
        metric = cls(num_classes=3)
        metric.update_state(labels, predictions)
        np.testing.assert_array_equal(metric.confusion_matrix(), confusion)
        assert value(metric) == pytest.approx(score(confusion), abs=1e-6)


def test_per_class_values_of_the_metrics_are_nan_where_absent():
    labels, predictions = pixels_of(TWO_OF_THREE)
    iou, accuracy = metrics.MeanIoU(3), metrics.MeanAccuracy(3)
    iou.update_state(labels, predictions)
    accuracy.update_state(labels, predictions)
    np.testing.assert_allclose(
        ops.convert_to_numpy(iou.per_class_iou()),
        [3 / 5, 2 / 4, np.nan],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(accuracy.per_class_accuracy()),
        [3 / 4, 2 / 3, np.nan],
        rtol=1e-6,
    )


def test_logits_and_both_label_layouts_count_the_same_pixels():
    labels, logits = random_batch(0)
    expected = slow_confusion(labels, logits.argmax(-1), 5)
    for truth in (labels, labels[..., None]):
        for predicted in (
            logits,
            logits.astype("float16"),
            logits.argmax(-1),
            logits.argmax(-1)[..., None],
        ):
            metric = metrics.MeanIoU(5)
            metric.update_state(truth, predicted)
            np.testing.assert_array_equal(metric.confusion_matrix(), expected)


def test_batches_add_up_and_reset_clears():
    metric = metrics.MeanIoU(5)
    expected = np.zeros((5, 5), "int64")
    for seed in range(3):
        labels, logits = random_batch(seed)
        metric.update_state(labels, logits)
        expected += slow_confusion(labels, logits.argmax(-1), 5)
    np.testing.assert_array_equal(metric.confusion_matrix(), expected)
    metric.reset_state()
    assert not metric.confusion_matrix().any()


def test_ignored_and_unknown_labels_count_nowhere():
    labels, logits = random_batch(0)
    labels[0] = 255
    labels[1, 0] = 5
    metric = metrics.MeanIoU(5)
    metric.update_state(labels, logits)
    expected = slow_confusion(labels, logits.argmax(-1), 5)
    np.testing.assert_array_equal(metric.confusion_matrix(), expected)
    assert metric.confusion_matrix().sum() == 3 * 6


@pytest.mark.parametrize("ignore_class", [2, -1, None])
def test_ignore_class_may_be_a_class_negative_or_none(ignore_class):
    labels, logits = random_batch(0)
    labels = labels.astype("int32")
    labels[0, 0, 0] = -1
    metric = metrics.MeanIoU(5, ignore_class=ignore_class)
    metric.update_state(labels, logits)
    kept = np.where(labels < 0, 255, labels)
    if ignore_class == 2:
        kept[kept == 2] = 255
    np.testing.assert_array_equal(
        metric.confusion_matrix(), slow_confusion(kept, logits.argmax(-1), 5)
    )


def test_a_prediction_of_no_class_is_a_miss():
    # Class 0: 4 pixels true, 2 of them found, 2 given the label 255.
    metric = metrics.MeanIoU(2)
    metric.update_state([[[0, 0, 0, 0]]], [[[0, 255, 0, 255]]])
    assert value(metric) == pytest.approx(2 / 4)


def test_nothing_counted_gives_zero():
    for cls in METRICS:
        metric = cls(num_classes=3)
        assert value(metric) == 0.0
        metric.update_state(np.full((1, 2, 3), 255), np.zeros((1, 2, 3, 3)))
        assert value(metric) == 0.0


def test_counts_stay_exact_far_above_float32_integers():
    # 3 * 2^30 + 1 pixels are already there; 5 more must not be rounded off.
    metric = metrics.MeanIoU(2)
    high = np.zeros((2, 3))
    high[0, 0] = 3 * 2**30 // 2**16
    low = np.zeros((2, 3))
    low[0, 0] = 2**16 - 2
    metric.high.assign(high)
    metric.low.assign(low)
    metric.update_state(np.zeros((1, 1, 5)), np.zeros((1, 1, 5)))
    assert metric.confusion_matrix()[0, 0] == 3 * 2**30 + 2**16 + 3


def test_one_update_may_exceed_the_low_part():
    # 300 * 250 = 75_000 pixels, more than 2^16 = 65_536.
    metric = metrics.PixelAccuracy(2)
    for _ in range(3):
        metric.update_state(np.ones((1, 300, 250)), np.ones((1, 300, 250)))
    assert metric.confusion_matrix()[1, 1] == 225_000


@pytest.mark.parametrize("cls", METRICS)
def test_config_round_trip(cls):
    metric = cls(num_classes=7, ignore_class=None, name="score")
    registered = f"keras_setr>{cls.__name__}"
    assert keras.saving.get_registered_object(registered) is cls
    clone = cls.from_config(metric.get_config())
    assert clone.get_config() == metric.get_config()
    assert clone.num_classes == 7 and clone.ignore_class is None


@pytest.mark.parametrize(
    "truth, predicted",
    [
        ((2, 4, 6), (2, 4, 6, 4)),
        ((2, 4, 6), (2, 6, 4, 5)),
        ((2, 4, 6, 4), (2, 4, 6, 5)),
        ((4, 6), (4, 6, 5)),
    ],
)
def test_other_shapes_are_named_in_the_error(truth, predicted):
    with pytest.raises(ValueError, match=r"y_true \(B, H, W\)"):
        metrics.MeanIoU(5).update_state(np.zeros(truth), np.zeros(predicted))


def test_sample_weight_and_a_single_class_are_refused():
    labels, logits = random_batch(0)
    with pytest.raises(ValueError, match="weighted_metrics"):
        metrics.MeanIoU(5).update_state(labels, logits, sample_weight=[1, 1])
    with pytest.raises(ValueError, match=r"an integer in 2\.\.65536"):
        metrics.MeanIoU(1)


def test_counts_are_float32_under_a_mixed_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        metric = metrics.PixelAccuracy(2)
    finally:
        keras.config.set_dtype_policy(before)
    assert {v.dtype for v in metric.variables} == {"float32"}
    # bfloat16 integers end at 2^8 = 256.
    for _ in range(257):
        metric.update_state([[[1]]], [[[1]]])
    assert metric.confusion_matrix()[1, 1] == 257


def test_fit_and_evaluate_report_the_scores_of_predict():
    labels, _ = random_batch(1, shape=(5, 4, 6))
    labels[0, :2] = 255
    images = np.random.default_rng(2).normal(size=(5, 4, 6, 3))
    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(5, 1)]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=255
        ),
        metrics=[cls(5) for cls in METRICS],
    )
    # Batches of 2, 2 and 1 image; the weights do not move.
    history = model.fit(images, labels, batch_size=2, verbose=0).history
    confusion = slow_confusion(
        labels, model.predict(images, verbose=0).argmax(-1), 5
    )
    expected = {
        "mean_iou": metrics.mean_iou(confusion),
        "mean_accuracy": metrics.mean_accuracy(confusion),
        "pixel_accuracy": metrics.pixel_accuracy(confusion),
    }
    evaluated = model.evaluate(
        images, labels, batch_size=2, verbose=0, return_dict=True
    )
    for name, score in expected.items():
        assert history[name][0] == pytest.approx(score, abs=1e-6)
        assert evaluated[name] == pytest.approx(score, abs=1e-6)


def test_the_host_matrix_counts_as_the_metric_does():
    host = metrics.ConfusionMatrix(5)
    metric = metrics.MeanIoU(5)
    for seed in range(2):
        labels, logits = random_batch(seed)
        labels[:, 1] = 255
        host.update(labels, logits.argmax(-1).astype("uint8"))
        metric.update_state(labels, logits)
    np.testing.assert_array_equal(host.counts, metric.confusion_matrix())


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "labels, predictions, message",
    [
        ([[0, 5]], [[0, 1]], r"labels holds label 5 at \(0, 1\).* 0..4"),
        ([[0, 1]], [[0, -1]], r"predictions holds label -1 .* 0..4\."),
        ([[0, 1]], [[0], [1]], "one shape"),
        ([[0, 1]], [[0.0, 1.0]], "predictions must be integers.*argmax"),
    ],
)
def test_the_host_matrix_names_what_does_not_fit(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.ConfusionMatrix(5).update(labels, predictions)


def test_a_pixel_that_is_nan_is_a_miss_and_no_class():
    # Truth 0 0 1, found NaN 0 1: class 0 is hit once of two, class 1 once.
    truth = np.array([[[0, 0, 1]]])
    logits = np.array([[[[np.nan, 0], [1, 0], [0, 1]]]], "float32")
    metric = metrics.MeanIoU(2)
    metric.update_state(truth, logits)
    assert metric.confusion_matrix().tolist() == [[1, 0], [0, 1]]
    np.testing.assert_allclose(float(metric.result()), (1 / 2 + 1) / 2)
    metric = metrics.PixelAccuracy(2)
    metric.update_state(truth, np.array([[[np.nan, 0.5, 1]]], "float32"))
    np.testing.assert_allclose(float(metric.result()), 1 / 3)


@pytest.mark.no_backend
def test_a_matrix_may_be_a_list():
    assert metrics.mean_iou([[1, 1], [0, 2]]) == (1 / 2 + 2 / 3) / 2
