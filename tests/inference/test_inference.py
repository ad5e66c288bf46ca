"""Sliding windows against arithmetic written out here."""

import gc
import tracemalloc
import weakref

import cv2
import numpy as np
import pytest

from keras_setr import inference
from keras_setr import metrics
from keras_setr.arrays import ValueRange
from keras_setr.arrays import check_image
from keras_setr.data import DATASETS
from tests.goldens import mmsegmentation

pytestmark = pytest.mark.no_backend


def image(height, width, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(height, width, channels)).astype("float32")


def positional(batch):
    """Logits that depend on the pixel and on its place in the window."""
    h, w = batch.shape[1:3]
    place = np.arange(h)[:, None] * 10.0 + np.arange(w)
    return np.stack(
        [batch[..., 0] + place, batch[..., 1] * 2, batch[..., 0] - place], -1
    ).astype("float32")


def reference(image, window, stride):
    """The published loop: last window shifted back, logits averaged."""
    height, width = image.shape[:2]
    (ch, cw), (sh, sw) = window, stride
    total, count = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for i in range(max(height - ch + sh - 1, 0) // sh + 1):
        for j in range(max(width - cw + sw - 1, 0) // sw + 1):
            bottom, right = min(i * sh + ch, height), min(j * sw + cw, width)
            top, left = max(bottom - ch, 0), max(right - cw, 0)
            crop = image[top:bottom, left:right]
            total[top:bottom, left:right] += positional(crop[None])[0]
            count[top:bottom, left:right] += 1
    return total / count


def slide(
    forward,
    images,
    window=(4, 6),
    stride=(3, 4),
    batch_size=3,
    output="logits",
    confidence=False,
    **options,
):
    views = inference.Views(window, stride, **options)
    return list(
        inference.sliding_window(
            forward, images, views, batch_size, output, confidence
        )
    )


def test_cityscapes_has_two_rows_of_four_windows():
    # 1025 - 768 = 257; 2049 - 768 = 1281.
    (view,) = inference.Views(768, 512).of((1025, 2049))
    assert view.tops() == [0, 257] and view.lefts() == [0, 512, 1024, 1281]


def test_ade20k_has_two_windows_side_by_side():
    # 683 - 512 = 171 is less than the stride of 341, two thirds of 512.
    (view,) = inference.Views(512).of((512, 683))
    assert view.tops() == [0] and view.lefts() == [0, 171]


@pytest.mark.parametrize("size", ((4, 6), (5, 13), (11, 6), (9, 20)))
@pytest.mark.parametrize("batch_size", (1, 3, 50))
def test_windows_average_as_published(size, batch_size):
    x = image(*size)
    (logits,) = slide(positional, [x], batch_size=batch_size)
    expected = reference(x, (4, 6), (3, 4))
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_images_of_mixed_sizes_share_batches_and_keep_their_order():
    images = [image(9, 20), image(4, 6, seed=1), image(5, 7, seed=2)]
    for x, logits in zip(images, slide(positional, images), strict=True):
        expected = reference(x, (4, 6), (3, 4))
        np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_a_constant_model_gives_the_constant_everywhere():
    def constant(batch):
        return np.full((*batch.shape[:3], 3), [1.0, -2.0, 0.5], "float32")

    for size in ((4, 6), (9, 20), (3, 5), (2, 40)):
        (logits,) = slide(constant, [image(*size)])
        assert logits.shape == (*size, 3)
        np.testing.assert_allclose(
            logits, np.broadcast_to([1, -2, 0.5], logits.shape), rtol=1e-6
        )


def test_every_forward_pass_gets_the_same_number_of_windows():
    shapes = []

    def record(batch):
        shapes.append(batch.shape)
        return positional(batch)

    # 3 x 5 windows of the first, 1 of the second: 16 = 3 * 5 + 1.
    slide(record, [image(9, 20), image(4, 6)])
    assert shapes == [(3, 4, 6, 2)] * 6


def test_an_image_smaller_than_the_window_is_enlarged_to_hold_it():
    # Shorter side 2 -> 4, so the width 9 -> 18, which exceeds 6.
    assert inference.covering_size((2, 9), (4, 6)) == (4, 18)
    # Height 8 would do, but width 3 -> 6 doubles it.
    assert inference.covering_size((8, 3), (4, 6)) == (16, 6)
    assert inference.covering_size((360, 480), (384, 384)) == (384, 512)
    assert inference.covering_size((9, 20), (4, 6)) == (9, 20)


def test_resizing_is_bilinear_with_half_pixel_centres():
    # Doubling (0, 4): outputs lie at -0.25, 0.25, 0.75, 1.25 of the source,
    # clamped to 0 and 1.
    x = np.array([[[0.0], [4.0]]], "float32")
    doubled = inference.resize_to(x, (1, 4))
    np.testing.assert_allclose(doubled[0, :, 0], [0, 1, 3, 4])


def test_resizing_keeps_many_channels():
    x = image(3, 5, channels=150)
    wide = inference.resize_to(x, (7, 11))
    assert wide.shape == (7, 11, 150)
    alone = inference.resize_to(x[..., 149:], (7, 11))
    np.testing.assert_allclose(wide[..., 149:], alone, atol=1e-6)


def shorter_sides(dataset, image_size, scales):
    facts = DATASETS[dataset]
    return [
        min(
            inference.PROTOCOLS["authors"].view_size(
                image_size, facts.crop_size, scale, facts.base_scale
            )
        )
        for scale in scales
    ]


def test_the_authors_scales_set_the_shorter_side():
    # Base scales 1025, 512 and 520 times the factor, cut to whole pixels, at
    # least the crops of 768, 512 and 480.
    for dataset, image_size, expected in (
        ("cityscapes", (1024, 2048), [768, 768, 1025, 1281, 1537, 1793]),
        ("ade20k", (683, 512), [512, 512, 512, 640, 768, 896]),
        ("pascal_context", (375, 500), [480, 480, 520, 650, 780, 910]),
    ):
        sides = shorter_sides(dataset, image_size, inference.PAPER_SCALES)
        assert sides == expected


def test_a_single_scale_fits_the_image_into_the_base_scale():
    for protocol in inference.PROTOCOLS.values():
        # 2049 / 2048 is less than 1025 / 1024.
        size = protocol.view_size((1024, 2048), (768, 768), None, (1025, 2049))
        assert size == (1025, 2049)
        # 512 / 300 would make the other side 2560: 2048 / 1500 = 1.365.
        size = protocol.view_size((300, 1500), (400, 400), None, (512, 2048))
        assert size == (410, 2048)


def test_pascal_context_has_a_shorter_side_of_one_window_at_a_single_scale():
    facts, authors = DATASETS["pascal_context"], inference.PROTOCOLS["authors"]
    # 520 / 500 would leave 390 x 520; 480 / 375 = 1.28 holds a window.
    for scale, expected in ((None, (480, 640)), (1.0, (520, 693))):
        size = authors.view_size(
            (375, 500), facts.crop_size, scale, facts.base_scale
        )
        assert size == expected


@pytest.mark.parametrize("strip_bytes", (1, 100, 2**22))
def test_windows_average_in_strips_of_any_height(monkeypatch, strip_bytes):
    monkeypatch.setattr(inference.blending, "_STRIP_BYTES", strip_bytes)
    x = image(11, 17)
    # Strides below half of the window share rows with more than one band.
    for window, stride in (
        ((4, 6), (3, 4)),
        ((5, 7), (2, 2)),
        ((6, 5), (5, 5)),
    ):
        (logits,) = slide(positional, [x], window, stride)
        expected = reference(x, window, stride)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        (logits,) = slide(
            positional, [x], window, stride, 2, base_scale=(13, 25)
        )
        # 13 / 11 = 1.18 allows (13, 20).
        scaled = reference(cv2.resize(x, (20, 13)), window, stride)
        expected = cv2.resize(scaled, (17, 11))
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_a_blend_lets_go_of_its_sink_behind_the_last_window():
    class Sink:
        rows = 0

        def put(self, top, left, logits):
            pass

        def advance(self, rows):
            self.rows = rows

    (view,) = inference.Views((4, 6), (3, 4)).of((11, 17))
    sink = Sink()
    blend = inference.blending.Blend(view, sink)
    for _ in range(len(view.tops()) * len(view.lefts())):
        blend.add(np.zeros((4, 6, 3), np.float32))
    assert sink.rows == 11
    held = weakref.ref(sink)
    gc.disable()  # which would find a circle, some time
    try:
        del sink, blend
        assert held() is None
    finally:
        gc.enable()


def test_windows_are_not_written_to():
    def frozen(batch):
        logits = positional(batch)
        logits.flags.writeable = False
        return logits

    x = image(11, 17)
    for options in ({}, {"scales": (1.0, 1.5), "flip": True}):
        (result,) = slide(
            frozen, [x], batch_size=2, output="probabilities", **options
        )
        np.testing.assert_allclose(result.sum(axis=-1), 1, atol=1e-5)


def test_mmsegmentations_scales_multiply_the_image_and_enlarge_nothing():
    protocol = inference.PROTOCOLS["mmsegmentation"]
    size = protocol.view_size((121, 187), (64, 64), 0.5, (512, 2048))
    # 60.5 and 93.5 round up to 61 and 94; 61 / 121 = 0.504 is more than
    # 94 / 187 = 0.503, which fits: 60.8 and 94.
    assert size == (61, 94)
    assert protocol.view_size((10, 20), (64, 64)) == (10, 20)


def small_sizes(forward, **options):
    shapes = []

    def record(batch):
        shapes.append(batch.shape[1:3])
        return forward(batch)

    (labels,) = slide(
        record, [image(3, 9)], batch_size=1, output="labels", **options
    )
    assert labels.shape == (3, 9)
    return set(shapes)


def test_images_below_the_window_are_enlarged_or_run_in_smaller_windows():
    assert small_sizes(positional) == {(4, 6)}
    assert small_sizes(positional, protocol="mmsegmentation") == {(3, 6)}


def softmax(logits):
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def mean_of_views(x, sizes):
    """Softmax at the image's size, averaged over sizes and flips."""
    height, width = x.shape[:2]
    views = []
    for size in sizes:
        scaled = cv2.resize(x, size[::-1])
        for step in (1, -1):
            logits = reference(scaled[:, ::step], (4, 6), (3, 4))
            logits = cv2.resize(logits, (width, height))
            views.append(softmax(logits)[:, ::step])
    return np.mean(views, axis=0)


@pytest.mark.parametrize("batch_size", (1, 5))
def test_views_average_their_softmax_at_the_images_size(batch_size):
    x = image(11, 17)
    # Factors of the shorter side, 11: int(5.5) = 5, int(8.8) = 8, 16; the
    # longer one follows: 17 * 5 / 11 = 7.7, 12.4, 24.7.
    expected = mean_of_views(x, [(5, 8), (8, 12), (16, 25)])
    options = {"scales": (0.5, 0.8, 1.5), "flip": True}

    def run(output, **more):
        (result,) = slide(
            positional,
            [x],
            batch_size=batch_size,
            output=output,
            **options,
            **more,
        )
        return result

    np.testing.assert_allclose(run("probabilities"), expected, atol=1e-5)
    np.testing.assert_allclose(softmax(run("logits")), expected, atol=1e-5)
    labels, confidence = run("labels", confidence=True)
    np.testing.assert_array_equal(labels, expected.argmax(axis=-1))
    np.testing.assert_allclose(confidence, expected.max(axis=-1), atol=1e-5)


@pytest.mark.parametrize("base_scale", (None, (13, 25), (6, 14)))
def test_labels_and_confidence_are_those_of_the_whole_volume(base_scale):
    x = image(11, 17)

    def run(output, **more):
        (result,) = slide(
            positional,
            [x],
            batch_size=2,
            base_scale=base_scale,
            output=output,
            **more,
        )
        return result

    logits = run("logits")
    if base_scale:
        # 13/11 and 25/17 allow 1.18, so (13, 20); 6/11 allows (6, 9).
        size = {(13, 25): (13, 20), (6, 14): (6, 9)}[base_scale]
        scaled = reference(cv2.resize(x, size[::-1]), (4, 6), (3, 4))
        expected = cv2.resize(scaled, (17, 11))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    probabilities = softmax(logits)
    np.testing.assert_allclose(run("probabilities"), probabilities, atol=1e-6)
    np.testing.assert_array_equal(run("labels"), logits.argmax(axis=-1))
    labels, confidence = run("labels", confidence=True)
    np.testing.assert_array_equal(labels, logits.argmax(axis=-1))
    np.testing.assert_allclose(confidence, probabilities.max(-1), atol=1e-6)


def test_equal_views_run_once():
    calls = []

    def count(batch):
        calls.append(len(batch))
        return positional(batch)

    # Both factors leave less than the window of 4 x 6, so both are enlarged
    # to it: one window and its mirror image.
    slide(
        count,
        [image(4, 6)],
        batch_size=1,
        scales=(0.5, 0.75),
        flip=True,
        output="labels",
    )
    assert sum(calls) == 2


def test_the_papers_scales_are_one_argument():
    shapes = []

    def record(batch):
        shapes.append(batch.shape)
        return positional(batch)

    def run(**options):
        return slide(record, [image(9, 14)], **options)[0]

    expected = run(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True)
    np.testing.assert_array_equal(run(scales="paper"), expected)
    assert set(shapes) == {(3, 4, 6, 2)}


@pytest.mark.parametrize("scales", (None, (0.5, 1.0)))
def test_labels_of_a_high_image_hold_only_the_rows_under_way(scales):
    num_classes = 32

    def forward(batch):
        return np.repeat(batch[..., :1], num_classes, axis=-1)

    x = np.zeros((3000, 48, 1), "uint8")
    tracemalloc.start()
    (labels,) = slide(
        forward, [x], (16, 24), (10, 16), 2, scales=scales, output="labels"
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels.shape == (3000, 48)
    # All logits would take 3000 * 48 * 32 * 4 = 18 MB; the labels and the
    # lists of windows take 1 MB.
    assert peak < 3e6


@pytest.mark.parametrize(
    "error, options, message",
    (
        (ValueError, {"window_size": 0}, "window_size.*at least 1.*: 0"),
        (ValueError, {"window_size": (8, 4.0)}, r"window_size.*\(8, 4.0\)"),
        (ValueError, {"stride": 0}, "stride.*at least 1.*: 0"),
        (
            ValueError,
            {"window_size": (8, 4), "stride": (8, 5)},
            r"stride=\(8, 5\), window_size=\(8, 4\)",
        ),
        (ValueError, {"scales": (0.5, 0)}, r"scales.*above 0.*\(0.5, 0\)"),
        (ValueError, {"scales": ()}, "scales.*at least 1"),
        (ValueError, {"scales": "small"}, "'paper'.*'small'"),
        (ValueError, {"flip": 1}, "flip must be True or False.*1"),
        (
            ValueError,
            {"protocol": "author"},
            "'authors' or 'mmsegmentation'.*'author'. Did you mean 'authors'",
        ),
        (ValueError, {"base_scale": (0, 0)}, r"base_scale.*\(0, 0\)"),
        (ValueError, {"base_scale": (-5, 5)}, r"base_scale.*\(-5, 5\)"),
        (TypeError, {"scale": 2}, "no argument 'scale'. Did you mean 'scales'"),
    ),
)
def test_views_check_themselves_when_they_are_made(error, options, message):
    with pytest.raises(error, match=message):
        inference.Views(**options)


def test_views_take_numpys_numbers_and_are_equal_by_value():
    views = inference.Views(
        np.int64(8), [np.int32(4), 6], scales=np.array([0.5, 1]), flip=np.True_
    )
    assert views == inference.Views((8, 8), (4, 6), (0.5, 1.0), True)
    assert inference.Views(**views.options()) == views
    assert inference.Views().options() == {}
    options = {"base_scale": (5, 7), "protocol": "mmsegmentation"}
    assert inference.Views(**options).options() == options


def test_views_of_an_image_need_a_window():
    with pytest.raises(ValueError, match="window_size must be given"):
        inference.Views(scales="paper").of((4, 6))


def test_outputs_that_do_not_exist_are_named():
    for options, message in (
        ({"output": "mask"}, "'labels', 'probabilities' or 'logits'.*'mask'"),
        ({"output": "logits", "confidence": True}, "output='logits'"),
        ({"batch_size": 0}, "batch_size.*at least 1.*: 0"),
    ):
        with pytest.raises(ValueError, match=message):
            slide(positional, [], **options)


def golden_run(**options):
    (result,) = slide(
        mmsegmentation.forward,
        [mmsegmentation.image()],
        mmsegmentation.WINDOW,
        mmsegmentation.STRIDE,
        4,
        protocol="mmsegmentation",
        **options,
    )
    return result


@pytest.mark.parametrize("num_classes", (3, 255, 256, 300))
def test_ignored_pixels_are_not_counted_whatever_the_number(num_classes):
    def class_0(batch):
        return np.zeros((*batch.shape[:3], num_classes), "float32")

    windowed = inference.Windowed(
        class_0,
        inference.Views((4, 6)),
        2,
        channels=2,
        num_classes=num_classes,
        classes=None,
        value_range=ValueRange(None),
        fingerprint=lambda: 0,
        load=None,
    )
    label = np.array([[0, 0, 2, 255, 255, 255]] * 4, "uint8")
    (counts,) = windowed.count([(image(4, 6), label)], ignore_class=255)
    assert counts.sum() == 12 and list(counts[:3, 0]) == [8, 0, 4]


def test_logits_and_labels_are_those_of_mmsegmentations_code():
    with np.load(mmsegmentation.FILE) as golden:
        largest = np.abs(golden["slide"]).max()
        np.testing.assert_allclose(
            golden_run(), golden["slide"], atol=1e-6 * largest
        )
        base = golden_run(base_scale=mmsegmentation.BASE_SCALE)
        np.testing.assert_allclose(
            base[..., 0], golden["base"], atol=1e-5 * largest
        )
        labels = golden_run(output="labels", scales="paper")
        np.testing.assert_array_equal(labels, golden["paper"])


def test_scores_are_those_of_mmsegmentations_code():
    counts = metrics.ConfusionMatrix(mmsegmentation.CLASSES, 255)
    counts.update(mmsegmentation.truth(), golden_run(output="labels"))
    with np.load(mmsegmentation.FILE) as golden:
        np.testing.assert_allclose(
            metrics.per_class_iou(counts.counts), golden["iou"], atol=1e-9
        )
        np.testing.assert_allclose(
            metrics.per_class_accuracy(counts.counts),
            golden["accuracy"],
            atol=1e-9,
        )


@pytest.mark.parametrize("given", [open, None, "road"])
def test_what_is_no_image_at_all_is_named(given):
    with pytest.raises(ValueError, match="image 0 must be an image file or"):
        check_image(given, 3, "image 0")
